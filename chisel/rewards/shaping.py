"""Guidance by potentials: shaping, which leaves optimal policies as they were, and approach, which does not.

Ng, Harada & Russell 1999, with the dynamic form of Devlin & Kudenko 2012 for potentials whose weight changes in time,
and the terminal potential of Grześ 2017.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def shaping(
    weights: Float[Array, " potentials"],
    next_weights: Float[Array, " potentials"],
    promised: Float[Array, " potentials"],
    before: Float[Array, "time worlds potentials"],
    after: Float[Array, "time worlds potentials"],
    ends: Bool[Array, "time worlds"],
    discount: float,
) -> Float[Array, "time worlds"]:
    """γΦ(s′, t′) − Φ(s, t) for every step of a rollout, where Φ is the weighted sum of potentials.

    Args:
        weights: in force during the rollout.
        next_weights: expected of the next one; they hold for the state that follows the last step.
        promised: the `next_weights` of the rollout before, which hold for the states in which this one begins: also
            where the schedule was switched in between, so that what was charged for a state is what is paid back.
        before, after: potentials of s and of s′ (s′ before any reset).
        ends: where the learner takes the episode for over, so that Φ(s′) counts as 0. That is true termination; and the
            time limit for a learner to which it is an end. To one that bootstraps from what a truncated step led to it
            is none, and Φ(s′) is kept: either choice would pay the other learner for where it stands at the limit.
        discount: the learner's own γ; another would void the guarantee.
    """
    steps = jnp.arange(before.shape[0])[:, None, None]
    precedes = jnp.sum(jnp.where(steps == 0, promised, weights) * before, axis=-1)
    follows = jnp.sum(jnp.where(steps == before.shape[0] - 1, next_weights, weights) * after, axis=-1)
    return discount * jnp.where(ends, 0.0, follows) - precedes


def approach(
    weights: Float[Array, " potentials"],
    before: Float[Array, "time worlds potentials"],
    after: Float[Array, "time worlds potentials"],
) -> Float[Array, "time worlds"]:
    """Σ w·max(0, Φ(s′) − Φ(s)): pays for coming nearer and does not charge for going away.

    The naive guidance that taught a bicycle to ride in circles (Randløv & Alstrøm 1998): going to and fro earns without
    end, so that optimal policies change. For comparison with `shaping`.
    """
    return jnp.sum(weights * jnp.maximum(after - before, 0.0), axis=-1)
