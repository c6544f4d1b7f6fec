"""Means per episode over several updates."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chisel.analysis.missing import measured


def pooled(means: ArrayLike, episodes: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """The mean over all episodes of several updates, from the mean of each update and how many episodes it is of.

    The plain mean of means would count the one episode of one update as much as the hundred of another; and where long
    episodes are scarce in some updates, it favours the short ones.

    Args:
        means: any shape; NaN where there was no episode.
        episodes: how many, of a shape that broadcasts to that of `means`.
        axis: of the updates.

    Returns:
        Without that axis; NaN where there was no episode at all.

    >>> float(pooled([0.5, 0.0, np.nan], [2, 8, 0]))
    0.1
    """
    values, counts = np.broadcast_arrays(measured(means), measured(episodes))
    known = ~np.isnan(values) & (counts > 0)
    total = np.where(known, counts, 0.0).sum(axis)
    return np.where(known, values * counts, 0.0).sum(axis) / np.where(total > 0, total, np.nan)
