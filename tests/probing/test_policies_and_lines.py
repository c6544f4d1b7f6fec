"""Policies on the bank, straight lines between networks, and what is read along them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.networks import Form, make_network
from chisel.agents.policy import masked, policy
from chisel.analysis.bounded import COUNT, mean_interval
from chisel.probing.choice import returns
from chisel.probing.influence import mean_bids
from chisel.probing.paths import (
    Line,
    action_probabilities,
    between,
    connected,
    described,
    ground,
    line,
    lines,
    policies,
)
from chisel.probing.reader import Reader
from chisel.study.battery import Battery
from chisel.worlds import WORLDS
from chisel.worlds.world import defaults, names

WORLD = WORLDS["smile"]
SEEN = names(WORLD).observation
ACTIONS = len(WORLD.actions)
BATTERY = Battery.model_validate({"readings": ["bid"], "bank": {"layouts": 64}, "returns": {"episodes": 8}})
ALPHAS = jnp.linspace(0.0, 1.0, 3)
KINDS = {
    "policy": make_network(SEEN, ACTIONS, Form(widths=(8,))),
    "values": make_network(SEEN, ACTIONS, Form(widths=(8,)), head="values"),
    "memory": make_network(SEEN, ACTIONS, Form(widths=(8, 8), recurrent=True)),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def made(network, *seeds):
    """Networks that are not indifferent: the heads of new ones have hardly any weight."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))

    def one(seed):
        chance = np.random.default_rng(seed)
        return jax.tree.map(lambda x: chance.normal(size=x.shape).astype(np.float32) / x.shape[0] ** 0.25, shapes)

    return [one(seed) for seed in seeds]


def stacked(*trees):
    return jax.tree.map(lambda *x: np.stack(x), *trees)


@cache
def the_ground():
    params = defaults(WORLD)
    return ground(Reader(BATTERY, WORLD, KINDS["policy"], params, 2, 1), params)


@kinds
def test_an_action_is_as_likely_as_it_is_done(kind):
    """What the actor of rollouts does, by count, in the states with which an episode begins."""
    network = KINDS[kind]
    params, seen = made(network, 1)[0], the_ground().observations[:4]
    actor, many = policy(network, params), 4000
    keys = jax.random.split(jax.random.key(5), many)
    done = jax.jit(jax.vmap(lambda key: actor.act(actor.luck(key, 4), seen, network.fresh(4))[0]))(keys)
    shares = np.stack([(np.asarray(done) == a).mean(0) for a in range(ACTIONS)], -1)
    found = np.asarray(action_probabilities(network, params, seen))
    np.testing.assert_allclose(found, shares, atol=4 * np.sqrt(0.25 / many))
    assert found.max() - found.min() > 0.3, "a policy that does not care would pass with any numbers"
    assert set(np.unique(found)) == {0.0, 1.0} or kind != "values"


def test_a_network_with_memory_looks_as_often_as_it_is_told_to():
    network = KINDS["memory"]
    params, seen = made(network, 1)[0], the_ground().observations[:4]
    begins = jnp.zeros((3, 4), bool).at[0].set(True)
    said, _ = network.unroll(params, jnp.stack([seen] * 3), begins, network.fresh(4))
    for before in range(3):
        expected = jax.nn.softmax(said.logits[before])
        np.testing.assert_allclose(action_probabilities(network, params, seen, before), expected, atol=1e-6)
    assert not np.allclose(expected, action_probabilities(network, params, seen), atol=1e-3)


@pytest.mark.parametrize("kind", ["policy", "values"])
def test_what_is_not_legal_is_never_done(kind):
    network = masked(KINDS[kind], lambda seen: jnp.arange(ACTIONS) != 2, SEEN)
    found = action_probabilities(network, made(network, 3)[0], the_ground().observations)
    assert (np.asarray(found)[:, 2] == 0).all()
    np.testing.assert_allclose(np.asarray(found).sum(-1), 1, rtol=1e-5)


def test_a_line_meets_both_ends_and_is_straight():
    a, b = made(KINDS["policy"], 0, 1)
    found = between(a, b, ALPHAS)
    middle = jax.tree.map(lambda x: x[1], found)
    jax.tree.map(lambda x, p, q: np.testing.assert_allclose(x, p / 2 + q / 2, atol=1e-5), middle, a, b)
    nearer = jax.tree.map(lambda x: x[0], between(a, b, jnp.array([0.25])))
    jax.tree.map(lambda x, p, q: np.testing.assert_allclose(x, 0.75 * p + 0.25 * q, atol=1e-5), nearer, a, b)
    jax.tree.map(lambda x, p, q: np.testing.assert_array_equal(x[jnp.array([0, -1])], np.stack([p, q])), found, a, b)
    same = between(a, a, jnp.linspace(0.0, 1.0, 11))
    jax.tree.map(lambda x, p: np.testing.assert_array_equal(x, np.broadcast_to(p, x.shape)), same, a)


