"""Percentiles of what was drawn again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def limits_of_draws(drawn: NDArray[Any], level: float) -> NDArray[np.float64]:
    """Low and high percentiles [2, …] of draws [draws, …], which may be infinite, as half-lives are.

    >>> limits_of_draws(np.array([1.0, 2.0, np.inf, np.inf]), 0.5).tolist()
    [1.75, inf]
    """
    ends = [(1 - level) / 2, (1 + level) / 2]
    with np.errstate(invalid="ignore"):
        found = np.quantile(drawn, ends, axis=0)
    if np.isinf(drawn).any():  # between infinite numbers, NumPy finds NaN
        found = np.where(np.isnan(found), np.quantile(drawn, ends, axis=0, method="nearest"), found)
    return np.asarray(found, np.float64)
