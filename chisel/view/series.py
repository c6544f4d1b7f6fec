"""What charts show, taken from datasets: names, colours, and numbers in the shape that is drawn."""

import json
from collections.abc import Iterable
from string import ascii_uppercase
from typing import Any

import numpy as np
import xarray as xr

from chisel.analysis.statistics import t_interval

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
    """A colour for all that is paid for or meant: true channels dark, proxies and shaping potentials coloured."""
    true, proxies = listed(training, "true_channels"), listed(training, "proxy_channels")
    paid = [str(c) for c in training.channel.values[(training.weight != 0).any(("schedule", "update")).values]]
    others = dict.fromkeys([*proxies, *(c for c in paid if c not in true), *potentials(training)])
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


def binned(training: xr.Dataset) -> tuple[xr.DataArray, np.ndarray]:
    """Returns averaged over stretches of equal length, at most `BINS`, and the middles of the stretches."""
    totals, updates = training["total"], training.sizes["update"]
    parts = np.array_split(np.arange(updates), min(BINS, updates))
    each = [t_interval(totals.isel(update=p).transpose(..., "update").values).mean for p in parts]
    dims = [d for d in totals.dims if d != "update"]
    steps = np.concatenate([[0], training["steps"].values])
    middles = np.array([(steps[p[0]] + steps[p[-1] + 1]) / 2 for p in parts])
    coords = {str(d): totals[d].values for d in dims}
    return xr.DataArray(np.stack(each, -1), dims=(*dims, "bin"), coords=coords), middles


def weights(training: xr.Dataset) -> xr.DataArray:
    """Weights of channels and of shaping potentials: (schedule, update, channel)."""
    own = training["weight"].transpose("schedule", "update", "channel")
    if "shape_weight" not in training:
        return own
    shape = training["shape_weight"].rename(potential="channel").assign_coords(channel=potentials(training))
    return xr.concat([own, shape.transpose(*own.dims)], "channel", coords="minimal", join="outer")


def stretches(training: xr.Dataset, weight: np.ndarray, most: int = 150) -> list[tuple[int, float]]:
    """Where a weight changes, and to what; thinned out where it changes at every update."""
    starts = np.concatenate([[0], training["steps"].values])
    changes = [i for i in range(len(weight)) if i == 0 or weight[i] != weight[i - 1]]
    changes = changes[:: -(-len(changes) // most)] if changes else []
    found = [(int(starts[i]), float(weight[i])) for i in changes]
    return [*found, (int(starts[-1]), float(weight[-1]))] if found else []


def situation(training: xr.Dataset, schedule: str) -> list[str]:
    """How a schedule's circumstances change, or differ from those of others: `corner 3, from 768,000 steps 7`."""
    if "param" not in training or "learning_rate" not in training:
        return []
    numbers = {str(n): training["param"].sel(param_name=n) for n in training.param_name.values}
    said = []
    for name, values in (numbers | {"learning rate": training["learning_rate"]}).items():
        values = values.transpose("schedule", "update")
        if (values == values.isel(schedule=0, update=0)).all():
            continue
        found = stretches(training, values.sel(schedule=schedule).values)[:-1]
        if len(found) > 4:  # a ramp: where it begins and ends says enough
            said.append(f"{name} from {found[0][1]:.3g} to {found[-1][1]:.3g}")
        else:
            said.append(f"{name} {found[0][1]:.3g}" + "".join(f", from {t:,} steps {v:.3g}" for t, v in found[1:]))
    return said


def potentials(training: xr.Dataset) -> list[str]:
    """The shaping potentials that some schedule uses, as a study file names them."""
    return [f"shape.{p}" for p in training.potential.values] if "shape_weight" in training else []


def _cycle(names: Iterable[str], colours: tuple[str, ...]) -> dict[str, str]:
    return {name: colours[i % len(colours)] for i, name in enumerate(names)}
