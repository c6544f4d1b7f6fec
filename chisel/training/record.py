"""What training reported, as a labelled dataset."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Int

from chisel.rewards.schedule import InForce, Schedule, in_force
from chisel.training.member import Metrics, Plan
from chisel.worlds.world import names


def record(
    plan: Plan,
    schedules: Schedule,
    labels: Sequence[str],
    seeds: int,
    metrics: Metrics,
    under: Int[np.ndarray, "members updates"],
    start: int = 0,
) -> xr.Dataset:
    """Every update of every member, and what was actually in force at each.

    Args:
        schedules: stacked over schedules (not over seeds).
        labels: the schedules' names.
        metrics: host arrays [schedules × seeds, updates, …].
        under: the number of the schedule that each member was under in each update.
        start: updates done before the first of these.
    """
    count, updates = len(labels), metrics.paid.shape[1]
    force = _in_force(schedules, under, np.asarray(metrics.at))
    shaped, force, under = jax.tree.map(lambda x: x.reshape(count, seeds, *x.shape[1:]), (metrics, force, under))
    member = ("schedule", "seed", "update")
    known = names(plan.world)
    data = xr.Dataset(
        {
            "total": ((*member, "channel"), shaped.totals),
            "episodes": (member, shaped.episodes),
            "episode_steps": (member, shaped.steps),
            "paid": (member, shaped.paid),
            **{name: (member, shaped.measures[..., i]) for i, name in enumerate(plan.agent.measures)},
            "earned": ((*member, "channel"), shaped.earned),
            "guidance": (member, shaped.guidance),
            "under": (member, under),
            "schedule_update": (member, shaped.at),
            "weight": ((*member, "channel"), force.reward),
            "shape_weight": ((*member, "potential"), force.shape),
            "param": ((*member, "param_name"), force.params),
            "learning_rate": (member, force.learning_rate),
            "entropy_weight": (member, force.entropy),
            **_optional(force),
        },
        coords={
            "schedule": list(labels),
            "seed": np.arange(seeds, dtype=np.int32),
            "update": np.arange(start, start + updates, dtype=np.int32),
            "steps": (
                "update",
                (start + np.arange(updates, dtype=np.int64) + 1) * (plan.worlds * plan.rollout),
            ),
            "channel": list(known.channels),
            "potential": np.array(plan.shaped, dtype=np.str_),
            "gate": np.array(plan.gates, dtype=np.str_),
            "param_name": sorted(plan.world.params),
        },
    )
    for name in [name for name in _MEANINGS if name in data.variables]:
        meaning, units = _MEANINGS[name]
        data[name].attrs = {"long_name": meaning, "units": units}
    # A file cannot hold a dimension of length 0.
    empty = [name for name in ("potential", "param_name", "gate") if not data.sizes[name]]
    return data.drop_dims(empty)


def _in_force(schedules: Schedule, under: np.ndarray, at: np.ndarray) -> InForce:
    """What held in every update of every member, [members, updates, …] on the host."""

    def one(which: Any, clock: Any) -> InForce:
        return in_force(jax.tree.map(lambda x: x[which], schedules), clock)

    schedules = jax.tree.map(jax.numpy.asarray, schedules)
    found = jax.jit(jax.vmap(jax.vmap(one)))(under, at)

    def known(x: Any) -> np.ndarray:  # nothing was in force for a member that had been halted
        x = np.array(x)
        x[at < 0] = np.nan
        return x

    return jax.tree.map(known, found)


def _optional(force: InForce) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """What only some studies have: exploration, a temperature, approach, and every overseer's error made in it."""
    member = ("schedule", "seed", "update")
    dims = {"exploration": (), "temperature": (), "approach_weight": ("potential",)} | dict.fromkeys(
        force.oversight._fields, ("channel",)
    )
    dims["gate_strength"] = ("channel", "gate")
    found = {"exploration": force.exploration, "temperature": force.temperature, "approach_weight": force.approach}
    found |= force.oversight._asdict()
    found["gate_strength"] = found.pop("gate")  # the gates' names are a dimension
    return {name: ((*member, *dims[name]), np.asarray(values)) for name, values in found.items() if values is not None}


_MEANINGS = {
    "total": ("mean over the episodes finished in the update of each channel's sum, unweighted; NaN if none", "1"),
    "episodes": ("episodes finished in the update; 0 until a full horizon has passed", "1"),
    "episode_steps": ("mean length of the finished episodes", "step"),
    "paid": ("mean training reward per step, guidance included: what the learner saw", "1"),
    "earned": ("mean per step of weight times reading of each channel, whenever it was paid", "1"),
    "guidance": ("mean per step of what potentials paid", "1"),
    "under": ("number of the schedule that the member was under in the update", "1"),
    "schedule_update": ("update of the schedule's own clock in the update: another where criteria move it", "1"),
    "weight": ("what a unit of each channel was worth in the update", "1"),
    "shape_weight": ("weight of each potential that shaped the reward in the update", "1"),
    "param": ("numbers of the level distribution in the update", "1"),
    "learning_rate": ("step size of the optimiser in the update", "1"),
    "entropy_weight": ("weight of the entropy bonus in the update", "1"),
    "exploration": ("chance of an action at random in the update", "1"),
    "temperature": ("temperature of the softmax of action values that acted in the update", "return"),
    "approach_weight": ("weight of each potential that paid for coming nearer in the update", "1"),
    "miss": ("chance that an event of the channel read as nothing in the update", "1"),
    "false_alarm": ("chance that nothing read as an event of the channel in the update", "1"),
    "flip": ("chance that what was read of the channel was turned round in the update", "1"),
    "corrected": ("1 where readings of the channel were corrected for these errors in the update", "1"),
    "event_noise": ("noise of readings of the channel relative to their size in the update", "1"),
    "noise": ("noise that was added to readings of the channel in every step of the update", "1"),
    "clip": ("largest size of a reading of the channel in the update; 1e30: not limited", "1"),
    "gate_strength": ("share of readings of the channel lost where the gate's condition failed in the update", "1"),
    "delay": ("steps from earning to paying in the update", "step"),
    "lump": ("share that was paid at the end of the episode in the update", "1"),
    "steps": ("environment steps of each member after the update", "step"),
}
