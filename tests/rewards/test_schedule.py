"""Schedules as data, and phases that begin exactly where the study says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from chisel.curve import constant, piecewise
from chisel.resolve import Resolved, resolve
from chisel.rewards.schedule import Schedule, in_force, make, progress, stack_schedules, table
from chisel.study import Study, edge_update
from chisel.worlds.world import names

CHANNELS, POTENTIALS = ("clean", "loud", "warm"), ("near", "far")
UPDATES = 10
VALUES = st.floats(-5, 5, width=32, allow_subnormal=False)
CURVES = st.lists(st.tuples(st.integers(0, 16), VALUES), min_size=1, max_size=4).map(
    lambda knots: piecewise([(t / 16, v) for t, v in sorted(knots, key=lambda k: k[0])])
)


def schedule(reward=None, shape=None, rate=None, size=None, updates=UPDATES) -> Schedule:
    params = {"size": size or constant(3.0), "colour": constant(0.5)}
    return make(CHANNELS, POTENTIALS, params, rate or constant(1e-3), updates, reward or {}, shape or {})


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
    told = table(rise, UPDATES)
    middles = (np.arange(UPDATES) + 0.5) / UPDATES
    np.testing.assert_allclose(told.reward[:, 0], middles, rtol=1e-6)
    np.testing.assert_allclose(told.learning_rate, 1 - middles, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CURVES, CURVES, CURVES, CURVES), min_size=1, max_size=3), st.integers(0, UPDATES - 1))
def test_stacking_loses_nothing(rows, clock):
    """Curves of different numbers of knots, stacked over members and taken apart again, weigh what they weighed."""
    alone = [schedule({"clean": a, "warm": b}, {"near": c}, rate=d, size=a) for a, b, c, d in rows]
    together = stack_schedules(alone)
    assert len({x.shape[0] for x in jax.tree.leaves(together)}) == 1
    for i, one in enumerate(alone):
        back = in_force(jax.tree.map(lambda x, i=i: x[i], together), clock)
        for found, meant in zip(back, in_force(one, clock), strict=True):
            assert np.asarray(found).tobytes() == np.asarray(meant).tobytes()


def test_schedules_without_potentials_stack():
    bare = make(CHANNELS, (), {"size": constant(1.0)}, constant(1.0), UPDATES, {}, {})
    assert in_force(jax.tree.map(lambda x: x[1], stack_schedules([bare, bare])), 0).shape.shape == (0,)


def test_a_table_is_what_is_in_force_at_every_update():
    jumpy = schedule({"clean": piecewise([(0.0, 1.0), (0.33, 2.0), (0.33, -1.0), (1.0, 0.5)])}, {"near": constant(2.0)})
    rows = [in_force(jumpy, jnp.int32(clock)) for clock in range(UPDATES)]
    for found, *meant in zip(table(jumpy, UPDATES), *rows, strict=True):
        np.testing.assert_allclose(found, np.stack(meant), rtol=1e-6)


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
