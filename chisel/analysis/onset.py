"""When a reading rises for good, and how long it lasts when what fed it has gone."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def onset(above: ArrayLike, at: ArrayLike) -> NDArray[np.float64]:
    """The first checkpoint from which something holds until the end of training; NaN where it does not hold there.

    Args:
        above: [..., checkpoints] whether a reading is above its null.
        at: [checkpoints] steps or updates.

    Raises:
        ValueError: fewer than two checkpoints, of which the first is before training: nothing can begin between them.

    >>> onset([[False, True, False, True, True], [True, True, True, True, False]], [0, 10, 20, 40, 80]).tolist()
    [40.0, nan]
    """
    holds, when = np.asarray(above, bool), np.asarray(at, np.float64)
    if len(when) < 2:
        raise ValueError(f"{len(when)} checkpoint: an onset needs two or more")
    lasting = np.flip(np.cumprod(np.flip(holds, -1), axis=-1), -1).astype(bool)
    return np.where(lasting.any(-1), when[np.argmax(lasting, -1)], np.nan)


def half_life(values: ArrayLike, at: ArrayLike, since: float) -> NDArray[np.float64]:
    """How long it takes until a reading has fallen to half of what it was; straight lines between checkpoints.

    Args:
        values: [..., checkpoints].
        at: [checkpoints] steps or updates, rising.
        since: when that which fed the reading was taken away; a checkpoint.

    Returns:
        In the unit of `at`; infinite where it has not fallen so far by the end, NaN where there was nothing to fall
        (the reading was not above 0).

    Raises:
        ValueError: there is no checkpoint at `since`.

    >>> half_life([[4.0, 4.0, 3.0, 1.0], [1.0, 4.0, 3.0, 2.5], [0.0, -1.0, 0.0, 0.0]], [0, 10, 20, 30], 10).tolist()
    [15.0, inf, nan]
    """
    readings, when = np.asarray(values, np.float64), np.asarray(at, np.float64)
    if since not in when:
        raise ValueError(
            f"since={since}: there is no checkpoint there; the nearest is {when[np.abs(when - since).argmin()]:g}"
        )
    first = int(np.flatnonzero(when == since)[0])
    readings, when = readings[..., first:], when[first:]
    half = readings[..., :1] / 2
    below = readings <= half
    hit = np.argmax(below, -1)
    before = np.maximum(hit - 1, 0)

    def pick(i: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.take_along_axis(readings, i[..., None], -1)[..., 0]

    fall = pick(before) - pick(hit)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (pick(before) - half[..., 0]) / fall
        reached = when[before] + part * (when[hit] - when[before]) - since
    found = np.where(below.any(-1), reached, np.inf)
    return np.where(readings[..., 0] > 0, found, np.nan)
