"""Linear probes: what can be read out of an array of activations by a weighted sum.

Alain & Bengio 2016. Columns are standardised on the fitted half. Both kinds of probe minimise a mean loss plus an L2
penalty on the weights but not on the intercept,

    ridge:     mean ½(y − ŷ)²         + ½ l2 ‖w‖²      = scikit-learn's Ridge(alpha = n · l2)
    logistic:  mean −log p(y | ŷ)     + ½ l2 ‖w‖²      = scikit-learn's LogisticRegression(C = 1 / (n · l2))

by a fixed number of Newton steps, each solved by conjugate gradients: matrix products only, so that fitting maps over
features, layers, members and checkpoints, on any device. (Batched LAPACK calls inside a compiled function can hang XLA
on CPU: docs/decisions/0006-no-lapack-in-loops.md.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chisel.probing.matrix import conjugate_gradients, near_inverse

NEWTON = 10  # steps; a quadratic loss needs one, and keeps what it has in the others
CONJUGATE = 6  # steps inside each


class Probe(NamedTuple):
    """Readouts of several features from one array of activations: ŷ = ((x − centre) · scale) @ weights + intercept."""

    centre: Float[Array, "units"]
    scale: Float[Array, "units"]
    weights: Float[Array, "units features"]
    intercept: Float[Array, "features"]


def _prepared(x: Array, y: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Centre and scale of the columns; the same standardised, and ones; labels; each row's weight in the mean."""
    centre, scale = jnp.mean(x, 0), jnp.std(x, 0)
    scale = jnp.where(scale > 1e-6, 1 / jnp.where(scale > 1e-6, scale, 1), 0.0)
    z = jnp.concatenate([(x - centre) * scale, jnp.ones((len(x), 1))], 1)
    rows = ~jnp.isnan(y)
    return centre, scale, z, jnp.where(rows, y, 0.0), rows / jnp.maximum(jnp.sum(rows, 0), 1)


