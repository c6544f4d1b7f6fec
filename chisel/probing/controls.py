"""Controls of a probe: what it would find anyway, and how hard it has to work.

*Control tasks* (Hewitt & Liang 2019): each type of input gets a label of its own by chance, the same wherever the type
recurs. A probe that scores high on that has the capacity to learn anything, and its score on a feature says little.

*Description length* (Voita & Titov 2020): how many bits it takes to tell somebody the labels who knows the activations,
if both fit the same probe on what was told so far. It still differs where scores are all close to 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chisel.probing import linear

CUTS = 5  # through the inputs, which sort them into 2^CUTS types for a control task
SHARES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # of the rows that were told when a probe is fitted again
PRECISION = 0.01  # to which numbers are told, in standard deviations


def types(key: Array, observations: Float[Array, "n inputs"]) -> Int[Array, " n"]:
    """Sorts inputs into types that recur: by the sides on which they lie of a few random cuts through their middle."""
    spread = jnp.std(observations, 0)
    scaled = (observations - jnp.mean(observations, 0)) / jnp.where(spread > 0, spread, 1.0)
    along = scaled @ jax.random.normal(key, (observations.shape[1], CUTS))
    return (along > jnp.median(along, 0)).astype(int) @ (2 ** jnp.arange(CUTS))


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
    # A class must not be empty, or there would be nothing to score.
    both = jnp.arange(2**CUTS)[:, None]
    labels = jnp.where(binary & (both < 2), both, chance)[kinds]
    return jnp.where(jnp.isnan(y), jnp.nan, labels)


def description_length(
    x: Float[Array, "n units"], y: Float[Array, "n features"], logistic: Bool[Array, " features"], l2: float
) -> Float[Array, " features"]:
    """The online code of labels, in bits for each: Σ −log₂ p of each block under a probe fitted on the blocks before.

    The first block is told without a probe: 1 bit for a class, a normal code for a number. Numbers are standardised and
    told to a hundredth of their standard deviation, with the spread of errors that the block before had. Labels that
    are NaN are not told.
    """
    edges = jnp.array([max(2, round(share * len(x))) for share in SHARES])
    known = ~jnp.isnan(y)
    count = jnp.maximum(jnp.sum(known, 0), 1)
    mean = jnp.sum(jnp.where(known, y, 0.0), 0) / count
    spread = jnp.sqrt(jnp.sum(jnp.where(known, (y - mean) ** 2, 0.0), 0) / count)
    told = jnp.where(logistic, y, (y - mean) / jnp.where(spread > 0, spread, 1.0))
    row = jnp.arange(len(x))

    # Rows that are yet to come are passed over, not cut off: one program fits the probes of all blocks.
    def block(variance: Array, edge: tuple[Array, Array]) -> tuple[Array, Array]:
        start, end = edge
        out = linear.predict(linear.fit(x, told, logistic, l2, row < start), x)
        fresh = jnp.where(((row >= start) & (row < end))[:, None], told, jnp.nan)
        rows = ~jnp.isnan(fresh)
        errors = jnp.sum(jnp.where(rows, (fresh - out) ** 2, 0.0), 0) / jnp.maximum(jnp.sum(rows, 0), 1)
        after = jnp.where(jnp.any(rows, 0), jnp.maximum(errors, PRECISION**2), variance)
        return after, _bits(out, fresh, logistic, variance)

    variance = jnp.ones(y.shape[1])
    first = _bits(jnp.zeros_like(told), jnp.where((row < edges[0])[:, None], told, jnp.nan), logistic, variance)
    _, bits = jax.lax.scan(block, variance, (edges[:-1], edges[1:]))
    return jnp.where(jnp.any(known, 0), (first + jnp.sum(bits, 0)) / count, jnp.nan)


def _bits(out: Array, y: Array, logistic: Array, variance: Array) -> Array:
    """What a block of labels costs, given the readouts."""
    likely = jnp.where(y > 0.5, jax.nn.log_sigmoid(out), jax.nn.log_sigmoid(-out))
    normal = -0.5 * ((y - out) ** 2 / variance + jnp.log(2 * jnp.pi * variance)) + jnp.log(PRECISION)
    bits = -jnp.where(logistic, likely, normal) / jnp.log(2.0)
    return jnp.sum(jnp.where(jnp.isnan(y), 0.0, bits), 0)
