"""DQN: targets against numpy, when it learns and from what, and the exact action values of worlds that are known."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from chisel.agents.agent import Batch, Tuning
from chisel.agents.dqn import MEASURES, Settings, dqn, loss
from chisel.agents.networks import Form, make_network
from chisel.agents.policy import masked
from chisel.agents.replay import Hops
from tests.agents.rollouts import ACTIONS, LIMIT, SHAPE, STEPS, WORLDS, difference, rollout
from tests.bits import same_bits as same

OBSERVED = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
KEY, USUAL = jax.random.key(1), Tuning(jnp.float32(1e-2), 0.0, 0.3)


def legal(seen):
    return (seen[:ACTIONS] > 0) | (jnp.arange(ACTIONS) == 1)


@cache
def built(head: str = "values", fenced: bool = False):
    """A network, and the parameters of it and of another."""
    network = make_network(OBSERVED, ACTIONS, Form((6,)), head)
    params = [jax.jit(network.init)(jax.random.key(k)) for k in range(2)]
    return masked(network, legal, OBSERVED) if fenced else network, *params


def hops(seed: int = 0, count: int = 40) -> Hops:
    """Hops of which some end, and rewards that put errors on both sides of the kink."""
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(2, count, *SHAPE)).astype(np.float32)
    discounts = rng.choice([0.0, 0.9, 0.81, -0.9], count).astype(np.float32)
    rewards = (2 * rng.normal(size=count)).astype(np.float32)
    return Hops(before, rng.integers(0, ACTIONS, count), rewards, discounts, after)


# The loss


@pytest.mark.parametrize(("double", "fenced"), [(True, False), (False, False), (True, True), (False, True)])
def test_the_loss_is_what_the_papers_say(double, fenced):
    """Each error against the value, by the older parameters, of the action that is best by these, or by the older; of
    actions that are not legal, none.
    """
    network, params, target = built(fenced=fenced)
    batch, rows = hops(), np.arange(40)
    values, now, then = (
        np.asarray(network.apply(p, x).logits, float)
        for p, x in ((params, batch.before), (params, batch.after), (target, batch.after))
    )
    if fenced:
        allowed = np.asarray(jax.vmap(legal)(batch.after))
        now, then = (np.where(allowed, x, -np.inf) for x in (now, then))
        batch = batch._replace(actions=np.ones(40, int))  # always legal
        assert (allowed.sum(1) > 1).any()
    best = then[rows, (now if double else then).argmax(1)]
    errors = batch.rewards + batch.discounts * best - values[rows, batch.actions]
    each = np.where(np.abs(errors) > 0.7, 0.7 * (np.abs(errors) - 0.35), 0.5 * errors**2)
    assert (now.argmax(1) != then.argmax(1)).any()
    assert 0 < (np.abs(errors) > 0.7).mean() < 1
    found, value = loss(params, target, batch, network, Settings(double=double, huber=0.7))
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)
    assert float(value) == pytest.approx(values[rows, batch.actions].mean(), rel=1e-5)


@pytest.mark.parametrize(("double", "fenced"), [(True, False), (False, True)])
def test_at_a_temperature_what_follows_is_worth_its_mean_under_the_softmax(double, fenced):
    """The older parameters' values, under the policy of these, or of the older; of actions that are not legal, none."""
    network, params, target = built(fenced=fenced)
    batch, tau = hops()._replace(actions=np.ones(40, int)), 0.2
    values, now, then = (
        np.asarray(network.apply(p, x).logits, float)
        for p, x in ((params, batch.before), (params, batch.after), (target, batch.after))
    )
    allowed = np.asarray(jax.vmap(legal)(batch.after)) if fenced else np.ones((40, ACTIONS), bool)
    chances = np.where(allowed, np.exp((now if double else then) / tau), 0)
    chances /= chances.sum(1, keepdims=True)
    errors = batch.rewards + batch.discounts * (chances * np.where(allowed, then, 0)).sum(1) - values[:, 1]
    settings = Settings(double=double)
    found, _ = loss(params, target, batch, network, settings, tau)
    assert float(found) == pytest.approx(0.5 * np.mean(errors**2), rel=1e-5)
    cold, _ = loss(params, target, batch, network, settings, 1e-5)
    assert float(cold) == pytest.approx(float(loss(params, target, batch, network, settings)[0]), rel=1e-4)
    still = jax.grad(lambda t: loss(params, t, batch, network, settings, tau)[0])(target)
    assert not any(np.any(x) for x in jax.tree.leaves(still))


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    """Of errors well within the kinks: what an error is measured against is not differentiated."""
    network, params, target = built("dueling")
    batch, settings = hops(), Settings(double=False, huber=100.0)
    total = jax.jit(lambda p: loss(p, target, batch, network, settings)[0])
    check_grads(total, (params,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)
    still = jax.jit(jax.grad(lambda t: loss(params, t, batch, network, settings)[0]))(target)
    assert not any(np.any(x) for x in jax.tree.leaves(still))


# Learning


@cache
def agent_of(settings: Settings):
    agent = dqn(built()[0], settings, OBSERVED, WORLDS, LIMIT)
    return agent.init(KEY), jax.jit(agent.learn)


def taught(settings: Settings, updates: int, rate: float = 1e-2):
    """States before and after each update, and what was reported."""
    start, learn = agent_of(settings)
    states, told, tuning = [start], [], USUAL._replace(learning_rate=jnp.float32(rate))
    for number, key in enumerate(jax.random.split(KEY, updates)):
        state, measured = learn(states[-1], key, rollout(number, ended=[(2, 0)]), tuning)
        states.append(state)
        told.append({name: float(x) for name, x in measured.items()})
    return states, told


def test_the_older_parameters_are_renewed_every_so_many_descents_and_only_then():
    settings = Settings(hop=1, rows=2 * STEPS, warmup=1, batch=8, descents=1, target_every=3)
    states, _ = taught(settings, 7)
    for done, state in enumerate(states):
        assert int(state.done) == done
        assert same(state.target, states[done // 3 * 3].params)
    assert all(difference(a.params, b.params) > 1e-3 for a, b in pairwise(states))


def test_the_older_parameters_may_be_renewed_in_part():
    """Polyak averaging: after every descent, or every few, a share of the way to the newer ones."""
    for every in (1, 2):
        settings = Settings(hop=1, rows=2 * STEPS, warmup=1, batch=8, descents=1, target_every=every, tau=0.25)
        states, _ = taught(settings, 4)
        meant = states[0].params
        for done, state in enumerate(states[1:], 1):
            if done % every == 0:
                meant = jax.tree.map(lambda new, old: 0.25 * new + 0.75 * old, state.params, meant)
            assert difference(state.target, meant) < 1e-6
        assert difference(states[-1].target, states[-1].params) > 1e-3


def test_nothing_is_learned_before_enough_is_remembered():
    """Which holds for the moments of the optimiser, too; what is reported then is not a number."""
    settings = Settings(hop=1, rows=6 * STEPS, warmup=2 * STEPS + 1, batch=8, descents=4, target_every=2)
    states, told = taught(settings, 4)
    for state, measured in zip(states[1:3], told[:2], strict=True):
        assert same(state._replace(replay=None), states[0]._replace(replay=None))
        assert set(measured) == set(MEASURES)
        assert np.isnan([*measured.values()]).all()
    assert [int(state.done) for state in states] == [0, 0, 0, 4, 8]
    assert difference(states[3].params, states[0].params) > 1e-3
    assert all(np.isfinite([*measured.values()]).all() for measured in told[2:])
    # And a hop needs a step more than it is long, however short the wait.
    short = taught(Settings(rows=4 * STEPS, warmup=1, batch=8, descents=1, hop=STEPS), 2)[0]
    assert [int(state.done) for state in short] == [0, 0, 1]


def test_a_rate_of_zero_changes_nothing_and_equal_keys_the_same():
    settings = Settings(hop=1, rows=2 * STEPS, warmup=1, batch=8, descents=2)
    states, _ = taught(settings, 2, rate=0.0)
    assert same(states[-1].params, states[0].params)
    assert same(taught(settings, 2), taught(settings, 2))


def test_what_is_overwritten_is_not_learned_from_any_more():
    """A reward of the past counts as long as it is remembered, whatever is paid now."""
    state, learn = agent_of(Settings(hop=1, rows=2 * STEPS, warmup=1, batch=64, descents=1))
    still, told = USUAL._replace(learning_rate=jnp.float32(0.0)), []
    for number in range(5):
        batch = rollout(number)
        batch = batch._replace(rewards=batch.rewards + 1e3 * (number == 1))
        state, measured = learn(state, jax.random.key(number), batch, still)
        told.append(float(measured["value_loss"]) > 100)
    assert told == [False, True, True, False, False]


# Worlds whose action values are known


def best_values(follow, states: int, discount: float) -> np.ndarray:
    """Q*[state, action] by going over all of them until nothing changes.

    Args:
        follow: (state, action) -> (reward, next state, ended).
    """
    values = np.zeros((states, 2))
    for _ in range(300):
        for s, a in np.ndindex(states, 2):
            reward, following, ended = follow(s, a)
            values[s, a] = reward + (0 if ended else discount * values[following].max())
    return values


def learned_values(follow, states: int, discount: float, limit: int, start: int, **settings) -> np.ndarray:
    """The action values that DQN learns from random play, if it has a number for every state and action.

    Episodes are cut off after `limit` steps; they begin at `start` as often as anywhere.
    """
    steps, worlds, rng = 64, 8, np.random.default_rng(0)
    network = make_network(jax.ShapeDtypeStruct((states,), jnp.float32), 2, Form(()), "values")
    chosen = Settings(discount, hop=1, rows=4 * steps, warmup=1, descents=25, target_every=25, **settings)
    agent = dqn(network, chosen, jax.ShapeDtypeStruct((states,), jnp.float32), worlds, limit)
    learn, params = jax.jit(agent.learn), agent.init(KEY)
    at, age = np.full(worlds, start), np.zeros(worlds, int)
    one_hot, slots = np.eye(states, dtype=np.float32), worlds * -(-steps // limit)
    for update in range(60):
        told = {name: np.zeros((steps, worlds)) for name in ("seen", "actions", "rewards", "ended", "truncated")}
        led_to: list[int] = []
        for t, w in np.ndindex(steps, worlds):
            action = rng.integers(2)
            reward, following, ended = follow(at[w], action)
            truncated = not ended and age[w] + 1 == limit
            led_to += [following] if truncated else []
            for name, x in zip(told, (at[w], action, reward, ended, truncated), strict=True):
                told[name][t, w] = x
            over = ended or truncated
            at[w], age[w] = (
                (rng.choice([start, rng.integers(states)]) if over else following),
                (0 if over else age[w] + 1),
            )
        seen = one_hot[told["seen"].astype(int)]
        nothing, finals = np.zeros((1, states), np.float32), np.zeros((slots, states), np.float32)
        finals[: len(led_to)] = one_hot[led_to]
        batch = Batch(
            seen,
            told["actions"].astype(np.int32),
            told["rewards"].astype(np.float32),
            nothing,
            nothing,
            told["ended"] > 0,
            told["truncated"] > 0,
            finals,
            nothing,
        )
        rate = jnp.float32(0.1 if update < 40 else 0.01)
        params, _ = learn(params, jax.random.key(update), batch, Tuning(rate, 0.0, 1.0))
    return np.asarray(network.apply(params.params, one_hot).logits)


def chain(state: int, action: int):
    """To the right is the end, where much is paid; whoever stays at the left wall is paid a little, for ever."""
    if action == 1:
        return (1.0, 0, True) if state == 4 else (0.0, state + 1, False)
    return (0.3, 0, False) if state == 0 else (0.0, state - 1, False)


@pytest.mark.parametrize("limit", [1, 3])
def test_it_learns_the_exact_values_of_a_chain(limit):
    """Although episodes are cut off after three steps, or after each: what comes then would have been worth something,
    and that is neither nothing, nor what the next episode begins with.
    """
    exact = best_values(chain, 5, 0.8)
    assert exact[0, 0] == pytest.approx(0.3 / 0.2)
    found = learned_values(chain, 5, 0.8, limit, start=4)
    np.testing.assert_allclose(found, exact, atol=0.03)


def heap(state: int, action: int):
    """Players take one or two in turn, as far as there are any; who takes the last wins."""
    left = state - min(action + 1, state)
    return (1.0, 0, True) if left == 0 else (0.0, left, False)


def test_where_players_alternate_it_learns_to_win():
    """With a negative discount: what is best for the next player counts against this one."""
    exact = best_values(heap, 8, -0.9)
    found = learned_values(heap, 8, -0.9, limit=100, start=7, double=False)
    np.testing.assert_allclose(found[1:], exact[1:], atol=0.03)  # nobody moves at 0
    for pile in (1, 2, 4, 5, 7):  # leave a multiple of three
        assert found[pile, pile % 3 - 1] > max(0, found[pile].max() - 1e-3)
    assert (found[[3, 6]] < 0).all()
