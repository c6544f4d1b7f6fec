"""From channels to the one number that trains."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def reward(weights: Float[Array, "channels"], facts: Float[Array, "*batch channels"]) -> Float[Array, "*batch"]:
    """The weighted sum of what happened: r = Σ_c w_c · fact_c.

    A channel with weight 0 adds an exact 0, so it trains the same agent as an absent one, bit for bit.

    >>> import jax.numpy as jnp
    >>> float(reward(jnp.array([1.0, 0.0]), jnp.array([0.5, 9.0])))
    0.5
    """
    return jnp.sum(weights * facts, axis=-1)
