"""Decision-influences in words: which of them each schedule grew."""

import json
from typing import NamedTuple

import numpy as np
import xarray as xr

from chisel.analysis.statistics import Interval, t_interval


class Influence(NamedTuple):
    """A feature that moves decisions under a schedule.

    Fields:
        seeds: in how many seeds the verdict holds at the last checkpoint, at some layer.
        onset: mean steps, over those seeds, from which it held until the end.
        strength: effect at the last checkpoint, over all seeds; in nats, or units of return for action values.
    """

    schedule: str
    feature: str
    goal: str
    seeds: int
    onset: float
    strength: Interval


def influences(readings: xr.Dataset) -> list[Influence]:
    """What each schedule grew, the surest and strongest first. Empty where verdicts were not read."""
    if "verdict" not in readings:
        return []
    at_some = readings["verdict"].any("layer")
    last = at_some.isel(checkpoint=-1)
    effect = readings["effect"].isel(checkpoint=-1)
    found = []
    for schedule in readings.schedule.values:
        held = last.sel(schedule=schedule)  # seed, feature, goal
        counts = held.sum("seed")
        for feature, goal in zip(*np.nonzero(counts.transpose("feature", "goal").values), strict=True):
            names = {"feature": readings.feature.values[feature], "goal": readings.goal.values[goal]}
            here = held.sel(names).values
            begins = readings["verdict_onset"].sel(schedule=schedule, **names).values[here]
            strength = t_interval(effect.sel(schedule=schedule, **names).values)
            found.append(
                Influence(
                    str(schedule), str(names["feature"]), str(names["goal"]), int(here.sum()), begins.mean(), strength
                )
            )
    order = {str(s): i for i, s in enumerate(readings.schedule.values)}
    return sorted(found, key=lambda x: (order[x.schedule], -x.seeds, -abs(float(x.strength.mean))))


def why_none(readings: xr.Dataset) -> str:
    """Why there is no verdict to tell of."""
    left_out = json.loads(readings.attrs.get("left_out", "{}"))
    for reading in ("score", "total_effect", "mediated"):
        if reading in left_out:
            return f"decision-influences are not measurable here: {left_out[reading]}"
    if "verdict" not in readings:
        return "decision-influences were not asked for: a battery needs the readings score, total_effect and mediated"
    return "no feature is a decision-influence at the last checkpoint"
