"""Which levels a return is of, in words and numbers: what can be reached in them, and what is there how often."""

import json

import numpy as np
import xarray as xr

_TRAINED_ON = "levels of the study's own world_params, on which every schedule trains"


def common(readings: xr.Dataset) -> str:
    """The levels on which schedules are compared: the same for all."""
    return "study" if "study" in readings["levels"].values else "training"


def alike(readings: xr.Dataset) -> bool:
    """Whether all members train, at all checkpoints, on the levels on which they are compared."""
    if "level_param" not in readings:
        return True
    params = readings["level_param"]
    own, study = (params.sel(levels=name).values for name in ("training", common(readings)))
    return bool(np.array_equal(own, study, equal_nan=True))


def others(readings: xr.Dataset) -> list[str]:
    """All other levels: those of training only where they are others."""
    dropped = {common(readings), *(["training"] if alike(readings) else [])}
    return [str(name) for name in readings["levels"].values if name not in dropped]


def ceiling(readings: xr.Dataset, levels: str, channel: str) -> xr.DataArray:
    """The best reachable mean return, NaN where not known: (schedule, checkpoint), mean over seeds."""
    return known(readings, "ceiling", levels, channel)


def known(readings: xr.Dataset, what: str, levels: str, channel: str) -> xr.DataArray:
    """A fact of levels, such as their ceiling: (schedule, checkpoint), mean over seeds."""
    own = readings[what].sel(levels=levels, channel=channel, drop=True)
    if "seed" in own.dims:
        own = own.mean("seed")
    like = readings["returns"].isel(levels=0, channel=0, seed=0, drop=True).transpose("schedule", "checkpoint")
    return own.broadcast_like(like).transpose(*like.dims)


def described(readings: xr.Dataset, levels: str) -> str:
    """What these levels are, and which goals are not always there."""
    told = json.loads(readings.attrs.get("levels", "{}")).get(levels, f"{levels} levels")
    if levels == common(readings) and alike(readings):
        told = _TRAINED_ON
    rare = _rare(readings, levels)
    return f"{told}; of the goals are there: {', '.join(rare)}" if rare else told


def _rare(readings: xr.Dataset, levels: str) -> list[str]:
    """In what share of the levels of the last checkpoint goals are there that are not in all of them."""
    if "present" not in readings:
        return []
    shares = readings["present"].isel(checkpoint=-1).sel(levels=levels).mean("seed")
    found = []
    for goal in readings["goal"].values:
        low, high = (float(x) for x in (shares.sel(goal=goal).min(), shares.sel(goal=goal).max()))
        if low < 1:
            told = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}, by schedule"
            found.append(f"{goal} in {told}")
    return found


def ceilings_of(readings: xr.Dataset, levels: str, channel: str) -> np.ndarray:
    """The ceiling of every schedule at the last checkpoint; [schedule]."""
    found: np.ndarray = ceiling(readings, levels, channel).isel(checkpoint=-1).values
    return found
