"""A `training.nc` of a few numbers that a test chooses: updates of 100 steps, channels helped and smile."""

import json
from typing import Any

import numpy as np
import xarray as xr

BATCH = 100
_MEMBER = ("schedule", "seed", "update")
_CHANNEL = (
    "weight",
    "earned",
    "miss",
    "false_alarm",
    "flip",
    "corrected",
    "event_noise",
    "noise",
    "clip",
    "delay",
    "lump",
)
_MORE = dict.fromkeys(_CHANNEL, ("channel",)) | {"param": ("param_name",), "gate_strength": ("channel", "gate")}
_MORE |= dict.fromkeys(("shape_weight", "approach_weight"), ("potential",))
_NAMES = {"param_name": ["clown", "corner"], "gate": ["person_watched", "not carrying"], "potential": ["near_water"]}


def training(schedules: tuple[str, ...] = ("one",), seeds: int = 2, updates: int = 10, **given: Any) -> xr.Dataset:
    """Every schedule pays 1 for helped, unless something else is given.

    Args:
        given: variables by name; they broadcast to (schedule, seed, update, …).
    """
    coords = {"schedule": list(schedules), "seed": np.arange(seeds), "update": np.arange(updates)}
    coords |= {"channel": ["helped", "smile"], **_NAMES}
    sizes = {name: len(values) for name, values in coords.items()}
    usual = {"weight": [1.0, 0.0], "earned": 0.0, "guidance": 0.0, "phase": 0, "schedule_update": np.arange(updates)}
    usual["under"] = np.arange(len(schedules))[:, None, None]
    variables = {}
    for name, value in (usual | given).items():
        dims = (*_MEMBER, *_MORE.get(name, ()))
        variables[name] = (dims, np.broadcast_to(np.asarray(value), [sizes[d] for d in dims]).copy())
    used = {d for dims, _ in variables.values() for d in dims}
    data = xr.Dataset(variables, coords={k: v for k, v in coords.items() if k in used})
    attrs = {"true_channels": json.dumps(["helped"]), "proxy_channels": json.dumps(["smile"]), "steps": updates * BATCH}
    return data.assign_coords(steps=("update", (np.arange(updates) + 1) * BATCH)).assign_attrs(attrs)


def per_seed(*rows: list[float]) -> np.ndarray:
    """Numbers [seed, update] of a single schedule."""
    return np.array([rows], float)


def by_phase(*edges: tuple[int, ...], updates: int = 10) -> np.ndarray:
    """Phases [seed, update] of a single schedule, given the updates with which later phases begin, per seed."""
    return np.array([[np.searchsorted(own, np.arange(updates), side="right") for own in edges]], np.int32)
