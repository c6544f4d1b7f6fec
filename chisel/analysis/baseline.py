"""Whether agents end below a baseline: random play, or what they were before training."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from chisel.analysis.bounded import ANY, FEWEST, Range, difference_interval, mean_interval
from chisel.analysis.missing import check_level, measured
from chisel.analysis.statistics import ROUNDING


def below_random(
    returns: ArrayLike,
    random: float,
    error: float,
    spread: float,
    within: Range = ANY,
    level: float = 0.95,
) -> bool:
    """Whether the mean return over seeds is below that of random play, beyond the interval of the difference.

    The interval of the mean and that of random play are put together as Zou & Donner (2008) do with limits. Where the
    seeds do not tell how far they scatter, because they are one or two or all alike, each must be below random play by
    more than one evaluation of random play scatters.

    Args:
        returns: [seeds], each a mean over the same levels; NaN counts as not measured.
        random, error: the mean return of random play on these levels, and its standard error.
        spread: the standard deviation over chance of the mean of one play of these levels.
        within: what returns can be.

    >>> below_random([0.11, 0.08, 0.15, 0.10], 0.31, error=0.01, spread=0.03)
    True
    >>> below_random([0.11, 0.40, 0.05, 0.30], 0.31, error=0.01, spread=0.03)
    False
    >>> below_random([0.11], 0.31, error=0.01, spread=0.03), below_random([0.27, 0.28], 0.31, error=0.01, spread=0.03)
    (True, False)
    """
    check_level(level)
    known = measured(returns)
    known, z = known[~np.isnan(known)], float(ndtri(0.5 + level / 2))
    if not known.size or np.isnan(random):
        return False
    if len(known) < FEWEST or np.ptp(known) <= ROUNDING * np.abs(known).max():
        return bool((known < random - z * np.hypot(error, spread)).all())
    mean, _, high = mean_interval(known, within, level=level)
    return bool(mean + np.hypot(high - mean, z * error) < random)


def below_before(
    returns: ArrayLike, before: ArrayLike, spread: float, within: Range = ANY, level: float = 0.95
) -> bool:
    """Whether agents' mean return is below what it was before training, beyond the interval of the paired differences.

    Args:
        returns, before: [seeds], of the same agents; NaN counts as not measured.
        spread: as `below_random` takes it.
        within: what returns can be.

    >>> below_before([0.1, 0.2, 0.1, 0.2], [0.4, 0.5, 0.3, 0.6], spread=0.03)
    True
    >>> below_before([0.1, 0.6, 0.1, 0.9], [0.4, 0.5, 0.3, 0.6], spread=0.03)
    False
    """
    check_level(level)
    ours, first = measured(returns), measured(before)
    if ours.shape != first.shape:
        raise ValueError(f"expected returns of the same seeds, found the shapes {ours.shape} and {first.shape}")
    change = ours - first
    change = change[~np.isnan(change)]
    if not change.size:
        return False
    if len(change) < FEWEST or np.ptp(change) <= ROUNDING * np.abs(change).max():
        return bool((change < -float(ndtri(0.5 + level / 2)) * np.sqrt(2) * spread).all())
    return bool(difference_interval(change, within, level=level).high < 0)
