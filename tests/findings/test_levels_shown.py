"""Which levels a return is of: the page, the charts and the terminal say so, and compare schedules on common ones."""

import io
import json
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from chisel.findings import levels
from chisel.findings.effects import measured
from chisel.report import charts
from chisel.report.page import Sheet, page
from chisel.study.battery import LEVELS
from chisel.terminal.tables import returns_table
from tests.report.test_page import made

NAMES = ["training", "study", "decorrelated", "mine"]
MEMBER = ("schedule", "seed", "checkpoint", "levels")
SAID = {**LEVELS, "mine": "levels with corner = 7, the rest as in `study`"}


def told(varied: bool = True) -> Sheet:
    """A page of two schedules: the second trains on levels of its own (corner 7) from the third checkpoint on."""
    sheet = made()
    old, rng = sheet.readings, np.random.default_rng(1)
    data = old.drop_dims("levels")
    shape = (2, 3, 4, 4)
    ceiling = np.broadcast_to([1.0, 1.0, 0.5, 0.9], shape).copy()
    corner = np.broadcast_to([1.0, 1.0, np.nan, 7.0], shape).copy()
    if varied:
        ceiling[1, :, 2:, 0], corner[1, :, 2:, 0] = 0.75, 7.0
    present = np.ones((*shape, 3))
    present[..., 2, 0], present[..., 2, 1] = 0.5, 0.25
    data = data.assign_coords(levels=NAMES, param_name=["corner"], channel=old.channel)
    data["returns"] = ((*MEMBER, "channel"), rng.uniform(0.1, 0.4, (*shape, 2)))
    data["ceiling"] = ((*MEMBER, "channel"), np.stack([ceiling, ceiling + np.nan], -1))
    data["level_param"] = ((*MEMBER, "param_name"), corner[..., None])
    data["present"] = ((*MEMBER, "goal"), present)
    if not varied:
        data["returns"][..., 0, :] = data["returns"].sel(levels="study")
    return sheet._replace(readings=data.assign_attrs(levels=json.dumps(SAID)))


def shown(readings: xr.Dataset) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(returns_table(SimpleNamespace(dataset=lambda name: readings)))
    return out.getvalue()


@pytest.mark.parametrize("varied", [True, False])
def test_schedules_are_compared_on_common_levels_and_all_others_stand_below(varied):
    sheet = told(varied)
    text = unescape(page([sheet])).split("<script")[0]
    first, _, rest = text.partition("<h3>On other levels</h3>")
    rest = rest.split("<h2>")[0]
    mean = sheet.readings["returns"].isel(checkpoint=-1, schedule=1).sel(channel="helped").mean("seed")
    assert f"<b>{float(mean.sel(levels='study')):.2f}</b>" in first
    for name in ("decorrelated", "mine", *(["training"] if varied else [])):
        assert f"<b>{float(mean.sel(levels=name)):.2f}</b>" in rest, name
        assert SAID[name] in rest
    assert ("<b>training</b>" in rest) == varied
    assert "of the goals are there: water in 50%, person in 25%" in rest
    usual = SAID["study"] if varied else "levels of the study's own world_params, on which every schedule trains"
    assert usual in first
    assert "ceiling 1.00" in first
    assert ("ceilings 0.75 to 1.00" in rest) == varied
    assert ("Ceilings of helped: A 1.00, B 0.75." in rest) == varied


def test_the_terminal_says_levels_and_ceilings():
    readings = told().readings
    lines = shown(readings).splitlines()
    at = {name: next(i for i, line in enumerate(lines) if line.startswith(name)) for name in reversed(NAMES)}
    assert at["study"] < at["training"] < at["decorrelated"] < at["mine"]
    for name in NAMES:
        for i, top in enumerate(
            (1.0, 0.75) if name == "training" else (1.0, 0.5, 0.9)[NAMES.index(name) - 1 : NAMES.index(name)] * 2
        ):
            own = readings["returns"].isel(checkpoint=-1, schedule=i).sel(levels=name, channel="helped")
            line = lines[at[name] + i]
            assert f"{float(own.mean()):.2f} (" in line
            assert f"of {top:.2f}" in line
    assert any(line.strip() == f"mine: {SAID['mine']}" for line in lines)


def test_the_ceiling_over_training_is_that_of_the_levels_trained_on():
    """A rule where it stays, steps where it changes with the levels."""
    sheet = told()
    for schedule, tops in (("help", [1.0]), ("smile, then help", [1.0, 1.0, 0.75, 0.75])):
        spec = charts.returns_chart(sheet.training, sheet.readings, schedule).to_dict()
        dashed = [x for x in spec["layer"] if isinstance(x["mark"], dict) and x["mark"].get("strokeDash") == [5, 4]]
        (line,) = dashed
        assert [row["v"] for row in spec["datasets"][line["data"]["name"]]] == tops
        assert line["mark"].get("interpolate") == (None if len(tops) == 1 else "step-before")


def test_effects_of_phases_are_on_common_levels():
    readings = told().readings
    found = measured(readings).sel(measure="return of helped")
    common = readings["returns"].isel(checkpoint=-1).sel(levels="study", channel="helped")
    np.testing.assert_array_equal(found.transpose("schedule", "seed"), common.transpose("schedule", "seed"))


def test_readings_of_before_are_drawn_too():
    """Without common levels, and with one ceiling for all members."""
    readings = made().readings
    assert levels.common(readings) == "training"
    assert levels.alike(readings)
    assert levels.others(readings) == ["decorrelated"]
    assert levels.ceilings_of(readings, "training", "helped").tolist() == [4.5, 4.5]
