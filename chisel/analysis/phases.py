"""What each factor of a factorial does, and how much it matters: effects, interactions, Sobol shares, Shapley effects.

A factor is such as a phase of training, its levels the signals that the phase may have; every combination of levels is
a cell, and every cell is trained with the same seeds. An outcome is the sum of what every set S of factors adds to the
mean,

    y(x) = mean + Σ over sets S of f_S(x_i, i ∈ S),    f_S averaging to 0 over each of its factors

and the sets' parts are uncorrelated over the cells, so that each explains V_S = mean of f_S² of the variance between
cells. With two levels, coded −1 and +1, f_S = β_S Π_{i ∈ S} x_i and V_S = β_S².

Sources: Sobol 1993; Owen 2014 (for independent factors a set's variance is shared equally among its members). Intervals
of shares are in `intervals`; those of effects are `t_interval` of `statistics` over the axis of the seeds.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chisel.analysis.missing import measured

Numbers = NDArray[np.float64]


class Shares(NamedTuple):
    """What each factor explains of the variance between cells; [factors, …] of whatever was measured.

    Fields:
        main: V of the factor alone.
        total: V of all sets that it is in.
        shapley: each such set's V, shared equally among its members; they add up to the variance between cells.
        variance: between cells. Divide by it for shares.
    """

    main: Numbers
    total: Numbers
    shapley: Numbers
    variance: Numbers


def subsets(factors: int) -> list[tuple[int, ...]]:
    """The sets of one factor or more, small ones first.

    >>> subsets(2)
    [(0,), (1,), (0, 1)]
    """
    return [s for size in range(1, factors + 1) for s in combinations(range(factors), size)]


def _checked(y: ArrayLike, factors: int, two: bool = False) -> Numbers:
    array = measured(y)
    levels = array.shape[:factors]
    if array.ndim <= factors or min(levels, default=0) < 2 or (two and max(levels) > 2):
        raise ValueError(
            f"shape {array.shape}: expected {factors} axes of two levels{'' if two else ' or more'} and then seeds"
        )
    return array


def contrasts(y: ArrayLike, factors: int) -> Numbers:
    """y in coordinates that do not overlap: along each factor's axis the mean, and then what its levels add to it.

    The squares of an entry that is at 0 along all factors but those of S are a part of V_S. These are Helmert's
    contrasts (of each level with the mean of those before it), scaled so that they square up to the variance.

    Args:
        y: [levels of the first factor, …, levels of the last, seeds, …].

    Returns:
        Of the shape of y; NaN in a seed of which a cell is.

    Raises:
        ValueError: there are not that many axes of two levels or more, and one of seeds.

    >>> contrasts([[1.0], [3.0]], 1).tolist()
    [[2.0], [1.0]]
    """
    array = _checked(y, factors)
    for axis in range(factors):
        levels = array.shape[axis]
        row = np.arange(levels)[:, None]
        along = np.where(np.arange(levels) < row, -1.0, np.where(np.arange(levels) == row, row, 0.0))
        along[0] = 1.0
        along /= np.sqrt((along**2).mean(1, keepdims=True)) * levels
        array = np.moveaxis(np.tensordot(along, array, (1, axis)), 0, axis)
    return array


def weights(levels: tuple[int, ...]) -> Shares:
    """How much of the square of every entry of `contrasts` each share holds: [factors, entries], entries in C order.

    >>> weights((2, 2)).shapley.tolist()
    [[0.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.5]]
    """
    inside = np.indices(levels).reshape(len(levels), -1) > 0
    size = inside.sum(0)
    return Shares(
        main=(inside & (size == 1)).astype(np.float64),
        total=inside.astype(np.float64),
        shapley=inside / np.maximum(size, 1),
        variance=(size > 0).astype(np.float64),
    )


def coefficients(y: ArrayLike, factors: int) -> Numbers:
    """β of every set of two-level factors, for each seed: half of how much y changes from one level to the other.

    The second level counts as +1: a β above 0 says that y is higher there. `main_effects` and `interactions` count the
    first as +1.

    Args:
        y: [2, 2, …, 2, seeds, …]: one axis for each factor, low level first.

    Returns:
        [sets, seeds, …], in the order of `subsets`.

    Raises:
        ValueError: an axis of a factor does not have two levels.
    """
    every = contrasts(_checked(y, factors, two=True), factors)
    return np.stack([every[tuple(int(i in chosen) for i in range(factors))] for chosen in subsets(factors)])


def shares(y: ArrayLike, factors: int) -> Shares:
    """What factors explain, over seeds: V_S is the mean square of the mean f_S less its mean squared standard error.

    Without that, noise would pass for interaction: there are more interactions than factors. A V may so come out
    below 0 where there is nothing. The seeds of all cells are the same ones, so that what a seed adds to all of them
    is no error of an effect.

    Args:
        y: [levels of the first factor, …, levels of the last, seeds, …]. A seed of which a cell is NaN is left out of
            that measure; with fewer than two left, its shares are NaN.

    Raises:
        ValueError: fewer than two seeds, or not that many factors of two levels or more.

    >>> level = np.array([-1.0, 1.0])
    >>> y = (3 * level[:, None, None] + level[None, :, None] + np.array([[[-0.1, 0.1]]]))
    >>> np.round(shares(y, 2).shapley, 3).tolist()
    [9.0, 1.0]
    """
    every = contrasts(y, factors)
    seeds = every.shape[factors]
    if seeds < 2:
        raise ValueError(f"{seeds} seed: what noise explains cannot be told with fewer than two")
    every = every.reshape(-1, seeds, *every.shape[factors + 1 :])  # [entries, seeds, …]
    count = (~np.isnan(every)).sum(1)
    whole = np.where(count > 1, count, np.nan)
    mean = np.nansum(every, 1) / whole
    noise = np.nansum((every - mean[:, None]) ** 2, 1) / (whole - 1) / whole
    return Shares(*(np.tensordot(w, mean**2 - noise, 1) for w in weights(np.shape(y)[:factors])))


def main_effects(y: ArrayLike, factors: int) -> list[Numbers]:
    """Of every factor, for each seed: the mean outcome at its first level less that at each other level.

    Above 0 says that y is higher at the first level. With two levels this is −2 β of `coefficients`.

    Args:
        y: as `shares` takes it.

    Returns:
        One array for each factor: [its levels − 1, seeds, …].

    Raises:
        ValueError: not that many factors of two levels or more.

    >>> [effect.tolist() for effect in main_effects([[[5.0], [3.0], [1.0]], [[4.0], [2.0], [0.0]]], 2)]
    [[[1.0]], [[2.0], [4.0]]]
    """
    array = _checked(y, factors)
    found = []
    for i in range(factors):
        of_level = array.mean(tuple(j for j in range(factors) if j != i))
        found.append(of_level[:1] - of_level[1:])
    return found


def interactions(y: ArrayLike, factors: int) -> Numbers:
    """Of every set of two or more two-level factors, for each seed: how much they do together beyond what fewer do.

    The first level counts as +1. Scaled like `main_effects`: of a pair, half of the difference between what the one
    does at the other's first level and what it does at its second. This is 2 β, with the sign turned for odd sets.

    Args:
        y: as `coefficients` takes it.

    Returns:
        [sets, seeds, …], in the order of `subsets`, singletons left out.

    Raises:
        ValueError: an axis of a factor does not have two levels.

    >>> interactions([[[7.0], [1.0]], [[2.0], [0.0]]], 2).tolist()  # ((7 − 2) − (1 − 0)) / 2
    [[2.0]]
    """
    sign = np.array([(-1.0) ** len(s) for s in subsets(factors)])[factors:]
    found = 2 * coefficients(y, factors)[factors:]
    return sign.reshape(-1, *[1] * (found.ndim - 1)) * found


def order_effects(y: ArrayLike, factors: int) -> Numbers:
    """Of every pair i < j, for each seed: y with the first level at i and the second at j, less y with them exchanged.

    Where the factors are phases with the same levels, this is what the order of two signals changes; averaged over the
    levels of the other factors. 0 for a learner that only adds up, wherever each signal adds the same in both phases.

    Args:
        y: as `shares` takes it; the first two levels of every factor must mean the same.

    Returns:
        [pairs, seeds, …], in the order (0, 1), (0, 2), …, (1, 2), …

    Raises:
        ValueError: not that many factors of two levels or more.

    >>> order_effects([[[7.0], [1.0]], [[2.0], [0.0]]], 2).tolist()
    [[-1.0]]
    """
    array = _checked(y, factors)
    found = [np.empty((0, *array.shape[factors:]))]
    for i, j in combinations(range(factors), 2):
        of_pair = array.mean(tuple(k for k in range(factors) if k not in (i, j)))
        found.append((of_pair[0, 1] - of_pair[1, 0])[None])
    return np.concatenate(found)
