"""Erasure: what a policy does without what a layer tells of a feature.

LEACE (Belrose et al. 2023, theorem 4.3) is the least change, in the mean square, after which no linear probe of any
kind can read z from x. With Σ the covariance of x, C that of x with z, W = Σ^(−½) and P the projection on the columns
of W C,

    x′ = x − W⁺ P W (x − mean) = x − C (Cᵀ Σ⁺ C)⁺ Cᵀ Σ⁺ (x − mean)

Σ⁺ C are the weights of the least-squares regression of z on x, and Cᵀ Σ⁺ C is the covariance of its fit ẑ. So with q
an orthonormal basis of the columns of ẑ, x′ = x − q qᵀ x over the rows: x less what the fit explains of it. That is how
it is computed here, from x itself and not from Σ, whose condition number is the square of x's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chisel.probing.matrix import NULL, least_squares, lengths, orthonormal_basis, unit_columns


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
    Directions in which x does not vary, and columns of z that others make up, are dropped at a relative tolerance
    (`matrix.NULL`), so that neither the units of x nor repeated columns matter.

    Args:
        z: a feature, or one column for each class (one of them may be left out).
    """
    with jax.default_matmul_precision("highest"):
        rows = ~jnp.any(jnp.isnan(z), axis=1, keepdims=True)
        count = jnp.maximum(jnp.sum(rows), 1)
        centre, centred, least = _centred(x, rows)
        labels, _, null = unit_columns(*_centred(z, rows)[1:])
        weights, fit = least_squares(centred, labels, least)
        q, mix = orthonormal_basis(fit, null)
        reader, pattern = weights @ mix, q.T @ centred
        # What rounding left of the covariance, erased as well: its sums hover about 0, and round less.
        left = centred - (centred @ reader) @ pattern
        pattern = pattern + (labels @ mix).T @ left
        scale = jnp.sqrt(count)  # so that what is read has a variance of 1
        return Eraser(centre, reader * scale, pattern / scale)


def _centred(
    x: Float[Array, "n d"], rows: Bool[Array, "n 1"]
) -> tuple[Float[Array, " d"], Float[Array, "n d"], Float[Array, " d"]]:
    """The mean over rows, what is left without it (0 in other rows), and how much of that is null for each column."""
    known = jnp.where(rows, x, 0.0)
    count = jnp.maximum(jnp.sum(rows), 1)
    mean = jnp.sum(known, 0) / count
    # Once more: float32 sums of many numbers far from 0 leave a mean behind.
    mean = mean + jnp.sum(jnp.where(rows, x - mean, 0.0), 0) / count
    return mean, jnp.where(rows, x - mean, 0.0), NULL * lengths(known)


def erase(eraser: Eraser, x: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
    """Activations without the concept."""
    with jax.default_matmul_precision("highest"):
        return x - ((x - eraser.centre) @ eraser.reader) @ eraser.pattern


def random_directions(key: Array, x: Float[Array, "n units"], count: int) -> Float[Array, "count units"]:
    """Unit vectors that point anywhere alike among the units that vary by more than rounding."""
    most = jnp.max(jnp.abs(x), 0)
    varies = jnp.std(x / jnp.where(most > 0, most, 1.0), 0) > NULL
    mixed = jnp.where(varies, jax.random.normal(key, (count, x.shape[1])), 0.0)
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
