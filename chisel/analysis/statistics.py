"""Statistics over training seeds: pure functions on arrays.

The unit is the training seed; states and episodes only sharpen a seed's value. NaN is a run that was not measured; what
that means is one rule for all, in `missing`.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

from chisel.analysis.missing import check_level, measured, without_missing
from chisel.analysis.percentiles import limits_of_draws

ROUNDING = 1e-12  # relative; numbers that are no farther apart count as equal


class Interval(NamedTuple):
    """A mean and its confidence limits; arrays of one shape."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Equivalence(NamedTuple):
    """Whether differences are too small to matter; arrays of one shape.

    Fields:
        p: of the hypothesis that the mean difference is as large as the margin or larger, to either side.
        low, high: of the interval that must lie within the margins.
        equivalent: whether it does.
    """

    p: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    equivalent: NDArray[np.bool_]


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
    check_level(level)
    mean, error, degrees = _mean_and_error(measured(values), axis)
    half = stdtrit(degrees, 0.5 + level / 2) * error
    return Interval(mean, mean - half, mean + half)


def _mean_and_error(array: NDArray[np.float64], axis: int) -> tuple[NDArray[np.float64], ...]:
    """The mean of what is known, its standard error, and the degrees of freedom of that; NaN for too few."""
    known = ~np.isnan(array)
    count = known.sum(axis, keepdims=True)
    mean = np.where(known, array, 0.0).sum(axis, keepdims=True) / np.where(count > 0, count, np.nan)
    squares = (np.where(known, array - mean, 0.0) ** 2).sum(axis, keepdims=True)
    degrees = np.where(count > 1, count - 1, np.nan)
    error = np.sqrt(squares / degrees / np.where(count > 0, count, np.nan))
    return tuple(np.squeeze(x, axis) for x in (mean, error, degrees))


