"""Means over episodes, pooled from means over groups of them."""

import numpy as np
from jaxtyping import Float, Num


def pooled(
    means: Float[np.ndarray, "*lead groups"], counts: Num[np.ndarray, "*lead groups"]
) -> Float[np.ndarray, "*lead"]:
    """The mean over all episodes of several groups: each group's mean weighed by how many episodes it is of.

    A mean of means would count an episode of a small group for more than one of a large group; and since short episodes
    end in groups with many others, it would be biased by their length.

    Args:
        means: of each group; not read where its count is 0.
        counts: episodes of each group.

    Returns:
        NaN where there are no episodes at all.

    >>> float(pooled(np.array([1.0, 0.0, np.nan]), np.array([1, 3, 0])))
    0.25
    """
    total = np.sum(counts, axis=-1)
    sums = np.sum(np.where(counts > 0, means, 0.0) * counts, axis=-1)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)
