"""Which agents end below random play, or below what they were before training: found in readings, and in words."""

import json
from typing import Any

import numpy as np
import xarray as xr

from chisel.analysis.baseline import below_before, below_random
from chisel.analysis.bounded import mean_interval
from chisel.analysis.statistics import Interval
from chisel.findings import levels, ranges, series
from chisel.findings.seeds import spread

RANDOM, UNTRAINED = "random play", "the untrained agents"
ATTRIBUTE = "below_baseline"  # of `training.nc` and `readings.nc`: what was found, as JSON


def random_return(readings: xr.Dataset, on: str, channel: str, what: str = "random_return") -> xr.DataArray | None:
    """The mean return of random play on levels, or its standard error: (schedule, checkpoint); None if not read."""
    return levels.known(readings, what, on, channel) if what in readings else None


def below(readings: xr.Dataset) -> list[dict[str, Any]]:
    """Every schedule whose agents' return of a true channel is lower in the end than that of a baseline on the same
    levels, beyond the interval of the difference.

    Returns:
        Of each the `schedule`, `channel`, `levels`, the baseline's name (`than`) and its `baseline` return; `mean`,
        `low` and `high` over seeds, None where there is no interval; and each of the `seeds`.
    """
    if "random_return" not in readings:
        return []
    found = []
    names = [levels.common(readings), *levels.others(readings)]
    for on in names:
        for channel in series.listed(readings, "true_channels"):
            own = readings["returns"].sel(levels=on, channel=channel).transpose("schedule", "checkpoint", "seed").values
            chance, error = (random_return(readings, on, channel, n) for n in ("random_return", "random_return_error"))
            assert chance is not None
            assert error is not None
            tops = levels.ceilings_of(readings, on, channel)
            for i, schedule in enumerate(readings.schedule.values):
                within = ranges.of_return(readings, channel, tops[i])
                last, first = own[i, -1], own[i, 0]
                random, e = float(chance[i, -1]), float(error[i, -1])
                once = e * np.sqrt(readings.attrs["random_plays"])  # of one play of the levels, as agents have
                mean, low, high = (float(x) for x in mean_interval(last, within))
                row = {"schedule": str(schedule), "channel": channel, "levels": on, "mean": mean}
                row |= {"low": low, "high": high, "seeds": [float(x) for x in last if x == x]}
                if below_random(last, random, e, once, within):
                    found.append(row | {"than": RANDOM, "baseline": random})
                if below_before(last, first, once, within):
                    found.append(row | {"than": UNTRAINED, "baseline": float(np.nanmean(first))})
    return [{k: None if v != v else v for k, v in row.items()} for row in found]


def listed(data: xr.Dataset) -> list[dict[str, Any]]:
    """What `below` found, as a dataset keeps it."""
    found: list[dict[str, Any]] = json.loads(data.attrs.get(ATTRIBUTE, "[]"))
    return found


def sentences(found: list[dict[str, Any]], on: str) -> list[str]:
    """What `below` found on these levels, a sentence for each schedule and channel.

    >>> row = {"schedule": "smiles", "channel": "helped", "levels": "study", "mean": 0.11, "low": 0.05, "high": 0.24}
    >>> row |= {"seeds": [0.1, 0.1, 0.13], "than": "random play", "baseline": 0.31}
    >>> sentences([row], "study")
    ['smiles ends below random play on helped: 0.11 (0.05 to 0.24); random play 0.31']
    """
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        if row["levels"] == on:
            grouped.setdefault((row["schedule"], row["channel"]), []).append(row)
    said = []
    for (schedule, channel), rows in grouped.items():
        first = rows[0]
        than = " and ".join(row["than"] for row in rows)
        baselines = ", ".join(f"{row['than']} {_number(row['baseline'])}" for row in rows)
        interval = Interval(*np.array([first[k] for k in Interval._fields], np.float64))
        seeds = spread(first["seeds"], interval, _number)
        value = _number(first["mean"]) + (f" ({seeds})" if seeds else "")
        said.append(f"{schedule} ends below {than} on {channel}: {value}; {baselines}")
    return said


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
