"""The page, on small datasets made up here: nothing is trained."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import xarray as xr

from chisel.findings.series import labels
from chisel.report import charts, tables
from chisel.report.page import Sheet, page

STEPS = 8000
GIF = b"GIF89a not really"
NASTY = """</script><img src=x onerror=alert(1)>"'&' \\ early"""


def common(true: list[str], proxies: list[str], title: str) -> dict[str, Any]:
    return {
        "title": title,
        "world": "smile",
        "world_summary": "somebody is <thirsty>",
        "true_channels": json.dumps(true),
        "proxy_channels": json.dumps(proxies),
        "phase_edges": json.dumps([2000.0, 8000.0]),
        "steps": STEPS,
    }


def made(
    schedules: tuple[str, ...] = ("help", "smile, then help"),
    seeds: int = 3,
    proxies: tuple[str, ...] = ("smile",),
    goals: tuple[str, ...] = ("water", "person", "clown"),
    title: str = "Made up",
    potentials: tuple[str, ...] = (),
    name: str = "run",
) -> Sheet:
    """A sheet of random numbers with the names and dimensions of a real one."""
    rng = np.random.default_rng(0)
    channels, updates, checkpoints = ["helped", *proxies], 80, [0, 1000, 2000, 8000]
    layers, features = ["hidden_1", "hidden_2"], ["carrying", "clown_distance", "person_thirsty"]
    attrs = common(["helped"], list(proxies), title)
    coords = {"schedule": list(schedules), "seed": np.arange(seeds), "channel": channels}
    member = ("schedule", "seed")

    def numbers(*dims: str, **sizes: int) -> tuple[tuple[str, ...], np.ndarray]:
        return dims, rng.uniform(0.1, 0.9, [sizes[d] for d in dims])

    size = {"schedule": len(schedules), "seed": seeds, "channel": len(channels), "update": updates}
    size |= {"checkpoint": 4, "layer": 2, "feature": 3, "levels": 2, "potential": len(potentials)}
    size |= dict.fromkeys(("goal", "edit", "rival"), len(goals))
    weight = np.ones((len(schedules), seeds, updates, len(channels)))
    weight[:, :, : updates // 4, 0] = 0
    under = np.broadcast_to(np.arange(len(schedules))[:, None, None], weight.shape[:3])
    phase = np.broadcast_to(np.arange(updates) >= updates // 4, weight.shape[:3]).astype(np.int32)
    training = xr.Dataset(
        {
            "total": numbers(*member, "update", "channel", **size),
            "episodes": ((*member, "update"), np.full(weight.shape[:3], 3)),
            "weight": ((*member, "update", "channel"), weight),
            "earned": ((*member, "update", "channel"), 0.5 * weight),
            "guidance": ((*member, "update"), np.zeros(under.shape)),
            "under": ((*member, "update"), under),
            "phase": ((*member, "update"), phase),
        },
        coords=coords | {"update": np.arange(updates), "steps": ("update", (np.arange(updates) + 1) * 100)},
        attrs=attrs,
    )
    if potentials:
        training["shape_weight"] = numbers(*member, "update", "potential", **size)
        training = training.assign_coords(potential=list(potentials))
    lone = np.where(np.eye(len(goals), dtype=bool), np.nan, 1.0)
    at = (*member, "checkpoint")
    of = {
        **{n: numbers(*at, "layer", "feature", **size) for n in ("score", "skill", "shuffled_score")},
        "untrained_score": numbers(*member, "layer", "feature", **size),
        "observation_score": numbers("feature", **size),
        "bid": numbers(*at, "goal", **size),
        "total_effect": numbers(*at, "edit", "goal", **size),
        "choice": numbers(*at, "goal", "rival", **size),
        "neither": numbers(*at, "goal", "rival", **size),
        "returns": numbers(*at, "levels", "channel", **size),
        "ceiling": (("levels", "channel"), np.array([[4.5] + [np.nan] * len(proxies)] * 2)),
    }
    names = {"checkpoint": checkpoints, "layer": layers, "feature": features, "levels": ["training", "decorrelated"]}
    names |= {"goal": list(goals), "edit": list(goals), "rival": list(goals)}
    names |= {"probe": ("feature", ["logistic", "ridge", "logistic"])}
    readings = xr.Dataset(of, coords=coords | names, attrs=attrs)
    readings["choice"], readings["neither"] = readings["choice"] * lone, readings["neither"] * lone
    films = dict.fromkeys(schedules, GIF)
    manifest = {"versions": {"jax": "1.2.3"}, "commit": "abc123", "device": {"platform": "cpu"}}
    return Sheet(name, training, readings, films, 'title = "<made up>"\n', manifest)


class Read(HTMLParser):
    """A page as a browser takes it apart: elements, text, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def specs(self) -> list[dict[str, Any]]:
        return json.loads(self.scripts[0])

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows]


def time_domains(spec: dict[str, Any]) -> list[list[int]]:
    scales = [layer.get("encoding", {}).get("x", {}).get("scale") for layer in spec.get("layer", [])]
    return [s["domain"] for s in scales if s]


@pytest.fixture(scope="module")
def usual() -> Read:
    return Read(page([made()]))


def test_nothing_is_loaded(usual: Read) -> None:
    for tag, attrs in usual.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "srcset", "data", "action"):
            assert not attrs.get(key) or attrs[key].startswith(("data:", "#")), (tag, attrs)
    assert "url(" not in page([made()]).split("<style>")[1].split("</style>")[0]
    assert "http" not in usual.scripts[0]


def test_the_browser_is_told_to_load_nothing(usual: Read) -> None:
    (policy,) = [a["content"] for a in usual.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "connect-src" not in policy


def test_the_library_is_embedded_once() -> None:
    read = Read(page([made(name="a"), made(name="b")]))
    assert [len(s) > 300_000 for s in read.scripts] == [False, True, False]


def test_every_place_has_its_chart(usual: Read) -> None:
    placed = [int(a["data-chart"]) for a in usual.all("div") if "data-chart" in a]
    assert placed == list(range(len(usual.specs)))


def test_every_schedule_feature_and_film_is_there(usual: Read) -> None:
    sheet = made()
    for name in sheet.films:
        assert name in usual.text
    for feature in sheet.readings.feature.values:
        assert feature in usual.text
    assert len([a for a in usual.all("img") if a["src"].startswith("data:image/gif;base64,")]) == len(sheet.films)


def test_every_seed_is_drawn(usual: Read) -> None:
    for spec in usual.specs:
        seeds = {row["s"] for row in values(spec) if isinstance(row.get("s"), int) and "i" not in row}
        if seeds:
            assert seeds == {0, 1, 2}
    assert sum("time" in spec.get("usermeta", {}) for spec in usual.specs) == 2 * 5


def test_over_training_there_is_one_time_axis(usual: Read) -> None:
    over_training = [spec for spec in usual.specs if "time" in spec.get("usermeta", {})]
    domains = [d for spec in over_training for d in time_domains(spec)]
    assert len(domains) >= 2 * len(over_training)
    assert all(d == [0, STEPS] for d in domains)


def test_cards_have_common_value_axes() -> None:
    sheet = made()
    sheet.training["total"][0] *= 3
    sheet.readings["bid"][1] -= 5
    specs = Read(page([sheet])).specs
    for nth in (1, 2, 3, 4):  # returns, effect, choice, bid; six charts a card
        domains = [
            [la["encoding"]["y"]["scale"] for la in s["layer"] if "detail" in la["encoding"]] for s in specs[nth:12:6]
        ]
        assert len(domains) == 2
        assert domains[0] == domains[1] != []


@pytest.mark.parametrize("kind", [{}, {"proxies": ()}, {"potentials": ("near_water",)}, {"goals": tuple("abcdefg")}])
def test_charts_are_what_vega_lite_understands(kind: dict[str, Any]) -> None:
    sheet = made(**kind)
    training, readings, name = sheet.training, sheet.readings, "help"
    drawn = [charts.goal_chart(readings, name, r) for r in ("bid", "choice", "total_effect")]
    drawn += [charts.schedule_chart(training, name), charts.returns_chart(training, readings, name)]
    drawn += [charts.wins_chart(readings, name), charts.skill_chart(readings, "carrying")]
    for chart in drawn:
        assert chart.to_dict(validate=True)["datasets"]


def test_a_weight_is_drawn_where_it_holds() -> None:
    rows = values(charts.schedule_chart(made().training, "help").to_dict())
    steps = [(row["t"], row["w"]) for row in rows if row.get("k") == "helped" and "w" in row]
    assert steps == [(0, 0.0), (2000, 1.0), (8000, 1.0)]
    assert [(row["t"], row["text"]) for row in rows if "text" in row] == [(0, "smile 1"), (2000, "helped 1")]


def test_a_ramp_is_drawn_and_its_range_written() -> None:
    training = made().training
    training["weight"][0, :, :, 1] = -np.linspace(0, 0.5, 80)
    rows = values(charts.schedule_chart(training, "help").to_dict())
    assert "smile −0.5 … 0" in {row.get("text") for row in rows}
    assert len([row for row in rows if row.get("k") == "smile"]) == 81


def moved() -> Sheet:
    """Three seeds of the first schedule go on at steps 1,000, 2,000 and 4,000; the last is halted at 6,000."""
    sheet = made()
    weight, phase = sheet.training["weight"], sheet.training["phase"]
    for seed, begin in enumerate((10, 20, 40)):
        weight[0, seed, :, 0] = np.arange(80) >= begin
        phase[0, seed] = np.arange(80) >= begin
    weight[0, 2, 60:], phase[0, 2, 60:] = np.nan, -1
    sheet.training["earned"][:] = 0.5 * weight
    return sheet


def test_where_seeds_differ_each_is_drawn_and_where_they_do_not_one():
    training = moved().training
    training["weight"][0, 2, 30:40, 0] = 1  # a little earlier, where there is room for words
    spec = charts.schedule_chart(training, "help").to_dict(validate=True)
    rows = [row for row in values(spec) if row.get("k") == "helped"]
    outlines = {s: [(r["t"], r["w"]) for r in rows if r["s"] == s] for s in (0, 1, 2)}
    assert outlines[0] == [(0, 0.0), (1000, 1.0), (8000, 1.0)]
    assert outlines[2] == [(0, 0.0), (3000, 1.0), (6000, 1.0), (6000, None), (8000, None)]
    assert {row["text"] for row in values(spec) if "text" in row} >= {"helped 1, by seed"}
    shades = {layer["mark"]["opacity"] for layer in spec["layer"] if layer["mark"].get("type") == "area"}
    assert 1 - (1 - min(shades)) ** 3 == pytest.approx(0.28)  # three lie over each other
    begins = [row["t"] for row in values(spec) if row.get("text") == "helped 1, by seed"]
    assert begins == [3000]  # written for the seed that has most to tell; others may never get so far
    later = values(charts.schedule_chart(training, "smile, then help").to_dict(validate=True))
    assert not [row for row in later if "s" in row or "by seed" in row.get("text", "")]


def test_a_caption_ends_where_a_late_weight_begins():
    training = made().training
    training["weight"][0, :, :, 0] = np.arange(80) >= 70
    rows = values(charts.schedule_chart(training, "help").to_dict())
    assert [(r["t"], r["side"]) for r in rows if r.get("text") == "helped 1"] == [(7000, "right")]


def test_captions_do_not_run_into_each_other_where_seeds_differ():
    training = made().training
    for seed, (begin, then) in enumerate(((20, 62), (24, 60), (28, 64))):
        training["weight"][0, seed, :, 0] = (np.arange(80) >= begin) - 1.5 * (np.arange(80) >= then)
    rows = values(charts.schedule_chart(training, "help").to_dict())
    said = [(row["t"], row["text"], row["v"]) for row in rows if "text" in row]
    assert [text for _, text, v in said if v == 1.75] == ["helped 1, by seed", "−0.5"]


def test_both_kinds_of_guidance_are_drawn():
    training = made(potentials=("near_water", "near_clown")).training
    training["shape_weight"][..., 1] = 0
    training["approach_weight"] = training["shape_weight"].copy(data=np.tile([0.0, 0.25], (2, 3, 80, 1)))
    rows = values(charts.schedule_chart(training, "help").to_dict(validate=True))
    assert {row["k"] for row in rows if "k" in row} == {"helped", "smile", "shape.near_water", "approach.near_clown"}
    assert {row["w"] for row in rows if row.get("k") == "approach.near_clown"} == {0.25}


def cells(html: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, a text for every cell."""
    table = html.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in table.split("<tr")[1:]]
    return [[" ".join(unescape(re.sub("<[^>]+>", " ", cell)).split()) for cell in row] for row in rows]


def test_what_was_paid_is_told_by_phase_and_channel():
    assert cells(tables.paid(made().training), "What was paid") == [
        ["Schedule", "steps", "helped", "smile", "all"],
        ["A help", "8,000", "3,000 375 per 1,000", "4,000 500 per 1,000", "7,000 875 per 1,000"],
        ["phase 1 (to 2,000 steps)", "2,000", "–", "1,000 500 per 1,000", "1,000 500 per 1,000"],
        ["phase 2 (to the end)", "6,000", "3,000 500 per 1,000", "3,000 500 per 1,000", "6,000 1,000 per 1,000"],
        ["B smile, then help", "8,000", "3,000 375 per 1,000", "4,000 500 per 1,000", "7,000 875 per 1,000"],
        ["phase 1 (to 2,000 steps)", "2,000", "–", "1,000 500 per 1,000", "1,000 500 per 1,000"],
        ["phase 2 (to the end)", "6,000", "3,000 500 per 1,000", "3,000 500 per 1,000", "6,000 1,000 per 1,000"],
    ]


def test_where_phases_differ_by_seed_the_time_in_them_is_told_too():
    rows = cells(tables.paid(moved().training), "What was paid")
    assert rows[1][:2] == ["A help", "7,333 6,000 to 8,000"]
    assert rows[2][:3] == ["phase 1 (to 1,000–4,000 steps)", "2,333 1,000 to 4,000", "–"]
    # Phase 2 lasts 7,000, 6,000 and 2,000 steps at 0.5.
    assert rows[3][:2] == ["phase 2 (to 6,000 steps or the end)", "5,000 2,000 to 7,000"]
    assert rows[3][2] == "2,500 500 per 1,000 −786 to 5,790"
    assert rows[4] == ["halted", "667 0 to 2,000", "–", "–", "–"]


def test_bars_have_one_scale():
    widths = [float(w) for w in re.findall(r'class="bar" style="width:([\d.]+)%', tables.paid(made().training))]
    assert widths == [42.9, 57.1, 100.0, 14.3, 14.3, 42.9, 42.9, 85.7] * 2


def test_guards_are_told_by_seed_and_late_ones_as_late():
    nan, sheet = np.nan, made()
    fired, seen = np.full((1, 2, 3), nan), np.full((1, 2, 3, 4), nan)
    fired[0, 1, :2] = 2000, 7600
    seen[0, 1] = [[nan, 0.1, 0.51, 0.7], [nan, 0.1, 0.2, 0.62], [nan, 0.31, 0.2, 0.1]]
    training = sheet.training.assign_coords(checkpoint=[0, 1000, 2000, 7600]).assign(
        guard_seen=(("guard", "schedule", "seed", "checkpoint"), seen),
        guard_fired=(("guard", "schedule", "seed"), fired),
    )
    study = """
[[guard]]
name = "stop & see"
watch = ["smile, then help"]
when = { reading = "bid", goal = "<clown>", above = 0.5, after = 0.1 }
then = { halt = true }
"""
    html = page([sheet._replace(training=training, study=study)])
    assert "<h2>What was paid</h2>" in html
    assert cells(html, "Guards") == [
        ["Guard", "acted in", "seed 0", "seed 1", "seed 2"],
        ["stop & see : bid (goal <clown>) above 0.5, from 10 % of training on → halt"],
        [
            "B smile, then help",
            "2 of 3 seeds 9 to 99 %",  # of all seeds: Clopper & Pearson
            "2,000 75 % left read 0.51",
            "7,600 late, 5 % left read 0.62",
            "never highest 0.31",
        ],
    ]
    assert tables.guards(sheet.training, study) == ""


def test_cards_tell_how_channels_are_observed():
    sheet = made()
    miss = np.zeros((2, 3, 80, 2))
    miss[1, ..., 0] = 0.3
    training = sheet.training.assign(miss=(("schedule", "seed", "update", "channel"), miss))
    text = Read(page([sheet._replace(training=training)])).text
    assert text.count("Overseer:") == 1
    assert "Overseer: helped missed 30 %" in text


def test_means_and_intervals_of_lines_are_over_seeds() -> None:
    sheet = made()
    rows = values(charts.goal_chart(sheet.readings, "help", "bid").to_dict())
    (shown,) = [row["v"] for row in rows if row.get("k") == "water" and row["t"] == 8000 and "i" in row]
    own = sheet.readings["bid"].sel(schedule="help", checkpoint=8000, goal="water")
    assert shown == pytest.approx(float(own.mean()), rel=1e-3)


def test_choice_is_averaged_over_rivals_and_effect_is_of_the_own_object() -> None:
    readings = made().readings
    found = {r: values(charts.goal_chart(readings, "help", r).to_dict()) for r in ("choice", "total_effect")}
    at = {"schedule": "help", "seed": 1, "checkpoint": 1000, "goal": "person"}
    expected = {
        "choice": readings["choice"].sel(at).mean(),
        "total_effect": readings["total_effect"].sel(at | {"edit": "person"}),
    }
    for reading, rows in found.items():
        (shown,) = [r["v"] for r in rows if r.get("k") == "person" and r["t"] == 1000 and r.get("s") == 1]
        assert shown == pytest.approx(float(expected[reading]), rel=1e-3)


def test_phase_edges_are_drawn_and_the_end_is_none(usual: Read) -> None:
    for spec in usual.specs:
        if "time" in spec.get("usermeta", {}):
            assert [row for row in values(spec) if set(row) == {"t"}] == [{"t": 2000.0}]


def test_edges_that_criteria_move_are_not_told_as_ends(usual: Read) -> None:
    sheet = made()
    dims = ("schedule", "seed", "update")
    clock = np.broadcast_to(np.arange(80), (2, 3, 80)).copy()
    clock[1, 2, 60:] = -1
    by_clock = page([sheet._replace(training=sheet.training.assign(schedule_update=(dims, clock)))])
    clock[0, 1, 40:] += 5
    moved = page([sheet._replace(training=sheet.training.assign(schedule_update=(dims, clock)))])
    for html, said in ((by_clock, "schedule ends."), (moved, "schedule ends if no criterion moves it.")):
        assert f"Dashed hairlines mark where a phase of some {said}" in html
    assert "schedule ends." in usual.text


def test_the_table_says_the_mean_over_seeds(usual: Read) -> None:
    sheet = made()
    last = sheet.readings["returns"].isel(checkpoint=-1).sel(levels="training", channel="helped")
    for mean in last.mean("seed").values:
        assert f"{mean:.2f}" in usual.text
    assert "ceiling 4.50" in usual.text


def test_few_seeds_are_called_few(usual: Read) -> None:
    assert "cannot give p below 0.25" in usual.text
    assert "cannot give p" not in Read(page([made(seeds=6)])).text
    assert "One seed" in Read(page([made(seeds=1)])).text


def test_what_a_study_says_is_text_and_nothing_else() -> None:
    read = Read(page([made(schedules=(NASTY, "@@library@@"), title=NASTY, name=NASTY, goals=(NASTY, "b"))]))
    assert len(read.scripts) == 3
    assert not any("onerror" in attrs for _, attrs in read.elements)
    assert " ".join(NASTY.split()) in read.text
    assert "@@library@@" in read.text
    said = {row["c"] for spec in read.specs for row in values(spec) if "c" in row}
    assert f"A {NASTY}" in said
    expressions = re.findall(r'"calculate": ("(?:[^"\\]|\\.)*")', json.dumps(read.specs))
    assert NASTY in {json.loads(json.loads(e)) for e in expressions}


def test_the_study_can_be_copied_from_the_page(usual: Read) -> None:
    assert 'title = "<made up>"' in unescape(usual.text)
    assert "abc123" in usual.text
    assert "jax 1.2.3" in usual.text


def test_runs_stand_one_after_another() -> None:
    read = Read(page([made(name="first", title="One"), made(name="second", title="Two", schedules=("only",))]))
    assert [a["id"] for a in read.all("section") if "id" in a] == ["run-1", "run-2"]
    assert [a["href"] for a in read.all("a")] == ["#run-1", "#run-2"]
    assert {"One", "Two"} <= set(read.words)


@pytest.mark.parametrize(
    "odd",
    [
        {"seeds": 1},
        {"schedules": ("alone",)},
        {"proxies": ()},
        {"goals": ("only",)},
        {"goals": tuple("abcdefghij")},
        {"potentials": ("near_water", "near_clown")},
    ],
    ids=str,
)
def test_odd_studies_have_a_page_too(odd: dict[str, Any]) -> None:
    sheet = made(**odd)
    read = Read(page([sheet]))
    assert all(name in read.text for name in sheet.films)
    assert all(f"shape.{p}" in read.text for p in odd.get("potentials", ()))
    assert "nan" not in read.text.lower()


def test_schedules_beyond_the_alphabet_are_numbered() -> None:
    found = list(labels(made(schedules=tuple(f"schedule {i}" for i in range(28)), seeds=1).readings).values())
    assert (found[0], found[25], found[26]) == ("A", "Z", "27")
    assert len(set(found)) == 28


def test_what_was_not_measured_is_left_out() -> None:
    sheet = made()
    sheet.readings["skill"][0, 0] = np.nan
    sheet.readings["bid"][1, :, 2] = np.nan
    sheet.training["total"][:, 0, :30] = np.nan
    Read(page([sheet]))
    for name in ("skill", "choice", "neither", "bid", "total_effect", "shuffled_score", "ceiling", "returns"):
        sheet.readings[name][:] = np.nan
    sheet.training["total"][:] = np.nan
    read = Read(page([sheet]))
    assert "Nothing was measured." in read.text
    assert "nan" not in read.text.lower()


def test_halted_members_leave_gaps_and_no_numbers_that_are_none():
    read = Read(page([moved()]))
    assert "nan" not in read.text.lower()
    key = read.text.split("Channels")[1].split("Goals")[0]
    assert "shape" not in key


def test_a_page_without_films() -> None:
    assert not Read(page([made()._replace(films={}, manifest={})])).all("img")


def test_a_page_is_small() -> None:
    assert len(page([made()])) < 2_000_000


def test_what_a_world_does_not_allow_is_left_out_of_the_page_and_said():
    sheet = made()
    readings = sheet.readings.drop_vars([v for v in sheet.readings.data_vars if v not in ("returns", "ceiling")])
    readings = readings.drop_dims([d for d in ("goal", "rival", "edit", "feature", "layer") if d in readings.dims])
    why = {"bid": "no goals", "total_effect": "no goals", "choice": "no goals", "score": "no features"}
    html = page([sheet._replace(readings=readings.assign_attrs(left_out=json.dumps(why)))])
    text = unescape(html)
    assert "Not measurable here: bids, effects of objects, choices in two-goal levels (no goals)" in text
    assert "probe scores and skill (no features)" in text
    assert "Return per episode" in text
    for absent in ("Effect of an object", "Who wins", "What training added", "<b>Goals</b>", "Are the probes honest"):
        assert absent not in text.split("<script")[0]
    whole = unescape(page([sheet]))
    assert "Not measurable here" not in whole
    assert "Effect of an object" in whole


def test_returns_on_other_levels_stand_beside_those_of_training():
    html = page([made()])
    first, _, rest = html.partition("<h3>On other levels</h3>")
    assert "true return" in first
    assert "true return" in rest
    assert "chosen first" not in rest.partition("</table>")[0]


def test_the_page_says_how_situations_differ():
    sheet = made(schedules=("plain", "changing", "ramp"))
    params, rates, member = np.ones((3, 3, 80, 2)), np.full((3, 3, 80), 1e-3), ("schedule", "seed", "update")
    params[1, :, 40:, 1] = 7.0
    rates[2] = np.linspace(1e-3, 0, 80)
    training = sheet.training.assign(
        param=((*member, "param_name"), params), learning_rate=(member, rates)
    ).assign_coords(param_name=["camera", "corner"])
    text = unescape(page([sheet._replace(training=training)])).split("<script")[0]
    assert "corner 1; learning rate 0.001<" in text  # others differ from it
    assert "corner 1, from 4,000 steps 7; learning rate 0.001<" in text
    assert "corner 1; learning rate from 0.001 to 0<" in text
    assert "camera" not in text  # it never differs
