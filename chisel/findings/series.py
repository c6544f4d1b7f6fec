"""What charts show, taken from datasets: names, colours, and numbers in the shape that is drawn."""

import json
from collections.abc import Iterable
from string import ascii_uppercase
from typing import Any

import numpy as np
import xarray as xr

from chisel.analysis.episodes import pooled
from chisel.analysis.statistics import t_interval
from chisel.study.terms import APPROACH, SHAPE

# Okabe & Ito's colours, told apart by colour-blind readers, without the yellow, which fades on white; then dark ones.
GOAL_COLOURS = (
    "#0072B2",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F6A00",
    "#6B7280",
    "#111827",
    "#9D174D",
    "#3F6212",
)
TRUE_COLOURS = ("#1F2937", "#64748B")
PROXY_COLOURS = ("#B0257B", "#7C4DBC", "#2E8B9A", "#A3761B", "#8C564B", "#3B82C4", "#5B8C2A", "#E0607E")
BINS = 60


def listed(data: xr.Dataset, name: str) -> list[Any]:
    """A list among a dataset's attributes, where it is kept as JSON."""
    return list(json.loads(data.attrs.get(name, "[]")))


def labels(data: xr.Dataset) -> dict[str, str]:
    """What each schedule is called in the axes of small charts: A, B, …"""
    names = [str(s) for s in data.schedule.values]
    return {n: ascii_uppercase[i] if i < len(ascii_uppercase) else str(i + 1) for i, n in enumerate(names)}


def goal_colours(readings: xr.Dataset) -> dict[str, str]:
    """A colour for every goal, by its place in the world's list."""
    return _cycle([str(g) for g in readings.goal.values] if "goal" in readings.dims else [], GOAL_COLOURS)


def channel_colours(training: xr.Dataset) -> dict[str, str]:
    """A colour for all that is paid for or meant: true channels dark, proxies and potentials coloured."""
    true, proxies = listed(training, "true_channels"), listed(training, "proxy_channels")
    others = dict.fromkeys([*proxies, *(c for c in paid_for(weights(training)) if c not in true)])
    return _cycle(true, TRUE_COLOURS) | _cycle(others, PROXY_COLOURS)


def goal_values(readings: xr.Dataset, reading: str) -> xr.DataArray:
    """A reading as one number per goal: (schedule, seed, checkpoint, goal).

    `bid` as it is; `total_effect` of each goal's own object on its own bid; `choice` as its mean over rivals.
    """
    if reading == "bid":
        return readings["bid"]
    if reading == "total_effect":
        own = xr.DataArray(readings.goal.values, dims="goal")
        return readings["total_effect"].sel(edit=own, goal=own).drop_vars("edit")
    dims = ("schedule", "seed", "checkpoint", "goal")
    mean = t_interval(readings[reading].transpose(*dims, "rival").values).mean
    return xr.DataArray(mean, dims=dims, coords={d: readings[d].values for d in dims})


def finite(values: xr.DataArray) -> bool:
    """Whether there is anything to draw."""
    return bool(np.isfinite(values.values).any())


def step_edges(training: xr.Dataset) -> np.ndarray:
    """Environment steps of a member before the first update of a dataset, and after each: int64 [updates + 1].

    The first is not 0 in a fork, which goes on from another run.
    """
    steps = training["steps"].values.astype(np.int64)
    batch = steps[0] // (int(training["update"].values[0]) + 1)
    return np.concatenate([[steps[0] - batch], steps])


def batch_of(training: xr.Dataset) -> int:
    """Environment steps of an update."""
    before, after = step_edges(training)[:2]
    return int(after - before)


def binned(training: xr.Dataset) -> tuple[xr.DataArray, np.ndarray]:
    """Mean returns of all episodes in stretches of equal length, at most `BINS`, and the middles of the stretches."""
    totals, updates = training["total"].transpose(..., "update"), training.sizes["update"]
    episodes = training["episodes"].broadcast_like(totals).transpose(*totals.dims).values
    parts = np.array_split(np.arange(updates), min(BINS, updates))
    each = [pooled(totals.values[..., p], episodes[..., p]) for p in parts]
    dims = [d for d in totals.dims if d != "update"]
    steps = step_edges(training)
    middles = np.array([(steps[p[0]] + steps[p[-1] + 1]) / 2 for p in parts])
    coords = {str(d): totals[d].values for d in dims}
    return xr.DataArray(np.stack(each, -1), dims=(*dims, "bin"), coords=coords), middles


def weights(training: xr.Dataset) -> xr.DataArray:
    """Weights of channels, and of potentials as a study file names them: (schedule, seed, update, channel)."""
    dims = ("schedule", "seed", "update", "channel")
    parts = [training["weight"].transpose(*dims)]
    for name, prefix in (("shape_weight", SHAPE), ("approach_weight", APPROACH)):
        if name in training:
            guide = training[name].rename(potential="channel").transpose(*dims)
            parts.append(guide.assign_coords(channel=[f"{prefix}{p}" for p in training.potential.values]))
    return xr.concat(parts, "channel", coords="minimal", compat="override", join="outer")


def paid_for(weights: xr.DataArray) -> list[str]:
    """The channels that weigh anything anywhere."""
    known = np.nan_to_num(weights.transpose(..., "channel").values)
    return [str(c) for c in weights.channel.values[(known != 0).any(axis=tuple(range(known.ndim - 1)))]]


def stretches(training: xr.Dataset, values: np.ndarray, most: int = 150) -> list[tuple[int, float]]:
    """Where a number changes, and to what; thinned out where it changes at every update.

    NaN is where the member had been halted. The last entry is the end of training.
    """
    starts = step_edges(training)
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    changes = [0, *(np.flatnonzero(~same) + 1)]
    kept = sorted({*changes[:: -(-len(changes) // most)], changes[-1]})
    return [*((int(starts[i]), float(values[i])) for i in kept), (int(starts[-1]), float(values[-1]))]


def by_clock(training: xr.Dataset) -> bool:
    """Whether all phases ended where the study says, and not where a criterion was met."""
    clock = training.get("schedule_update", training["update"])
    return bool(((clock == training["update"]) | (clock < 0)).all())


def _cycle(names: Iterable[str], colours: tuple[str, ...]) -> dict[str, str]:
    return {name: colours[i % len(colours)] for i, name in enumerate(names)}
