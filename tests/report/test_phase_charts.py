"""What phases did, as it is drawn: from effects that are planted."""

import json
from html import unescape
from typing import Any

import numpy as np
import pytest
import xarray as xr

from chisel.findings.effects import effects
from chisel.report import page as report
from chisel.report import phase_charts, phase_tables
from chisel.report.page import Sheet, page
from tests.findings.test_effects import PHASES, planted
from tests.report.test_page import NASTY, Read, made, values

KINDS = {
    "usual": {},
    "three conditions": {"conditions": ("good", "odd", "bad")},
    "two phases": {"weights": (0.3, 0.1)},
    "one phase": {"weights": (0.3,)},
    "one seed": {"seeds": 1},
    "no arms": {"arms": False},
}


def own(measure: str = "bid for clown", **kind: Any) -> xr.Dataset:
    return effects(planted(**kind)).sel(measure=measure)


def crossed(**kind: Any) -> Sheet:
    """A page's sheet of a factorial: the readings are planted, the training is of random numbers."""
    readings = planted(**kind)
    names = tuple(str(s) for s in readings.schedule.values)
    sheet = made(names, readings.sizes["seed"], proxies=())
    usual = sheet.readings
    kept = readings.drop_vars("skill").drop_dims(["feature", "edit"])
    kept["neither"] = kept["choice"]
    kept.attrs = usual.attrs | {"factorial": readings.attrs["factorial"]}
    return sheet._replace(readings=kept, films={})


def section(sheet: Sheet) -> str:
    """The part of the page, without all others, which take long."""
    return unescape(phase_tables.section(report._Page().place, sheet.training, sheet.readings))


def drawn(found: xr.Dataset) -> list[dict[str, Any]]:
    charts = [phase_charts.main_chart(found, "#0072B2"), phase_charts.shares_chart(found, "#0072B2")]
    charts += [phase_charts.together_chart(found, "#0072B2")] if found.sizes["phase"] > 1 else []
    charts += [phase_charts.order_chart(found, "#0072B2")] if "order" in found else []
    charts += [phase_charts.arms_chart(found, "#0072B2")] if "arm_effect" in found else []
    return [chart.to_dict(validate=True) for chart in charts]


