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

from chisel.probing.matrix import conjugate_gradients, near_inverse

# How many conjugate gradients each Newton step takes, of which there are as many at most: few while far off, more when
# near (Dembo, Eisenstat & Steihaug 1982). A quadratic loss keeps what it has from step to step.
CONJUGATE = (2, 3, 4, 5, 6, 8, 8, 8, 8, 8, 8, 8)
SETTLED = 0.01  # no further step after one that moved no readout by more: another would move it by less than 1e-4
# What p (1 − p) is taken for in the preconditioner: between that of a probe which is sure and of one which is not.
BEND = 0.1
NEAR = 12  # steps to its inverse, which need not be exact


class Probe(NamedTuple):
    """Readouts of several features from one array of activations: ŷ = ((x − centre) · scale) @ weights + intercept."""

    centre: Float[Array, "units"]
    scale: Float[Array, "units"]
    weights: Float[Array, "units features"]
    intercept: Float[Array, "features"]


def _prepared(x: Array, y: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Centre and scale of the columns; the same standardised; labels; each row's weight in the mean."""
    centre, scale = jnp.mean(x, 0), jnp.std(x, 0)
    scale = jnp.where(scale > 1e-6, 1 / jnp.where(scale > 1e-6, scale, 1), 0.0)
    rows = ~jnp.isnan(y)
    return centre, scale, (x - centre) * scale, jnp.where(rows, y, 0.0), rows / jnp.maximum(jnp.sum(rows, 0), 1)


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
    # Features in rows: of the two ways to lay out these products, which are long and thin, the faster by far on CPU.
    y, share, logistic, zt = y.T, share.T, logistic[:, None], z.T
    near = near_inverse(BEND * (zt @ z) / len(z) + (l2 + 1e-6) * jnp.eye(len(zt)), NEAR)

    # Weights and, last, the intercept: [features, units + 1].
    def outs(v: Array) -> Array:
        return v[:, :-1] @ zt + v[:, -1:]

    def slopes(rise: Array, at: Array) -> Array:
        """How the loss rises with weights and intercept where it rises so with the readouts."""
        return jnp.concatenate([rise @ z + l2 * at[:, :-1], jnp.sum(rise, 1, keepdims=True)], 1)

    def precondition(v: Array) -> Array:
        return jnp.concatenate([v[:, :-1] @ near, v[:, -1:] / BEND], 1)

    def told(out: Array) -> Array:
        return jnp.where(logistic, jax.nn.sigmoid(out), out)

    def newton(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        count, here, out, said, _ = state
        rise = slopes(share * (said - y), here)
        bend = share * jnp.where(logistic, said * (1 - said), 1.0)
        steps = jnp.array(CONJUGATE)[count]
        step = conjugate_gradients(lambda v: slopes(bend * outs(v), v), -rise, precondition, steps)
        move = outs(step)
        # Full steps can overshoot where classes are nearly separable: of it, a shorter one, or none, take the one after
        # which the loss is flattest. (Not the least loss: near the end float32 cannot tell losses apart.)
        flattest = jnp.abs(jnp.sum(rise * step, 1, keepdims=True))
        chosen: tuple[Array, ...] = (here, out, said)
        for size in (0.25, 1.0):
            there, ahead = here + size * step, out + size * move
            then = told(ahead)
            along = jnp.sum(share * (then - y) * move, 1) + l2 * jnp.sum(there[:, :-1] * step[:, :-1], 1)
            steep = jnp.abs(along)[:, None]
            better = steep <= flattest
            flattest = jnp.where(better, steep, flattest)
            chosen = tuple(jnp.where(better, new, old) for new, old in zip((there, ahead, then), chosen, strict=True))
        return count + 1, chosen[0], chosen[1], chosen[2], jnp.max(jnp.abs(chosen[1] - out))

    def unsettled(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[0] < len(CONJUGATE)) & (state[-1] > SETTLED)

    nothing = jnp.zeros_like(y)
    start = jnp.array(0), jnp.zeros((len(y), len(zt) + 1)), nothing, told(nothing), jnp.array(jnp.inf)
    weights = jax.lax.while_loop(unsettled, newton, start)[1]
    return Probe(centre, scale, weights[:, :-1].T, weights[:, -1])


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
    z = jnp.concatenate([z, jnp.ones((len(z), 1))], 1)
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


def auc(out: Float[Array, "*features n"], y: Float[Array, "*features n"]) -> Float[Array, "*features"]:
    """Area under the ROC curve: the chance that a positive is ranked above a negative, ties counting half.

    Rows whose label is NaN are left out; NaN if a class is empty. Readouts that differ in the last bit only are a tie.
    """
    positive, negative = y > 0.5, y <= 0.5
    # Whole numbers in the order of the floats (IEEE 754), which XLA sorts five times as fast on CPU. The last bit says
    # which are positive, so that these come last among equals.
    number = jax.lax.bitcast_convert_type(out + 0.0, jnp.int32)
    order = (number ^ ((number >> 31) & jnp.iinfo(jnp.int32).max)) & ~1
    ranked = jnp.sort(jnp.where(positive | negative, order | positive, jnp.iinfo(jnp.int32).max), axis=-1)
    count, pairs = jnp.sum(positive | negative, -1, keepdims=True), jnp.sum(positive, -1) * jnp.sum(negative, -1)
    known, last = jnp.arange(out.shape[-1]) < count, (ranked & 1) == 1
    missed = (known & ~last).astype(jnp.int32)
    up_to = jnp.cumsum(missed, -1)
    fresh = jnp.concatenate([jnp.ones_like(known[..., :1]), (ranked[..., 1:] | 1) != (ranked[..., :-1] | 1)], -1)
    below = jax.lax.cummax(jnp.where(fresh, up_to - missed, 0), axis=out.ndim - 1)
    wins = jnp.sum(jnp.where(known & last, up_to + below, 0), -1) / 2
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
    return jnp.where(binary, auc(out.T, y.T), jax.vmap(r2, 1)(out, y))


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
