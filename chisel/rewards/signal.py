"""From what is read of the channels to the one number that trains."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def earned(
    weights: Float[Array, " channels"], readings: Float[Array, "*batch channels"]
) -> Float[Array, "*batch channels"]:
    """What each channel earns: w_c · reading_c."""
    return weights * readings


def reward(income: Float[Array, "*batch channels"]) -> Float[Array, "*batch"]:
    """What is earned in all, r = Σ_c w_c · reading_c, where it is paid at once.

    A channel with weight 0 earns an exact 0, so it trains the same agent as an absent one, bit for bit.

    >>> import jax.numpy as jnp
    >>> float(reward(earned(jnp.array([1.0, 0.0]), jnp.array([0.5, 9.0]))))
    0.5
    """
    return jnp.sum(income, axis=-1)
