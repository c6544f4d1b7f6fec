"""Linear algebra by matrix products only, so that it maps over features, layers, members and checkpoints on any device.

Batched LAPACK calls inside a compiled function can hang XLA on CPU: docs/decisions/0006-no-lapack-in-loops.md.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

INVERSE = 12  # Newton–Schulz steps to within rounding, but for directions that hardly vary
SOLVE = 48  # steps of conjugate gradients where a matrix is solved for once
# A direction is null where its part of a column is smaller than this share of the column as it was given, mean
# included: float32 rounds to 6e-8 of that, and sums of some hundred such numbers to about 1e-6.
NULL = 1e-5


def near_inverse(a: Float[Array, "d d"], steps: int = INVERSE) -> Float[Array, "d d"]:
    """An approximate inverse of a symmetric positive matrix, by Newton–Schulz: V ← V(2I − AV)."""
    start = jnp.eye(len(a)) / jnp.max(jnp.sum(jnp.abs(a), 0))
    return jax.lax.fori_loop(0, steps, lambda _, v: 2 * v - v @ (a @ v), start)


def conjugate_gradients(
    image: Callable[[Array], Array],
    right: Float[Array, "k d"],
    precondition: Callable[[Array], Array],
    steps: int | Int[Array, ""],
) -> Float[Array, "k d"]:
    """Solves A v = right for all rows at once, each with its own symmetric positive A.

    Args:
        image: v -> A v, row by row.
        precondition: v -> about the solution of A w = v, for every A; linear, symmetric and positive.
    """

    def step(_: Array, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        v, residual, direction, strength = state
        moved = image(direction)
        curvature = jnp.sum(direction * moved, 1, keepdims=True)
        size = jnp.where(curvature > 0, strength / jnp.where(curvature > 0, curvature, 1), 0.0)
        v, residual = v + size * direction, residual - size * moved
        cleaned = precondition(residual)
        onward = jnp.sum(residual * cleaned, 1, keepdims=True)
        turn = jnp.where(strength > 0, onward / jnp.where(strength > 0, strength, 1), 0.0)
        return v, residual, cleaned + turn * direction, onward

    cleaned = precondition(right)
    start = (jnp.zeros_like(right), right, cleaned, jnp.sum(right * cleaned, 1, keepdims=True))
    return jax.lax.fori_loop(0, steps, step, start)[0]


def solve(a: Float[Array, "d d"], right: Float[Array, "d k"], ridge: float = 1e-6) -> Float[Array, "d k"]:
    """v with (A + ridge · diag A) v = right, for a symmetric positive matrix; rows of zeros give zeros.

    The ridge is relative to each diagonal entry, so that no unit of measurement matters. It is no pseudo-inverse: with
    dependent columns, rounding of `right` comes back divided by the ridge. `least_squares` drops null directions.

    >>> import jax.numpy as jnp
    >>> solve(jnp.array([[2.0, 0.0], [0.0, 4e-9]]), jnp.array([[2.0], [2e-9]])).round(4).tolist()
    [[1.0], [0.5]]
    """
    size = jnp.sqrt(jnp.diagonal(a))
    unit = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1.0), 0.0)
    scaled = a * unit * unit[:, None] + ridge * jnp.eye(len(a))
    near = near_inverse(scaled)
    found = conjugate_gradients(lambda v: v @ scaled, (right * unit[:, None]).T, lambda v: v @ near, SOLVE).T
    return found * unit[:, None]


def lengths(a: Float[Array, "n d"]) -> Float[Array, " d"]:
    """The Euclidean length of every column, whatever its unit: squares of 1e-25 or 1e25 are no float32 numbers.

    >>> import jax.numpy as jnp
    >>> (1e25 * lengths(jnp.array([[3e-25, 0.0], [4e-25, 0.0]]))).round(4).tolist()
    [5.0, 0.0]
    """
    most = jnp.max(jnp.abs(a), 0)
    return most * jnp.linalg.norm(a / jnp.where(most > 0, most, 1.0), axis=0)


def unit_columns(
    a: Float[Array, "n d"], least: Float[Array, " d"]
) -> tuple[Float[Array, "n d"], Float[Array, " d"], Float[Array, " d"]]:
    """Columns of length 1, by what they were multiplied with, and `least` in the new unit; null ones become zeros."""
    length = lengths(a)
    unit = jnp.where(length > least, 1 / jnp.where(length > least, length, 1.0), 0.0)
    return a * unit, unit, least * unit


class Basis(NamedTuple):
    """An orthonormal basis of what a matrix's columns span: q = a @ mix.

    Fields:
        q: orthonormal columns, and zeros where there are no more.
        mix: the combinations of a's columns that make q.
    """

    q: Float[Array, "n d"]
    mix: Float[Array, "d d"]


def orthonormal_basis(a: Float[Array, "n d"], least: Float[Array, " d"]) -> Basis:
    """Gram & Schmidt with column pivoting: the column with the largest part that is not spanned yet is next.

    Each direction is made orthogonal to those before it twice, which keeps all of them orthogonal to rounding (Giraud,
    Langou & Rozložník 2005). Works on columns, not on aᵀa, whose condition number is the square of a's.

    Args:
        least: for each column, the length from which on what is left of it counts; below, it is null.
    """
    n, d = a.shape
    unit = jnp.where(least > 0, 1 / jnp.where(least > 0, least, 1.0), 0.0)

    def step(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        done, rest, length = state
        next_ = jnp.argmax(length * unit)
        counts = length[next_] * unit[next_] > 1
        row = rest[next_] * jnp.where(counts, 1 / jnp.where(counts, length[next_], 1.0), 0.0)
        row = row - (done[:, :n] @ row[:n]) @ done
        size = jnp.linalg.norm(row[:n])
        row = row * jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1.0), 0.0)
        rest = rest - (rest[:, :n] @ row[:n])[:, None] * row
        # What is left of a column that was taken is rounding, and must not be taken for a direction.
        left = jnp.where((jnp.arange(d) == next_) | (length == 0), 0.0, jnp.linalg.norm(rest[:, :n], axis=1))
        return done.at[i].set(row), rest, left

    # Columns as rows, and beside each the combination of a's columns that it is: [d, n + d].
    rest = jnp.concatenate([a.T, jnp.eye(d)], 1)
    start = jnp.zeros_like(rest), rest, jnp.linalg.norm(a, axis=0)
    done, _, _ = jax.lax.fori_loop(0, d, step, start)
    return Basis(done[:, :n].T, done[:, n:].T)


def least_squares(
    a: Float[Array, "n d"], right: Float[Array, "n k"], least: Float[Array, " d"]
) -> tuple[Float[Array, "d k"], Float[Array, "n k"]]:
    """The v of least norm with the least |a v − right|, null directions dropped, and the fit a v.

    Columns are first scaled to the same length, so that *norm* does not depend on their units. With a = q b, q
    orthonormal and bᵀ = p r likewise, the pseudo-inverse is p r⁻ᵀ qᵀ: a complete orthogonal decomposition (Golub & Van
    Loan 2013, section 5.4.7).

    Args:
        least: for each column, the length from which on what is left of it counts.

    >>> import jax.numpy as jnp
    >>> v, fit = least_squares(jnp.array([[1.0, 1.0], [1.0, 1.0]]), jnp.array([[3.0], [1.0]]), jnp.full(2, 1e-5))
    >>> v.round(4).tolist(), fit.round(4).tolist()
    ([[1.0], [1.0]], [[2.0], [2.0]])
    """
    scaled, unit, least = unit_columns(a, least)
    q = orthonormal_basis(scaled, least).q
    spanned = (q.T @ scaled).T  # [d, directions], of full rank but for columns of zeros
    p, mix = orthonormal_basis(spanned, 1e-3 * NULL * jnp.linalg.norm(spanned, axis=0))
    fit = q @ (q.T @ right)

    def inverted(x: Array) -> Array:
        return p @ (mix.T @ (q.T @ x))

    v = inverted(right)
    v = v + inverted(fit - scaled @ v)  # once more, against rounding
    return v * unit[:, None], fit
