"""Controls of a probe: what it would find anyway, and how hard it has to work.

*Control tasks* (Hewitt & Liang 2019): each type of input gets a label of its own by chance, the same wherever the type
recurs. A probe that scores high on that has the capacity to learn anything, and its score on a feature says little.

*Description length* (Voita & Titov 2020): how many bits it takes to tell somebody the labels who knows the activations,
if both fit the same probe on what was told so far. It still differs where scores are all close to 1.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chisel.probing import linear

CUTS = 5  # through the inputs, which sort them into 2^CUTS types for a control task
MIDDLE = 0.4, 0.6  # of the inputs, the shares that the first and the last cut leave on one side
SHARES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # of the rows that were told when a probe is fitted again
SMALL = 4  # of these blocks, the first ones, share a program
PRECISION = 0.01  # to which numbers are told, in standard deviations


def types(key: Array, observations: Float[Array, "n inputs"]) -> Int[Array, " n"]:
    """Sorts inputs into types that recur: by the sides on which they lie of a few cuts across random directions.

    Each cut leaves another share of inputs on its sides, all near a half, so that inputs of one dimension fall into
    several types, too. The types are numbered from the most frequent one on.
    """
    size = jnp.max(jnp.abs(observations), 0)
    shrunk = observations / jnp.where(size > 0, size, 1.0)
    spread = jnp.std(shrunk, 0)
    varies = spread > linear.CONSTANT
    scaled = (shrunk - jnp.mean(shrunk, 0)) * jnp.where(varies, 1 / jnp.where(varies, spread, 1.0), 0.0)
    along = scaled @ jax.random.normal(key, (observations.shape[1], CUTS))
    places = jnp.diagonal(jnp.quantile(along, jnp.linspace(*MIDDLE, CUTS), axis=0))
    kinds = (along > places).astype(int) @ (2 ** jnp.arange(CUTS))
    counts = jnp.bincount(kinds, length=2**CUTS)
    return jnp.argsort(jnp.argsort(-counts))[kinds]


def control_labels(
    key: Array, kinds: Int[Array, " n"], y: Float[Array, "n features"], binary: Bool[Array, " features"]
) -> Float[Array, "n features"]:
    """A label by chance for each type of input: 1 as often as the feature is, or a number; NaN where the feature is.

    Args:
        kinds: what `types` says.
    """
    numbers = jax.random.normal(key, (2**CUTS, y.shape[1]))
    share = jnp.nanmean(jnp.where(binary, y, 0.0), 0)
    often = jax.scipy.stats.norm.ppf(jnp.clip(share, 0.02, 0.98))
    chance = jnp.where(binary, (numbers < often).astype(jnp.float32), numbers)
    # A class must not be empty, or there would be nothing to score: then the second most frequent type is of it.
    there = jnp.zeros((2**CUTS, 1), bool).at[kinds].set(True)
    ones, zeros = (jnp.any(there & (chance == value), 0) for value in (1, 0))
    second = jnp.where(binary & ~(ones & zeros), zeros.astype(jnp.float32), chance[1])
    labels = chance.at[1].set(second)[kinds]
    return jnp.where(jnp.isnan(y), jnp.nan, labels)


def description_length(
    x: Float[Array, "n units"],
    y: Float[Array, "n features"],
    logistic: Bool[Array, " features"],
    l2: float | Array,
    standardise: bool = True,
) -> Float[Array, " features"]:
    """The online code of labels, in bits for each: Σ −log₂ p of each block under a probe fitted on the blocks before.

    The first block is told without a probe: 1 bit for a class, a normal code for a number. Numbers are standardised and
    told to a hundredth of their standard deviation, with the spread of errors that the block before had. Labels that
    are NaN are not told. Rows are told in an order drawn once for all: sorted by label they would cost more than they
    say.
    """
    order = jax.random.permutation(jax.random.key(0xDE5C), len(x))  # told in order of label they would cost far more
    x, y = x[order], y[order]
    edges = [min(max(2, round(share * len(x))), len(x)) for share in SHARES]
    known = ~jnp.isnan(y)
    count = jnp.maximum(jnp.sum(known, 0), 1)
    mean = jnp.sum(jnp.where(known, y, 0.0), 0) / count
    spread = jnp.sqrt(jnp.sum(jnp.where(known, (y - mean) ** 2, 0.0), 0) / count)
    told = jnp.where(logistic, y, (y - mean) / jnp.where(spread > 0, spread, 1.0))

    def within(variance: Array, edge: tuple[Array, Array]) -> tuple[Array, Array]:
        row, few = jnp.arange(edges[SMALL]), slice(edges[SMALL])
        out = linear.predict(linear.fit(x[few], told[few], logistic, l2, row < edge[0], standardise), x[few])
        fresh = jnp.where(((row >= edge[0]) & (row < edge[1]))[:, None], told[few], jnp.nan)
        return _spread(out, fresh, variance), _bits(out, fresh, logistic, variance)

    first = _bits(jnp.zeros_like(told[: edges[0]]), told[: edges[0]], logistic, jnp.ones(y.shape[1]))
    # One program fits the probes of all small blocks, passing over the rows that are yet to come; the others are cut.
    small = jnp.array(edges[:SMALL]), jnp.array(edges[1 : SMALL + 1])
    variance, bits = jax.lax.scan(within, jnp.ones(y.shape[1]), small)
    total = first + jnp.sum(bits, 0)
    for start, end in pairwise(edges[SMALL:]):
        probe = linear.fit(x[:start], told[:start], logistic, l2, standardise=standardise)
        out, fresh = linear.predict(probe, x[start:end]), told[start:end]
        total += _bits(out, fresh, logistic, variance)
        variance = _spread(out, fresh, variance)
    return jnp.where(jnp.any(known, 0), total / count, jnp.nan)


def _spread(out: Array, fresh: Array, before: Array) -> Array:
    """The mean squared error of readouts of a block, at least `PRECISION`²; as before where it has no label."""
    rows = ~jnp.isnan(fresh)
    errors = jnp.sum(jnp.where(rows, (fresh - out) ** 2, 0.0), 0) / jnp.maximum(jnp.sum(rows, 0), 1)
    return jnp.where(jnp.any(rows, 0), jnp.maximum(errors, PRECISION**2), before)


def _bits(out: Array, y: Array, logistic: Array, variance: Array) -> Array:
    """What a block of labels costs, given the readouts."""
    likely = jnp.where(y > 0.5, jax.nn.log_sigmoid(out), jax.nn.log_sigmoid(-out))
    normal = -0.5 * ((y - out) ** 2 / variance + jnp.log(2 * jnp.pi * variance)) + jnp.log(PRECISION)
    bits = -jnp.where(logistic, likely, normal) / jnp.log(2.0)
    return jnp.sum(jnp.where(jnp.isnan(y), 0.0, bits), 0)
