"""Statistics over training seeds: pure functions on arrays.

The unit is the training seed; states and episodes only sharpen a seed's value.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A mean and its confidence limits; arrays of one shape."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def t_interval(values: ArrayLike, axis: int = -1, level: float = 0.95) -> Interval:
    """The mean over an axis and its two-sided Student t interval; NaN counts as not measured.

    With few seeds this covers close to its level where a percentile bootstrap falls short: the bootstrap of 5 means
    covers about 83 % at a nominal 95 %. Exact for normal values.

    Source: Student (1908), "The probable error of a mean".

    Args:
        values: at least one axis.
        axis: the axis of the seeds.
        level: between 0 and 1.

    Returns:
        Mean, low and high without that axis. The mean of nothing is NaN; so are the limits for fewer than two values.

    >>> [round(float(x), 3) for x in t_interval([1.0, 2.0, 3.0, 4.0])]
    [2.5, 0.446, 4.554]
    >>> t_interval([[7.0, np.nan], [1.0, 3.0]]).mean.tolist()
    [7.0, 2.0]
    >>> t_interval([[7.0, np.nan], [1.0, 3.0]]).low.round(2).tolist()
    [nan, -10.71]
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a number between 0 and 1")
    array = np.asarray(values, np.float64)
    known = ~np.isnan(array)
    count = known.sum(axis, keepdims=True)
    mean = np.where(known, array, 0.0).sum(axis, keepdims=True) / np.where(count > 0, count, np.nan)
    squares = (np.where(known, array - mean, 0.0) ** 2).sum(axis, keepdims=True)
    degrees = np.where(count > 1, count - 1, np.nan)
    half = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(squares / degrees / np.where(count > 0, count, np.nan))
    return Interval(*(np.squeeze(x, axis) for x in (mean, mean - half, mean + half)))


def smallest_paired_p(seeds: int) -> float:
    """The smallest two-sided p value that an exact paired permutation test over that many seeds can give.

    There are 2^seeds ways to exchange the sides, and the observed one and its mirror image are two of them: with fewer
    than six seeds no result, however clear, reaches p < 0.05.

    Source: Fisher (1935), "The design of experiments", section 21.

    >>> smallest_paired_p(4), smallest_paired_p(6)
    (0.125, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - seeds))
