"""The replay of a learner off its policy: a ring of the last rollouts, on the device, part of every checkpoint."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Batch


class Replay(NamedTuple):
    """Steps in order of time, the oldest overwritten first; arrays are [rows, worlds, …].

    Fields:
        at: the row that is written next.
        filled: how many rows have been written, at most all.
    """

    observations: Array
    actions: Int[Array, "rows worlds"]
    rewards: Float[Array, "rows worlds"]
    ended: Bool[Array, "rows worlds"]
    truncated: Bool[Array, "rows worlds"]
    at: Int[Array, ""]
    filled: Int[Array, ""]


class Hops(NamedTuple):
    """Samples of several steps each; fields start with [samples].

    Fields:
        before, after: the observations that a hop leads from and to.
        rewards: discounted sum on the way.
        discounts: γ to the number of steps; 0 where the episode ended on the way.
        known: the hop is of one step at least: the time limit did not cut off its first.
    """

    before: Array
    actions: Int[Array, " samples"]
    rewards: Float[Array, " samples"]
    discounts: Float[Array, " samples"]
    after: Array
    known: Bool[Array, " samples"]


def empty(observation: jax.ShapeDtypeStruct, rows: int, worlds: int) -> Replay:
    """A replay before the first step."""
    return Replay(
        observations=jnp.zeros((rows, worlds, *observation.shape), observation.dtype),
        actions=jnp.zeros((rows, worlds), jnp.int32),
        rewards=jnp.zeros((rows, worlds)),
        ended=jnp.zeros((rows, worlds), bool),
        truncated=jnp.zeros((rows, worlds), bool),
        at=jnp.int32(0),
        filled=jnp.int32(0),
    )


def store(replay: Replay, batch: Batch) -> Replay:
    """Writes a rollout over the oldest steps. Its length must divide that of the replay."""
    rows, steps = len(replay.actions), len(batch.actions)
    assert rows % steps == 0, (rows, steps)

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), replay.at, axis=0)

    at, filled = (replay.at + steps) % rows, jnp.minimum(replay.filled + steps, rows)
    return Replay(
        write(replay.observations, batch.observations),
        write(replay.actions, batch.actions),
        write(replay.rewards, batch.rewards),
        write(replay.ended, batch.ended),
        write(replay.truncated, batch.truncated),
        at,
        filled,
    )


def sample(replay: Replay, key: Array, count: int, hop: int, discount: float) -> Hops:
    """Hops of `hop` steps, drawn evenly from all that have been seen whole.

    A hop stops short where the episode ends, with nothing to come; and before a step that the time limit cut off, whose
    outcome is not in the replay: from there its value is looked up. Where that is its very first step, it is not known.
    """
    rows, worlds = replay.actions.shape
    row_key, world_key = jax.random.split(key)
    oldest = jnp.where(replay.filled < rows, 0, replay.at)
    age = jax.random.randint(row_key, (count,), 0, jnp.maximum(replay.filled - hop, 1))
    world = jax.random.randint(world_key, (count,), 0, worlds)

    def get(field: Array, ahead: Any) -> Array:
        return field[(oldest + age + ahead) % rows, world]

    total, discounts = jnp.zeros(count), jnp.ones(count)
    taken, going = jnp.zeros(count, jnp.int32), jnp.ones(count, bool)
    for i in range(hop):
        takes = going & ~get(replay.truncated, i)
        total += jnp.where(takes, discounts * get(replay.rewards, i), 0.0)
        ended = get(replay.ended, i)
        discounts = jnp.where(takes, discounts * discount * (1.0 - ended), discounts)
        taken += takes
        going = takes & ~ended
    before, after = get(replay.observations, 0), get(replay.observations, taken)
    return Hops(before, get(replay.actions, 0), total, discounts, after, taken > 0)
