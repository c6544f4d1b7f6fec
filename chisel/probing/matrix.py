"""Linear algebra by matrix products only, so that it maps over features, layers, members and checkpoints on any device.

Batched LAPACK calls inside a compiled function can hang XLA on CPU: docs/decisions/0006-no-lapack-in-loops.md.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

INVERSE = 12  # Newton–Schulz steps to within rounding, but for directions that hardly vary
SOLVE = 48  # steps of conjugate gradients where a matrix is solved for once


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
    """v with (A + ridge · mean diagonal · I) v = right, for a symmetric matrix that is nowhere negative.

    The ridge stands in for a pseudo-inverse where units are dead or columns repeat each other. A of zeros gives zeros.

    >>> import jax.numpy as jnp
    >>> solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([[2.0], [2.0]])).round(4).tolist()
    [[1.0], [0.5]]
    """
    size = jnp.trace(a) / len(a)
    scaled = a / jnp.where(size > 0, size, 1.0) + ridge * jnp.eye(len(a))
    near = near_inverse(scaled)
    found = conjugate_gradients(lambda v: v @ scaled, right.T, lambda v: v @ near, SOLVE).T
    return jnp.where(size > 0, found / jnp.where(size > 0, size, 1.0), 0.0)
