"""Words of a schedule as curves: each number of each term in every update is what the file says of its phase."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from chisel.build.build import resolve
from chisel.build.schedules import Needs, doubts, make_schedule, needs
from chisel.rewards.criteria import FOREVER
from chisel.rewards.oversight import USUAL, Oversight
from chisel.rewards.schedule import Schedule
from chisel.study.schedules import SchedulePart
from chisel.study.study import Study
from chisel.study.terms import APPROACH, SHAPE, channel_part, value_at
from chisel.worlds import WORLDS
from chisel.worlds.world import names
from tests.studies import UPDATES, phase_at, said, studies

SMILE = WORLDS["smile"]
CHANNELS = names(SMILE).channels
CLOCKS = range(UPDATES)
MIDDLES = (np.arange(UPDATES) + 0.5) / UPDATES
KINDS = tuple(kind for kind in Oversight._fields if kind != "gate")


def study(*schedules: dict[str, Any], **more: Any) -> Study:
    parts = [{"name": f"s{i}"} | part for i, part in enumerate(schedules)]
    return Study.model_validate({"world": "smile", "training": {"steps": UPDATES * 2048}, "schedule": parts, **more})


def made(of: Study) -> tuple[Needs, list[Schedule]]:
    wanted = needs(of, SMILE)
    return wanted, [make_schedule(part, of, SMILE, wanted) for part in of.schedule]


def rows(curve: Any) -> np.ndarray:
    """The values of a curve, or of stacked ones, in every update: [updates, …]. In plain Python."""
    if curve.times.ndim > 1:
        return np.stack([rows(type(curve)(t, v)) for t, v in zip(curve.times, curve.values, strict=True)], axis=1)
    knots = tuple(zip(curve.times.astype(float), curve.values.astype(float), strict=True))
    return np.array([value_at(knots, p) for p in MIDDLES])


def same(found: np.ndarray, meant: Any, what: str) -> None:
    np.testing.assert_allclose(found, meant, rtol=1e-5, atol=1e-6, err_msg=what)


@settings(max_examples=30, deadline=None)
@given(studies())
def test_every_number_of_every_schedule_is_what_the_file_says(of):
    """Random studies with all words, against a reading of the file in plain Python, update by update."""
    wanted, schedules = made(of)
    for part, schedule in zip(of.schedule, schedules, strict=True):
        check_rewards(part, schedule, wanted)
        check_errors(part, schedule.oversight, wanted)
        check_circumstances(of, part, schedule, wanted)


def check_rewards(part: SchedulePart, schedule: Schedule, wanted: Needs) -> None:
    """Weights of channels, scaled, and of potentials; what a phase does not name weighs nothing."""
    scale = 1.0 if part.scale is None else part.scale
    same(rows(schedule.reward), [[scale * said(part, k, n, "weight", 0.0) for n in CHANNELS] for k in CLOCKS], "reward")
    assert (schedule.approach is not None) == wanted.approach
    for prefix, curve in ((SHAPE, schedule.shape), (APPROACH, schedule.approach)):
        if curve is not None and wanted.potentials:
            meant = [[said(part, k, prefix + p, "weight", 0.0) for p in wanted.potentials] for k in CLOCKS]
            same(rows(curve), meant, prefix)


def check_errors(part: SchedulePart, oversight: Oversight, wanted: Needs) -> None:
    """Every kind of every channel; a kind that is left out is as usual everywhere."""
    for kind in KINDS:
        curve, usual = getattr(oversight, kind), getattr(USUAL, kind)
        meant = np.array([[said(part, k, n, kind, usual) for n in CHANNELS] for k in CLOCKS])
        same(np.full_like(meant, usual) if curve is None else rows(curve), meant, kind)
    for i, gate in enumerate(wanted.gates):
        meant = [[strength(part, k, n, gate) for n in CHANNELS] for k in CLOCKS]
        same(rows(oversight.gate)[:, :, i], meant, gate)


def strength(part: SchedulePart, clock: int, name: str, gate: str) -> float:
    """The share that a gate takes of a channel."""
    table = (part.reward or {}) if part.phases is None else part.phases[phase_at(part, clock)].reward
    own = channel_part(table[name]).gate if name in table else None
    return value_at(own.strength, MIDDLES[clock]) if own is not None and own.feature == gate else 0.0


def check_circumstances(of: Study, part: SchedulePart, schedule: Schedule, wanted: Needs) -> None:
    """The phase goes before its schedule, and that before the study."""
    places = [(part.phases[phase_at(part, k)] if part.phases else part, part, of.agent) for k in CLOCKS]
    for name in ("learning_rate", "entropy", "exploration"):
        told = [next(v for place in three if (v := getattr(place, name)) is not None) for three in places]
        meant = np.array([value_at(v, p) for v, p in zip(told, MIDDLES, strict=True)])
        curve = getattr(schedule, name)
        assert (curve is None) == (name == "exploration" and not wanted.exploration)
        same(np.zeros_like(meant) if curve is None else rows(curve), meant, name)


# What is needed


SMALL = {"reward": {"helped": 1.0}}
NOTHING = needs(study(SMALL), SMILE)


def test_a_plain_study_needs_nothing():
    assert (
        Needs((), (), frozenset(), (), None, exploration=False, temperature=False, approach=False, criteria=False)
        == NOTHING
    )
    schedule = made(study(SMALL))[1][0]
    assert schedule.oversight == Oversight()
    assert (schedule.exploration, schedule.approach, schedule.criteria) == (None, None, None)


ZERO = {"helped": {"miss": 0.0, "noise": [[0.0, 0.0], [1.0, 0.0]], "delay": 0, "lump": 0.0, "corrected": False}}
NEEDS = {
    "zeros": ({"reward": ZERO, "exploration": 0.0}, {}),
    "a number and a table": ({"reward": {"helped": {"weight": 3.0}}}, {}),
    "knots": ({"reward": {"helped": {"miss": [[0.0, 0.0], [1.0, 0.5]]}}}, {"kinds": {"miss"}}),
    "clip of zero": ({"reward": {"helped": {"clip": 0.0}}}, {"kinds": {"clip"}}),
    "gates": (
        {"reward": {"helped": {"gate": "not carrying"}, "smile": {"gate": {"feature": "carrying", "strength": 0.5}}, "clown": {"gate": "carrying"}}},
        {"kinds": {"gate"}, "gates": ("not carrying", "carrying")},
    ),
    "one phase": (
        {"phases": [{"until": 0.5, "reward": {"smile": {"noise": 1.0}}}, {"until": 1.0, "reward": {}, "exploration": 0.5}]},
        {"kinds": {"noise"}, "noisy": (CHANNELS.index("smile"),), "exploration": True},
    ),
    "exploration": ({"reward": {}, "exploration": [[0.0, 0.5], [1.0, 0.0]]}, {"exploration": True}),
    "shape": ({"reward": {"shape.near_water": 0.0}}, {"potentials": ("near_water",)}),
    "approach": ({"reward": {"approach.near_clown": 1.0, "shape.near_water": 1.0}},
                 {"potentials": ("near_clown", "near_water"), "approach": True}),
    "advance": ({"phases": [{"until": 0.5, "reward": {}, "advance": {"channel": "clown", "above": 1}}, {"until": 1, "reward": {}}]},
                {"criteria": True}),
    "lump alone": ({"reward": {"helped": {"lump": 0.5}}}, {"kinds": {"lump"}, "delay": 0}),
    "both": ({"reward": {"helped": {"delay": 3, "lump": 0.5}}}, {"kinds": {"delay", "lump"}, "delay": 3}),
    "rounded to nothing": ({"reward": {"helped": {"delay": 0.5}}}, {"kinds": {"delay"}, "delay": None}),
    "rounded down": ({"reward": {"helped": {"delay": 2.5}}}, {"kinds": {"delay"}, "delay": 2}),
    "rounded up": ({"reward": {"helped": {"delay": 2.51}}}, {"kinds": {"delay"}, "delay": 3}),
    "the longest": ({"reward": {"helped": {"delay": [[0.0, 1.0], [0.5, 7.6], [1.0, 2.0]]}, "smile": {"delay": 4}}}, {"kinds": {"delay"}, "delay": 8}),
    "longer than an episode": ({"reward": {"helped": {"delay": 1000}}}, {"kinds": {"delay"}, "delay": SMILE.limit}),
}  # fmt: skip


@pytest.mark.parametrize(("schedule", "meant"), NEEDS.values(), ids=NEEDS)
def test_all_schedules_have_what_one_of_them_needs_and_no_more(schedule, meant):
    wanted = needs(study(SMALL, schedule), SMILE)
    assert wanted == NOTHING._replace(**meant)
    plan, schedules = resolve(study(SMALL, schedule))
    got, meant = (plan.shaped, plan.gates, plan.noisy, plan.delay), (*wanted[:2], wanted.noisy, wanted.delay)
    assert got == meant
    assert {kind for kind in Oversight._fields if getattr(schedules.oversight, kind) is not None} == wanted.kinds
    assert (schedules.exploration is not None) == wanted.exploration
    assert (schedules.approach is not None) == wanted.approach
    assert (schedules.criteria is not None) == wanted.criteria
    assert schedules.updates.shape == (2,)


# Single words


def test_a_number_and_a_table_with_only_a_weight_are_one():
    rise = [[0.0, 0.0], [1.0, 2.0]]
    number, table, rising, tabled = made(
        study(*({"reward": {"helped": term}} for term in (2.0, {"weight": 2.0}, rise, {"weight": rise})))
    )[1]
    for one, other in ((number, table), (rising, tabled)):
        for name in ("times", "values"):
            np.testing.assert_array_equal(getattr(one.reward, name), getattr(other.reward, name))


def test_errors_jump_with_their_phase():
    """An edge at 0.3 of 8 updates is after the second; what a phase does not name reads plainly and weighs nothing."""
    first = {"smile": {"weight": 2.0, "noise": 0.5, "clip": 3.0, "gate": {"feature": "carrying", "strength": 0.25}}}
    phases = [
        {"until": 0.3, "reward": first},
        {"until": 1.0, "reward": {"helped": {"noise": [[0.0, 0.0], [1.0, 1.0]]}}},
    ]
    schedule, (smile, helped) = made(study({"phases": phases}))[1][0], map(CHANNELS.index, ("smile", "helped"))
    one, two = np.arange(UPDATES) < 2, np.arange(UPDATES) >= 2
    same(rows(schedule.reward)[:, smile], 2.0 * one, "weight")
    same(rows(schedule.oversight.noise)[:, smile], 0.5 * one, "noise")
    same(rows(schedule.oversight.noise)[:, helped], MIDDLES * two, "noise")
    same(rows(schedule.oversight.clip)[:, smile], np.where(one, 3.0, USUAL.clip), "clip")
    same(rows(schedule.oversight.gate)[:, smile, 0], 0.25 * one, "gate")


def test_scale_is_of_the_weights_of_channels_alone():
    reward = {"helped": {"weight": [[0.0, -1.0], [1.0, 3.0]], "noise": 0.5, "clip": 2.0}, "clown": 2.0}
    guides = {"shape.near_water": 0.5, "approach.near_clown": 0.25}
    plain, scaled = made(study({"reward": reward | guides}, {"reward": reward | guides, "scale": 0.3}))[1]
    same(rows(scaled.reward), 0.3 * rows(plain.reward), "reward")
    assert rows(plain.reward).any()
    for one, other in ((plain.shape, scaled.shape), (plain.approach, scaled.approach)):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.values.any()
    for one, other in zip(plain.oversight, scaled.oversight, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one.values, other.values)


def test_criteria_end_phases_where_the_clock_would():
    advance = {"channel": "clown", "above": 0.5, "episodes": 20, "wait": True}
    phases = [
        {"until": 0.3, "reward": {}, "advance": advance},
        {"until": 0.9, "reward": {}},
        {"until": 1.0, "reward": {}},
    ]
    told, bare = (schedule.criteria for schedule in made(study({"phases": phases}, SMALL))[1])
    assert told.ends.tolist() == [2, 7, FOREVER]
    assert told.channel.tolist() == [[float(c == "clown") for c in CHANNELS], [0.0] * 5, [0.0] * 5]
    assert told.above.tolist() == [0.5, 0, 0]
    assert told.episodes.tolist() == [20, 1, 1]
    assert told.wait.tolist() == [True, False, False]
    assert bare.ends.tolist() == [FOREVER]
    assert not bare.channel.any()


def test_what_may_change_what_is_optimal_is_told_once_for_each_schedule():
    phase = {"approach.near_clown": 1.0, "shape.near_water": 1.0}
    guided = {"phases": [{"until": 0.5, "reward": phase}, {"until": 1.0, "reward": phase}]}
    assert doubts(study(SMALL, {"reward": {"shape.near_water": 1.0}}), SMILE) == []
    (found,) = doubts(study(SMALL, guided), SMILE)
    assert found.startswith("schedule 's1': approach.near_clown pays for coming nearer")
    assert found.endswith("shape.near_clown would keep it")


def test_a_criterion_that_cannot_be_met_before_its_phase_is_over_is_told():
    """`smile` has episodes of 40 steps: with rollouts of 32 its criteria count from the third update of a phase on."""

    def phases(first: float, **advance: Any) -> dict[str, Any]:
        told = {"channel": "smile", "above": 1.0} | advance
        return {"phases": [{"until": first, "reward": {}, "advance": told}, {"until": 1.0, "reward": {"smile": 1.0}}]}

    (found,) = doubts(study(phases(2 / UPDATES)), SMILE)
    assert found.startswith("schedule 's0', phase 1: it lasts 2 updates, and its criterion counts only after 2")
    assert doubts(study(phases(3 / UPDATES)), SMILE) == []
    assert doubts(study(phases(2 / UPDATES, wait=True)), SMILE) == [], "it waits as long as it takes"
