"""One training run: the same bits however it is cut into calls, and no trace of what weighs nothing."""

import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.agent import Batch
from chisel.agents.networks import Form, make_network
from chisel.agents.ppo import Settings, ppo
from chisel.build.build import resolve
from chisel.rewards.curve import constant, piecewise
from chisel.rewards.schedule import make
from chisel.study.study import Study
from chisel.training.member import Plan, new, update
from chisel.worlds.smile import SMILE
from chisel.worlds.world import defaults, names
from tests.bits import assert_same_bits, differ
from tests.training.trainer import KEY, Trainer

CHANNELS = names(SMILE).channels
UPDATES = 20
PPO = Settings(epochs=2, minibatches=2)
NOTHING = {"clown": 0.0}
MIXED = {"helped": 1.7, "smile": 0.9, "comfort": -0.3}


def plan_of(world=SMILE, shaped=()) -> Plan:
    network = make_network(names(world).observation, len(world.actions), Form((8,)))
    return Plan(world, ppo(network, PPO), worlds=4, rollout=8, shaped=shaped, chunk=8)


def schedule(reward, shape=MappingProxyType({}), channels=CHANNELS, shaped=(), rate=1e-2):
    """Weights are numbers or knots; all curves get four knots, so that all schedules are of one shape."""

    def curves(weights):
        knots = {n: [(0.0, w)] if isinstance(w, float) else w for n, w in weights.items()}
        return {n: piecewise(k + [k[-1]] * (4 - len(k))) for n, k in knots.items()}

    params = {name: constant(value) for name, value in defaults(SMILE).items()}
    return make(channels, shaped, params, constant(rate), UPDATES, curves(reward), curves(shape))


@pytest.fixture(scope="module")
def plain() -> Trainer:
    return Trainer(plan_of())


def test_five_updates_are_two_and_three(plain):
    phases = schedule({"helped": [(0.0, 0.0), (0.2, 0.0), (0.2, 1.0)], "smile": 0.5})  # with a phase edge in between
    assert_same_bits(plain.train(phases, 5), plain.train(phases, 2, 3))
    assert_same_bits(plain.train(phases, 5), plain.train(phases, 1, 1, 0, 1, 2))


def test_no_update_changes_nothing(plain):
    member = plain.train(schedule(MIXED), 1)[0]
    assert_same_bits(plain.train(schedule(MIXED), 0, member=member)[0], member)


def test_it_is_traced_once_for_all_schedules_and_distances(plain):
    """From a fresh member, a trained one, and one that comes from the host."""
    plain.train(schedule(MIXED), 2)
    member = plain.train(schedule({"smile": -2.0}, rate=1e-3), 1, 3)[0]
    plain.train(schedule({"clown": 0.5}), 5, member=member)
    assert plain.traces == 1


def test_every_phase_counts_episodes_only_after_a_full_horizon():
    """Episodes of 40 steps, rollouts of 8, and criteria that any episode meets: five updates count nothing, and the
    next one ends the phase. In the second phase as in the first, though worlds are in the middle of their episodes.
    """
    advance = {"channel": "comfort", "above": -1e6, "episodes": 1}
    phases = [{"until": until, "reward": {}, "advance": advance} for until in (0.25, 0.5)]
    study = Study.model_validate(
        {
            "world": "smile",
            "agent": {"network": {"widths": [4]}},
            "training": {"steps": 64 * 64 * 8, "worlds": 64, "rollout": 8, "seeds": 1},
            "schedule": [{"name": "a", "phases": [*phases, {"until": 1.0, "reward": {}}]}],
        }
    )
    resolved = resolve(study)
    one = jax.tree.map(lambda x: x[0], resolved.schedules)
    _, metrics = Trainer(resolved.plan).train(one, 14)
    assert (metrics.episodes > 0).tolist() == [False] * 5 + [True] * 9
    assert metrics.at.tolist() == [*range(6), *range(16, 22), 32, 33]


def test_the_clock_counts_updates(plain):
    member, metrics = plain.train(schedule(MIXED), 2, 1)
    assert (member.clock, member.clock.dtype) == (3, np.int32)
    assert metrics.paid.shape == (3,)
    assert np.isfinite(metrics.paid).all()


def test_what_weighs_nothing_trains_the_same_as_what_is_not_named(plain):
    """Law 2. Weights of zero at every time, and a minus before the zero."""
    bare = plain.train(schedule(MIXED), 4)
    nothing = {"clown": 0.0, "seen_smile": [(0.0, 0.0), (0.5, -0.0), (1.0, 0.0)]}
    assert bare[0].playing.totals.any()
    assert_same_bits(plain.train(schedule(MIXED | nothing), 4)[0], bare[0])
    assert differ(plain.train(schedule(MIXED | {"comfort": 0.5}), 4)[0].agent, bare[0].agent)


