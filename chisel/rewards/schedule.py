"""Schedules as data: what every channel is worth as a function of training progress.

All schedules of a study share one structure (an entry for every channel, potential and parameter of its world), so they
stack over members, can be vmapped, serialise and plot; a new schedule never recompiles anything.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chisel.curve import Curve, constant, stack


class Schedule(NamedTuple):
    """What one member is rewarded for, and the conditions it trains under, over the whole of training.

    Fields:
        reward: [channel] weights, in the order of the world's names.
        shape: [potential] weights of the potentials that the study shapes with.
        params: [param] numbers of the level distribution.
        learning_rate: the optimiser's step size.
        updates: how many updates make up progress 1.
    """

    reward: Curve
    shape: Curve
    params: Curve
    learning_rate: Curve
    updates: Int[Array | np.ndarray, ""]


class InForce(NamedTuple):
    """A schedule at one moment: plain numbers."""

    reward: Float[Array, "channels"]
    shape: Float[Array, "potentials"]
    params: Float[Array, "params"]
    learning_rate: Float[Array, ""]


def make(
    channels: Sequence[str],
    potentials: Sequence[str],
    params: Mapping[str, Curve],
    learning_rate: Curve,
    updates: int,
    reward: Mapping[str, Curve],
    shape: Mapping[str, Curve],
) -> Schedule:
    """A schedule from named curves; a channel or potential that is not named weighs 0.

    Raises:
        KeyError: a channel or potential is named that is not among `channels` or `potentials`.
    """
    for name in (*reward, *shape):
        if name not in channels and name not in potentials:
            raise KeyError(name)
    nothing = constant(0.0)
    return Schedule(
        reward=stack([reward.get(c, nothing) for c in channels]),
        shape=stack([shape.get(p, nothing) for p in potentials]),
        params=stack([params[p] for p in sorted(params)]),
        learning_rate=learning_rate,
        updates=np.asarray(updates, np.int32),
    )


def stack_schedules(schedules: Sequence[Schedule]) -> Schedule:
    """Schedules of one study with a leading member axis; curves with fewer knots repeat their last one."""
    return Schedule(
        reward=stack([s.reward for s in schedules]),
        shape=stack([s.shape for s in schedules]),
        params=stack([s.params for s in schedules]),
        learning_rate=stack([s.learning_rate for s in schedules]),
        updates=np.stack([s.updates for s in schedules]),
    )


def progress(clock: Int[Array, ""], updates: Int[Array | np.ndarray, ""]) -> Float[Array, ""]:
    """How far training has come at the middle of update number `clock` (from 0).

    The middle, because phase edges fall between two updates: however progress is rounded, an update is on one side.
    """
    return (clock + 0.5) / updates


def in_force(schedule: Schedule, clock: Int[Array, ""]) -> InForce:
    """What holds during update number `clock`; constant within the update."""
    now = progress(clock, schedule.updates)
    return InForce(schedule.reward(now), schedule.shape(now), schedule.params(now), schedule.learning_rate(now))


def table(schedule: Schedule, updates: int) -> InForce:
    """What holds during every update: arrays with a leading [updates] axis, for records and charts."""
    return jax.jit(jax.vmap(in_force, (None, 0)))(schedule, jnp.arange(updates))
