"""A member's numbers do not depend on its neighbours, nor on how many devices there are: bit for bit on CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.networks import Form, make_network
from chisel.agents.ppo import Settings, ppo
from chisel.rewards.curve import constant, piecewise
from chisel.rewards.schedule import make, stack_schedules
from chisel.training.member import Plan
from chisel.training.population import Population, gather, lay, mesh, seed_keys, spread
from chisel.worlds.smile import SMILE
from chisel.worlds.world import defaults, names
from tests.bits import same_bits
from tests.training.overseen import overseen

pytestmark = pytest.mark.exact

UPDATES = 12
KNOWN = names(SMILE)
PLAN = Plan(
    SMILE,
    ppo(make_network(KNOWN.observation, len(SMILE.actions), Form((8,))), Settings(epochs=1, minibatches=2)),
    worlds=4,
    rollout=8,
    shaped=(),
    chunk=4,
)


def schedule(**reward):
    params = {name: constant(value) for name, value in defaults(SMILE).items()}
    rise = piecewise([(0.0, 1e-2), (0.5, 2e-2), (1.0, 0.0)])
    return make(KNOWN.channels, (), params, rise, UPDATES, {n: constant(w) for n, w in reward.items()}, {})


# Two members of one seed under one schedule, and a third that is different in both.
SCHEDULES = [schedule(helped=1.0), schedule(helped=1.0), schedule(smile=1.0, comfort=0.5)]
KEYS = seed_keys(2, 1)[[0, 0, 1]]


def trained(who: list[int], devices: int, *updates: int):
    """The members' whole states and metrics after the updates, on the host."""
    population = Population(PLAN, stack_schedules([SCHEDULES[i] for i in who]), devices)
    members, rows = population.new(KEYS[who]), []
    for count in updates:
        members, metrics = population.advance(members, count)
        rows.append(metrics)
    together = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *rows)
    return gather(members, len(who)), together


@pytest.fixture(scope="module")
def all_three():
    """Three members on one device."""
    return trained([0, 1, 2], 1, 3)


def of(tree, i: int):
    return jax.tree.map(lambda x: x[i], tree)


def test_there_are_two_devices_to_try_this_on():
    assert len(jax.devices()) == 2
    assert mesh(None, 3).size == mesh(2, 3).size == 2
    assert mesh(1, 3).size == mesh(None, 1).size == 1
    assert mesh(64, 64).size == 2


def test_alone_it_is_the_same_as_among_others(all_three):
    assert same_bits(trained([2], 2, 3), jax.tree.map(lambda x: x[[2]], all_three))


def test_on_two_devices_it_is_the_same_as_on_one(all_three):
    """Three members, so that one device has a copy to fill it up; and cut into two calls."""
    found = trained([0, 1, 2], 2, 1, 2)
    assert found[1].paid.shape == (3, 3)
    assert same_bits(found, all_three)


def test_equal_members_are_equal_and_others_are_not(all_three):
    assert same_bits(of(all_three, 0), of(all_three, 1))
    assert not same_bits(of(all_three, 0)[0].agent, of(all_three, 2)[0].agent)


# With every transform of the reward at once, as members of one study


def together(who: list[str], devices: int) -> Population:
    plan, schedules = overseen()
    return Population(plan, stack_schedules([schedules[name] for name in who]), devices)


WHO = ["all", "bare", "at once"]


@pytest.fixture(scope="module")
def overseen_three():
    """A population on two devices, its members before and after three updates on the host, and their metrics."""
    population = together(WHO, 2)
    members = population.new(KEYS)
    after, metrics = population.advance(members, 3)
    return population, members, gather(after, 3), metrics


