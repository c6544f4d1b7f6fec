"""How much each factor of a two-level factorial matters: effects, Sobol shares and Shapley effects.

Every factor is at −1 or +1, such as a phase of training with a bad or a good signal. In coded levels an outcome is

    y(x) = Σ over sets S of factors of β_S Π_{i ∈ S} x_i

and the sets' parts are uncorrelated over the cells, so that each explains V_S = β_S² of the variance between cells.
Sources: Sobol 1993; Owen 2014 (for independent factors a set's variance is shared equally among its members).
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def coefficients(y: ArrayLike, factors: int) -> Numbers:
    """β of every set of factors, for each seed: half of how much y changes from one level to the other.

    Args:
        y: [2, 2, …, 2, seeds, …]: one axis for each factor, low level first.

    Returns:
        [sets, seeds, …], in the order of `subsets`.

    Raises:
        ValueError: an axis of a factor does not have two levels.
    """
    array = np.asarray(y, np.float64)
    if array.shape[:factors] != (2,) * factors:
        raise ValueError(f"shape {array.shape}: expected {factors} axes of two levels and then seeds")
    found = []
    for chosen in subsets(factors):
        sign = np.ones((2,) * factors)
        for i in chosen:
            sign = sign * np.array([-1.0, 1.0]).reshape([2 if axis == i else 1 for axis in range(factors)])
        found.append(np.tensordot(sign, array, factors) / 2**factors)
    return np.stack(found)


def shares(y: ArrayLike, factors: int) -> Shares:
    """What factors explain, over seeds: V_S is the squared mean of β_S less its squared standard error.

    Without that, noise would pass for interaction: there are more interactions than factors. A V may so come out
    below 0 where there is nothing.

    Args:
        y: as `coefficients` takes it.

    Raises:
        ValueError: fewer than two seeds.

    >>> level = np.array([-1.0, 1.0])
    >>> y = (3 * level[:, None, None] + level[None, :, None] + np.array([[[-0.1, 0.1]]]))
    >>> np.round(shares(y, 2).shapley, 3).tolist()
    [9.0, 1.0]
    """
    every = coefficients(y, factors)
    seeds = every.shape[1]
    if seeds < 2:
        raise ValueError(f"{seeds} seed: what noise explains cannot be told with fewer than two")
    explained = every.mean(1) ** 2 - every.var(1, ddof=1) / seeds  # [sets, …]
    sets = subsets(factors)

    sizes = np.array([[len(s) if i in s else np.inf for s in sets] for i in range(factors)])  # [factors, sets]
    return Shares(
        main=explained[:factors],
        total=np.tensordot(np.isfinite(sizes), explained, 1),
        shapley=np.tensordot(1 / sizes, explained, 1),
        variance=explained.sum(0),
    )
