"""Intervals over seeds of quantities that have a range: shares, AUCs, counts, returns below a ceiling.

An interval stays in the range because of how it is computed, and not because it was cut: the nearer the mean lies to an
end of the range, the less values can scatter there, and the interval takes that into account.

The method was chosen by simulation (tests/analysis/test_bounded.py has the table, decision 24 the reasons).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from chisel.analysis.missing import measured
from chisel.analysis.statistics import ROUNDING, Interval, t_interval

FEWEST = 3  # seeds, below which an interval is not given: with two, t is 12.7 standard errors


class Range(NamedTuple):
    """The least and the most that a quantity can be: numbers, or arrays that broadcast to the means."""

    low: ArrayLike = -np.inf
    high: ArrayLike = np.inf


ANY = Range()
SHARE = Range(0.0, 1.0)
COUNT = Range(0.0, np.inf)


def mean_interval(values: ArrayLike, within: Range = ANY, axis: int = -1, level: float = 0.95) -> Interval:
    """The mean over an axis and an interval that stays within the range of the values; NaN counts as not measured.

    Without a range it is the t interval. With one it is a score interval with the quantile of t: all μ for which

        (mean − μ)² ≤ t² V(μ) / n,    V(μ) = s² v(μ) / v(mean)

    where n and s² are the number and the variance of the values, and v(μ) = (μ − low) (high − μ), or the distance from
    the only end that there is. So the variance that was seen at the mean is carried to each μ by the mean–variance
    relation of shares (or, with one end, of counts).

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference", with the variance
    functions and the dispersion of quasi-likelihood: Wedderburn (1974); McCullagh & Nelder (1989), chapter 9.

    Args:
        values: at least one axis.
        within: the range of every value.
        axis: the axis of the seeds.
        level: between 0 and 1.

    Returns:
        Mean, low and high without that axis. Limits are NaN for fewer than `FEWEST` values, where an end of the range
        is NaN, and where a range is given and all values are equal but for rounding, which does not tell how others
        scatter. Where values differ and yet their mean is not inside the range, as a sample's may lie beyond a ceiling
        that holds in expectation, the t interval is cut instead: at the end of the range or at the mean, whichever lies
        farther out.

    Raises:
        ValueError: the range ends before it begins, or a level outside (0, 1).

    >>> [round(float(x), 3) for x in mean_interval([1.4, 0.5, 0.4, 0.2], COUNT)]
    [0.625, 0.176, 2.218]
    >>> [round(float(x), 3) for x in mean_interval([1.0, 0.97, 0.9, 0.99], SHARE)]
    [0.965, 0.813, 0.994]
    >>> mean_interval([0.0, 0.0, 0.0, 0.0], SHARE).high.round(2).tolist(), mean_interval([0.2, 0.4]).low.tolist()
    (nan, nan)
    """
    array = measured(values)
    mean, low, high = t_interval(array, axis, level)
    count = (~np.isnan(array)).sum(axis)
    few = count < FEWEST
    floor, top = (np.broadcast_to(end, mean.shape) for end in _ends(within))
    squared = (high - mean) ** 2  # t² s² / n
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ends = [
            (np.isinf(floor) & np.isinf(top), (low, high)),
            (np.isfinite(floor) & np.isfinite(top), _between(mean, squared, floor, top)),
            (np.isfinite(floor) & np.isinf(top), _above(mean, squared, floor)),
            (np.isinf(floor) & np.isfinite(top), tuple(-x for x in _above(-mean, squared, -top)[::-1])),
        ]
        found = [np.select([here for here, _ in ends], [limits[i] for _, limits in ends], np.nan) for i in (0, 1)]
        outside = (mean <= floor) | (mean >= top)
        low = np.where(outside, np.maximum(low, np.minimum(floor, mean)), found[0])
        high = np.where(outside, np.minimum(high, np.maximum(top, mean)), found[1])
        spread = _differ(array, axis)
    given = ~few & (spread | (np.isinf(floor) & np.isinf(top)))
    return Interval(mean, np.where(given, low, np.nan), np.where(given, high, np.nan))


def _ends(within: Range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = (np.asarray(end, np.float64) for end in within)
    if np.any(low > high):
        raise ValueError(f"within={within}: expected a range that begins before it ends")
    return low, high


def _differ(array: NDArray[np.float64], axis: int) -> NDArray[np.bool_]:
    """Whether values differ by more than rounding."""
    most, least = np.nanmax(array, axis, initial=-np.inf), np.nanmin(array, axis, initial=np.inf)
    return np.asarray(most - least > ROUNDING * np.maximum(np.abs(most), np.abs(least)))


def _between(
    mean: NDArray[np.float64], squared: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The solutions of (p − μ)² = k μ (1 − μ), of shares p of the way from low to high."""
    width = high - low
    p = (mean - low) / width
    k = squared / width**2 / (p * (1 - p))
    middle, half = (p + k / 2) / (1 + k), np.sqrt(k * p * (1 - p) + k**2 / 4) / (1 + k)
    return low + width * np.maximum(middle - half, 0), low + width * np.minimum(middle + half, 1)


def _above(
    mean: NDArray[np.float64], squared: NDArray[np.float64], low: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The solutions of (m − μ)² = k μ, of amounts m above low."""
    m = mean - low
    k = squared / m
    middle, half = m + k / 2, np.sqrt(k * m + k**2 / 4)
    return low + np.maximum(m**2 / (middle + half), 0), low + middle + half  # their product is m²


def difference_interval(differences: ArrayLike, within: Range = ANY, axis: int = -1, level: float = 0.95) -> Interval:
    """The mean over an axis of differences of two quantities of one range, and its interval: t, cut at the range.

    Differences are compared with 0, in the middle of their range, where the t interval is right and a test. What is cut
    off no difference can be, so that cutting changes nothing about how often the interval covers.

    Args:
        differences: at least one axis.
        within: the range of each of the two quantities; their difference lies within ± its width.
        axis, level: as `mean_interval` takes them.

    Returns:
        As `mean_interval`; differences that are all equal have an interval of no width.

    >>> [round(float(x), 2) for x in difference_interval([0.9, 0.5, 0.1], SHARE)]
    [0.5, -0.49, 1.0]
    """
    array = measured(differences)
    mean, low, high = t_interval(array, axis, level)
    low_end, high_end = _ends(within)
    width = high_end - low_end
    few = (~np.isnan(array)).sum(axis) < FEWEST
    low, high = np.maximum(low, np.minimum(-width, mean)), np.minimum(high, np.maximum(width, mean))
    return Interval(mean, np.where(few, np.nan, low), np.where(few, np.nan, high))


def share_interval(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """In what share of all seeds something holds that holds in `count` of `of` seeds: exact limits.

    Source: Clopper & Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial".

    Raises:
        ValueError: not 0 ≤ count ≤ of, or of nothing.

    >>> [round(x, 3) for x in share_interval(4, 4)], [round(x, 3) for x in share_interval(0, 4)]
    ([0.398, 1.0], [0.0, 0.602])
    """
    if not 0 <= count <= of or of < 1:
        raise ValueError(f"{count} of {of}: expected a count from 0 to a number of seeds above 0")
    found = binomtest(count, of).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)
