"""Studies made up at random, with every word that a study file knows; and what a schedule means, in plain Python."""

from typing import Any

from hypothesis import strategies as st

from chisel.study.guards import GuardPart
from chisel.study.schedules import SchedulePart, edge_update, reward_tables
from chisel.study.study import Study
from chisel.study.terms import channel_part, value_at

UPDATES = 8
TICKS = st.integers(0, 32).map(lambda t: t / 32)  # times that single precision holds exactly


def amounts(low: float, high: float) -> st.SearchStrategy:
    """Numbers, or knots."""
    value = st.floats(low, high, width=32, allow_subnormal=False)
    knots = st.lists(st.tuples(TICKS, value), min_size=1, max_size=4).map(lambda k: sorted(k, key=lambda x: x[0]))
    return value | knots.map(lambda ks: [list(k) for k in ks])


def some_of(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy:
    return st.fixed_dictionaries(required, optional=optional)


CONDITION = st.sampled_from(["carrying", "not carrying", "person_watched", "not clown_nearest"])
GATE = CONDITION | some_of({"feature": CONDITION}, {"strength": amounts(0, 1)})
CHANCE = amounts(0, 0.25)
ERRORS = {
    "weight": amounts(-3, 3), "miss": CHANCE, "false_alarm": CHANCE, "flip": CHANCE, "event_noise": amounts(0, 2),
    "noise": amounts(0, 2), "clip": amounts(0, 9), "gate": GATE, "delay": amounts(0, 60), "lump": amounts(0, 1),
}  # fmt: skip
UNDONE = {"miss": st.floats(0.125, 0.25, width=32), "corrected": st.just(True)}
CORRECTED = some_of(UNDONE, {kind: amount for kind, amount in ERRORS.items() if kind not in UNDONE})
TERM = amounts(-3, 3) | some_of({}, ERRORS) | CORRECTED
GUIDES = [f"{kind}.{name}" for kind in ("shape", "approach") for name in ("near_water", "near_clown")]
REWARD = st.builds(
    lambda told, guided: told | guided,
    st.dictionaries(st.sampled_from(["helped", "smile", "clown", "comfort"]), TERM, max_size=3),
    st.dictionaries(st.sampled_from(GUIDES), amounts(-1, 1), max_size=2),
)
SITUATION = {
    "world_params": st.dictionaries(st.sampled_from(["clown", "camera"]), amounts(0, 1), max_size=2),
    "learning_rate": amounts(0, 1), "entropy": amounts(0, 1), "exploration": amounts(0, 1),
    "temperature": amounts(0.125, 1),  # as a study may tell; refused with this learner when its names are checked
}  # fmt: skip
ADVANCE = some_of(
    {"channel": st.sampled_from(["helped", "clown"]), "above": st.floats(-5, 5, width=32)},
    {"episodes": st.floats(1, 50, width=32), "wait": st.booleans()},
)
PHASE = some_of({"reward": REWARD}, SITUATION | {"advance": ADVANCE, "reseed": st.booleans()})
EDGES = st.lists(st.sampled_from([0.1, 0.3, 0.45, 2 / 3, 0.9]), unique=True, max_size=3).map(sorted)
WHEN = st.sampled_from([
    {"reading": "bid", "goal": "clown", "above": 0.5}, {"reading": "choice", "goal": "clown", "rival": "water", "below": 0.5},
    {"reading": "returns", "channel": "helped", "levels": "decorrelated", "below": 1.0, "after": 0.5},
    {"reading": "skill", "feature": "carrying", "layer": "hidden_1", "above": 0.25},
])  # fmt: skip
THEN = st.sampled_from([{"halt": True}, {"switch": "s0"}, {"note": "look at this"}])
GUARD = some_of({"when": WHEN, "then": THEN}, {"name": st.text(min_size=1), "watch": st.just(["s0"])})


@st.composite
def schedules(draw: Any) -> dict[str, Any]:
    """One reward table, or phases."""
    raw = draw(some_of({}, SITUATION | {"scale": st.floats(0.125, 4, width=32)}))
    if draw(st.booleans()):
        return raw | {"reward": draw(REWARD)}
    edges = [*draw(EDGES), 1.0]
    parts = [draw(PHASE) | {"until": until} for until in edges]
    parts[-1].pop("advance", None)
    if any("advance" in part for part in parts):
        parts = [{key: told for key, told in part.items() if key != "reseed"} for part in parts]
    return raw | {"phases": parts}


GUARDS = st.lists(GUARD, max_size=2, unique_by=lambda raw: GuardPart.model_validate(raw).title)


@st.composite
def studies(draw: Any) -> Study:
    """Of 8 updates; every one is valid."""
    raw = draw(
        some_of(
            {},
            {"match": st.sampled_from(["reward", "events"]), "title": st.text(), "guard": GUARDS},
        )
    )
    raw["agent"] = draw(some_of({}, {k: SITUATION[k] for k in ("learning_rate", "entropy", "exploration")}))
    raw["schedule"] = [{"name": f"s{i}"} | s for i, s in enumerate(draw(st.lists(schedules(), min_size=1, max_size=3)))]
    return Study.model_validate(raw | {"world": "smile", "training": {"steps": UPDATES * 2048}})


def phase_at(part: SchedulePart, clock: int) -> int:
    """The phase in which an update lies: an edge is between two updates."""
    return sum(edge_update(p.until, UPDATES) <= clock for p in (part.phases or ())[:-1])


def said(part: SchedulePart, clock: int, name: str, kind: str, nothing: float) -> float:
    """A number of a term in the middle of an update, or `nothing` where it is not told."""
    table = [t for _, t in reward_tables(part)][phase_at(part, clock)]
    told = getattr(channel_part(table[name]), kind) if name in table else None
    if told is None or isinstance(told, bool):
        return nothing if told is None else float(told)
    return value_at(told, (clock + 0.5) / UPDATES)