def smallest_paired_p(seeds: int) -> float:
    """The smallest two-sided p value that an exact paired permutation test over that many seeds can give.

    There are 2^seeds ways to exchange the sides, and the observed one and its mirror image are two of them: with fewer
    than six seeds no result, however clear, reaches p < 0.05.

    Source: Fisher (1935), "The design of experiments", section 21.

    >>> smallest_paired_p(4), smallest_paired_p(6)
    (0.125, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - seeds))


def signs(pairs: int, draws: int = 20_000, seed: int = 0) -> NDArray[np.int64]:
    """Ways to exchange the sides of pairs: [ways, pairs] of −1 and +1, among them to leave all as they are.

    All of them for up to 14 pairs; random ones for more.

    >>> signs(2).tolist()
    [[1, 1], [-1, 1], [1, -1], [-1, -1]]
    """
    if pairs <= 14:
        return 1 - 2 * (np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1)
    drawn = np.random.default_rng(seed).choice([-1, 1], (draws, pairs))
    return np.concatenate([np.ones((1, pairs), drawn.dtype), drawn])


def paired_permutation(differences: ArrayLike, draws: int = 20_000, seed: int = 0) -> float:
    """The two-sided p value of paired differences having no side: every sign may as well be the other.

    Exact for up to 14 pairs; by random signs for more.

    Source: Fisher (1935), "The design of experiments", section 21.

    Args:
        differences: [pairs], such as one for each seed between two schedules; NaN counts as no pair.

    Returns:
        NaN where no pair was measured.

    Raises:
        ValueError: no pair is given, differences are infinite, or they are not [pairs].

    >>> paired_permutation([1.0, 2.0, 0.5, 1.5, np.nan, 1.0, 3.0])
    0.03125
    """
    values = measured(differences)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"differences: expected [pairs], one or more, found the shape {values.shape}")
    values = values[~np.isnan(values)]
    if np.isinf(values).any():
        raise ValueError(f"differences: expected finite numbers, found {int(np.isinf(values).sum())} infinite ones")
    if not len(values):
        return float("nan")
    values = values / (np.abs(values).max() or 1.0)  # so that no sum overflows
    return float(np.mean(np.abs(signs(len(values), draws, seed) @ values) >= abs(values.sum()) * (1 - 1e-12)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p values of several tests, adjusted so that the chance of one false finding among all is held.

    It asks nothing of how the tests hang together; where they do, `max_t` of `resampling` finds more.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    Args:
        p: [tests]; NaN is a test that was not made, stays NaN and does not count.

    Raises:
        ValueError: p values are outside 0 and 1, or not [tests].

    >>> holm([0.01, 0.04, 0.03, np.nan]).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    found = measured(p).copy()
    if found.ndim != 1 or ((found < 0) | (found > 1)).any():
        raise ValueError(f"p: expected [tests] p values from 0 to 1, found {np.array2string(found, threshold=8)}")
    made = np.flatnonzero(~np.isnan(found))
    order = made[np.argsort(found[made], kind="stable")]
    found[order] = np.minimum(np.maximum.accumulate(found[order] * np.arange(len(order), 0, -1)), 1.0)
    return found


def equivalence(differences: ArrayLike, margin: float, level: float = 0.05) -> Equivalence:
    """Whether paired differences are smaller than what would matter: two one-sided t tests.

    A difference that is not significant is not thereby absent: few seeds see little. A null result needs a margin, set
    before looking, below which a difference would not matter; then it can be shown, as any other.

    Source: Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach".

    Args:
        differences: [pairs, …], two pairs or more; NaN counts as no pair.
        margin: above 0, in the unit of the differences.
        level: of each of the two tests, and of both together. Equivalent means that the interval of level 1 − 2 × level
            lies within the margins.

    Returns:
        With fewer than two pairs measured p and limits are NaN, and nothing is equivalent.

    Raises:
        ValueError: a margin that is not above 0, a level outside (0, 0.5), or fewer than two pairs.

    >>> found = equivalence([0.1, -0.2, 0.0, 0.1, np.nan], margin=0.5)
    >>> bool(found.equivalent), float(found.p.round(4)), float(found.low.round(3)), float(found.high.round(3))
    (True, 0.0029, -0.166, 0.166)
    """
    values = measured(differences)
    if not margin > 0 or not 0 < level < 0.5:
        raise ValueError(f"margin={margin}, level={level}: expected a margin above 0 and a level between 0 and 0.5")
    if len(values) < 2:
        raise ValueError(f"{len(values)} pair: how far differences scatter cannot be told with fewer than two")
    mean, error, degrees = _mean_and_error(values, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (margin - np.abs(mean)) / error
        # What is right on the margin, but for rounding, is not within it, even without scatter (0 / 0).
        on = np.abs(np.abs(mean) - margin) <= ROUNDING * margin
        p = np.where(on & (error <= ROUNDING * margin), 1.0, stdtr(degrees, -t))
        half = stdtrit(degrees, 1 - level) * error
        return Equivalence(p, mean - half, mean + half, p < level)


def detectable(seeds: int, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest true difference that a two-sided paired t test over that many seeds finds as often as `power` says.

    Source: Cohen (1988), "Statistical power analysis for the behavioral sciences", section 2.2; by the noncentral t.

    Args:
        power: between `level` and 1.

    Returns:
        In standard deviations of the paired differences; infinite for one seed, which cannot tell at all.

    Raises:
        ValueError: not 0 < level < power < 1.

    >>> [round(detectable(n), 2) for n in (1, 4, 6, 10, 20)]
    [inf, 2.13, 1.43, 1.0, 0.66]
    """
    if not 0 < level < power < 1:
        raise ValueError(f"level={level}, power={power}: expected 0 < level < power < 1")
    if seeds < 2:
        return float("inf")
    degrees = seeds - 1
    limit = stdtrit(degrees, 1 - level / 2)

    def short(noncentrality: float) -> float:
        # The lower tail is asked for mirrored: as cdf(−limit) scipy gives NaN where it is tiny.
        found = nct.sf(limit, degrees, noncentrality) + nct.sf(limit, degrees, -noncentrality)
        return float(found) - power

    top = limit
    while short(top) < 0:
        top *= 2
    return float(brentq(short, 1e-6, top) / np.sqrt(seeds))


