"""Verdicts: which features are decision-influences, held against matched nulls and corrected for all that is asked.

Westfall & Young 1993: every finding is measured in standard deviations of its own null draws, and compared with the
largest that the same draws give anywhere. So the chance of one false finding among all is held, and not of each, and
findings that hang together cost no more than one.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

LEVEL = 0.05  # of corrected p values


class Tested(NamedTuple):
    """Findings against their nulls; arrays of one shape.

    Fields:
        t: how many standard deviations of its null draws a finding lies from their mean.
        p: corrected over all findings; at least 1 / (draws + 1). 1 where there is nothing to test.
    """

    t: Float[Array, "*findings"]
    p: Float[Array, "*findings"]


def max_t(found: Float[Array, "*findings"], nulls: Float[Array, " draws *findings"], two_sided: bool = True) -> Tested:
    """Tests many findings at once against matched null draws of all of them.

    Args:
        nulls: row by row, what the same draw gives for every finding.
        two_sided: whether findings far below their nulls count.

    >>> import jax, numpy as np
    >>> nulls = jax.random.normal(jax.random.key(0), (99, 3))
    >>> np.round(np.asarray(max_t(jax.numpy.array([0.0, 9.0, jax.numpy.nan]), nulls).p, float), 2).tolist()
    [1.0, 0.01, 1.0]
    """
    draws = len(nulls)
    axes = tuple(range(1, nulls.ndim))
    centre, spread = jnp.mean(nulls, 0), jnp.std(nulls, 0)
    # The mean of equal float32 numbers need not be that number: what rounding spreads is no spread.
    usable = (spread > 1e-6 * jnp.max(jnp.abs(nulls), 0)) & jnp.isfinite(found) & jnp.isfinite(centre)

    def scaled(x: Array) -> Array:
        t = jnp.where(usable, (x - centre) / jnp.where(usable, spread, 1.0), 0.0)
        return jnp.abs(t) if two_sided else t

    worst = jnp.max(scaled(nulls), axes)  # [draws]
    p = (1 + jnp.sum(worst.reshape(-1, *[1] * found.ndim) >= scaled(found), 0)) / (draws + 1)
    t = jnp.where(usable, (found - centre) / jnp.where(usable, spread, 1.0), jnp.nan)
    return Tested(t, jnp.where(usable, p, 1.0))


def verdict(
    gain_low: Float[np.ndarray, "*lead layer feature"],
    effect: Float[np.ndarray, "*lead feature goal"],
    effect_null: Float[np.ndarray, "*lead feature goal"],
    effect_p: Float[np.ndarray, "*lead feature goal"],
    mediated_p: Float[np.ndarray, "*lead layer feature goal"],
    level: float = LEVEL,
) -> Bool[np.ndarray, "*lead layer feature goal"]:
    """Which features are decision-influences on which goals, at which layers, as one bank tells it.

    A feature is one if training added to what can be read of it in the layer (the interval of `gain` is above 0), if
    putting it in moves the bid for the goal more than chance does, if the move passes along what the layer holds of it
    and of what comes with it, to the same side, and more than along other directions of the layer, and if at least half
    of the absolute change over all bids, beyond what the edit does to bids wherever goals lie, falls on that goal.

    Args:
        gain_low: the lower limit of `gain`.
        effect_null: the mean effect on bids for goals as they lie in other layouts.
        effect_p, mediated_p: corrected over all that is asked, the latter one-sided.
    """
    change = np.abs(effect - effect_null)
    total = np.nansum(change, -1, keepdims=True)
    most = change >= 0.5 * np.where(total > 0, total, np.nan)
    with np.errstate(invalid="ignore"):
        moves = most & (effect_p <= level)
        return (gain_low > 0)[..., None] & moves[..., None, :, :] & (mediated_p <= level)
