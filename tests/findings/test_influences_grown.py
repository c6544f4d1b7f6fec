"""Which decision-influences grew, told from a dataset."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from chisel.findings.influences import influences, until, why_none
from chisel.report.tables import MOST, grown
from chisel.terminal.tables import influences_table

FEATURES, GOALS, SEEDS = ["left", "right", "odd"], ["clown", "water"], 3


def readings() -> xr.Dataset:
    """`right` moves the clown's bid in all seeds of `b`, `left` in two of them, at one layer or the other; none in `a`."""
    lead = ("schedule", "seed", "checkpoint", "layer", "feature", "goal")
    verdict = xr.DataArray(
        np.zeros((2, SEEDS, 2, 2, 3, 2), bool),
        dims=lead,
        coords={"schedule": ["a", "b"], "seed": range(SEEDS), "feature": FEATURES, "goal": GOALS},
    )
    verdict.loc[{"schedule": "b", "feature": "right", "goal": "clown"}] = True
    verdict.loc[{"schedule": "b", "feature": "left", "goal": "clown", "seed": [0, 2]}] = True
    verdict[{"layer": 0, "checkpoint": 1, "seed": 2}] = False  # seen at the other layer only
    verdict.loc[{"schedule": "a", "feature": "odd", "goal": "water"}] = True
    verdict[{"schedule": 0, "checkpoint": 1}] = False  # and lost again
    effect = verdict.isel(layer=0, drop=True) * 1.0
    effect[{"checkpoint": 1}] = np.arange(SEEDS)[:, None, None] + np.array([[1.0], [2.0], [3.0]])
    effect.attrs["units"] = "nat"
    onset = xr.DataArray(np.full((2, SEEDS, 3, 2), np.nan), dims=("schedule", "seed", "feature", "goal"))
    onset[1, :, :2, 0] = np.array([[100, 40], [np.nan, 50], [200, 60]])
    onset[0, :, 2, 1], offset = [0, 10, 20], onset * np.nan
    offset[0, :, 2, 1] = [700, 800, 900]
    return xr.Dataset({"verdict": verdict, "effect": effect, "verdict_onset": onset, "verdict_offset": offset})


def test_they_are_those_of_the_last_checkpoint_surest_first_and_then_those_that_went():
    found = influences(readings())
    assert [(x.schedule, x.feature, x.goal, x.seeds, x.onset, x.lost) for x in found] == [
        ("a", "odd", "water", 0, 10.0, 3),
        ("b", "right", "clown", 3, 50.0, 0),
        ("b", "left", "clown", 2, 150.0, 0),
    ]
    assert found[0].offset == 800.0
    assert np.isnan([x.offset for x in found[1:]]).all()
    assert [float(x.strength.mean) for x in found[1:]] == [3.0, 2.0]  # over all seeds
    assert found[1].strength.low < 3 < found[1].strength.high


def test_what_was_lost_in_some_seeds_is_told_beside_what_lasts():
    data = readings()
    data["verdict"][{"schedule": 1, "seed": 1, "checkpoint": 1, "feature": 1, "goal": 0}] = False
    data["verdict_offset"][1, 1, 1, 0] = 400.0
    row = next(x for x in influences(data) if x.feature == "right")
    assert (row.seeds, row.lost, row.onset, row.offset) == (2, 1, 50.0, 400.0)  # begun in those where it lasts: 40, 60
    assert until(row) == "the end; 400 in 1"


def test_readings_of_an_earlier_chisel_have_no_offsets():
    old = influences(readings().drop_vars("verdict_offset"))
    assert [until(x) for x in old] == ["?", "the end", "the end"]


def test_the_page_lists_them_and_says_none_where_there_is_none():
    html = grown(readings())
    assert html.index("right → clown") < html.index("left → clown")
    assert "3 of 3" in html
    assert "2 of 3" in html
    assert "0 of 3" in html
    assert "none" not in html
    assert [html.count(f'<td data-label="Until">{x}</td>') for x in ("800", "the end")] == [1, 2]
    without = readings()
    without["verdict"][{"schedule": 0}] = False
    assert grown(without).count("none") == 1
    assert "odd" not in grown(without)


def test_the_terminal_shows_the_same():
    console = Console(width=140)
    with console.capture() as shown:
        console.print(influences_table(SimpleNamespace(dataset=lambda name: readings())))
    told = [line.split() for line in shown.get().splitlines()]
    lines = told[next(i for i, line in enumerate(told) if line[0] == "schedule") + 1 :]
    joined = [" ".join(line) for line in lines]
    assert joined[0].startswith("a odd → water 0 of 3 seeds (95 % interval 0 to 71 %) 10 800")
    assert joined[1].startswith("b right → clown 3 of 3 seeds (95 % interval 29 to 100 %) 50 the end")
    assert joined[2].startswith("left → clown 2 of 3 seeds (95 % interval 9 to 99 %) 150 the end")
    assert lines[1][-5:] == ["+3.00", "(+0.52", "to", "+5.48)", "nat"]  # of 2, 3 and 4: 3 ± 4.30 / √3


def test_two_seeds_are_told_themselves():
    data = readings().isel(seed=[0, 1])
    console = Console(width=140)
    with console.capture() as shown:
        console.print(influences_table(SimpleNamespace(dataset=lambda name: data)))
    assert "+2.50 (two seeds: +2.00, +3.00) nat" in shown.get()
    assert "two seeds: 2.00, 3.00" in grown(data)
    assert "2 of 2</b><small>16 to 100 %" in grown(data)


def test_more_than_can_be_listed_are_counted():
    data = readings().isel(feature=[1] * (MOST + 3))
    data = data.assign_coords(feature=[f"f{i}" for i in range(MOST + 3)])
    html = grown(data)
    assert html.count("→ clown") == MOST
    assert "and 3 more" in html


@pytest.mark.parametrize(
    ("left_out", "said"),
    [("{}", None), ('{"total_effect": "no objects"}', "decision-influences are not measurable here: no objects")],
)
def test_where_there_are_no_verdicts_it_is_said_why_if_they_were_asked_for(left_out, said):
    bare = readings()[["effect"]].assign_attrs(left_out=left_out)
    assert influences(bare) == []
    assert why_none(bare) == said
    assert influences_table(SimpleNamespace(dataset=lambda name: bare)) == said
    assert grown(bare) == ""