def iqm(values: ArrayLike, axis: int | tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """The interquartile mean: of the middle half of the values. A quarter is cut off on each side, rounded down.

    Source: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice"; the same as
    `aggregate_iqm` of their package `rliable`.

    Args:
        values: NaN counts as not measured; of nothing measured it is NaN.
        axis: one or several; all by default.

    >>> float(iqm([0.0, 1.0, 2.0, 100.0])), float(iqm([1.0, 2.0, 3.0, np.nan]))
    (1.5, 2.0)
    """
    array = measured(values)
    axes = tuple(range(array.ndim)) if axis is None else axis if isinstance(axis, tuple) else (int(axis),)
    moved = np.moveaxis(array, axes, range(-len(axes), 0))
    flat = np.sort(moved.reshape(*moved.shape[: array.ndim - len(axes)], -1), -1)  # NaN comes last
    count = (~np.isnan(flat)).sum(-1, keepdims=True)
    cut, at = count // 4, np.arange(flat.shape[-1])
    middle = np.where((at >= cut) & (at < count - cut), flat, 0.0).sum(-1, keepdims=True)
    return np.squeeze(middle / np.where(count > 0, count - 2 * cut, np.nan), -1)


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """How likely a run of ours is better than one of theirs, in the mean over tasks; draws count half.

    Source: Agarwal et al. (2021), as `probability_of_improvement` of `rliable`; Mann & Whitney (1947).

    Args:
        ours, theirs: [runs, tasks]; the numbers of runs may differ, and NaN counts as not measured. A task that one
            side has no run of is left out; without any task the result is NaN. Or [runs], of one task.

    Raises:
        ValueError: the tasks of both sides are not the same number.

    >>> probability_of_improvement([[1.0], [2.0], [np.nan]], [[1.0], [0.0]])
    0.875
    """
    mine, others = measured(ours), measured(theirs)
    if mine.ndim not in (1, 2) or mine.shape[1:] != others.shape[1:]:
        raise ValueError(f"expected [runs, tasks] of the same tasks, found the shapes {mine.shape} and {others.shape}")
    mine, others = mine[:, None], others[None]
    known = ~np.isnan(mine) & ~np.isnan(others)
    better = np.where(known, (mine > others) + 0.5 * (mine == others), 0.0).sum((0, 1))
    count = known.sum((0, 1))
    return float(np.mean(better[count > 0] / count[count > 0])) if count.any() else float("nan")


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., ArrayLike],
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    vectorised: bool = False,
) -> Interval:
    """A statistic of runs × tasks and its percentile interval, runs drawn again within each task (stratified).

    With few runs it covers less than it says (`t_interval`). The same as `get_interval_estimates` of `rliable`.

    Args:
        values: [runs, tasks], or [runs] of one task; NaN counts as not measured. A task is drawn from the runs that it
            has, as many as it has.
        statistic: of such an array; if vectorised, of [draws, runs, tasks], with one result for each draw. The limits
            are the same; `iqm` of 16 × 10 values takes a tenth of the time. A vectorised statistic with a parameter
            `axis`, as `iqm` and `np.mean` have, is called with axis=(1, 2). Where tasks differ in how many runs were
            measured, it is given NaN for those they lack.

    Returns:
        Limits are NaN where no task has two runs.

    Raises:
        ValueError: values have other dimensions, there is no draw, or a level outside (0, 1).

    >>> found = bootstrap_interval([[0.0], [1.0], [2.0], [3.0]], iqm, draws=500, vectorised=True)
    >>> float(found.mean), float(found.low) < 1.5 < float(found.high)
    (1.5, True)
    """
    check_level(level)
    array = measured(values)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or draws < 1:
        found = f"found the shape {array.shape} and draws={draws}"
        raise ValueError(f"expected [runs, tasks], or [runs] of one task, and draws from 1 on, {found}")
    array = without_missing(array)
    array = np.take_along_axis(array, np.argsort(np.isnan(array), 0, kind="stable"), 0)  # what is known comes first
    count, columns = (~np.isnan(array)).sum(0), np.arange(array.shape[1])
    of_draws = _of_draws(statistic) if vectorised else lambda x: np.stack([np.asarray(statistic(one)) for one in x])
    if not len(array):
        array = np.full((1, array.shape[1]), np.nan)
    mean = np.asarray(of_draws(array[None]))[0]
    if not (count > 1).any():
        return Interval(mean, *np.full((2, *mean.shape), np.nan))
    rows = np.random.default_rng(seed).integers(0, np.maximum(count, 1), (draws, *array.shape))
    drawn = np.where(np.arange(len(array))[:, None] < count, array[rows, columns], np.nan)
    return Interval(mean, *limits_of_draws(np.asarray(of_draws(drawn)), level))


def _of_draws(statistic: Callable[..., ArrayLike]) -> Callable[..., Any]:
    """A statistic over all axes but the first, if it leaves the choice of axes to whoever calls."""
    try:
        axis = inspect.signature(statistic).parameters.get("axis")
    except ValueError:  # it does not say
        axis = None
    return (lambda x: statistic(x, axis=(1, 2))) if axis is not None and axis.default is None else statistic
