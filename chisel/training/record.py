"""What training reported, as a labelled dataset."""

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from chisel.rewards.schedule import Schedule, table
from chisel.training.member import Metrics, Plan
from chisel.worlds.world import names


def record(plan: Plan, schedules: Schedule, labels: Sequence[str], seeds: int, metrics: Metrics) -> xr.Dataset:
    """Every update of every member, and the schedule in force at each.

    Args:
        schedules: stacked over schedules (not over seeds).
        labels: the schedules' names.
        metrics: host arrays [schedules × seeds, updates, …].
    """
    count, updates = len(labels), metrics.paid.shape[1]
    shaped = jax.tree.map(lambda x: x.reshape(count, seeds, *x.shape[1:]), metrics)
    force = [table(jax.tree.map(lambda x, i=i: x[i], schedules), updates) for i in range(count)]
    force = jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *force)
    member = ("schedule", "seed", "update")
    data = xr.Dataset(
        {
            "total": ((*member, "channel"), shaped.totals),
            "episodes": (member, shaped.episodes),
            "episode_steps": (member, shaped.steps),
            "paid": (member, shaped.paid),
            **{name: (member, shaped.measures[..., i]) for i, name in enumerate(plan.agent.measures)},
            "weight": (("schedule", "update", "channel"), force.reward),
            "shape_weight": (("schedule", "update", "potential"), force.shape),
            "param": (("schedule", "update", "param_name"), force.params),
            "learning_rate": (("schedule", "update"), force.learning_rate),
        },
        coords={
            "schedule": list(labels),
            "seed": np.arange(seeds, dtype=np.int32),
            "update": np.arange(updates, dtype=np.int32),
            "steps": ("update", (np.arange(updates, dtype=np.int32) + 1) * np.int32(plan.worlds * plan.rollout)),
            "channel": list(names(plan.world).channels),
            "potential": np.array(plan.shaped, dtype=np.str_),
            "param_name": sorted(plan.world.params),
        },
    )
    for name, (meaning, units) in _MEANINGS.items():
        data[name].attrs = {"long_name": meaning, "units": units}
    # A file cannot hold a dimension of length 0.
    empty = [name for name in ("potential", "param_name") if not data.sizes[name]]
    return data.drop_dims(empty)


_MEANINGS = {
    "total": ("mean over the episodes finished in the update of each channel's sum, unweighted; NaN if none", "1"),
    "episodes": ("episodes finished in the update", "1"),
    "episode_steps": ("mean length of the finished episodes", "step"),
    "paid": ("mean training reward per step, shaping included: what the learner saw", "1"),
    "weight": ("what a unit of each channel was worth in the update", "1"),
    "shape_weight": ("weight of each potential that shaped the reward in the update", "1"),
    "param": ("numbers of the level distribution in the update", "1"),
    "learning_rate": ("step size of the optimiser in the update", "1"),
    "steps": ("environment steps of each member after the update", "step"),
}
