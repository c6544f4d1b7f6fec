"""From what a network says to what is done: chance, legality, exploration, memory."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.agents.networks import Form, make_network
from chisel.agents.policy import (
    FORBIDDEN,
    at_temperature,
    choose,
    explored,
    looked,
    luck,
    masked,
    policy,
    softmax_policy,
)
from tests.bits import same_bits as same

SHAPE, ACTIONS, COUNT = (3, 2), 4, 8000
OBSERVED = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
KEY = jax.random.key(0)


@cache
def built(kind: str):
    """A network and parameters under which it is not indifferent."""
    form = Form((6, 5), recurrent=kind == "gru", separate=kind == "gru")
    network = make_network(OBSERVED, ACTIONS, form, "values" if kind == "values" else "policy")
    shapes, rng = jax.eval_shape(network.init, KEY), np.random.default_rng(0)
    return network, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def normal(*batch: int) -> np.ndarray:
    return np.random.default_rng(len(batch)).normal(size=(*batch, *SHAPE)).astype(np.float32)


def legal(seen):
    """Here an action is legal where the first numbers of the observation are large, and the second one always."""
    return (seen.reshape(-1)[:ACTIONS] > 0.3) | (jnp.arange(ACTIONS) == 1)


# Choices

LOGITS = np.array([0.5, -1.0, FORBIDDEN, 1.2], np.float32)
LEGAL = np.array([True, True, False, True])


@jax.jit
def drawn(logits, exploration):
    """What a policy of these logits does in many worlds."""
    network = built("policy")[0]
    many = jnp.broadcast_to(logits, (COUNT, ACTIONS))
    return choose(network, luck(network, KEY, COUNT), many, exploration)


@jax.jit
def picked(logits, exploration):
    """What is done by these action values in many worlds."""
    network = built("values")[0]
    many = jnp.broadcast_to(logits, (COUNT, ACTIONS))
    return choose(network, luck(network, KEY, COUNT), many, exploration)


def assert_shares(actions, meant) -> None:
    """Each action as often as its probability: within four standard errors, and never where that is zero."""
    shares = np.bincount(np.asarray(actions), minlength=ACTIONS) / COUNT
    assert (np.abs(shares - meant) <= 4 * np.sqrt(meant * (1 - meant) / COUNT)).all(), (shares, meant)


@pytest.mark.parametrize("exploration", [None, 0.0, 0.4, 1.0])
def test_each_action_is_drawn_as_often_as_its_probability(exploration):
    own = np.exp(LOGITS.astype(float)) / np.exp(LOGITS.astype(float)).sum()
    share = exploration or 0.0
    assert_shares(drawn(LOGITS, exploration), (1 - share) * own + share * LEGAL / 3)


@pytest.mark.parametrize("logits", [LOGITS, LOGITS - 7], ids=["around zero", "negative"])
@pytest.mark.parametrize("exploration", [None, 0.0, 0.4, 1.0])
def test_of_action_values_the_highest_is_picked_and_any_legal_one_as_often_as_explored(logits, exploration):
    share = exploration or 0.0
    assert_shares(picked(logits, exploration), (1 - share) * np.eye(ACTIONS)[3] + share * LEGAL / 3)


@pytest.mark.parametrize("seed", range(3))
def test_luck_draws_what_categorical_draws(seed):
    """The same bits for the same key, whatever the logits."""
    network, key = built("policy")[0], jax.random.key(seed)
    logits = 3 * np.random.default_rng(seed).normal(size=(500, ACTIONS)).astype(np.float32)
    logits[:, 2] = FORBIDDEN
    found = choose(network, luck(network, key, 500), logits)
    np.testing.assert_array_equal(found, jax.random.categorical(key, logits))


# Legal actions


@pytest.mark.parametrize("kind", ["policy", "gru"])
def test_what_is_not_legal_gets_no_probability_and_moves_nothing_else(kind):
    network, params = built(kind)
    fenced = masked(network, legal, OBSERVED)
    assert fenced.layers == network.layers

    def assert_fenced(out, plain, seen):
        allowed = np.asarray(jax.vmap(legal)(seen.reshape(-1, *SHAPE))).reshape(out.logits.shape)
        assert 0 < allowed.mean() < 1
        np.testing.assert_array_equal(np.asarray(out.logits)[allowed], np.asarray(plain.logits)[allowed])
        assert (np.asarray(jax.nn.softmax(out.logits))[~allowed] == 0).all()
        assert same(out._replace(logits=plain.logits), plain)

    for batch in ((), (5,), (2, 3)):
        seen = normal(*batch)
        assert_fenced(jax.jit(fenced.apply)(params, seen), jax.jit(network.apply)(params, seen), seen)
    if kind == "gru":
        seen, begins, memory = normal(4, 3), np.eye(4, 3, dtype=bool), network.fresh(3)
        (out, kept), (plain, meant) = (jax.jit(n.unroll)(params, seen, begins, memory) for n in (fenced, network))
        assert_fenced(out, plain, seen)
        assert same(kept, meant)


def test_gradients_are_finite_where_actions_are_forbidden():
    network, params = built("policy")
    fenced = masked(network, lambda seen: jnp.arange(ACTIONS) == 1, OBSERVED)

    def entropy(params):
        log = jax.nn.log_softmax(fenced.apply(params, normal(4)).logits)
        return -jnp.sum(jnp.exp(log) * log)

    value, gradient = jax.jit(jax.value_and_grad(entropy))(params)
    assert value == 0  # there is no choice
    assert all(np.all(np.asarray(g) == 0) for g in jax.tree.leaves(gradient))


# Exploration

ANY_LOGITS = st.lists(st.floats(-120, 120, width=32, allow_subnormal=False), min_size=ACTIONS, max_size=ACTIONS)
ANY_LEGAL = st.lists(st.booleans(), min_size=ACTIONS, max_size=ACTIONS).filter(any)
EXPLORATION = st.sampled_from([0.0, 1e-40, 1e-30, 1e-8, 1.0]) | st.floats(0, 1, width=32)
acts = jax.jit(lambda logits, exploration: jax.nn.softmax(explored(logits, exploration)))


def told(logits, exploration):
    """Log-probabilities, and the entropy, of the mixture: all that a learner makes of it."""
    log = jax.nn.log_softmax(explored(logits, exploration))
    return jnp.append(log, -jnp.sum(jnp.exp(log) * log))


slopes = jax.jit(jax.jacrev(told))


@settings(max_examples=80, deadline=None)
@given(ANY_LOGITS, ANY_LEGAL, EXPLORATION)
@example([0.0, -103.0, 88.0, 120.0], [True] * 4, 0.0)
def test_exploration_is_a_mixture_with_an_even_choice_among_what_is_legal(logits, legal, exploration):
    """In double precision: (1 − e)·softmax + e / legal; and e = 1 is even, whatever the policy."""
    logits = np.where(legal, logits, FORBIDDEN).astype(np.float32)
    found = np.asarray(acts(logits, jnp.float32(exploration)))
    policy = np.where(legal, np.exp(logits.astype(float) - logits.max()), 0.0)
    even = np.array(legal) / np.sum(legal)
    meant = (1 - exploration) * policy / policy.sum() + exploration * even
    np.testing.assert_allclose(found, meant, atol=1e-6)
    assert (found[~np.array(legal)] == 0).all()
    np.testing.assert_allclose(acts(logits, jnp.float32(1.0)), even, atol=1e-7)


@settings(max_examples=80, deadline=None)
@given(ANY_LOGITS, ANY_LEGAL, EXPLORATION)
@example([0.0, -103.0, 88.0, 120.0], [True] * 4, 0.0)
@example([0.0, -92.0, -95.0, -100.0], [True] * 4, 0.0)
@example([0.0, -92.0, -95.0, -100.0], [True] * 4, 1e-40)
def test_exploring_gradients_are_finite_however_sure_the_policy_is(logits, legal, exploration):
    logits = np.where(legal, logits, FORBIDDEN).astype(np.float32)
    found = np.asarray(slopes(logits, jnp.float32(exploration)))
    assert np.isfinite(found).all()
    assert not found[:, ~np.array(legal)].any()


@pytest.mark.parametrize("exploration", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("legal", [[True] * 4, [True, False, True, False], [False, False, True, False], [False] * 4])
def test_exploring_gradients_are_those_of_the_mixture(exploration, legal):
    """Of all, some, one or no action; with no exploration, some, and nothing else: against finite differences in double
    precision. What is said of actions that are not legal has no slope, and nothing is NaN.
    """
    logits, legal = np.array([0.5, -1.0, 2.0, 0.1]), np.array(legal)

    def mixture(x):
        policy = np.where(legal, np.exp(x - x.max()), 0.0)
        return (1 - exploration) * policy / max(policy.sum(), 1e-300) + exploration * legal / max(legal.sum(), 1)

    steps = 1e-6 * np.eye(4)
    with np.errstate(divide="ignore", invalid="ignore"):
        meant = np.stack([(np.log(mixture(logits + e)) - np.log(mixture(logits - e))) / 2e-6 for e in steps], -1)
    fenced = jnp.where(legal, jnp.float32(logits), FORBIDDEN)
    found = np.asarray(jax.jacrev(lambda x: explored(x, jnp.float32(exploration)))(fenced))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[legal], meant[legal], atol=1e-4)
    assert not found[~legal].any()
    assert (np.asarray(explored(fenced, exploration)) > FORBIDDEN / 2).tolist() == legal.tolist()


def test_where_nobody_explores_logits_are_left_alone():
    logits = jnp.array([1.0, 2.0, FORBIDDEN])
    assert explored(logits, None) is logits


# Memory


def test_an_actor_remembers_what_its_network_remembers_and_does_what_it_says():
    """Step by step with the same luck as in one stretch; and only what is legal, though it explores."""
    network, params = built("gru")
    fenced = masked(network, legal, OBSERVED)
    actor, seen = policy(fenced, params, 0.3), normal(5, 64)
    out, kept = jax.jit(fenced.unroll)(params, seen, np.zeros((5, 64), bool), network.fresh(64))
    act, memory = jax.jit(actor.act), actor.fresh(64)
    assert same(memory, network.fresh(64))
    assert not any(np.any(x) for x in jax.tree.leaves(memory))
    for t, key in enumerate(jax.random.split(KEY, 5)):
        chance = actor.luck(key, 64)
        actions, memory = act(chance, seen[t], memory)
        np.testing.assert_array_equal(actions, choose(fenced, chance, out.logits[t], 0.3))
        assert np.asarray(jax.vmap(legal)(seen[t]))[np.arange(64), actions].all()
        for a, b in zip(jax.tree.leaves(memory), jax.tree.leaves(kept), strict=True):
            np.testing.assert_allclose(a, b[t], atol=1e-5)


def test_after_looks_it_says_what_it_says_at_the_end_of_a_stretch_of_the_same():
    network, params = built("gru")
    seen = normal(2, 3)
    stretch = np.broadcast_to(seen, (4, *seen.shape))
    out = jax.jit(network.unroll)(params, stretch, np.zeros((4, 2, 3), bool), network.fresh(2, 3))[0]
    first = jax.jit(network.apply)(params, seen)
    for before in (0, 1, 3):
        found = jax.jit(lambda x, n=before: looked(network, params, x, n))(seen)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(out), strict=True):
            np.testing.assert_allclose(a, b[before], atol=1e-5)
        assert (np.abs(found.logits - first.logits).max() > 0.01) == (before > 0)


def test_without_memory_looks_change_nothing():
    network, params = built("policy")
    assert same(looked(network, params, normal(3), 5), network.apply(params, normal(3)))
    actor = policy(network, params)
    assert actor.fresh(3) is None
    assert actor.act(actor.luck(KEY, 3), normal(3), None)[1] is None


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0, 100.0])
def test_what_is_forbidden_stays_so_at_any_temperature(temperature):
    """Divided by a high one, its number would count as that of a legal action."""
    network, params = built("values")
    soft = softmax_policy(masked(network, legal, OBSERVED))
    seen = normal(50)
    out, values = soft.apply(at_temperature(params, temperature), seen), network.apply(params, seen).logits
    allowed = np.asarray(jax.vmap(legal)(seen))
    assert not allowed.all()
    np.testing.assert_array_equal(np.asarray(out.logits)[~allowed], np.float32(FORBIDDEN))
    chances = np.where(allowed, np.exp(values / temperature), 0)
    meant = np.sum(chances * values, 1) / chances.sum(1)
    np.testing.assert_allclose(out.value, meant, rtol=1e-4, atol=1e-5)