@kinds
def test_along_a_line_networks_are_read_as_each_by_itself(kind):
    network = KINDS[kind]
    on, (a, b) = the_ground(), made(network, 0, 1)
    found = jax.jit(lambda a, b: line(WORLD, network, 0, ALPHAS, a, b, on))(a, b)

    @jax.jit
    def alone(params):
        bid = mean_bids(network.apply(params, on.observations).logits, on.shortens, network.greedy)
        return bid, returns(WORLD, policy(network, params), on.key, on.levels, on.params)

    for i in range(len(ALPHAS)):
        bid, total = alone(jax.tree.map(lambda x, i=i: x[i], between(a, b, ALPHAS)))
        np.testing.assert_allclose(found.bid[i], bid, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.returns[i], total, rtol=1e-5)
    assert np.ptp(np.asarray(found.bid), 0).min() > 1e-3
    assert found.returns.shape == (len(ALPHAS), len(names(WORLD).channels))


def test_the_same_network_with_its_units_in_another_order_is_the_same_agent_behind_a_barrier():
    """Known to be so: the function does not change, but half way between the two it does."""
    network = KINDS["policy"]
    a = made(network, 0)[0]
    order = np.roll(np.arange(8), 1)
    b = a | {
        "hidden_1": {"kernel": a["hidden_1"]["kernel"][:, order], "bias": a["hidden_1"]["bias"][order]},
        "policy": a["policy"] | {"kernel": a["policy"]["kernel"][order]},
    }
    on = the_ground()
    found = lines(WORLD, network, 0, ALPHAS, stacked(a, a), stacked(b, a), on, 1)
    np.testing.assert_allclose(found.bid[0, 0], found.bid[0, -1], atol=1e-4)
    assert np.abs(found.bid[0, 1] - found.bid[0, 0]).max() > 0.05
    np.testing.assert_array_equal(found.bid[1], np.broadcast_to(found.bid[1, :1], found.bid[1].shape))
    np.testing.assert_array_equal(found.returns[1], np.broadcast_to(found.returns[1, :1], found.returns[1].shape))


def test_many_are_read_as_one_by_one_on_one_device_or_two():
    network = KINDS["policy"]
    on, members = the_ground(), made(network, 0, 1, 2)
    found = [policies(network, 0, stacked(*members), on, devices) for devices in (1, 2)]
    np.testing.assert_array_equal(*found)
    for params, own in zip(members, found[0], strict=True):
        np.testing.assert_allclose(own, action_probabilities(network, params, on.observations), atol=1e-5)
    ends = stacked(*members), stacked(*members[::-1])
    one, two = (lines(WORLD, network, 0, ALPHAS, *ends, on, devices) for devices in (1, 2))
    np.testing.assert_array_equal(one.bid, two.bid)
    np.testing.assert_array_equal(one.returns, two.returns)
    np.testing.assert_allclose(one.bid[0], one.bid[2][::-1], rtol=1e-4, atol=1e-4)


def test_without_paths_to_goals_there_are_returns_and_no_bids():
    network = KINDS["policy"]
    on = the_ground()._replace(shortens=None)
    found = lines(WORLD, network, 0, ALPHAS, stacked(*made(network, 0, 1)), stacked(*made(network, 2, 3)), on, 1)
    assert found.bid is None
    assert found.returns.shape[:2] == (2, len(ALPHAS))
    data = connected(found, np.asarray(ALPHAS), np.ones((1, 2), bool), WORLD, ["helped"])
    assert not {"bid", "bid_barrier", "goal"} & set(data.variables)


def planted(heights, pairs=2, seeds=3, points=11):
    """Lines of which the true return sinks by a known amount half way, and the bid for one goal rises by it."""
    t = np.linspace(0, 1, points)
    bump = np.array(heights).reshape(pairs * seeds, 1) * 4 * t * (1 - t)
    totals = np.zeros((pairs * seeds, points, len(names(WORLD).channels)))
    totals[..., names(WORLD).channels.index("helped")] = 5 + t - bump
    bid = np.zeros((pairs * seeds, points, len(WORLD.goals)))
    bid[..., 1] = 3 * t - bump
    return Line(bid, totals), t


def test_barriers_of_pairs_and_their_limits_over_seeds():
    along, t = planted([1, 2, 3, -1, -1, -1])
    whole = np.array([[True, True, True], [True, True, False]])
    data = described(connected(along, t, whole, WORLD, ["helped"]), greedy=False)
    np.testing.assert_allclose(data.loss.isel(seed=0, pair=0), -5 - t + 4 * t * (1 - t))
    np.testing.assert_allclose(data.loss_barrier, [[1, 2, 3], [0, 0, np.nan]], atol=1e-12)
    np.testing.assert_allclose(data.loss_middle, [[1, 2, 3], [-1, -1, np.nan]], atol=1e-12)
    np.testing.assert_allclose(data.bid_barrier.isel(goal=1), [[1, 2, 3], [1, 1, np.nan]], atol=1e-12)
    assert (data.bid_barrier.isel(goal=0)[0] == 0).all()
    within = mean_interval([1.0, 2.0, 3.0], COUNT)  # of two seeds, none
    for name, expected in (("mean", [2, 0]), ("low", [within.low, np.nan]), ("high", [within.high, np.nan])):
        np.testing.assert_allclose(data[f"loss_barrier_{name}"], expected, rtol=1e-6, atol=1e-12)
    assert data.bid_barrier_low.attrs == {
        "long_name": "largest departure of the bid from the straight line between its ends: "
        "lower limit of the 95 % interval",
        "units": "nat",
    }
    assert described(data, greedy=True).bid.attrs["units"] == "return"
