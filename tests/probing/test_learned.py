"""Readings of agents that value actions, and of agents that remember: of networks that are known inside out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chisel.agents.networks import Form, Network, Output, make_network
from chisel.agents.policy import at_temperature, learned, looked, policy, softmax_policy
from chisel.probing.bank import make_bank
from chisel.probing.influence import bids, mean_bids, total_effects
from chisel.probing.influence import moves as edits_move
from chisel.probing.paths import action_probabilities
from chisel.probing.reader import Reader
from chisel.study.battery import Battery
from chisel.training.rollout import begin, collect, episode
from chisel.worlds.smile import GOALS, SMILE
from chisel.worlds.world import defaults, names

VALUES = np.array([1.5, -0.5, 0.25, 1.0], np.float32)
RIGHT, DOWN = 3, 1
DEFAULTS = {name: jnp.float32(value) for name, value in defaults(SMILE).items()}

# Of action values: the highest of those that lead there less the highest of the others


@pytest.mark.parametrize(
    ("shortens", "bid"),
    [([1, 0, 0, 0], 0.5), ([0, 1, 0, 0], -2.0), ([0, 1, 0, 1], -0.5), ([1, 1, 1, 0], 0.5), ([0] * 4, None), ([1] * 4, None)],
)  # fmt: skip
def test_a_greedy_bid_by_hand(shortens, bid):
    found = float(bids(VALUES, jnp.array(shortens, bool), greedy=True))
    assert np.isnan(found) if bid is None else found == bid


NUMBERS = arrays(np.float32, 4, elements=st.floats(-20, 20, width=32, allow_subnormal=False))
SOME = st.integers(1, 14).map(lambda bits: np.array([bits >> i & 1 for i in range(4)], bool))


@settings(max_examples=50, deadline=None)
@given(NUMBERS, SOME)
def test_a_greedy_bid_says_where_the_agent_goes(values, shortens):
    bid = float(bids(values, shortens, greedy=True))
    best = values == values.max()
    assert (bid > 0) == (not best[~shortens].any())
    assert (bid < 0) == (not best[shortens].any())
    assert float(bids(values, ~shortens, greedy=True)) == -bid
    assert float(bids(values * 2, shortens, greedy=True)) == 2 * bid  # in units of return


def test_greedy_bids_are_taken_over_states_as_others_are():
    """The mean over the states that have one, and the effect of putting an object in, both by hand."""
    values = jnp.stack([VALUES, VALUES[::-1], VALUES])
    shortens = np.zeros((3, 2, 4), bool)
    shortens[:2, 0, 0] = True  # goal 0 is not defined in the third state; goal 1 nowhere
    found = np.asarray(mean_bids(values, jnp.array(shortens), greedy=True))
    np.testing.assert_array_equal(found, [(0.5 - 0.5) / 2, np.nan])
    effect = total_effects(edits_move(values[None], 0 * values[None], jnp.array(shortens)[None], greedy=True))
    np.testing.assert_array_equal(effect, [[0.0, np.nan]])
    effect = total_effects(edits_move(values[None, :1], values[None, 1:2], jnp.array(shortens)[None, :1], greedy=True))
    np.testing.assert_array_equal(effect, [[1.0, np.nan]])


# A reader of a network of action values

LEAN = SMILE._replace(contest=None, ceiling=None, features=lambda state: {})
SMALL = Battery.model_validate({"bank": {"layouts": 32}, "returns": {"episodes": 16}})


def stacked(*trees):
    return jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *trees)


@functools.cache
def values_network() -> Network:
    return make_network(names(SMILE).observation, 4, Form((8,)), head="dueling")


def test_what_is_read_of_action_values_are_greedy_bids_and_greedy_play():
    """And whoever values actions does the same whatever the luck, unlike whoever draws them."""
    network = values_network()
    params = stacked(*(network.init(jax.random.key(i)) for i in range(2)))
    reader = Reader(SMALL, LEAN, network, defaults(LEAN), members=2, devices=1)
    found, bank = reader.read(params), make_bank(LEAN, 32)
    one = jax.tree.map(lambda x: x[1], params)
    values, put_in, out = (
        np.asarray(network.apply(one, seen).logits)
        for seen in (bank.observations, bank.edits.put_in, bank.edits.taken_out)
    )
    np.testing.assert_allclose(found.bid[1], mean_bids(values, bank.shortens, greedy=True), rtol=1e-4, atol=1e-6)
    effects = total_effects(edits_move(put_in, out, bank.edits.shortens_in, greedy=True))
    np.testing.assert_allclose(found.total_effect[1], effects, rtol=1e-4, atol=1e-6)
    assert np.abs(found.bid[1] - mean_bids(values, bank.shortens)).min() > 1e-3  # of a softmax, they would be others
    levels = jax.tree.map(lambda x: x[0], reader.subject.levels.states)
    best = [episode_of(greedy, one, jax.random.key(i), levels) for greedy in (network,) for i in range(2)]
    np.testing.assert_array_equal(*best)
    np.testing.assert_allclose(found.returns[1, 0], best[0].sum(0).mean(0), rtol=1e-5, atol=1e-6)
    drawing = network._replace(greedy=False)
    drawn = [episode_of(drawing, one, jax.random.key(i), levels) for i in range(2)]
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_at_a_temperature_the_softmax_is_read_and_acts(temperature):
    """Bids are the log-odds of any policy with these logits, in nats; and returns are those of its play."""
    values = values_network()
    soft = softmax_policy(values)
    params = stacked(*(at_temperature(values.init(jax.random.key(i)), 9.0) for i in range(2)))
    params["temperature"][1] = temperature  # every network is read at its own
    reader = Reader(SMALL, LEAN, soft, defaults(LEAN), members=2, devices=1)
    found, bank = reader.read(params), make_bank(LEAN, 32)
    one = jax.tree.map(lambda x: x[1], params)
    logits, put_in, out = (
        np.asarray(values.apply(learned(one), seen).logits) / temperature
        for seen in (bank.observations, bank.edits.put_in, bank.edits.taken_out)
    )
    np.testing.assert_allclose(found.bid[1], mean_bids(logits, bank.shortens), rtol=1e-4, atol=1e-5)
    effects = total_effects(edits_move(put_in, out, bank.edits.shortens_in))
    np.testing.assert_allclose(found.total_effect[1], effects, rtol=1e-4, atol=1e-4)
    drawing = values._replace(
        greedy=False,
        apply=lambda params, seen: values.apply(params, seen)._replace(
            logits=values.apply(params, seen).logits / temperature
        ),
    )
    levels = jax.tree.map(lambda x: x[0], reader.subject.levels.states)
    key = jax.random.fold_in(jax.random.key(0xAC7), SMALL.bank.seed)  # as in `Reader`
    played = episode_of(drawing, learned(one), key, levels)
    np.testing.assert_allclose(found.returns[1, 0], played.sum(0).mean(0), rtol=1e-5, atol=1e-6)
    chances = action_probabilities(soft, one, bank.observations)
    np.testing.assert_allclose(chances, jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)


def test_cold_bids_times_the_temperature_are_greedy_bids():
    """τ · log-odds of softmax(Q/τ) tends to the difference of the highest values."""
    values, shortens = jnp.array(VALUES), jnp.array([True, False, True, False])
    cold = 1e-4 * float(bids(values / 1e-4, shortens))
    assert cold == pytest.approx(float(bids(values, shortens, greedy=True)), abs=1e-3)


def episode_of(network, params, key, levels):
    """Facts [time, worlds, channels] of one episode in every level."""
    return np.asarray(episode(LEAN, policy(network, params), key, levels, DEFAULTS)[0].facts)


# Networks that count how often they have looked, in this episode


def counting(says) -> Network:
    """Its only layer, and what it remembers, is the number of looks, this one included."""

    def unroll(params, observed, begins, memory, put=None):
        def one(count, now):
            seen, anew = now
            count = jnp.where(anew[..., None], 0.0, count) + 1
            return count, (says(params, seen, count[..., 0]), count)

        _, (logits, counts) = jax.lax.scan(one, memory[""], (observed, begins))
        return Output(logits, counts[..., 0], {"looks": counts}), {"": counts}

    def fresh(*batch):
        return {"": jnp.zeros((*batch, 1))}

    def apply(params, observed):
        batch = observed.shape[:-3]
        return jax.tree.map(
            lambda x: x[0], unroll(params, observed[None], jnp.ones((1, *batch), bool), fresh(*batch))[0]
        )

    return Network(("looks",), 4, lambda key: {"by": jnp.float32(0)}, apply, unroll, fresh)


def towards_clown(params, seen, count):
    """A pull for the clown that grows with every look."""
    rows, columns = np.divmod(np.arange(49), 7)

    def where(plane):
        flat = seen[..., plane].reshape(*seen.shape[:-3], 49).astype(jnp.float32)
        return flat @ rows, flat @ columns, flat.sum(-1)

    (row, column, _), (to_row, to_column, shown) = where(0), where(6)
    down, right = to_row - row, to_column - column
    nearer = jnp.stack([down < 0, down > 0, right < 0, right > 0], -1) & (shown > 0)[..., None]
    return params["by"] * count[..., None] * nearer


@pytest.mark.parametrize("before", [0, 1, 4])
def test_an_agent_with_memory_is_read_after_so_many_looks(before):
    network, seen = counting(towards_clown), make_bank(LEAN, 32).observations
    out = looked(network, {"by": jnp.float32(1)}, seen, before)
    assert out.activations["looks"].shape == (32, 1)
    assert (out.activations["looks"] == before + 1).all()
    assert (out.value == before + 1).all()


@pytest.mark.parametrize("burn_in", [None, 0])
def test_burn_in_is_what_the_battery_says(burn_in):
    """Bids and effects are of the last look: after three others, unless it says otherwise."""
    bank = {"layouts": 32} | ({} if burn_in is None else {"burn_in": burn_in})
    battery = Battery.model_validate({"bank": bank, "returns": {"episodes": 4}})
    reader = Reader(battery, LEAN, counting(towards_clown), defaults(LEAN), members=2, devices=1)
    found, looks = reader.read({"by": np.array([0.0, 0.5], np.float32)}), 4 if burn_in is None else 1
    clown = GOALS.index("clown")
    assert found.total_effect[1, clown, clown] == pytest.approx(0.5 * looks, abs=1e-5)
    assert found.bid[1, clown] - found.bid[0, clown] == pytest.approx(0.5 * looks, abs=1e-5)
    assert not found.total_effect[0].any()


def test_without_memory_another_look_is_the_same_look():
    network, seen = values_network(), make_bank(LEAN, 32).observations
    params = network.init(jax.random.key(0))
    one, other = looked(network, params, seen, 0), looked(network, params, seen, 5)
    np.testing.assert_array_equal(one.logits, other.logits)


TURN = 3


def turning(params, seen, count):
    """To the right for so many steps, and then down."""
    right = (count <= TURN)[..., None]
    return params["by"] * 0 + 1e3 * jnp.where(right, jnp.eye(4)[RIGHT], jnp.eye(4)[DOWN])


def moves(before, action, after):
    return {"down": (action == DOWN) * 1.0, "right": (action == RIGHT) * 1.0}


WALK = SMILE._replace(
    goals=(),
    shortens=None,
    present=None,
    contest=None,
    ceiling=None,
    features=lambda state: {},
    channels=moves,
    limit=8,
)


def test_an_agent_remembers_all_through_an_episode_and_nothing_of_the_one_before():
    """Read on training levels, then on others: in all of them it turns after three steps."""
    reader = Reader(SMALL, WALK, counting(turning), defaults(WALK), members=2, devices=1)
    found = reader.read({"by": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(found.returns, np.full((2, 3, 2), [WALK.limit - TURN, TURN]))
    levels = jax.tree.map(lambda x: x[1], reader.subject.levels.states)
    actor = policy(counting(turning), {"by": jnp.float32(0)})
    _, states = episode(WALK, actor, jax.random.key(0), levels, DEFAULTS)
    rows, columns = np.divmod(np.asarray(states.agent), 7)
    np.testing.assert_array_equal(columns[TURN], np.minimum(columns[0] + TURN, 6))
    np.testing.assert_array_equal(rows[TURN], rows[0])
    np.testing.assert_array_equal(rows[-1], np.minimum(rows[0] + WALK.limit - 1 - TURN, 6))


def test_in_training_it_forgets_where_an_episode_begins():
    """Worlds are cut off at different times; in each, steps are counted from its own last reset."""
    network, worlds, steps = counting(turning), 6, 30
    playing = begin(WALK, jax.random.key(1), worlds, 2, DEFAULTS, network.fresh(worlds))
    actor = policy(network, {"by": jnp.float32(0)})
    left, seen = collect(WALK, actor, jax.random.key(2), playing, DEFAULTS, steps)
    over, looks = np.asarray(seen.ended | seen.truncated), np.zeros(worlds, int)
    assert len({tuple(column) for column in over.T.tolist()}) > 1
    for t in range(steps):
        np.testing.assert_array_equal(seen.actions[t], np.where(looks < TURN, RIGHT, DOWN))
        looks = np.where(over[t], 0, looks + 1)
    np.testing.assert_array_equal(left.memory[""][:, 0], looks)
    assert (looks > 0).any()