def test_alone_under_overseers_it_is_the_same_as_among_others(overseen_three):
    """On one device, and cut into two calls. Accounts, promises and standings go from one to the other."""
    population = together(["all"], 1)
    after, one = population.advance(population.new(KEYS[:1]), 1)
    after, two = population.advance(after, 2)
    metrics = jax.tree.map(lambda *x: np.concatenate(x, axis=1), one, two)
    found = gather(after, 1)
    assert same_bits((found, metrics), jax.tree.map(lambda x: x[[0]], overseen_three[2:]))
    assert found.owed.soon.any()
    assert found.standing.at[0] > 3


def test_who_is_halted_stays_to_the_bit_and_disturbs_nobody(overseen_three):
    population, members, after, metrics = overseen_three
    halted = np.array([False, True, False])
    found, told = population.advance(members, 3, halted)
    found, before = gather(found, 3), gather(members, 3)
    assert same_bits(of(found, 1), of(before, 1))
    assert not same_bits(of(after, 1), of(before, 1))
    for i in (0, 2):
        assert same_bits((of(found, i), of(told, i)), (of(after, i), of(metrics, i)))
    still = of(told, 1)
    assert all(np.isnan(x).all() for x in (still.totals, still.steps, still.paid, still.earned, still.guidance))
    assert np.isnan(still.measures).all()
    assert (still.at.tolist(), still.episodes.tolist()) == ([-1] * 3, [0] * 3)
    everybody, none = population.advance(members, 3, np.ones(3, bool))
    assert same_bits(gather(everybody, 3), before)
    assert none.paid.shape == (3, 3)


def test_other_schedules_are_used_from_the_next_call_on_and_nothing_is_compiled(overseen_three):
    """What goes on under another schedule is a member of a population that always had it, put where it is."""
    population, _, after, _ = overseen_three
    _, schedules = overseen()
    others = ["bare", "bare", "all"]
    try:
        population.use(stack_schedules([schedules[name] for name in others]))
        with jax.no_tracing():
            found = population.advance(lay(after, population.mesh), 2)
    finally:
        population.use(stack_schedules([schedules[name] for name in WHO]))
    kept = population.advance(lay(after, population.mesh), 2)
    found, kept = ((gather(m, 3), told) for m, told in (found, kept))
    assert same_bits(of(found, 1), of(kept, 1))  # the same schedule as before
    assert not any(same_bits(of(found, i)[0].agent, of(kept, i)[0].agent) for i in (0, 2))
    assert of(found[1], 0).guidance[0] != 0  # what was promised to shaping is paid back
    assert not of(found[1], 0).guidance[1:].any()


def test_what_is_promised_about_shapes_is_what_comes_out(all_three):
    population = Population(PLAN, stack_schedules(SCHEDULES), 2)
    state, metrics = population.shapes(KEYS, 3)
    for promised, found in ((state, all_three[0]), (metrics, all_three[1])):
        meant = jax.tree.map(lambda x: (x.shape, x.dtype), promised)
        assert meant == jax.tree.map(lambda x: (x.shape, x.dtype), found)
    none = population.no_metrics(KEYS)
    assert none.totals.shape == (3, 0, len(KNOWN.channels))


def test_equal_seeds_have_equal_keys_under_every_schedule():
    keys = seed_keys(3, 2)
    assert keys.shape == (6, 2)
    assert np.array_equal(keys[:3], keys[3:])
    assert len(np.unique(keys, axis=0)) == 3
    assert np.array_equal(seed_keys(2, 1), keys[:2])  # more seeds leave the first ones as they are


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("devices", [1, 2])
def test_spreading_is_a_loop(batch, count, devices):
    """Also `batch` at a time, which is for accelerators."""
    over = mesh(devices, count)
    own = {"a": np.arange(count * 2.0, dtype=np.float32).reshape(count, 2), "b": np.arange(count)}
    function = spread(lambda x, factor: {"sum": x["a"].sum() * factor, "b": x["b"] + 1}, over, count, batch, shared=1)
    found = gather(function(lay(own, over), jnp.float32(3)), count)
    assert found["sum"].tolist() == (own["a"].sum(1) * 3).tolist()
    assert found["b"].tolist() == (own["b"] + 1).tolist()
