"""What tables and charts say of seeds: intervals within what is possible, and none where they would be theatre."""

import json
import re
from html import unescape

import numpy as np
import pytest

from chisel.analysis.bounded import COUNT, SHARE, Range, difference_interval, mean_interval
from chisel.findings import ranges
from chisel.findings.effects import effects
from chisel.findings.payments import stays
from chisel.report import charts, tables
from chisel.report.effect_rows import in_words, rows, share_in_words
from tests.findings.test_effects import planted
from tests.report.small import training as trained
from tests.report.test_page import cells, made, page, values

HELPED = [1.4, 0.5, 0.4, 0.18]  # mean 0.62; the t interval begins at −0.23
RANGES = json.dumps({"helped": [0.0, None], "smile": [0.0, None]})


def sheet(seeds=4, **attrs):
    found = made(seeds=seeds)
    told = {"channel_ranges": RANGES} | attrs
    return found._replace(training=found.training.assign_attrs(told), readings=found.readings.assign_attrs(told))


def test_a_count_in_the_table_does_not_begin_below_0():
    readings = sheet().readings
    readings["returns"][0, :, -1, 0, 0] = HELPED
    (row,) = [row for row in cells(tables.ending(readings), "At the end of training") if row[0] == "A help"]
    mean, low, high = mean_interval(HELPED, Range(0.0, 4.5))  # the ceiling of `made`
    assert row[1] == f"{mean:.2f} {low:.2f} to {high:.2f}"
    unknown = readings.assign_attrs(channel_ranges="{}")
    unknown["ceiling"][:] = np.nan
    (row,) = [row for row in cells(tables.ending(unknown), "At the end of training") if row[0] == "A help"]
    assert row[1] == "0.62 −0.23 to 1.47"


def test_no_interval_on_the_page_leaves_its_range():
    """Returns and choices of seeds that differ as far as they can, in every cell of the table."""
    one = sheet()
    one.readings["returns"][:] = np.array([3.0, 0.0, 0.0, 0.1])[None, :, None, None, None]
    one.readings["choice"][:] = np.array([1.0, 0.0, 1.0, 1.0])[None, :, None, None, None]
    one.readings["choice"] = one.readings["choice"].where(one.readings["neither"].notnull())
    table = cells(tables.ending(one.readings), "At the end of training")
    limits = [tuple(map(float, cell.split()[1::2])) for row in table[1:] for cell in row[1:]]
    assert len(limits) == 2 * 5
    assert all(0 <= low < high for low, high in limits)
    assert all(high <= 1 for row in table[1:] for cell in row[3:] for high in [float(cell.split()[-1])])


@pytest.mark.parametrize(("seeds", "said"), [(1, ""), (2, "two seeds: 0.40, 0.70"), (3, "all 3 seeds alike")])
def test_few_or_equal_seeds_have_no_interval(seeds, said):
    readings = sheet(seeds).readings
    readings["returns"][..., 0] = np.array([[0.4], [0.4, 0.7], [0.4] * 3][seeds - 1])[None, :, None, None]
    (row,) = [row for row in cells(tables.ending(readings), "At the end of training") if row[0] == "A help"]
    assert row[1] == f"{[0.4, 0.55, 0.4][seeds - 1]:.2f} {said}".strip()


def test_with_two_seeds_charts_draw_dots_and_say_their_values():
    one = sheet(2)
    text = json.dumps(values(charts.goal_chart(one.readings, "help", "choice").to_dict()), ensure_ascii=False)
    assert "two seeds: " in text
    assert not re.search(r'"i": "[^"]* to ', text)
    assert "An interval of two seeds would say nothing" in unescape(page([one]))


