"""Linear probes: what can be read out of an array of activations by a weighted sum.

Alain & Bengio 2016. Columns are standardised on the fitted half. Both kinds of probe minimise a mean loss plus an L2
penalty on the weights but not on the intercept,

    ridge:     mean ½(y − ŷ)²         + ½ l2 ‖w‖²      = scikit-learn's Ridge(alpha = n · l2)
    logistic:  mean −log p(y | ŷ)     + ½ l2 ‖w‖²      = scikit-learn's LogisticRegression(C = 1 / (n · l2))

by Newton steps, each solved by conjugate gradients: matrix products only, so that fitting maps over features, layers,
members and checkpoints, on any device. (Batched LAPACK calls inside a compiled function can hang XLA on CPU:
docs/decisions/0006-no-lapack-in-loops.md.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chisel.probing import judging
from chisel.probing.matrix import conjugate_gradients, near_inverse

# How many conjugate gradients each Newton step takes, of which there are as many at most: few while far off, more when
# near (Dembo, Eisenstat & Steihaug 1982). A quadratic loss keeps what it has from step to step.
CONJUGATE = (2, 3, 4, 5, 6, 8, 8, 8, 8, 8, 8, 8)
SETTLED = 0.005  # no further step after one that moves no readout by more: another would move it by less than 1e-4
FLAT = 0.05  # a full step is taken where it leaves the loss, along it, no steeper than so many times what it was
SIZES = 0.1, 4.0  # least and most of it that is taken elsewhere
# What p (1 − p) is taken for in the preconditioner: between that of a probe which is sure and of one which is not.
BEND = 0.1
NEAR = 7  # steps to its inverse, which need not be exact


CONSTANT = 1e-6  # of its largest size, the standard deviation of a column up to which it may be rounding


class Probe(NamedTuple):
    """Readouts of several features from one array of activations: ŷ = ((x − centre) · scale) @ weights + intercept."""

    centre: Float[Array, " units"]
    scale: Float[Array, " units"]
    weights: Float[Array, "units features"]
    intercept: Float[Array, " features"]


def _prepared(
    x: Array, y: Array, rows: Array | None = None, standardise: bool = True
) -> tuple[Array, Array, Array, Array, Array]:
    """Centre and scale of the columns; the same standardised; labels; each row's weight in the mean.

    Whatever the unit of a column: it is divided by its largest size before anything is squared, and counts as constant
    where it varies by no more than rounding does to numbers of that size.
    """
    there = None if rows is None else rows[:, None]
    size = jnp.max(jnp.abs(x), 0, where=there, initial=0.0)
    shrunk = x / jnp.where(size > 0, size, 1.0)
    mean, spread = jnp.mean(shrunk, 0, where=there), jnp.std(shrunk, 0, where=there)
    varies = spread > CONSTANT
    centre, scale = mean * size, jnp.where(varies, 1 / jnp.where(varies, spread * size, 1.0), 0.0)
    z, known = (shrunk - mean) * jnp.where(varies, 1 / jnp.where(varies, spread, 1.0), 0.0), ~jnp.isnan(y)
    if not standardise:
        scale = varies.astype(x.dtype)
        z = (x - centre) * scale
    if there is not None:
        z, known = jnp.where(there, z, 0.0), known & there
    return centre, scale, z, jnp.where(known, y, 0.0), known / jnp.maximum(jnp.sum(known, 0), 1)


class _Features(NamedTuple):
    """What is fitted. Features in rows: of the two ways to lay out long and thin products, the faster by far on CPU."""

    y: Float[Array, "features n"]
    share: Float[Array, "features n"]
    logistic: Bool[Array, "features 1"]
    weights: Float[Array, "features units+1"]  # last, the intercept
    out: Float[Array, "features n"]
    said: Float[Array, "features n"]  # the probability, of a logistic probe; else the same
    moved: Float[Array, " features"]  # the most that a readout moved in the last step


def _told(out: Array, logistic: Array) -> Array:
    return jnp.where(logistic, jax.nn.sigmoid(out), out)


def _newton(z: Array, zt: Array, near: Array, l2: float | Array, of: _Features, steps: Array) -> _Features:
    """A Newton step for every feature, by so many conjugate gradients."""
    y, share, logistic, here, out, said, _ = of

    def outs(v: Array) -> Array:
        return v[:, :-1] @ zt + v[:, -1:]

    def slopes(rise: Array, at: Array) -> Array:
        """How the loss rises with weights and intercept where it rises so with the readouts."""
        return jnp.concatenate([rise @ z + l2 * at[:, :-1], jnp.sum(rise, 1, keepdims=True)], 1)

    def precondition(v: Array) -> Array:
        return jnp.concatenate([v[:, :-1] @ near, v[:, -1:] / BEND], 1)

    rise = slopes(share * (said - y), here)
    bend = share * jnp.where(logistic, said * (1 - said), 1.0)
    step = conjugate_gradients(lambda v: slopes(bend * outs(v), v), -rise, precondition, steps)
    move = outs(step)
    moved = jnp.max(jnp.abs(move), 1)
    steep = jnp.sum(rise * step, 1, keepdims=True)

    def gone(size: float | Array) -> tuple[tuple[Array, Array, Array], Array]:
        """Where so much of the step leads, and how steep the loss is there along it."""
        there, ahead = here + size * step, out + size * move
        then = _told(ahead, logistic)
        along = jnp.sum(share * (then - y) * move, 1) + l2 * jnp.sum(there[:, :-1] * step[:, :-1], 1)
        return (there, ahead, then), along[:, None]

    def searched() -> tuple[Array, Array, Array]:
        """A full step overshoots where classes are nearly separable, and falls short where they are told apart well:
        where the loss is still steep after it, goes to where it would be flat if the steepness changed evenly (a
        secant), unless that is steeper. (Not the least loss: near the end float32 cannot tell losses apart.)
        """
        whole, along = gone(1.0)
        steeper = jnp.abs(along) > FLAT * jnp.abs(steep)

        def resized() -> tuple[Array, Array, Array]:
            size = jnp.where(steep < along, steep / jnp.where(steeper, steep - along, 1.0), jnp.inf)
            other, after = gone(jnp.clip(size, *SIZES))
            better = steeper & (jnp.abs(after) < jnp.abs(along))
            return jax.tree.map(lambda new, old: jnp.where(better, new, old), other, whole)

        return jax.lax.cond(jnp.any(steeper), resized, lambda: whole)

    here, out, said = jax.lax.cond(jnp.any(moved > SETTLED), searched, lambda: (here + step, out, said))
    return _Features(y, share, logistic, here, out, said, moved)


def fit(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    logistic: Bool[Array, " features"],
    l2: float | Array,
    rows: Bool[Array, " n"] | None = None,
    standardise: bool = True,
) -> Probe:
    """Fits a probe for every column of `y`.

    Args:
        y: labels, 0 or 1 for a logistic probe; NaN leaves the row out for that feature.
        logistic: which columns get a logistic probe; the others get a ridge probe.
        l2: the penalty. Below 1e-3, where classes are separable and activations have heavy tails, twelve steps need not
            be enough: at 1e-4 readouts were off by a third of their spread.
        rows: those that there are, if not all. The others are as if they had not been given; so one program serves
            for any number of them.
        standardise: divide columns by their standard deviation. Otherwise the penalty is on weights of `x` as it is,
            and columns of very different scales need more steps than there are.
    """
    centre, scale, z, y, share = _prepared(x, y, rows, standardise)
    zt = z.T
    count = len(z) if rows is None else jnp.maximum(jnp.sum(rows), 1)
    near = near_inverse(BEND * (zt @ z) / count + (l2 + 1e-6) * jnp.eye(len(zt)), NEAR)

    def settled(taken: Array, features: _Features, but: int) -> tuple[Array, _Features]:
        """Steps until no more than so many features move, or all steps are taken."""

        def going(state: tuple[Array, _Features]) -> Array:
            return (state[0] < len(CONJUGATE)) & (jnp.sum(state[1].moved > SETTLED) > but)

        def on(state: tuple[Array, _Features]) -> tuple[Array, _Features]:
            return state[0] + 1, _newton(z, zt, near, l2, state[1], jnp.array(CONJUGATE)[state[0]])

        return jax.lax.while_loop(going, on, (taken, features))

    nothing, logistic = jnp.zeros_like(y.T), jnp.asarray(logistic)[:, None]
    still = jnp.zeros((len(nothing), len(zt) + 1))
    moved = jnp.full(len(nothing), jnp.inf)
    features = _Features(y.T, share.T, logistic, still, nothing, _told(nothing, logistic), moved)
    few = len(nothing) // 4
    taken, features = settled(jnp.array(0), features, few)
    weights = features.weights
    if few:  # The few that are told apart best take twice the steps of the others.
        slow = jax.lax.top_k(jnp.where(features.moved > SETTLED, features.moved, 0.0), few)[1]
        _, last = settled(taken, jax.tree.map(lambda each: each[slow], features), 0)
        weights = weights.at[slow].set(last.weights)
    return Probe(centre, scale, weights[:, :-1].T, weights[:, -1])


STEPS = 5000  # of the accelerated gradient for a penalty on absolute weights, at most
LEVEL = 1e-5  # of the steepest slope at weights of 0: where it is nowhere steeper any more, the penalty is met


def fit_sparse(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    logistic: Bool[Array, " features"],
    l1: float | Array,
    standardise: bool = True,
) -> Probe:
    """The same with l1 · Σ|w| for a penalty, which leaves few weights: Lasso(alpha = l1) of scikit-learn, and
    LogisticRegression(l1_ratio = 1, C = 1 / (n · l1)). By accelerated proximal gradients (FISTA, Beck & Teboulle 2009)
    that begin anew when they overshoot (O'Donoghue & Candès 2015), until the proximal gradient is within `LEVEL` of 0.
    """
    centre, scale, z, y, share = _prepared(x, y, standardise=standardise)
    z = jnp.concatenate([z, jnp.ones((len(z), 1))], 1)
    penalty = jnp.full((z.shape[1], 1), l1).at[-1].set(0.0)

    def stretched(v: Array, _: None) -> tuple[Array, None]:
        v = z.T @ (share * (z @ v))
        return v / jnp.maximum(jnp.linalg.norm(v, axis=0), 1e-12), None

    start = jnp.ones((z.shape[1], y.shape[1]))
    top, _ = jax.lax.scan(stretched, start, None, 50)
    steepest = jnp.sum(top * (z.T @ (share * (z @ top))), 0) * jnp.where(logistic, 0.25, 1.0)
    step = 1 / jnp.maximum(1.05 * steepest, 1e-12)

    def going(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[-1] < STEPS) & jnp.any(state[-2] > LEVEL * flat)

    def descend(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        weights, ahead, pace, _, taken = state
        out = z @ ahead
        slope = z.T @ (share * (jnp.where(logistic, jax.nn.sigmoid(out), out) - y))
        moved = ahead - step * slope
        moved = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - step * penalty, 0.0)
        steep = jnp.max(jnp.abs(ahead - moved), 0) / step
        back = jnp.sum((ahead - moved) * (moved - weights), 0) > 0
        pace = jnp.where(back, 1.0, pace)
        faster = (1 + jnp.sqrt(1 + 4 * pace**2)) / 2
        onward = moved + jnp.where(back, 0.0, (pace - 1) / faster) * (moved - weights)
        return moved, onward, faster, steep, taken + 1

    nothing, pace = jnp.zeros_like(start), jnp.ones(y.shape[1])
    flat = jnp.max(jnp.abs(z.T @ (share * (_told(0 * y, logistic[None]) - y))), 0)
    begin = nothing, nothing, pace, jnp.full(y.shape[1], jnp.inf), jnp.int32(0)
    weights, *_ = jax.lax.while_loop(going, descend, begin)
    return Probe(centre, scale, weights[:-1], weights[-1])


def predict(probe: Probe, x: Float[Array, "n units"]) -> Float[Array, "n features"]:
    """The readout: a number for ridge, a log-odds for logistic."""
    return ((x - probe.centre) * probe.scale) @ probe.weights + probe.intercept


def score(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    binary: Bool[Array, " features"],
    logistic: Array,
    l2: float,
) -> Float[Array, " features"]:
    """Fits on the first half of the rows, scores on the second: AUC of a binary feature, R² of a continuous one."""
    half = len(x) // 2
    return judging.judged(predict(fit(x[:half], y[:half], logistic, l2), x[half:]), y[half:], binary)
