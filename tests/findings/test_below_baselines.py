"""Which schedules end below random play: in the table, on the page, in the terminal, in charts."""

import json
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from chisel.findings import baselines
from chisel.report import charts, tables
from chisel.terminal.tables import returns_table
from tests.report.test_page import cells, made, page, values

RANDOM, BEFORE = 0.31, 0.30


def sheet(schedules=("lost", "learned"), by_schedule=False):
    """The first schedule ends at 0.11 with 0.30 before; the second learns. Random play gets 0.31."""
    found = made(schedules=schedules, seeds=4)
    readings = found.readings
    own = readings["returns"]  # schedule, seed, checkpoint, levels, channel
    own[..., 0] = BEFORE + 0.02 * np.array([-1, 0, 0, 1])[:, None, None]
    own[0, :, -1, :, 0] = np.array([0.11, 0.08, 0.15, 0.10])[:, None]
    own[1, :, -1, :, 0] = np.array([2.0, 3.0, 2.5, 2.2])[:, None]
    lead = ("schedule", "seed", "checkpoint", "levels", "channel")
    shape = [readings.sizes[d] for d in lead]
    random = np.full(shape, RANDOM)
    if by_schedule:
        random[1] = 0.5
    readings = readings.assign(random_return=(lead, random), random_return_error=(lead, np.full(shape, 0.01)))
    readings = readings.assign_attrs(random_plays=8, channel_ranges=json.dumps({"helped": [0.0, None]}))
    return found._replace(readings=readings.assign_attrs({baselines.ATTRIBUTE: json.dumps(baselines.below(readings))}))


def test_what_ends_below_is_found_on_all_levels_and_said_of_the_usual_ones():
    found = baselines.below(sheet().readings)
    assert [(x["schedule"], x["channel"], x["levels"], x["than"]) for x in found] == [
        ("lost", "helped", levels, than)
        for levels in ("training", "decorrelated")
        for than in ("random play", "the untrained agents")
    ]
    assert found[0]["mean"] == pytest.approx(0.11)
    assert 0 < found[0]["low"] < 0.11 < found[0]["high"] < RANDOM
    (said,) = baselines.sentences(found, "training")
    assert said.startswith("lost ends below random play and the untrained agents on helped: 0.11 (0.")
    assert said.endswith("; random play 0.31, the untrained agents 0.30")


def test_what_was_not_read_is_not_judged():
    readings = sheet().readings.drop_vars("random_return")
    assert baselines.below(readings) == []
    assert baselines.listed(made().readings) == []


def test_one_seed_is_judged_by_the_chance_of_its_evaluation():
    readings = sheet().readings.isel(seed=[0])
    found = baselines.below(readings)
    assert {x["schedule"] for x in found} == {"lost"}
    assert found[0]["low"] is None
    assert "on helped: 0.11; random play 0.31" in baselines.sentences(found, "training")[0]


def test_the_page_says_it_before_all_tables_and_charts():
    html = unescape(page([sheet()]))
    begin = html.index("lost ends below random play and the untrained agents on helped")
    assert begin < html.index("<h2>")
    assert "learned ends below" not in html
    assert "<h3>Below random play</h3>" not in page([made()])


@pytest.mark.parametrize(("by_schedule", "said"), [(False, "0.31"), (True, "0.31 to 0.50 by schedule")])
def test_tables_have_a_row_of_random_play(by_schedule, said):
    table = cells(tables.ending(sheet(by_schedule=by_schedule).readings), "At the end of training")
    assert table[-1][0] == "random play"
    assert table[-1][1] == said
    assert table[-1][3:] == ["–"] * 3  # choices


def test_the_terminal_shows_it_too():
    console = Console(width=140)
    with console.capture() as shown:
        console.print(returns_table(SimpleNamespace(dataset=lambda name: sheet().readings)))
    text = shown.get()
    lines = [line.split() for line in text.splitlines()]
    assert sum(line[:3] == ["random", "play", "0.31"] for line in lines) == 2  # of both distributions of levels
    assert "lost ends below random play and the untrained agents on helped" in " ".join(text.split())


def test_charts_of_training_draw_a_rule():
    one = sheet(by_schedule=True)
    for schedule, random in (("lost", 0.31), ("learned", 0.5)):
        spec = charts.returns_chart(one.training, one.readings, schedule).to_dict(validate=True)
        dotted = [layer for layer in spec["layer"] if layer["mark"].get("strokeDash") == [1, 3]]
        assert len(dotted) == 1
        drawn = (
            spec["datasets"][dotted[0]["data"]["name"]] if "name" in dotted[0]["data"] else dotted[0]["data"]["values"]
        )
        assert [row["v"] for row in drawn] == [random]
    assert values(charts.returns_chart(made().training, made().readings, "help").to_dict())