def places(spec: dict[str, Any]) -> dict[str, list[str]]:
    """What stands below the axis, by place."""
    axes = [layer["encoding"]["x"]["axis"] for layer in spec["layer"] if "axis" in layer["encoding"].get("x", {})]
    return json.loads(axes[0]["labelExpr"].removesuffix("[datum.value]").strip("()"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_charts_are_what_vega_lite_understands(kind):
    found = own(**kind)
    specs = drawn(found)
    assert len(specs) == 2 + (found.sizes["phase"] > 1) + ("order" in found) + ("arm_effect" in found)
    for spec in specs:
        assert spec["width"] == "container"
        assert spec["datasets"]


def test_every_seed_is_a_dot_where_its_effect_is():
    found = own()
    spec = phase_charts.main_chart(found, "#0072B2").to_dict()
    dots = [row for row in values(spec) if "s" in row]
    assert len(dots) == 3 * 6
    for row in dots:
        assert row["v"] == pytest.approx(
            float(found["main"].sel(phase=row["p"], against="bad", seed=row["s"])), rel=1e-3
        )
    assert [lines[0] for lines in places(spec).values()] == PHASES
    assert [lines[1][:3] for lines in places(spec).values()] == ["+0.", "+0.", "+0."]


def test_bars_reach_from_0_to_the_mean_and_rules_over_the_interval():
    found = own()
    for chart, name, ends in (
        (phase_charts.main_chart, "main_mean", ("main_low", "main_high")),
        (phase_charts.shares_chart, "shapley", ("shapley_low", "shapley_high")),
    ):
        bars = {row["p"]: row for row in values(chart(found, "#0072B2").to_dict()) if "z" in row}
        assert list(bars) == PHASES
        for phase, row in bars.items():
            here = found.sel(phase=phase).squeeze("against")
            assert [row["v"], row["l"], row["h"]] == pytest.approx([float(here[k]) for k in (name, *ends)], rel=1e-3)
            assert row["z"] == 0


def test_three_conditions_stand_side_by_side_in_every_phase():
    spec = phase_charts.main_chart(own(conditions=("good", "odd", "bad")), "#0072B2").to_dict()
    assert [lines[0] for lines in places(spec).values()] == ["odd", "bad"] * 3
    assert [row["t"] for row in values(spec) if "t" in row] == PHASES


def test_lines_are_the_means_of_the_cells_under_both_conditions():
    found = own(together=0.2)
    spec = phase_charts.together_chart(found, "#0072B2", [(0, 2)]).to_dict()
    assert [row["t"] for row in values(spec) if "t" in row] == ["early × late"]
    means = {(row["a"], row["k"]): row["v"] for row in values(spec) if "i" in row}
    expected = found["outcome"].sel(cell=["good good bad", "good bad bad"]).mean()
    assert means["good in early, bad in late", "bad"] == pytest.approx(float(expected), rel=1e-3)
    dots = [row for row in values(spec) if "s" in row]
    assert len(dots) == 2 * 2 * 6
    (line,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    assert line["encoding"]["strokeDash"]["scale"]["domain"] == ["good", "bad"]


def test_arms_stand_by_kind_and_phase_over_the_noise_floor():
    found = own()
    spec = phase_charts.arms_chart(found, "#0072B2").to_dict()
    assert [row["t"] for row in values(spec) if "t" in row] == list(phase_charts.KINDS.values())
    bars = {(row["a"], row["p"]): row["v"] for row in values(spec) if "z" in row}
    assert len(bars) == 9
    assert bars["no reward", "early"] == pytest.approx(
        float(found["arm_effect_mean"].sel(arm="zero in early")), rel=1e-3
    )
    (band,) = [row for row in values(spec) if set(row) == {"l", "h"}]
    assert -band["l"] == band["h"] == pytest.approx(float(found["noise"]), rel=1e-3)


def test_without_noise_arms_there_is_no_band():
    found = effects(planted()).sel(measure="bid for clown")
    found = found.isel(arm=(found["kind"] != "noise").values).assign(noise=np.nan)
    rows = values(phase_charts.arms_chart(found, "#0072B2").to_dict())
    assert not [row for row in rows if set(row) == {"l", "h"}]
    assert [row["t"] for row in rows if "t" in row] == ["no learning", "no reward"]


def test_wide_limits_of_few_seeds_do_not_flatten_what_was_measured():
    spec = phase_charts.main_chart(own(seeds=3, noise=0.3), "#0072B2").to_dict()
    dots = [row["v"] for row in values(spec) if "s" in row]
    limits = [row["h"] for row in values(spec) if "z" in row]
    domains = [
        layer["encoding"]["y"]["scale"]["domain"] for layer in spec["layer"] if "scale" in layer["encoding"]["y"]
    ]
    span = max(*dots, 0) - min(*dots, 0)
    assert domains[0][0] <= min(limits)
    assert max(limits) <= domains[0][1]
    assert domains[0][1] - domains[0][0] < 3.5 * span


def test_the_page_tells_how_much_each_phase_mattered_and_folds_the_schedules():
    html = page([crossed(weights=(0.3, 0.1), arms=False)])
    read = Read(html)
    assert "Every combination of good and bad in the phases early and mid was trained" in read.text
    assert "(1,000 steps each, and 1,000 that are the same for all)" in read.text
    assert "how much higher a reading is with good in that phase than with bad" in read.text
    assert all(f"{word} " in read.text for word in ("bid for clown", "choice of clown", "return of helped"))
    assert "share 90 % (" in read.text
    assert "500 halved in 100 % of runs" in read.text
    assert "nan" not in read.text.lower()
    assert [int(a["data-chart"]) for a in read.all("div") if "data-chart" in a] == list(range(len(read.specs)))
    order = [read.text.index(part) for part in ("How much each phase", "At the end of training", "Over training")]
    assert order == sorted(order)
    inside = html.split("<h2>Over training</h2>")[1]
    assert inside.startswith("<details><summary>4 schedules, a card each</summary>")


def test_without_a_factorial_there_is_no_such_part_and_nothing_is_folded():
    html = page([made()])
    assert "How much each phase mattered" not in html
    assert "a card each" not in html
    assert section(made()) == ""


def test_measures_beyond_the_first_six_are_in_the_table():
    sheet = crossed()
    clown, goals = sheet.readings["bid"].values[..., 1], [f"goal {i}" for i in range(9)]
    bids = (*sheet.readings["bid"].dims[:-1], "goal"), clown[..., None] * np.arange(1, 10)
    kept = sheet.readings.drop_dims(["goal", "rival"]).assign(bid=bids).assign_coords(goal=goals)
    html = section(sheet._replace(readings=kept))
    assert html.count('<article class="box">') == 6
    assert "10 measures in numbers" in html
    table = html.split("<table")[1]
    assert all(f"bid for {goal}<" in table for goal in goals)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_factorial_has_its_part(kind):
    html = section(crossed(**kind))
    assert "nan" not in html
    assert ("It takes two whole seeds" in html) == (kind.get("seeds") == 1)
    assert ("Interactions whose interval" in html) == (kind in ({}, KINDS["two phases"], KINDS["no arms"]))
    assert ("One phase replaced" in html) == ("noise floor" in html) == kind.get("arms", True)
    assert ("Together" in html) == ("<h4>Order" in html) == ("effect of order" in html) == (kind != KINDS["one phase"])


def test_what_a_factorial_says_is_text_and_nothing_else():
    drawing = report._Page()
    sheet = crossed(conditions=(NASTY, "bad"), weights=(0.3, 0.1))
    read = Read(phase_tables.section(drawing.place, sheet.training, sheet.readings))
    assert not read.scripts
    assert not any("onerror" in attrs for _, attrs in read.elements)
    assert " ".join(NASTY.split()) in read.text
    together = next(spec for spec in drawing.specs if {row.get("t") for row in values(spec)} >= {"early × mid"})
    assert [lines[0] for lines in places(together).values()] == [NASTY, "bad"]


def test_where_nothing_moved_it_is_said():
    html = section(crossed(weights=(0.0, 0.0), noise=0.0, arms=False))
    assert "differs from another in anything that was read" in html
    assert "<article" not in html
