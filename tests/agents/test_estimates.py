"""Advantages against a plain loop, memory at the ends of episodes, parts of the reward, and the optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.agents.estimates import (
    ROUNDING,
    Judged,
    advantages,
    centred,
    credit,
    descend,
    descent,
    judge,
    log_prob,
    mean_entropy,
    normalised,
)
from chisel.agents.networks import Form, Output, make_network
from chisel.agents.policy import step
from tests.agents.rollouts import ACTIONS, SHAPE, STEPS, WORLDS, by_hand, difference, rollout
from tests.bits import same_bits as same

DISCOUNT, TRACE, PARTS = 0.9, 0.8, 3
OBSERVED = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
estimate = jax.jit(advantages, static_argnums=(6, 7))

# Per step and world: 0 goes on, 1 ended, 2 truncated.
ENDINGS = st.lists(st.integers(0, 2), min_size=STEPS * WORLDS, max_size=STEPS * WORLDS)
SEEDS = st.integers(0, 2**32 - 1)


# Advantages


@settings(max_examples=60, deadline=None)
@given(ENDINGS, SEEDS)
@example([0] * (STEPS * WORLDS), 0)
@example([2] * (STEPS * WORLDS), 0)
def test_advantages_are_those_of_a_plain_loop(endings, seed):
    how = np.array(endings).reshape(STEPS, WORLDS)
    numbers = np.random.default_rng(seed).normal(size=(3, STEPS, WORLDS)).astype(np.float32)
    rewards, values, after = numbers
    last = numbers[0, 0] * 2
    meant = by_hand(rewards, values, last, after, how == 1, how == 2, DISCOUNT, TRACE)
    after = np.where(how == 2, after, 1e6)  # read at truncated steps only
    found = estimate(rewards, values, last, after, how == 1, how == 2, DISCOUNT, TRACE)
    np.testing.assert_allclose(found, meant, atol=1e-4)


def test_where_players_alternate_every_other_reward_counts_against_the_mover():
    """A negative discount is negamax: own rewards less those of the opponent, each from the mover's side."""
    rewards = np.array([[0.0], [1.0], [0.0], [10.0]], np.float32)  # the opponent takes at 1, and wins at 3
    nothing, ended = np.zeros((4, 1), np.float32), np.array([[False], [False], [False], [True]])
    found = estimate(rewards, nothing, nothing[0], nothing, ended, np.zeros((4, 1), bool), -0.9, 1.0)
    meant = [-0.9 * 1 - 0.9**3 * 10, 1 + 0.9**2 * 10, -0.9 * 10, 10]
    np.testing.assert_allclose(found[:, 0], meant, rtol=1e-5)


@pytest.mark.parametrize("how", ["ended", "truncated"])
def test_nothing_leaks_from_one_episode_into_another(how):
    cut = np.zeros((STEPS, WORLDS), bool)
    cut[2] = True
    nothing = np.zeros((STEPS, WORLDS), bool)
    flags = (cut, nothing) if how == "ended" else (nothing, cut)
    plain = np.ones((STEPS, WORLDS), np.float32)
    wild = plain.copy()
    wild[3:] = 1e4
    quiet, loud = (np.asarray(estimate(x, x, x[-1], plain, *flags, DISCOUNT, TRACE)) for x in (plain, wild))
    assert np.array_equal(quiet[:3], loud[:3])
    assert not np.array_equal(quiet[3:], loud[3:])


# Judging


