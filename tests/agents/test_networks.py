"""Networks: pure functions with named activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.agents.networks import Form, make_network
from chisel.agents.policy import FORBIDDEN, explored, masked

SHAPE, ACTIONS, WIDTHS = (3, 2, 2), 4, (8, 5)
NETWORK = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.bool_), ACTIONS, Form(WIDTHS))
PARAMS = NETWORK.init(jax.random.key(0))


def observations(*batch: int) -> np.ndarray:
    return np.random.default_rng(len(batch)).random((*batch, *SHAPE)) < 0.5


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_key_alone_decides_the_start():
    assert same(PARAMS, NETWORK.init(jax.random.key(0)))
    assert not same(PARAMS, NETWORK.init(jax.random.key(1)))


def test_parameters_are_plain_dicts_of_float32_arrays():
    assert type(PARAMS) is dict
    assert set(PARAMS) == {"hidden_1", "hidden_2", "policy", "value_head"}
    for layer in PARAMS.values():
        assert type(layer) is dict
        assert {name: x.dtype for name, x in layer.items()} == {"kernel": np.float32, "bias": np.float32}
    assert PARAMS["hidden_1"]["kernel"].shape == (np.prod(SHAPE), WIDTHS[0])


def test_kernels_start_orthogonal_and_biases_at_zero():
    for name, scale in {"hidden_1": np.sqrt(2), "hidden_2": np.sqrt(2), "policy": 0.01, "value_head": 1.0}.items():
        kernel = np.asarray(PARAMS[name]["kernel"], float)
        gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
        np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=1e-5 * scale**2, err_msg=name)
        assert not np.any(PARAMS[name]["bias"])


@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
def test_leading_axes_are_batch_axes(batch):
    seen = observations(*batch)
    out = NETWORK.apply(PARAMS, seen)
    assert out.logits.shape == (*batch, ACTIONS)
    assert out.value.shape == batch
    assert tuple(out.activations) == NETWORK.layers == ("hidden_1", "hidden_2")
    assert [x.shape for x in out.activations.values()] == [(*batch, width) for width in WIDTHS]
    for where in np.ndindex(*batch):
        alone = NETWORK.apply(PARAMS, seen[where])
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(out), strict=True):
            np.testing.assert_allclose(one, many[where], atol=1e-6)


def test_it_is_tanh_layers_with_two_linear_heads():
    seen = observations(4)
    out, x = NETWORK.apply(PARAMS, seen), seen.reshape(4, -1).astype(float)
    for name in NETWORK.layers:
        x = np.tanh(x @ np.asarray(PARAMS[name]["kernel"], float) + np.asarray(PARAMS[name]["bias"]))
        np.testing.assert_allclose(out.activations[name], x, atol=1e-5)
    heads = [x @ np.asarray(PARAMS[name]["kernel"], float) for name in ("policy", "value_head")]
    np.testing.assert_allclose(out.logits, heads[0], atol=1e-6)
    np.testing.assert_allclose(out.value, heads[1][:, 0], atol=1e-5)


def test_what_is_not_legal_gets_no_probability_and_moves_nothing_else():
    """Here an action is legal where the first row of the observation is set."""
    legal = lambda seen: seen.reshape(-1)[:ACTIONS]  # noqa: E731
    fenced = masked(NETWORK, legal, jax.ShapeDtypeStruct(SHAPE, jnp.bool_))
    assert fenced.layers == NETWORK.layers
    for batch in ((), (5,), (2, 3)):
        seen = observations(*batch)
        seen.reshape(-1, int(np.prod(SHAPE)))[:, 0] = True  # at least one
        allowed = seen.reshape(*batch, -1)[..., :ACTIONS]
        out, plain = fenced.apply(PARAMS, seen), NETWORK.apply(PARAMS, seen)
        np.testing.assert_array_equal(np.asarray(out.logits)[allowed], np.asarray(plain.logits)[allowed])
        assert (np.asarray(jax.nn.softmax(out.logits))[~allowed] == 0).all()
        assert same(out._replace(logits=plain.logits), plain)


def test_gradients_are_finite_where_actions_are_forbidden():
    fenced = masked(NETWORK, lambda seen: jnp.arange(ACTIONS) == 1, jax.ShapeDtypeStruct(SHAPE, jnp.bool_))

    def entropy(params):
        log = jax.nn.log_softmax(fenced.apply(params, observations(4)).logits)
        return -jnp.sum(jnp.exp(log) * log)

    value, gradient = jax.value_and_grad(entropy)(PARAMS)
    assert value == 0  # there is no choice
    assert all(np.all(np.asarray(g) == 0) for g in jax.tree.leaves(gradient))


# Exploration

LOGITS = st.lists(st.floats(-120, 120, width=32, allow_subnormal=False), min_size=ACTIONS, max_size=ACTIONS)
LEGAL = st.lists(st.booleans(), min_size=ACTIONS, max_size=ACTIONS).filter(any)
EXPLORATION = st.sampled_from([0.0, 1e-40, 1e-30, 1e-8, 1.0]) | st.floats(0, 1, width=32)
acts = jax.jit(lambda logits, exploration: jax.nn.softmax(explored(logits, exploration)))


def told(logits, exploration):
    """Log-probabilities, and the entropy, of the mixture: all that a learner makes of it."""
    log = jax.nn.log_softmax(explored(logits, exploration))
    return jnp.append(log, -jnp.sum(jnp.exp(log) * log))


slopes = jax.jit(jax.jacrev(told))


@settings(max_examples=80, deadline=None)
@given(LOGITS, LEGAL, EXPLORATION)
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
@given(LOGITS, LEGAL, EXPLORATION)
@example([0.0, -103.0, 88.0, 120.0], [True] * 4, 0.0)
@example([0.0, -92.0, -95.0, -100.0], [True] * 4, 0.0)
@example([0.0, -92.0, -95.0, -100.0], [True] * 4, 1e-40)
def test_exploring_gradients_are_finite_however_sure_the_policy_is(logits, legal, exploration):
    logits = jnp.where(jnp.array(legal), jnp.array(logits, jnp.float32), FORBIDDEN)
    found = np.asarray(slopes(logits, jnp.float32(exploration)))
    assert np.isfinite(found).all()
    assert not found[:, ~np.array(legal)].any()


def test_where_nobody_explores_logits_are_left_alone():
    logits = jnp.array([1.0, 2.0, FORBIDDEN])
    assert explored(logits, None) is logits
