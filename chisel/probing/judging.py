"""How good readouts are: areas under the ROC curve, shares of the variance, macro F1."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

PLACES = 46_341  # rows at most whose ordered pairs a whole number of 32 bits counts


def auc(out: Float[Array, "*features n"], y: Float[Array, "*features n"]) -> Float[Array, "*features"]:
    """Area under the ROC curve: the chance that a positive is ranked above a negative, ties counting half.

    Rows whose label is NaN are left out; NaN if a class is empty, or a readout is NaN, which has no rank. Readouts that
    differ in the last bit only are a tie.
    """
    positive, negative = y > 0.5, y <= 0.5
    # Whole numbers in the order of the floats (IEEE 754), which XLA sorts five times as fast on CPU. The last bit says
    # which are positive, so that these come last among equals.
    bits = jax.lax.bitcast_convert_type(out + 0.0, jnp.int32)
    order = (bits ^ ((bits >> 31) & jnp.iinfo(jnp.int32).max)) & ~1
    ranked = jnp.sort(jnp.where(positive | negative, order | positive, jnp.iinfo(jnp.int32).max), axis=-1)
    positives, negatives = jnp.sum(positive, -1), jnp.sum(negative, -1)
    place = jnp.arange(out.shape[-1])
    known = place < (positives + negatives)[..., None]
    last, value = known & (ranked & 1 == 1), ranked | 1

    def counted() -> Array:
        """How often a positive is above a negative: for every positive, the negatives up to it and below it."""
        missed = (known & ~last).astype(jnp.int32)
        up_to = jnp.cumsum(missed, -1)
        fresh = jnp.concatenate([jnp.ones_like(known[..., :1]), value[..., 1:] != value[..., :-1]], -1)
        below = jax.lax.cummax(jnp.where(fresh, up_to - missed, 0), axis=out.ndim - 1)
        return jnp.sum(jnp.where(last, (up_to + below) / 2, 0.0), -1)

    def placed() -> Array:
        """The same where no three readouts are equal, as is the rule, in two thirds of the time: from the places of the
        positives, which count the positives before them, too, and the negatives that they tie with."""
        ties = jnp.sum(known[..., 1:] & (ranked[..., 1:] == ranked[..., :-1] + 1) & last[..., 1:], -1)
        return jnp.sum(jnp.where(last, place, 0), -1) - positives * (positives - 1) // 2 - ties / 2

    if out.shape[-1] > PLACES:
        wins = counted()
    else:
        three = jnp.any(known[..., 2:] & (value[..., 2:] == value[..., :-2]))
        wins = jax.lax.cond(three, counted, placed)
    pairs = positives.astype(jnp.float32) * negatives
    ranks = ~jnp.any(jnp.isnan(out) & (positive | negative), -1)
    return jnp.where((pairs > 0) & ranks, wins / jnp.maximum(pairs, 1), jnp.nan)


def r2(out: Float[Array, " n"], y: Float[Array, " n"]) -> Float[Array, ""]:
    """Share of the variance that is predicted; can be negative. Rows whose label is NaN are left out."""
    valid = ~jnp.isnan(y)
    count = jnp.maximum(jnp.sum(valid), 1)
    truth = jnp.where(valid, y, 0.0)
    spread = jnp.sum(jnp.where(valid, (truth - jnp.sum(truth) / count) ** 2, 0.0))
    error = jnp.sum(jnp.where(valid, (truth - out) ** 2, 0.0))
    return jnp.where(spread > 0, 1 - error / jnp.where(spread > 0, spread, 1), jnp.nan)


def judged(
    out: Float[Array, "n features"], y: Float[Array, "n features"], binary: Bool[Array, " features"]
) -> Float[Array, " features"]:
    """How good readouts are: AUC of a binary feature, R² of a continuous one."""
    return jnp.where(binary, auc(out.T, y.T), jax.vmap(r2, 1)(out, y))


def macro_f1(out: Float[Array, "n classes"], y: Float[Array, "n classes"]) -> Float[Array, ""]:
    """Of one readout for each class, the highest of which is believed: the mean of every class's F1.

    Args:
        y: 1 in the column of the class, 0 elsewhere; rows of NaN are left out. So is a class that is neither there nor
            believed in.

    Returns:
        NaN if a readout is NaN.
    """
    known = ~jnp.isnan(y)
    believed, y = jax.nn.one_hot(jnp.argmax(out, 1), y.shape[1]) * known, jnp.where(known, y, 0.0)
    right, both = jnp.sum(believed * y, 0), jnp.sum(believed, 0) + jnp.sum(y, 0)
    seen = both > 0
    found = jnp.sum(jnp.where(seen, 2 * right / jnp.where(seen, both, 1), 0.0)) / jnp.maximum(jnp.sum(seen), 1)
    return jnp.where(jnp.any(jnp.isnan(out) & known), jnp.nan, found)


BLOCKS = 8  # of test layouts, for intervals


def judged_in_blocks(
    out: Float[Array, "n features"], y: Float[Array, "n features"], binary: Bool[Array, " features"]
) -> Float[Array, "features blocks"]:
    """The same in equal blocks of rows, which tell how sure it is. NaN in a block with an empty class."""
    rows = len(out) // BLOCKS
    out, y = (x[: BLOCKS * rows].reshape(BLOCKS, rows, -1) for x in (out, y))
    return jax.vmap(judged, (0, 0, None), 1)(out, y, binary)
