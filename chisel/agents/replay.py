"""The replay of a learner off its policy: a ring of the last rollouts, on the device, part of every checkpoint."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Batch


class Replay(NamedTuple):
    """Steps in order of time, the oldest overwritten first; arrays are [rows, worlds, …].

    Observations of truth values are kept as bits, [rows, worlds, bytes], an eighth of what they take otherwise: a
    replay is in every checkpoint.

    Fields:
        final: where in `finals` the observation after a truncated step is; −1 for steps that were not truncated.
        finals: [slots, …] a ring of its own: truncated steps are few, so that not every step needs two observations.
        at: the row that is written next.
        final_at: the slot of `finals` that is written next.
        filled: how many rows have been written, at most all.
    """

    observations: Array
    actions: Int[Array, "rows worlds"]
    rewards: Float[Array, "rows worlds"]
    ended: Bool[Array, "rows worlds"]
    final: Int[Array, "rows worlds"]
    finals: Array
    at: Int[Array, ""]
    final_at: Int[Array, ""]
    filled: Int[Array, ""]


class Hops(NamedTuple):
    """Samples of several steps each; fields start with [samples].

    Fields:
        before, after: the observations that a hop leads from and to.
        rewards: discounted sum on the way.
        discounts: γ to the number of steps; 0 where the episode ended on the way.
    """

    before: Array
    actions: Int[Array, " samples"]
    rewards: Float[Array, " samples"]
    discounts: Float[Array, " samples"]
    after: Array


def empty(observation: jax.ShapeDtypeStruct, rows: int, worlds: int, limit: int) -> Replay:
    """A replay before the first step.

    Args:
        limit: the time limit of an episode. A world is cut off once in `limit` steps at most, so that so many
            observations after truncated steps are enough for all that are remembered.
    """
    kept = jax.eval_shape(partial(_packed, lead=0), observation)
    return Replay(
        observations=jnp.zeros((rows, worlds, *kept.shape), kept.dtype),
        actions=jnp.zeros((rows, worlds), jnp.int32),
        rewards=jnp.zeros((rows, worlds)),
        ended=jnp.zeros((rows, worlds), bool),
        final=jnp.full((rows, worlds), -1, jnp.int32),
        finals=jnp.zeros((worlds * -(-rows // limit), *kept.shape), kept.dtype),
        at=jnp.int32(0),
        final_at=jnp.int32(0),
        filled=jnp.int32(0),
    )


def _packed(observations: Array, lead: int) -> Array:
    """Observations as they are kept, after `lead` axes of their own: [*lead, …]."""
    if observations.dtype != bool:
        return observations
    return jnp.packbits(observations.reshape(*observations.shape[:lead], -1), axis=-1)


def _unpacked(kept: Array, observation: jax.ShapeDtypeStruct) -> Array:
    """The observations that are kept so, [samples, …]."""
    if observation.dtype != bool:
        return kept
    bits = jnp.unpackbits(kept, axis=-1, count=observation.size)
    return bits.reshape(-1, *observation.shape).astype(bool)


def store(replay: Replay, batch: Batch) -> Replay:
    """Writes a rollout over the oldest steps. Its length must divide that of the replay."""
    rows, steps, slots = len(replay.actions), len(batch.actions), len(replay.finals)
    assert rows % steps == 0, (rows, steps)
    assert len(batch.finals) <= slots, (len(batch.finals), slots)

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), replay.at, axis=0)

    cut = batch.truncated.reshape(-1)
    final = jnp.where(cut, (replay.final_at + jnp.cumsum(cut) - 1) % slots, -1).reshape(batch.truncated.shape)
    count, number = jnp.sum(cut, dtype=jnp.int32), jnp.arange(len(batch.finals))
    # Slots of the batch that hold nothing are written nowhere: what is there may still be needed.
    where = jnp.where(number < count, (replay.final_at + number) % slots, slots)
    return Replay(
        write(replay.observations, _packed(batch.observations, lead=2)),
        write(replay.actions, batch.actions),
        write(replay.rewards, batch.rewards),
        write(replay.ended, batch.ended),
        write(replay.final, final),
        replay.finals.at[where].set(_packed(batch.finals, lead=1).astype(replay.finals.dtype), mode="drop"),
        (replay.at + steps) % rows,
        (replay.final_at + count) % slots,
        jnp.minimum(replay.filled + steps, rows),
    )


def sample(
    replay: Replay, key: Array, count: int, hop: int, discount: float, observation: jax.ShapeDtypeStruct
) -> Hops:
    """Hops of `hop` steps, drawn evenly from all that have been seen whole.

    A hop stops short where the episode ends, with nothing to come; and after a step that the time limit cut off, from
    where the value of the state that this step led to is looked up. So every step that is remembered teaches what it
    was paid, but for the last `hop` ones, which wait for what follows them.

    Args:
        observation: what one observation is, as for `empty`.
    """
    rows, worlds = replay.actions.shape
    row_key, world_key = jax.random.split(key)
    oldest = jnp.where(replay.filled < rows, 0, replay.at)
    age = jax.random.randint(row_key, (count,), 0, jnp.maximum(replay.filled - hop, 1))
    world = jax.random.randint(world_key, (count,), 0, worlds)

    def get(field: Array, ahead: Any) -> Array:
        return field[(oldest + age + ahead) % rows, world]

    total, discounts = jnp.zeros(count), jnp.ones(count)
    taken, final = jnp.zeros(count, jnp.int32), jnp.full(count, -1, jnp.int32)
    going = jnp.ones(count, bool)
    for i in range(hop):
        ended, cut = get(replay.ended, i), get(replay.final, i)
        total += jnp.where(going, discounts * get(replay.rewards, i), 0.0)
        discounts = jnp.where(going, discounts * discount * (1.0 - ended), discounts)
        final = jnp.where(going, cut, final)
        taken += going
        going &= ~ended & (cut < 0)
    cut = (final >= 0).reshape(-1, *(1,) * (replay.finals.ndim - 1))
    after = jnp.where(cut, replay.finals[final], get(replay.observations, taken))
    before, after = (_unpacked(kept, observation) for kept in (get(replay.observations, 0), after))
    return Hops(before, get(replay.actions, 0), total, discounts, after)