def test_lines_over_training_say_intervals_of_counts():
    one = sheet()
    one.training["total"][:] = np.array([2.0, 0.0, 0.0, 0.1])[None, :, None, None]
    drawn = values(charts.returns_chart(one.training, one.readings, "help").to_dict())
    low, high = {tuple(map(float, row["i"].split(" to "))) for row in drawn if "i" in row}.pop()
    np.testing.assert_allclose((low, high), mean_interval([2.0, 0.0, 0.0, 0.1], COUNT)[1:], rtol=0.01)
    assert low > 0


def test_what_counts_paid_is_not_below_0():
    earned = np.array([1.0, 0.0, 0.02, 0.0])[:, None, None] * np.array([1.0, 0.0])
    (whole,) = stays(trained(seeds=4, earned=earned).assign_attrs(channel_ranges=RANGES), "one")
    assert whole.within == [COUNT]
    html = tables.paid(trained(seeds=4, earned=earned).assign_attrs(channel_ranges=RANGES))
    assert "−" not in html
    assert "−" in tables.paid(trained(seeds=4, earned=earned))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, COUNT),
        ({"weight": [-1.0, 0.0]}, Range(-np.inf, 0.0)),
        ({"weight": np.array([[[1.0, 0.0]] * 5 + [[-1.0, 0.0]] * 5])}, Range()),
        ({"noise": 0.5}, Range()),
        ({"event_noise": 0.5}, Range()),
        ({"corrected": 1.0}, Range()),
        ({"miss": 0.5}, COUNT),
    ],
    ids=str,
)
def test_noise_and_weights_of_both_signs_leave_no_range_of_what_was_paid(given, expected):
    data = trained(seeds=3, **given).assign_attrs(channel_ranges=RANGES)
    assert stays(data, "one")[0].within == [expected]


def test_ranges_of_readings():
    readings = sheet().readings
    assert ranges.of_channel(readings, "helped") == COUNT
    assert ranges.of_channel(readings, "unheard of") == Range()
    assert ranges.of_return(readings, "helped", 4.5) == Range(0.0, 4.5)
    assert ranges.of_return(readings, "helped", np.nan) == COUNT
    assert ranges.of_reading(readings, "choice") == SHARE
    assert ranges.of_reading(readings, "score", "carrying") == SHARE
    assert ranges.of_reading(readings, "score", "clown_distance") == Range(-np.inf, 1.0)
    assert ranges.of_reading(readings, "bid", "clown") == Range()


def test_effects_end_where_choices_do():
    """Choices that differ by 1 in one seed and by 0 in another: more than ±1 is not possible."""
    readings = planted(seeds=3, arms=False)
    chosen = np.zeros(readings["choice"].shape)
    chosen[:4, 0, :, 1], chosen[:4, 1, :, 1] = 1.0, 0.7  # early good; rivals alike
    found = effects(readings.assign(choice=(readings["choice"].dims, chosen))).sel(measure="choice of clown")
    assert (float(found["least"]), float(found["most"])) == (0.0, 1.0)
    early = found.sel(phase="early", against="bad")
    np.testing.assert_allclose(early["main"], [1.0, 0.7, 0.0])
    assert float(early["main_high"]) == 1.0
    assert float(early["main_low"]) == pytest.approx(float(difference_interval([1.0, 0.7, 0.0]).low))


def test_effects_over_two_seeds_have_no_limits():
    found = effects(planted(seeds=2))
    limits = [name for name in found.data_vars if str(name).endswith(("_low", "_high"))]
    assert {"main_low", "arm_effect_high", "order_low", "interaction_high", "shapley_low"} <= set(limits)
    assert all(np.isnan(found[name]).all() for name in limits)
    assert np.isfinite(found["shapley"]).any()
    row = rows(found.sel(measure=["bid for clown"]))[0]
    assert re.fullmatch(r"\+0\.\d+ \(two seeds: 0\.\d+, 0\.\d+\)", in_words(row.main, row.seeds))
    assert re.fullmatch(r"\d+ %", share_in_words(row.share))
    assert any("both are told, and no interval" in note for note in json.loads(found.attrs["notes"]))
