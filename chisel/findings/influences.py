"""Decision-influences in words: which of them each schedule grew, and which came and went."""

import json
from typing import NamedTuple

import numpy as np
import xarray as xr

from chisel.analysis.bounded import mean_interval
from chisel.analysis.statistics import Interval


class Influence(NamedTuple):
    """A feature that moves decisions under a schedule, or moved them.

    Fields:
        seeds: in how many seeds the verdict holds at the last checkpoint, at some layer.
        onset: mean steps, over those seeds, from which it held until the end. Where there is no such seed, over those
            in `lost`: from which it held longest.
        lost: in how many seeds it held before, at one checkpoint or more, and holds no more.
        offset: mean steps, over those in `lost`, from which it held no more; NaN without any.
        strength: effect at the last checkpoint, over all seeds; in nats, or units of return for action values.
    """

    schedule: str
    feature: str
    goal: str
    seeds: int
    onset: float
    lost: int
    offset: float
    strength: Interval
    values: np.ndarray  # of which strength is the mean: the effect in each seed


def influences(readings: xr.Dataset) -> list[Influence]:
    """What each schedule grew, the surest and strongest first, then what came and went. Empty where verdicts were not
    read.
    """
    if "verdict" not in readings:
        return []
    at_some = readings["verdict"].any("layer")
    last, ever = at_some.isel(checkpoint=-1), at_some.any("checkpoint")
    effect = readings["effect"].isel(checkpoint=-1)
    if "verdict_offset" not in readings:  # read by an earlier chisel
        readings = readings.assign(verdict_offset=readings["verdict_onset"] * np.nan)
    found = []
    for schedule in readings.schedule.values:
        grew = ever.sel(schedule=schedule).any("seed").transpose("feature", "goal").values
        for feature, goal in zip(*np.nonzero(grew), strict=True):
            names = {"feature": readings.feature.values[feature], "goal": readings.goal.values[goal]}
            own = {"schedule": schedule, **names}
            holds, held = last.sel(own).values, ever.sel(own).values
            lost = held & ~holds
            begins, ends = (readings[f"verdict_{end}"].sel(own).values for end in ("onset", "offset"))
            values = effect.sel(own).values
            found.append(
                Influence(
                    schedule=str(schedule),
                    feature=str(names["feature"]),
                    goal=str(names["goal"]),
                    seeds=int(holds.sum()),
                    onset=float(begins[holds if holds.any() else lost].mean()),
                    lost=int(lost.sum()),
                    offset=float(ends[lost].mean()) if lost.any() else np.nan,
                    strength=mean_interval(values),
                    values=values,
                )
            )
    order = {str(s): i for i, s in enumerate(readings.schedule.values)}
    return sorted(found, key=lambda x: (order[x.schedule], -x.seeds, -x.lost, -abs(float(x.strength.mean))))


def until(row: Influence) -> str:
    """Whether it lasted, in a few words: `the end`, `40,000` (gone in all), `the end; 40,000 in 1` (gone in 1)."""
    if not row.lost:
        return "the end"
    if np.isnan(row.offset):
        return "?"
    return f"{row.offset:,.0f}" if not row.seeds else f"the end; {row.offset:,.0f} in {row.lost}"


def why_none(readings: xr.Dataset) -> str | None:
    """Why there is no verdict to tell of; None where nobody asked for one."""
    left_out = json.loads(readings.attrs.get("left_out", "{}"))
    for reading in ("score", "total_effect", "mediated"):
        if reading in left_out:
            return f"decision-influences are not measurable here: {left_out[reading]}"
    return "no feature is a decision-influence at any checkpoint" if "verdict" in readings else None