def test_what_weighs_nothing_trains_the_same_as_what_the_world_does_not_have(plain):
    """Law 2, taken at its word: another world, without the channel."""
    fewer = tuple(c for c in CHANNELS if c != "clown")

    def channels(before, action, after):
        return {name: fact for name, fact in SMILE.channels(before, action, after).items() if name in fewer}

    without = Trainer(plan_of(SMILE._replace(channels=channels)))
    member, metrics = without.train(schedule(MIXED, channels=fewer), 4)
    whole, told = plain.train(schedule(MIXED), 4)
    assert_same_bits(member.agent, whole.agent)
    assert_same_bits(member.playing.state, whole.playing.state)
    assert_same_bits((metrics.paid, metrics.measures), (told.paid, told.measures))
    assert_same_bits(metrics.totals, np.delete(told.totals, CHANNELS.index("clown"), axis=1))


def test_what_is_reported_knows_no_weights():
    """Law 4: in the first update, where all play alike, only what is paid and earned differs between schedules."""
    plain = Trainer(plan_of(SMILE._replace(limit=3)))  # so that whole episodes fit into one update
    kinds = [schedule(MIXED), schedule({"clown": -3.0}), schedule(NOTHING)]
    (_, one), (_, other), (_, unpaid) = (plain.train(kind, 1) for kind in kinds)
    assert one.episodes.sum() > 0
    assert_same_bits(one._replace(paid=other.paid, earned=other.earned, measures=other.measures), other)
    assert differ(one.paid, other.paid)
    assert not unpaid.paid.any()
    assert not unpaid.earned.any()
    assert (one.totals[0, CHANNELS.index("comfort")] < 0).all()


def test_seeds_make_the_difference_and_nothing_else_does(plain):
    again, same = (plain.train(schedule(MIXED), 2)[0] for _ in range(2))
    assert_same_bits(again, same)
    other = plain.train(schedule(MIXED), 2, key=jax.random.key_data(jax.random.key(8)))[0]
    assert differ(other.agent.params, same.agent.params)
    assert differ(other.playing.state, same.playing.state)
    one, another = (plain.new(schedule(s), KEY) for s in (MIXED, {"clown": 1.0}))
    assert_same_bits(*jax.tree.map(np.asarray, (one, another)))


# Shaping


@functools.cache
def first_batch(shaped: tuple[str, ...]):
    """What the learner is given in the first update, as a function of the schedule."""
    plan = plan_of(shaped=shaped)

    def keep(state, key, batch, rate):
        return batch, dict.fromkeys(plan.agent.measures, jnp.float32(0))

    watched = plan._replace(agent=plan.agent._replace(learn=keep))
    return jax.jit(lambda schedule: update(watched, new(watched, schedule, KEY), schedule)[0].agent)


def given_to_learner(reward, near_person=None) -> Batch:
    shaped = () if near_person is None else ("near_person",)
    shape = {} if near_person is None else {"near_person": near_person}
    return jax.tree.map(np.asarray, first_batch(shaped)(schedule(reward, shape, shaped=shaped)))


def nearness(batch: Batch) -> np.ndarray:
    """How near the person is before each step, by what the agent sees."""
    agent, person = (batch.observations[..., plane].reshape(8, 4, -1).argmax(-1) for plane in (0, 2))
    return -(np.abs(person // 7 - agent // 7) + np.abs(person % 7 - agent % 7)) / 12


def test_a_shape_that_weighs_nothing_pays_as_if_there_were_none():
    shaped, plain = (given_to_learner(MIXED, *near) for near in ((0.0,), ()))
    assert not shaped.readings[..., -1].any()
    assert_same_bits(shaped._replace(readings=shaped.readings[..., :-1], weights=shaped.weights[:-1]), plain)
    assert differ(given_to_learner(MIXED, 1.0).rewards, plain.rewards)


def test_shaping_pays_the_change_of_nearness():
    """γ times the nearness after each step, less that before it, with the agent's own γ."""
    batch = given_to_learner(NOTHING, 2.0)
    near, within = nearness(batch), ~batch.truncated[:-1]  # a reset hides where a truncated step led
    assert len(np.unique(near)) > 3
    meant = 2 * (PPO.discount * near[1:] - near[:-1])
    np.testing.assert_allclose(batch.rewards[:-1][within], meant[within], atol=1e-5)


def test_the_weights_of_the_next_rollout_hold_for_the_state_it_begins_with():
    """A potential that is worth nothing until the next rollout is charged for in the last step of this one."""
    batch = given_to_learner(NOTHING, [(0.0, 0.0), (0.05, 0.0), (0.05, 1.0)])
    assert not batch.rewards[:-1].any()
    assert not batch.truncated[-1].any()
    agent, person = (batch.last[..., plane].reshape(4, -1).argmax(-1) for plane in (0, 2))
    far = np.abs(person // 7 - agent // 7) + np.abs(person % 7 - agent % 7)
    np.testing.assert_allclose(batch.rewards[-1], -PPO.discount * far / 12, rtol=1e-5)
