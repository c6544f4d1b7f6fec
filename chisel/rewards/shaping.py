"""Potential-based shaping: guidance that leaves optimal policies as they were.

Ng, Harada & Russell 1999, with the dynamic form of Devlin & Kudenko 2012 for potentials whose weight changes in time,
and the terminal potential of Grześ 2017.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def shaping(
    weights: Float[Array, "potentials"],
    next_weights: Float[Array, "potentials"],
    before: Float[Array, "time worlds potentials"],
    after: Float[Array, "time worlds potentials"],
    ended: Bool[Array, "time worlds"],
    discount: float,
) -> Float[Array, "time worlds"]:
    """γΦ(s′, t′) − Φ(s, t) for every step of a rollout, where Φ is the weighted sum of potentials.

    Args:
        weights: in force during the rollout.
        next_weights: in force during the next one; they hold for the state that follows the last step.
        before, after: potentials of s and of s′ (s′ before any reset).
        ended: true termination, where Φ(s′) counts as 0. At a truncation it is kept, since the episode would go on.
        discount: the learner's own γ; another would void the guarantee.
    """
    last = jnp.arange(before.shape[0])[:, None, None] == before.shape[0] - 1
    follows = jnp.sum(jnp.where(last, next_weights, weights) * after, axis=-1)
    return discount * jnp.where(ended, 0.0, follows) - jnp.sum(weights * before, axis=-1)
