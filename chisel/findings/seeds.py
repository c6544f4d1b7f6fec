"""What tables say of numbers that differ by seed: an interval or, where there are too few for one, the seeds."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from chisel.analysis.bounded import FEWEST, share_interval
from chisel.analysis.statistics import Interval

assert FEWEST == 3  # or there are other words to write below


def spread(values: ArrayLike, interval: Interval, form: Callable[[float], str]) -> str:
    """Of the values of seeds: the limits of their mean; the seeds themselves if they are two; nothing of one.

    Args:
        values: [seeds]; NaN is a seed in which nothing was measured.
        interval: of their mean.
        form: how a number is written.

    >>> from chisel.analysis.bounded import SHARE, mean_interval
    >>> for x in ([0.4], [0.4, 0.7], [0.4, 0.4, 0.4], [0.4, 0.7, 0.4]):
    ...     spread(x, mean_interval(x, SHARE), "{:.2f}".format)
    ''
    'two seeds: 0.40, 0.70'
    'all 3 seeds alike'
    '0.17 to 0.83'
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if len(known) == 2:
        return f"two seeds: {', '.join(map(form, known))}"
    if len(known) < 2:
        return ""
    if alike(known):
        return f"all {len(known)} seeds alike"
    return f"{form(float(interval.low))} to {form(float(interval.high))}"


def alike(values: ArrayLike) -> bool:
    """Whether all seeds that were measured have the same value."""
    known = np.asarray(values, np.float64)
    return all(a == b for a, b in pairwise(known[np.isfinite(known)]))


def held(count: int, of: int) -> str:
    """In how many seeds something holds, and in what share of all seeds it then does.

    >>> held(4, 4), held(1, 6)
    ('4 of 4 seeds (95 % interval 40 to 100 %)', '1 of 6 seeds (95 % interval 0 to 64 %)')
    """
    return f"{count} of {of} seed{'' if of == 1 else 's'} (95 % interval {share_limits(count, of)})"


def share_limits(count: int, of: int) -> str:
    """The limits alone.

    >>> share_limits(3, 4)
    '19 to 99 %'
    """
    low, high = share_interval(count, of)
    return f"{100 * low:.0f} to {100 * high:.0f} %"
