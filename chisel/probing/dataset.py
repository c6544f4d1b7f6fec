"""Readings put together into one labelled dataset."""

import json

import numpy as np
import xarray as xr

from chisel.probing.reader import LEVELS, Reader, Readings
from chisel.worlds.world import names


def dataset(
    reader: Reader,
    rows: list[Readings],
    schedules: list[str],
    seeds: int,
    checkpoints: list[int],
    batch: int,
    updates: int,
) -> xr.Dataset:
    """All readings of a study, labelled.

    Args:
        rows: one `Readings` per checkpoint, [schedules × seeds, …]; the first checkpoint is the untrained network.
        checkpoints: updates done at each.
        batch, updates: environment steps of an update, and updates in all.
    """
    known = names(reader.world)
    dims = {name: own for name, own in DIMENSIONS.items() if getattr(rows[0], name) is not None}

    def shaped(name: str) -> np.ndarray:
        values = np.stack([getattr(row, name) for row in rows], axis=1)  # [members, checkpoints, …]
        return values.reshape(len(schedules), seeds, *values.shape[1:])

    every = {
        "schedule": schedules,
        "seed": np.arange(seeds, dtype=np.int32),
        "checkpoint": np.array(checkpoints, np.int32) * np.int32(batch),
    } | coordinates(reader)
    used = {"schedule", "seed", "checkpoint", *(dim for own in dims.values() for dim in own)}
    data = xr.Dataset(
        {name: (("schedule", "seed", "checkpoint", *own), shaped(name)) for name, own in dims.items()},
        coords={name: values for name, values in every.items() if name in used},
    ).assign_coords(progress=("checkpoint", np.array(checkpoints) / updates))
    ceilings = reader.ceilings()
    top = np.stack([ceilings.get(c, np.full(2, np.nan)) for c in known.channels], 1)
    data["ceiling"] = (("levels", "channel"), top)
    data = _with_controls(data, reader) if "score" in dims else data
    return _describe(data.assign_attrs(left_out=json.dumps(reader.left_out)), reader.network.greedy)


def coordinates(reader: Reader) -> dict[str, list[str]]:
    """The names along every dimension of what a reader reads."""
    goals = list(reader.world.goals)
    return {
        "layer": list(reader.layers),
        "feature": list(reader.features),
        "goal": goals,
        "rival": goals,
        "edit": goals,
        "levels": list(LEVELS),
        "channel": list(names(reader.world).channels),
    }


def _with_controls(data: xr.Dataset, reader: Reader) -> xr.Dataset:
    """Scores beside their controls."""
    data = data.assign_coords(probe=("feature", ["logistic" if b else "ridge" for b in reader.binary]))
    data["observation_score"] = ("feature", reader.observation_scores())
    data["untrained_score"] = data["score"].isel(checkpoint=0, drop=True)
    baseline = np.maximum(data["observation_score"], data["untrained_score"])
    data["skill"] = (data["score"] - baseline).transpose(*data["score"].dims)
    return data


# The dimensions of each reading beside (schedule, seed, checkpoint).
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "score": ("layer", "feature"),
    "ridge_score": ("layer", "feature"),
    "shuffled_score": ("layer", "feature"),
    "bid": ("goal",),
    "total_effect": ("edit", "goal"),
    "choice": ("goal", "rival"),
    "neither": ("goal", "rival"),
    "returns": ("levels", "channel"),
}


_MEANINGS: dict[str, tuple[str, str]] = {
    "score": ("held-out AUC (binary) or R² (continuous) of a linear probe", "1"),
    "ridge_score": ("the same with a ridge probe for every feature", "1"),
    "shuffled_score": ("control: the same with labels shuffled over layouts", "1"),
    "observation_score": ("control: the same probe on the raw observation, at the best of four penalties", "1"),
    "untrained_score": ("control: the same probe on the untrained network of the same seed", "1"),
    "skill": ("score less the better of the observation and untrained controls: what training added", "1"),
    "bid": ("mean log-odds of the actions that shorten the path to the goal", "nat"),
    "total_effect": ("mean bid with the edited goal's object put in, less with it taken out", "nat"),
    "choice": ("share of two-goal levels in which the goal is reached before its rival", "1"),
    "neither": ("share of two-goal levels in which none of the two is reached", "1"),
    "returns": ("mean of each channel's sum over an episode, unweighted", "1"),
    "ceiling": ("best reachable mean return of a channel on the same levels; NaN where not known", "1"),
    "checkpoint": ("environment steps of each member", "step"),
    "progress": ("share of training done", "1"),
}


# Of a network that chooses the action of the highest value.
_GREEDY_MEANINGS: dict[str, tuple[str, str]] = {
    "bid": ("mean of the highest value of actions that shorten the path to the goal, less that of others", "return"),
    "total_effect": ("mean bid with the edited goal's object put in, less with it taken out", "return"),
}


def _describe(data: xr.Dataset, greedy: bool) -> xr.Dataset:
    meanings = _MEANINGS | (_GREEDY_MEANINGS if greedy else {})
    for name in [name for name in meanings if name in data.variables]:
        meaning, units = meanings[name]
        data[name].attrs = {"long_name": meaning, "units": units}
    return data
