"""Missing runs: the one rule that every statistic of this package follows.

A run that was not measured is NaN. Every statistic is what it would be if that run had never been asked for:

- Masked values are missing, too.
- A value alone is left out. A pair is left out with either side; a seed of a factorial with any of its cells, and only
  in the measures where it is missing.
- Where no run is left, the result is NaN. Where one is left, it has a mean and no interval: the limits are NaN.
- What is given for each run or test (contrasts, effects in each seed, adjusted p values) is NaN where it is missing.
- No run at all, an axis of length 0, is a mistake of whoever calls, and raises ValueError where a function says so.

tests/analysis/test_missing.py holds every public statistic to it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def measured(values: ArrayLike) -> NDArray[np.float64]:
    """Runs as numbers; NaN where they are masked, which NumPy would overlook.

    >>> measured(np.ma.masked_array([1, 2], [False, True])).tolist()
    [1.0, nan]
    """
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(np.ma.asarray(values, np.float64), np.nan)
    return np.asarray(values, np.float64)


def check_level(level: float) -> None:
    """Refuses a level that is no number between 0 and 1, such as 95."""
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a number between 0 and 1")


def without_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the runs, along the first axis, of which nothing was measured.

    >>> without_missing(np.array([[1.0, np.nan], [np.nan, np.nan]])).tolist()
    [[1.0, nan]]
    """
    return values[~np.isnan(values).reshape(len(values), -1).all(1)] if values.size else values


def alike(known: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Measures that lack the same runs, so that each group can be worked out at once.

    Args:
        known: [runs, measures].

    Yields:
        Which runs [runs] there are of which measures [measures].

    >>> [(r.tolist(), m.tolist()) for r, m in alike(np.array([[True, True, False], [True, True, True]]))]
    [([False, True], [False, False, True]), ([True, True], [True, True, False])]
    """
    patterns, which = np.unique(known.T, axis=0, return_inverse=True)
    for i, rows in enumerate(patterns):
        yield rows, which.reshape(-1) == i
