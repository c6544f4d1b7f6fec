"""The weighted sum of what happened."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chisel.rewards.signal import reward

SMALL = st.floats(-10, 10, width=32, allow_subnormal=False)
pay = jax.jit(reward)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 4, elements=SMALL), arrays(np.float32, (5, 3, 4), elements=SMALL))
def test_it_is_the_weighted_sum(weights, facts):
    found = pay(weights, facts)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, facts.astype(float) @ weights.astype(float), atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 4, elements=SMALL), arrays(np.float32, (5, 3, 4), elements=SMALL), st.integers(0, 3))
def test_a_weight_of_zero_adds_nothing_at_all(weights, facts, which):
    """Whatever the channel does, to the last bit."""
    weights[which] = 0.0
    silent = facts.copy()
    silent[..., which] = 0.0
    assert np.asarray(pay(weights, facts)).tobytes() == np.asarray(pay(weights, silent)).tobytes()


def test_no_channels_pay_nothing():
    assert reward(jnp.zeros(0), jnp.zeros((2, 3, 0))).tolist() == [[0, 0, 0], [0, 0, 0]]