@pytest.mark.parametrize("form", [Form((6,)), Form((6, 5), recurrent=True), Form((5,), (), True, True, PARTS)], ids=str)
def test_a_rollout_is_judged_as_it_was_lived(form):
    """Step by step: memory is fresh where an episode begins; a state that a truncated step led to is seen with what was
    remembered until then, and the last one, where it begins an episode, with nothing.
    """
    network = make_network(OBSERVED, ACTIONS, form)
    params = jax.jit(network.init)(jax.random.key(0))
    cuts = [(0, 1), (3, 0), (5, 1)]  # the first step and the last among them
    batch = rollout(ended=[(2, 1), (4, 0)], truncated=cuts, network=network)
    judged = jax.jit(judge, static_argnums=0)(network, params, batch)
    one = jax.jit(lambda seen, memory: step(network, params, seen, memory))
    over, memory = batch.ended | batch.truncated, batch.memory

    def beside(observations, memory):
        return np.asarray(one(observations, memory)[0].value)

    for t in range(STEPS):
        said, memory = one(batch.observations[t], memory)
        for a, b in zip(jax.tree.leaves(said), jax.tree.leaves(judged.out), strict=True):
            np.testing.assert_allclose(a, b[t], atol=1e-5)
        for slot, (when, world) in enumerate(cuts):
            if when == t:
                final = beside(np.broadcast_to(batch.finals[slot], (WORLDS, *SHAPE)), memory)[world]
                np.testing.assert_allclose(judged.after_truncation[t, world], final, atol=1e-5)
        memory = jax.tree.map(lambda x: np.where(over[t][:, None], 0.0, x), memory)  # noqa: B023
    np.testing.assert_allclose(judged.last, beside(batch.last, memory), atol=1e-5)
    assert judged.last.shape == judged.after_truncation.shape[1:] == (WORLDS, *([PARTS] if form.parts else []))
    np.testing.assert_array_equal(judged.begins[1:], over[:-1])
    assert not np.any(judged.begins[0])  # memory is fresh there already, if so


# Parts of the reward


def judged(rng) -> Judged:
    values, last, after = (
        rng.normal(size=s).astype(np.float32) for s in ((STEPS, WORLDS, PARTS), (WORLDS, PARTS), (STEPS, WORLDS, PARTS))
    )
    return Judged(Output(np.zeros((STEPS, WORLDS, ACTIONS)), values, {}), None, after, last)


assigned = jax.jit(lambda judged, batch: credit(judged, batch, DISCOUNT, TRACE))


@settings(max_examples=40, deadline=None)
@given(ENDINGS, SEEDS)
def test_parts_are_added_up_by_their_weights(endings, seed):
    """To what one critic would find whose values are the sum of the parts'; and after a switch of weights the heads
    should foretell what they should before, bit for bit: there is nothing to learn anew.
    """
    how, rng = np.array(endings).reshape(STEPS, WORLDS), np.random.default_rng(seed)
    batch = rollout(seed, parts=PARTS)._replace(ended=how == 1, truncated=how == 2)
    apart, weights = judged(rng), batch.weights
    whole = Judged(
        apart.out._replace(value=apart.out.value @ weights),
        None,
        apart.after_truncation @ weights,
        apart.last @ weights,
    )
    found, returns = assigned(apart, batch)
    meant, meant_returns = assigned(whole, batch)
    np.testing.assert_allclose(found, meant, atol=1e-4)
    np.testing.assert_allclose(returns @ weights, meant_returns, atol=1e-4)
    other = rng.normal(size=PARTS).astype(np.float32)
    switched, kept = assigned(apart, batch._replace(weights=other, rewards=batch.readings @ other))
    assert same(kept, returns)
    assert np.abs(switched - found).max() > 1e-3


# What losses are made of


def test_log_probabilities_and_entropy_are_those_of_a_softmax():
    logits, actions = 3 * np.random.default_rng(0).normal(size=(4, 2, ACTIONS)), np.arange(8).reshape(4, 2) % ACTIONS
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    meant = np.log([[chances[t, w, actions[t, w]] for w in range(2)] for t in range(4)])
    np.testing.assert_allclose(log_prob(jnp.float32(logits), actions), meant, atol=1e-5)
    assert float(mean_entropy(jnp.float32(logits))) == pytest.approx(
        -(chances * np.log(chances)).sum(-1).mean(), abs=1e-6
    )


# The optimiser


APART = make_network(OBSERVED, ACTIONS, Form((6,), separate=True, parts=PARTS))
PARAMS = jax.jit(APART.init)(jax.random.key(0))


