"""A number that changes with training progress, as data."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Curve(NamedTuple):
    """Piecewise linear in progress, flat before the first knot and after the last.

    Two knots at one time make a jump; the later one holds from that time on. Leading axes stack curves, so one `Curve`
    can hold the weights of every channel of every schedule and be evaluated at once.

    Fields:
        times: [..., knots] progress in [0, 1], never decreasing along the last axis.
        values: [..., knots] the value at each knot.

    >>> rise = piecewise([(0.0, 0.0), (0.5, 1.0)])
    >>> [float(rise(p)) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 1.0]
    >>> jump = piecewise([(0.5, 0.0), (0.5, 2.0)])
    >>> [float(jump(p)) for p in (0.25, 0.5, 1.0)]
    [0.0, 2.0, 2.0]
    """

    times: Float[Array | np.ndarray, "*stack knots"]
    values: Float[Array | np.ndarray, "*stack knots"]

    def __call__(self, progress: Float[Array, ""] | float) -> Float[Array, "*stack"]:
        """The value at `progress`; shape [...], the stack's leading axes."""
        return _value(jnp, self, progress)


def _value(xp: Any, curve: Curve, progress: Any) -> Any:
    """A curve's value, by NumPy (`xp`) where curves are made and by JAX where they are used: the same bits."""
    passed = xp.sum(curve.times <= progress, axis=-1, keepdims=True)
    left = xp.maximum(passed - 1, 0)
    right = xp.minimum(passed, curve.times.shape[-1] - 1)
    t0, t1 = (xp.take_along_axis(curve.times, i, -1)[..., 0] for i in (left, right))
    v0, v1 = (xp.take_along_axis(curve.values, i, -1)[..., 0] for i in (left, right))
    span = t1 - t0
    share = xp.where(span > 0, (progress - t0) / xp.where(span > 0, span, 1), 0)
    return v0 + share * (v1 - v0)


def constant(value: float) -> Curve:
    """The same value at every progress.

    >>> float(constant(0.5)(0.3))
    0.5
    """
    return piecewise([(0.0, value)])


def piecewise(knots: Sequence[tuple[float, float]]) -> Curve:
    """A curve through (progress, value) knots.

    Raises:
        ValueError: there is no knot, or the times decrease.
    """
    times = [t for t, _ in knots]
    if not times or any(a > b for a, b in pairwise(times)):
        raise ValueError(f"knot times must be given and never decrease, got {times}")
    return Curve(np.asarray(times, np.float32), np.asarray([v for _, v in knots], np.float32))


def from_optax(schedule: Callable[[Any], Any], updates: int) -> list[tuple[float, float]]:
    """An optax schedule as knots, for a study or for `piecewise`: its value in each of so many updates.

    Exact to a millionth of the largest value; knots on a straight line are left out. Optax counts updates from 0: the
    k-th of n stands for progress (k + ½) / n.

    >>> import optax
    >>> from_optax(optax.linear_schedule(1.0, 0.0, transition_steps=4), updates=8)
    [(0.0625, 1.0), (0.5625, 0.0), (0.9375, 0.0)]
    """
    values = np.array([float(schedule(k)) for k in range(updates)])
    times = (np.arange(updates) + 0.5) / updates
    near = 1e-6 * np.abs(values).max(initial=0.0)
    bent = np.abs(np.diff(values, 2)) > near
    kept = np.concatenate([[True], bent, [True]])[:updates]
    if np.abs(np.interp(times, times[kept], values[kept]) - values).max() > near:
        kept[:] = True  # bends too slight to be told from rounding add up
    return [(float(t), float(v)) for t, v in zip(times[kept], values[kept], strict=True)]


def shift(curve: Curve, by: float) -> Curve:
    """The same curve that much later.

    >>> late = shift(piecewise([(0.0, 0.0), (0.5, 1.0)]), 0.25)
    >>> [float(late(p)) for p in (0.25, 0.5, 0.75)]
    [0.0, 0.5, 1.0]
    """
    return Curve(curve.times + np.float32(by), curve.values)


def concatenate(pieces: Sequence[tuple[float, Curve]]) -> Curve:
    """Curves given as (until, curve): each holds up to its `until`, where the next takes over with a jump."""
    knots: list[tuple[float, float]] = []
    start = 0.0
    for until, curve in pieces:
        inside = [(float(t), float(v)) for t, v in zip(curve.times, curve.values, strict=True) if start < t < until]
        # Just before `until`, so that a jump of this piece placed exactly there belongs to the next piece.
        end = float(_value(np, curve, np.nextafter(np.float32(until), np.float32(start))))
        knots += [(start, float(_value(np, curve, np.float32(start)))), *inside, (until, end)]
        start = until
    return piecewise(knots)


def stack(curves: Sequence[Curve]) -> Curve:
    """Curves of any number of knots as one `Curve` with a new leading axis; shorter ones repeat their last knot.

    >>> both = stack([constant(1.0), piecewise([(0.0, 0.0), (1.0, 4.0)])])
    >>> both(0.5).tolist()
    [1.0, 2.0]
    """
    if not curves:
        return Curve(np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32))
    knots = max(c.times.shape[-1] for c in curves)

    def pad(x: Array | np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, knots - x.shape[-1])], mode="edge")

    return Curve(np.stack([pad(c.times) for c in curves]), np.stack([pad(c.values) for c in curves]))
