"""What readings can be: the ranges that intervals stay in."""

import json

import numpy as np
import xarray as xr

from chisel.analysis.bounded import ANY, SHARE, Range

_SHARES = ("choice", "neither")
_SCORES = ("score", "untrained_score", "shuffled_score", "observation_score")
_NOISE = ("noise", "event_noise", "corrected")  # what may turn a count into less than nothing


def of_channel(data: xr.Dataset, channel: str) -> Range:
    """What a channel can add up to in an episode, as its world states; anything, if it does not.

    Args:
        data: training or readings.
    """
    stated = json.loads(data.attrs.get("channel_ranges", "{}")).get(channel, (None, None))
    low, high = (np.nan if end is None else float(end) for end in stated)
    return Range(-np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high)


def of_return(readings: xr.Dataset, channel: str, ceiling: float | np.ndarray) -> Range:
    """What a mean return on levels can be: the range of the channel, and no more than the best return on these levels.

    Args:
        ceiling: NaN where it is not known.
    """
    low, high = of_channel(readings, channel)
    return Range(low, np.fmin(high, ceiling))


def of_reading(readings: xr.Dataset, reading: str, of: str = "") -> Range:
    """What a reading can be, or those of which it is a mean. Returns are of any levels, so that no ceiling is known."""
    if reading in _SHARES:
        return SHARE
    if reading == "returns":
        return of_channel(readings, of)
    if reading in _SCORES:  # AUC, or R²
        probe = readings["probe"] if "feature" not in readings["probe"].dims else readings["probe"].sel(feature=of)
        return SHARE if str(probe.values) == "logistic" else Range(-np.inf, 1.0)
    return ANY


def of_earned(own: xr.Dataset, channel: str, weights: np.ndarray) -> Range:
    """What can have been earned by a channel in all: from 0 up, or down, if it is a count, its weights have one sign,
    and nothing that may turn a reading round is done to it.

    Args:
        own: training of one schedule.
        weights: all that the channel weighed in it; NaN where nothing was in force.
    """
    low, high = of_channel(own, channel)
    if (low != 0 and high != 0) or any(
        name in own and bool((own[name].sel(channel=channel) > 0).any()) for name in _NOISE
    ):
        return ANY
    known = np.nan_to_num(weights) * (1 if low == 0 else -1)
    if (known >= 0).all():
        return Range(0.0, np.inf)
    return Range(-np.inf, 0.0) if (known <= 0).all() else ANY


def as_json(ranges: dict[str, tuple[float, float]]) -> str:
    """Ranges by name, as datasets keep them: None where there is no end.

    >>> as_json({"helped": (0.0, float("inf"))})
    '{"helped": [0.0, null]}'
    """
    return json.dumps({name: [None if np.isinf(end) else float(end) for end in ends] for name, ends in ranges.items()})