def gradients(count: int, critic: float = 1.0):
    """Gradients of a network whose critic is apart; those of the critic may be larger."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        plain = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), PARAMS)
        yield {k: jax.tree.map(lambda x: critic * x, v) if k in APART.critics else v for k, v in plain.items()}


def descended(apart: bool, critic=lambda t: 1.0):
    optimiser = descent(APART, 2.0, apart)
    one, params = jax.jit(lambda *x: descend(optimiser, *x)), PARAMS
    moments, norms = optimiser.init(params), []
    for t in range(3):
        gradient = [*gradients(3, critic(t))][t]
        params, moments, norm = one(gradient, moments, params, jnp.float32(0.1 / (t + 1)))
        norms.append(float(norm))
    return params, norms


def halves(params):
    return [{k: v for k, v in params.items() if (k in APART.critics) == mine} for mine in (False, True)]


def test_it_is_adam_on_clipped_gradients():
    """As Optax does it leaf by leaf, with a step size that is data."""
    theirs = optax.chain(optax.clip_by_global_norm(2.0), optax.adam(1.0, eps=1e-5))
    params, moments = PARAMS, theirs.init(PARAMS)
    for t, gradient in enumerate(gradients(3)):
        move, moments = theirs.update(gradient, moments)
        params = jax.tree.map(lambda p, m: p + m * 0.1 / (t + 1), params, move)  # noqa: B023
    found, norms = descended(apart=False)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norms, [float(optax.tree.norm(g)) for g in gradients(3)], rtol=1e-5)
    assert min(norms) > 2


def test_a_critic_told_apart_does_not_change_the_step_of_the_policy():
    """However large its gradient grows. Together, it does."""
    growing = lambda t: 100.0**t  # noqa: E731
    (policy, critic), (same_policy, other_critic) = (halves(descended(True, c)[0]) for c in (lambda t: 1.0, growing))
    assert same(policy, same_policy)
    assert set(critic) == set(APART.critics)
    # Its own norm is clipped: what grows from 2 on to 200 times as much does not move it more.
    assert difference(critic, other_critic) < 1e-5
    together, moved = (halves(descended(False, c)[0])[0] for c in (lambda t: 1.0, growing))
    assert difference(together, moved) > 1e-3


# Numbers less their mean


scaled, less_mean = jax.jit(normalised), jax.jit(centred)


@pytest.mark.parametrize("count", [1, 3, 512, 1000, 65_536])
@pytest.mark.parametrize("number", [5.3, -0.1, 1 / 3, 1e20, 1e-20, 0.0])
def test_of_equal_numbers_none_is_more_than_the_mean(count, number):
    """Also where rounding of the last bit made them differ. The mean of 512 × 5.3 in float32 is not 5.3."""
    equal = np.full(count, number, np.float32)
    assert not np.any(scaled(equal))
    equal[::2] = np.nextafter(equal[::2], np.float32(np.inf))
    assert not np.any(scaled(equal)) or number == 0


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 300), st.floats(-1e4, 1e4), st.sampled_from([1e-3, 1.0, 1e3]))
def test_numbers_that_differ_are_in_standard_deviations_from_their_mean(seed, count, offset, spread):
    """As in double precision, as far as float32 tells them apart."""
    numbers = (offset + spread * np.random.default_rng(seed).normal(size=count)).astype(np.float32)
    exact = numbers.astype(float) - numbers.mean(dtype=float)
    if np.abs(exact).max() < 10 * ROUNDING * np.abs(numbers).max():
        return
    np.testing.assert_allclose(scaled(numbers), exact / exact.std(), atol=2e-3)
    np.testing.assert_allclose(less_mean(numbers), exact, atol=1e-6 * np.abs(numbers).max())


def test_numbers_that_do_not_count_move_no_mean():
    numbers, used = np.float32([5.3, 1e9, 5.3, -1e9]), np.float32([1, 0, 1, 0])
    assert np.asarray(less_mean(numbers, used))[[0, 2]].tolist() == [0, 0]
    numbers[2] = 7.3
    np.testing.assert_allclose(np.asarray(less_mean(numbers, used))[[0, 2]], [-1, 1], rtol=1e-6)
    assert not np.any(less_mean(numbers, np.zeros(4, np.float32)))
