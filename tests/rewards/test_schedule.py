"""Schedules as data, and phases that begin exactly where the study says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from chisel.build.build import Resolved, resolve
from chisel.rewards.criteria import FOREVER, Criteria, no_criteria
from chisel.rewards.curve import constant, piecewise, stack
from chisel.rewards.oversight import USUAL, Oversight
from chisel.rewards.schedule import InForce, Schedule, in_force, make, progress, stack_schedules
from chisel.study.schedules import edge_update
from chisel.study.study import Study
from chisel.worlds.world import names
from tests.bits import assert_same_bits

CHANNELS, POTENTIALS = ("clean", "loud", "warm"), ("near", "far")
UPDATES = 10
VALUES = st.floats(-5, 5, width=32, allow_subnormal=False)
CURVES = st.lists(st.tuples(st.integers(0, 16), VALUES), min_size=1, max_size=4).map(
    lambda knots: piecewise([(t / 16, v) for t, v in sorted(knots, key=lambda k: k[0])])
)


def schedule(reward=None, shape=None, rate=None, size=None, updates=UPDATES) -> Schedule:
    params = {"size": size or constant(3.0), "colour": constant(0.5)}
    return make(CHANNELS, POTENTIALS, params, rate or constant(1e-3), updates, reward or {}, shape or {})


def table(schedule: Schedule) -> InForce:
    """What is in force in each update."""
    return jax.vmap(in_force, (None, 0))(schedule, jnp.arange(UPDATES))


def test_what_is_not_named_weighs_nothing():
    now = in_force(schedule({"loud": constant(2.0)}, {"far": constant(-1.0)}), 3)
    assert now.reward.tolist() == [0, 2, 0]
    assert now.shape.tolist() == [0, -1]
    assert now.params.tolist() == [0.5, 3.0]  # in order of name
    assert float(now.learning_rate) == np.float32(1e-3)


@pytest.mark.parametrize("where", ["reward", "shape"])
def test_what_does_not_exist_is_refused(where):
    with pytest.raises(KeyError, match="smell"):
        schedule(**{where: {"smell": constant(1.0)}})


def test_progress_is_that_of_the_middle_of_an_update():
    found = [float(progress(jnp.int32(clock), np.int32(4))) for clock in range(4)]
    assert found == [0.125, 0.375, 0.625, 0.875]


def test_a_rise_is_sampled_at_the_middle_of_each_update():
    rise = schedule({"clean": piecewise([(0.0, 0.0), (1.0, 1.0)])}, rate=piecewise([(0.0, 1.0), (1.0, 0.0)]))
    told = table(rise)
    middles = (np.arange(UPDATES) + 0.5) / UPDATES
    np.testing.assert_allclose(told.reward[:, 0], middles, rtol=1e-6)
    np.testing.assert_allclose(told.learning_rate, 1 - middles, rtol=1e-6)


def criteria(ends: list[int], channel: int, above: float, wait: bool) -> Criteria:
    """Phases that all ask for the same."""
    count = len(ends) + 1
    watched = np.tile(np.eye(len(CHANNELS), dtype=np.float32)[channel], (count, 1))
    numbers = np.full(count, above, np.float32), np.full(count, 5.0, np.float32), np.full(count, wait)
    return Criteria(np.array([*ends, FOREVER], np.int32), watched, *numbers)


ENDS = st.lists(st.integers(1, UPDATES), max_size=3, unique=True).map(sorted)
CRITERIA = st.none() | st.builds(criteria, ENDS, st.integers(0, 2), VALUES, st.booleans())
EACH = st.lists(CURVES, min_size=len(CHANNELS), max_size=len(CHANNELS)).map(stack)  # a curve for each channel
GATES = st.lists(st.lists(CURVES, min_size=2, max_size=2).map(stack), min_size=3, max_size=3).map(stack)
KINDS = [kind for kind in Oversight._fields if kind != "gate"]


@st.composite
def whole_studies(draw) -> list[Schedule]:
    """Schedules of one structure; a field is there in all of them, or in none."""
    some = draw(st.sets(st.sampled_from([*KINDS, "gate", "exploration", "approach", "criteria"])))

    def one() -> Schedule:
        told = {kind: draw(GATES if kind == "gate" else EACH) for kind in Oversight._fields if kind in some}
        return make(
            CHANNELS, POTENTIALS, {"size": draw(CURVES)}, draw(CURVES), UPDATES,
            {"clean": draw(CURVES), "warm": draw(CURVES)}, {"near": draw(CURVES)},
            entropy=draw(st.none() | CURVES),
            exploration=draw(CURVES) if "exploration" in some else None,
            approach={"far": draw(CURVES)} if "approach" in some else None,
            oversight=Oversight(**told),
            criteria=draw(CRITERIA) if "criteria" in some else None,
        )  # fmt: skip

    return [one() for _ in range(draw(st.integers(1, 3)))]


@settings(max_examples=40, deadline=None)
@given(whole_studies(), st.integers(0, UPDATES - 1))
def test_stacking_loses_nothing(alone, clock):
    """Curves of different numbers of knots, stacked over members and taken apart again, are what they were, whatever
    is told of oversight, exploration and criteria; so are the criteria, and a schedule without any gets the empty ones.
    """
    together = stack_schedules(alone)
    assert {x.shape[0] for x in jax.tree.leaves(together)} == {len(alone)}
    for i, one in enumerate(alone):
        back = jax.tree.map(lambda x, i=i: x[i], together)
        assert_same_bits(in_force(back, clock), in_force(one, clock))
        if back.criteria is None:
            assert all(s.criteria is None for s in alone)
            continue
        meant = one.criteria or no_criteria(len(CHANNELS))
        phases = len(meant.ends)
        assert_same_bits(jax.tree.map(lambda x, n=phases: x[:n], back.criteria), meant)
        assert (back.criteria.ends[phases:] == FOREVER).all()


def test_schedules_without_potentials_stack():
    bare = make(CHANNELS, (), {"size": constant(1.0)}, constant(1.0), UPDATES, {}, {})
    assert in_force(jax.tree.map(lambda x: x[1], stack_schedules([bare, bare])), 0).shape.shape == (0,)


def test_a_table_is_what_is_in_force_at_every_update():
    jumpy = schedule({"clean": piecewise([(0.0, 1.0), (0.33, 2.0), (0.33, -1.0), (1.0, 0.5)])}, {"near": constant(2.0)})
    rows = [in_force(jumpy, jnp.int32(clock)) for clock in range(UPDATES)]
    for found, *meant in zip(*map(jax.tree.leaves, (table(jumpy), *rows)), strict=True):
        np.testing.assert_allclose(found, np.stack(meant), rtol=1e-6)


# From a study

TERM = {
    "weight": 0.7, "miss": 0.25, "false_alarm": 0.125, "flip": 0.25, "event_noise": 0.5, "noise": 0.1, "clip": 2.0,
    "gate": {"feature": "carrying", "strength": 0.5}, "delay": 3.0, "lump": 0.25,
}  # fmt: skip


def small(*schedules: dict) -> Resolved:
    return resolve(
        Study.model_validate(
            {
                "world": "smile",
                "agent": {"minibatches": 1, "network": {"widths": [4]}},
                "training": {"steps": UPDATES, "worlds": 1, "rollout": 1, "seeds": 1, "checkpoints": {"count": 3}},
                "schedule": [{"name": f"s{i}", **told} for i, told in enumerate(schedules)],
            }
        )
    )


def test_a_constant_curve_is_a_number():
    """For everything that a reward table and a situation can say: alone, as knots, and as phases that say the same."""

    def constant_knots(x):
        return x if isinstance(x, str) else {k: constant_knots(v) for k, v in x.items()} if isinstance(x, dict) else [
            [0.0, x], [0.3, x], [0.3, x], [1.0, x]
        ]  # fmt: skip

    told = {"reward": {"smile": TERM, "clown": 0.3, "shape.near_water": 0.6, "approach.near_clown": 0.1}}
    around = {"learning_rate": 0.003, "entropy": 0.07, "exploration": 0.2, "world_params": {"camera": 0.6}}
    phases = {"phases": [{"until": until, **told} for until in (0.3, 1.0)]}
    resolved = small(told | around, constant_knots(told | around), phases | around)
    number, knots, phased = (table(jax.tree.map(lambda x, i=i: x[i], resolved.schedules)) for i in range(3))
    assert number.temperature is None, "an agent that draws from its policy has none"
    known = [x for name, x in number._asdict().items() if name != "temperature"]
    assert all(x is not None for x in (*known, *number.oversight[:3], *number.oversight[4:]))
    assert (number.exploration == np.float32(0.2)).all()
    assert (number.entropy == np.float32(0.07)).all()
    assert (number.approach == np.float32([0.1, 0.0])).all()
    assert (number.shape == np.float32([0.0, 0.6])).all()
    assert_same_bits(number, knots)
    assert_same_bits(number, phased)


def test_beside_overseers_that_err_one_of_whom_nothing_is_said_does_not():
    names_, plain = names(resolve(phased([0.5], 10)).plan.world).channels, {"reward": {"helped": 1.0, "smile": 1.0}}
    part = TERM | {"corrected": True}
    resolved = small(plain, {"reward": {"smile": part}}, {"phases": [
        {"until": 0.5, "reward": {"smile": part}}, {"until": 1.0, **plain},
    ]})  # fmt: skip
    for schedule_, first in ((0, 0), (2, UPDATES // 2)):
        told = table(jax.tree.map(lambda x, i=schedule_: x[i], resolved.schedules)).oversight
        for kind in Oversight._fields:
            assert (getattr(told, kind)[first:] == np.float32(getattr(USUAL, kind))).all(), kind
    told = table(jax.tree.map(lambda x: x[2], resolved.schedules)).oversight
    smile = names_.index("smile")
    assert told.gate[:5, smile].tolist() == [[0.5]] * 5
    assert told.delay[:5, smile].tolist() == [3.0] * 5
    assert not np.delete(np.asarray(told.miss), smile, axis=1).any()


# Phase edges


def phased(edges: list[float], updates: int) -> Study:
    """A study whose phases weigh `smile` 1, 2, 3, …, and only whose odd phases name `clown`."""
    phases = [
        {"until": until, "reward": {"smile": i + 1.0} | ({"clown": 5.0} if i % 2 else {})}
        for i, until in enumerate([*edges, 1.0])
    ]
    return Study.model_validate(
        {
            "world": "smile",
            "agent": {"minibatches": 1, "network": {"widths": [4]}},
            "training": {"steps": updates, "worlds": 1, "rollout": 1, "seeds": 1, "checkpoints": {"count": 3}},
            "schedule": [{"name": "phased", "phases": phases}, {"name": "plain", "reward": {"helped": 1.0}}],
        }
    )


def weights(resolved: Resolved, clock: int) -> list[float]:
    """What smile and clown are worth in an update under the phased schedule."""
    channels = names(resolved.plan.world).channels
    now = in_force(jax.tree.map(lambda x: x[0], resolved.schedules), jnp.int32(clock)).reward.tolist()
    return [now[channels.index("smile")], now[channels.index("clown")]]


EDGES = st.lists(st.sampled_from([0.33, 1 / 3, 0.5, 0.1, 0.7, 0.0025]) | st.floats(1e-3, 0.999), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(EDGES.map(lambda e: sorted(set(e))), st.integers(1, 1000) | st.integers(1000, 200_000))
@example([0.33], 200)
@example([1 / 3], 200)
@example([0.5], 7)
@example([0.1, 0.7], 30)
def test_a_phase_begins_with_the_update_that_the_checkpoint_plan_holds(edges, updates):
    begins = [0, *(edge_update(e, updates) for e in edges)]
    assume(len({*begins, updates}) == len(begins) + 1)  # a phase shorter than an update is refused
    study = phased(edges, updates)
    resolved = resolve(study)
    assert set(begins) <= set(study.checkpoint_updates)
    assert {0, updates} <= set(study.checkpoint_updates)
    for clock in {c for b in begins for c in (b - 1, b) if 0 <= c < updates}:
        phase = max(i for i, b in enumerate(begins) if b <= clock)
        assert weights(resolved, clock) == [phase + 1, 5 * (phase % 2)], f"update {clock} of {updates}"


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.integers(1, 10**6))
def test_the_edge_of_a_phase_is_the_nearest_edge_between_updates(edge, updates):
    assert abs(edge_update(edge, updates) - edge * updates) <= 0.5 + 1e-6
