"""Erasure: what a policy does without what a layer tells of a feature.

LEACE (Belrose et al. 2023) is the least change, in the mean square, after which no linear probe of any kind can read z
from x: with Σ the covariance of x and C that of x with z,

    x′ = x − C (Cᵀ Σ⁻¹ C)⁻¹ Cᵀ Σ⁻¹ (x − mean)

Written with V = Σ⁻¹ C (Cᵀ Σ⁻¹ C)⁻¹, the covariance left over is C (1 − Vᵀ C)ᵀ: it is zero for any V with Vᵀ C = 1. So
no linear information is left however roughly Σ is inverted; a rough inverse only changes x a little more than need be.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chisel.probing.matrix import solve


class Eraser(NamedTuple):
    """x′ = x − ((x − centre) @ reader) @ pattern: takes a concept of some rank out of activations.

    Fields:
        centre: [units]; the mean of what it was fitted on.
        reader: [units, rank]; what of x is taken out.
        pattern: [rank, units]; where it is taken out.
    """

    centre: Float[Array, "*many units"]
    reader: Float[Array, "*many units rank"]
    pattern: Float[Array, "*many rank units"]


def leace(x: Float[Array, "n units"], z: Float[Array, "n rank"]) -> Eraser:
    """The least eraser after which z cannot be read linearly from x.

    Rows where z is NaN are left out. A z that does not vary, or that x tells nothing of, is erased by changing nothing.

    Args:
        z: a feature, or one column for each class (one of them may be left out).
    """
    rows = ~jnp.any(jnp.isnan(z), axis=1, keepdims=True)
    count = jnp.maximum(jnp.sum(rows), 1)
    centre = jnp.sum(jnp.where(rows, x, 0.0), 0) / count
    centred = jnp.where(rows, x - centre, 0.0)
    labels = jnp.where(rows, z, 0.0)
    labels = jnp.where(rows, labels - jnp.sum(labels, 0) / count, 0.0)
    cross = centred.T @ labels / count  # [units, rank]
    known = solve(centred.T @ centred / count, cross)
    reader = known @ solve(cross.T @ known, jnp.eye(z.shape[1]), ridge=1e-9)
    if z.shape[1] == 1:  # exact, whatever the rounding in between
        share = jnp.sum(known * cross)
        reader = jnp.where(share > 0, known / jnp.where(share > 0, share, 1.0), 0.0)
    return Eraser(centre, reader, cross.T)


def erase(eraser: Eraser, x: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
    """Activations without the concept."""
    return x - ((x - eraser.centre) @ eraser.reader) @ eraser.pattern


def random_directions(key: Array, x: Float[Array, "n units"], count: int) -> Float[Array, "count units"]:
    """Unit vectors that point anywhere alike among the units that vary at all."""
    mixed = jnp.where(jnp.std(x, 0) > 1e-6, jax.random.normal(key, (count, x.shape[1])), 0.0)
    length = jnp.linalg.norm(mixed, axis=1, keepdims=True)
    return mixed / jnp.where(length > 0, length, 1.0)


def divergence(logits: Float[Array, "*batch actions"], other: Float[Array, "*batch actions"]) -> Float[Array, "*batch"]:
    """KL(π ‖ π′) of two policies given by their logits, in nats.

    >>> import jax.numpy as jnp
    >>> round(float(divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.9, 0.1])))), 4)
    0.5108
    """
    ours, theirs = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(ours) * (ours - theirs), -1)
