"""What drawing seeds again, or exchanging sides, tells of many measures at once: pure functions on arrays.

Percentile intervals cover less than they say with few seeds; how much less, tests/analysis/test_coverage.py measures.
For the mean over seeds `t_interval` of `statistics` keeps its level.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chisel.analysis.missing import alike, check_level, measured, without_missing
from chisel.analysis.percentiles import limits_of_draws
from chisel.analysis.statistics import Interval, signs

BLOCK = 4_000_000  # numbers held at once: 32 MB


def bootstrap_means(values: ArrayLike, draws: int = 10_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Means over seeds and their percentile intervals, the same seeds drawn for all measures.

    Source: Efron (1979), "Bootstrap methods: another look at the jackknife"; percentiles as Efron (1981).

    Args:
        values: [seeds, …]; NaN counts as not measured. Of measures that lack the same seeds the same seeds are drawn.

    Returns:
        Limits are NaN for fewer than two seeds.

    Raises:
        ValueError: there is no seed, or a level outside (0, 1).

    >>> found = bootstrap_means([[0.0, 5.0], [1.0, np.nan], [2.0, np.nan], [3.0, np.nan]])
    >>> found.mean.tolist(), found.low.tolist(), found.high.tolist()
    ([1.5, 5.0], [0.5, nan], [2.5, nan])
    """
    check_level(level)
    array = measured(values)
    if not array.ndim or not len(array):
        raise ValueError("no seeds: expected one or more")
    flat = array.reshape(len(array), -1)
    found = np.full((3, flat.shape[1]), np.nan)
    for runs, measures in alike(~np.isnan(flat)):
        if runs.any():
            own = flat[np.ix_(runs, measures)]
            found[0, measures] = own.mean(0)
            if len(own) > 1:
                found[1:, measures] = _limits_of_means(own, draws, level, seed)
    return Interval(*found.reshape(3, *array.shape[1:]))


def _limits_of_means(flat: NDArray[np.float64], draws: int, level: float, seed: int) -> NDArray[np.float64]:
    """[low and high, measures] of values [seeds, measures] of which none is missing."""
    seeds = len(flat)
    counts = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    limits = np.empty((2, flat.shape[1]))
    step = max(1, BLOCK // draws)
    for at in range(0, flat.shape[1], step):
        every = counts @ flat[:, at : at + step]  # [draws, measures]
        limits[:, at : at + step] = limits_of_draws(every, level)
    return limits


def _means(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every draw the mean over seeds of their means over layouts; those that are not known left out."""
    for axis in (2, 1):
        known = ~np.isnan(drawn)
        drawn = np.where(known, drawn, 0.0).sum(axis) / np.where(known.any(axis), known.sum(axis), np.nan)
    return drawn


def hierarchical_bootstrap(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], ArrayLike] = _means,
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of seeds × layouts and its percentile interval: seeds drawn again, then layouts within each of them.

    Layouts of one seed are no more independent than one training run is of itself; to draw them as if they were seeds
    would make the interval far too narrow.

    Source: Davison & Hinkley (1997), "Bootstrap methods and their application", section 3.8; Saravanan, Berman & Sober
    (2020), "Application of the hierarchical bootstrap to multi-level data in neuroscience".

    Args:
        values: [seeds, layouts, …], the layouts drawn for each seed anew; NaN counts as not measured.
        statistic: of [draws, seeds, layouts, …], with one result for each draw; the mean over seeds unless told
            otherwise. Where seeds differ in how many layouts were measured, it is given NaN for those they lack.

    Returns:
        The statistic of the values as they are, and its limits; NaN for fewer than two seeds.

    >>> found = hierarchical_bootstrap([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> [float(x) for x in found]
    [1.5, 0.5, 2.5]
    """
    check_level(level)
    array = without_missing(measured(values))
    if array.ndim < 2:
        raise ValueError(f"expected [seeds, layouts, …], found the shape {array.shape}")
    if not len(array):
        array = np.full((1, *array.shape[1:]), np.nan)
    missing = np.isnan(array).reshape(*array.shape[:2], -1).all(-1)
    order = np.argsort(missing, 1, kind="stable").reshape(*missing.shape, *[1] * (array.ndim - 2))
    array = np.take_along_axis(array, order, 1)  # what is known comes first
    seeds, layouts = array.shape[:2]
    has = layouts - missing.sum(1)
    mean = np.asarray(statistic(array[None]))[0]
    if seeds < 2:
        return Interval(mean, *np.full((2, *mean.shape), np.nan))
    chance = np.random.default_rng(seed)
    step = max(1, BLOCK // array.size)
    found = []
    for at in range(0, draws, step):
        count = min(step, draws - at)
        rows = chance.integers(0, seeds, (count, seeds, 1))
        columns = chance.integers(0, has[rows], (count, seeds, layouts))
        drawn = array[rows, columns]
        drawn[np.arange(layouts) >= has[rows]] = np.nan
        found.append(np.asarray(statistic(drawn)))
    return Interval(mean, *limits_of_draws(np.concatenate(found), level))


def max_t(values: ArrayLike, draws: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Two-sided p values of the means of many paired differences, corrected for all of them together.

    A seed's sides are exchanged for all tests at once, so that tests that hang together cost no more than one. Every t
    is compared with the largest anywhere: the chance of one false finding among all is held. With fewer than six
    seeds nothing reaches 0.05 (`smallest_paired_p`).

    Source: Westfall & Young (1993), "Resampling-based multiple testing", single-step max T.

    Args:
        values: [seeds, …] differences, such as of every measure between two schedules; NaN counts as not measured.
        draws: random exchanges with more than 14 seeds; with fewer there are all of them.

    Returns:
        […] p values. 1 where all differences are 0, NaN where none was measured or one is infinite.

    Raises:
        ValueError: there is no seed.

    >>> clear, no_side = [1.0, 2.0, 0.5, 1.5, 1.0, 3.0], [1.0, -1.0, 2.0, -2.0, 0.0, 0.0]
    >>> max_t(np.transpose([clear, no_side, [np.nan] * 6])).tolist()
    [0.03125, 1.0, nan]
    """
    array = measured(values)
    if not len(array):
        raise ValueError("no seeds: expected one or more")
    array = without_missing(array)
    flat = array.reshape(len(array), int(np.prod(array.shape[1:])))
    missing = np.isnan(flat).all(0) | np.isinf(flat).any(0)
    flat = np.where(np.isnan(flat) | missing, 0.0, flat)  # 0 of either sign: whatever side it has, it adds nothing
    largest = np.abs(flat).max(0, initial=0.0)
    flat = flat / np.where(largest > 0, largest, 1.0)  # so that no square overflows, or is lost
    size = np.sqrt((flat**2).sum(0))
    usable = size > 0
    # |t| rises with |sum| / √(sum of squares), and signs leave the squares alone.
    scaled = flat[:, usable] / size[usable]
    ways = signs(len(array), draws, seed).astype(np.float64)
    worst = np.zeros(len(ways))
    step = max(1, BLOCK // len(ways))
    for at in range(0, scaled.shape[1], step):
        worst = np.maximum(worst, np.abs(ways @ scaled[:, at : at + step]).max(1))
    p = np.where(missing, np.nan, 1.0)
    below = np.searchsorted(np.sort(worst), np.abs(scaled.sum(0)) * (1 - 1e-12))
    p[usable] = (len(ways) - below) / len(ways)
    return p.reshape(array.shape[1:])