def fit(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    logistic: Bool[Array, "features"],
    l2: float | Array,
) -> Probe:
    """Fits a probe for every column of `y`.

    Args:
        y: labels, 0 or 1 for a logistic probe; NaN leaves the row out for that feature.
        logistic: which columns get a logistic probe; the others get a ridge probe.
        l2: the penalty.
    """
    centre, scale, z, y, share = _prepared(x, y)
    penalty = jnp.full((z.shape[1], 1), l2).at[-1].set(0.0)
    precondition = near_inverse(z.T @ z / len(z) + jnp.diag(penalty[:, 0]) + 1e-6 * jnp.eye(z.shape[1]))

    def uphill(out: Array, weights: Array, move: Array, step: Array) -> Array:
        """How steeply the loss rises from here in the direction of a step."""
        slope = share * (jnp.where(logistic, jax.nn.sigmoid(out), out) - y)
        return jnp.sum(slope * move, 0) + jnp.sum(penalty * weights * step, 0)

    def newton(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        weights, out = state
        p = jax.nn.sigmoid(out)
        slope = share * (jnp.where(logistic, p, out) - y)
        bend = share * jnp.where(logistic, p * (1 - p), 1.0)

        def image(v: Array) -> Array:
            return z.T @ (bend * (z @ v)) + penalty * v

        step = conjugate_gradients(image, -(z.T @ slope + penalty * weights), precondition, CONJUGATE)
        move = z @ step
        # Full steps can overshoot where classes are nearly separable: of a few shorter ones, or none, take the one
        # after which the loss is flattest. (Not the least loss: near the end float32 cannot tell losses apart.)
        sizes = jnp.array([1.0, 0.5, 0.25, 0.0625, 0.0])
        tried = jnp.abs(jax.vmap(lambda s: uphill(out + s * move, weights + s * step, move, step))(sizes))
        size = sizes[jnp.argmin(jnp.where(jnp.isfinite(tried), tried, jnp.inf), axis=0)]
        return (weights + size * step, out + size * move), None

    start = jnp.zeros((z.shape[1], y.shape[1])), jnp.zeros_like(y)
    (weights, _), _ = jax.lax.scan(newton, start, None, NEWTON)
    return Probe(centre, scale, weights[:-1], weights[-1])


STEPS = 2000  # of the accelerated gradient for a penalty on absolute weights


def fit_sparse(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    logistic: Bool[Array, "features"],
    l1: float | Array,
) -> Probe:
    """The same with l1 · Σ|w| for a penalty, which leaves few weights: Lasso(alpha = l1) of scikit-learn, and
    LogisticRegression(l1_ratio = 1, C = 1 / (n · l1)). By accelerated proximal gradients (Beck & Teboulle 2009) that
    begin anew when they overshoot (O'Donoghue & Candès 2015).
    """
    centre, scale, z, y, share = _prepared(x, y)
    penalty = jnp.full((z.shape[1], 1), l1).at[-1].set(0.0)

    def stretched(v: Array, _: None) -> tuple[Array, None]:
        v = z.T @ (share * (z @ v))
        return v / jnp.maximum(jnp.linalg.norm(v, axis=0), 1e-12), None

    start = jnp.ones((z.shape[1], y.shape[1]))
    top, _ = jax.lax.scan(stretched, start, None, 50)
    steepest = jnp.sum(top * (z.T @ (share * (z @ top))), 0) * jnp.where(logistic, 0.25, 1.0)
    step = 1 / jnp.maximum(1.05 * steepest, 1e-12)

    def descend(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        weights, ahead, pace = state
        out = z @ ahead
        slope = z.T @ (share * (jnp.where(logistic, jax.nn.sigmoid(out), out) - y))
        moved = ahead - step * slope
        moved = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - step * penalty, 0.0)
        back = jnp.sum((ahead - moved) * (moved - weights), 0) > 0
        pace = jnp.where(back, 1.0, pace)
        faster = (1 + jnp.sqrt(1 + 4 * pace**2)) / 2
        return (moved, moved + jnp.where(back, 0.0, (pace - 1) / faster) * (moved - weights), faster), None

    nothing = jnp.zeros_like(start)
    (weights, _, _), _ = jax.lax.scan(descend, (nothing, nothing, jnp.ones(y.shape[1])), None, STEPS)
    return Probe(centre, scale, weights[:-1], weights[-1])


def predict(probe: Probe, x: Float[Array, "n units"]) -> Float[Array, "n features"]:
    """The readout: a number for ridge, a log-odds for logistic."""
    return ((x - probe.centre) * probe.scale) @ probe.weights + probe.intercept


def auc(out: Float[Array, "n"], y: Float[Array, "n"]) -> Float[Array, ""]:
    """Area under the ROC curve: the chance that a positive is ranked above a negative, ties counting half.

    Rows whose label is NaN are left out; NaN if a class is empty.
    """
    valid = ~jnp.isnan(y)
    positive, negative = valid & (y > 0.5), valid & (y <= 0.5)
    ranked = jnp.sort(jnp.where(negative, out, jnp.inf))
    below = jnp.searchsorted(ranked, out, side="left"), jnp.searchsorted(ranked, out, side="right")
    wins = jnp.sum(jnp.where(positive, 0.5 * (below[0] + below[1]), 0.0))
    pairs = jnp.sum(positive) * jnp.sum(negative)
    return jnp.where(pairs > 0, wins / jnp.maximum(pairs, 1), jnp.nan)


def r2(out: Float[Array, "n"], y: Float[Array, "n"]) -> Float[Array, ""]:
    """Share of the variance that is predicted; can be negative. Rows whose label is NaN are left out."""
    valid = ~jnp.isnan(y)
    count = jnp.maximum(jnp.sum(valid), 1)
    truth = jnp.where(valid, y, 0.0)
    spread = jnp.sum(jnp.where(valid, (truth - jnp.sum(truth) / count) ** 2, 0.0))
    error = jnp.sum(jnp.where(valid, (truth - out) ** 2, 0.0))
    return jnp.where(spread > 0, 1 - error / jnp.where(spread > 0, spread, 1), jnp.nan)


def judged(
    out: Float[Array, "n features"], y: Float[Array, "n features"], binary: Bool[Array, "features"]
) -> Float[Array, "features"]:
    """How good readouts are: AUC of a binary feature, R² of a continuous one."""
    return jnp.where(binary, jax.vmap(auc, 1)(out, y), jax.vmap(r2, 1)(out, y))


def macro_f1(out: Float[Array, "n classes"], y: Float[Array, "n classes"]) -> Float[Array, ""]:
    """Of one readout for each class, the highest of which is believed: the mean of every class's F1.

    Args:
        y: 1 in the column of the class, 0 elsewhere. A class that is neither there nor believed in is left out.
    """
    believed = jax.nn.one_hot(jnp.argmax(out, 1), y.shape[1])
    right, both = jnp.sum(believed * y, 0), jnp.sum(believed, 0) + jnp.sum(y, 0)
    seen = both > 0
    return jnp.sum(jnp.where(seen, 2 * right / jnp.where(seen, both, 1), 0.0)) / jnp.maximum(jnp.sum(seen), 1)


BLOCKS = 8  # of test layouts, for intervals


def judged_in_blocks(
    out: Float[Array, "n features"], y: Float[Array, "n features"], binary: Bool[Array, "features"]
) -> Float[Array, "features blocks"]:
    """The same in equal blocks of rows, which tell how sure it is. NaN in a block with an empty class."""
    rows = len(out) // BLOCKS
    out, y = (x[: BLOCKS * rows].reshape(BLOCKS, rows, -1) for x in (out, y))
    return jax.vmap(judged, (0, 0, None), 1)(out, y, binary)


def score(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    binary: Bool[Array, "features"],
    logistic: Array,
    l2: float,
) -> Float[Array, "features"]:
    """Fits on the first half of the rows, scores on the second: AUC of a binary feature, R² of a continuous one."""
    half = len(x) // 2
    return judged(predict(fit(x[:half], y[:half], logistic, l2), x[half:]), y[half:], binary)
