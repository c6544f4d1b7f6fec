"""One training run as a pure function: act, turn facts into reward, learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from chisel.agents.agent import Agent, Batch
from chisel.rewards.schedule import Schedule, in_force
from chisel.rewards.shaping import shaping
from chisel.rewards.signal import reward
from chisel.training.rollout import Playing, Rollout, begin, collect
from chisel.worlds.world import World, names


class Member(NamedTuple):
    """The whole state of one (schedule, seed) run; what a checkpoint holds.

    Fields:
        agent: parameters and optimiser.
        playing: worlds in the middle of their episodes.
        key: key data; what randomness is left.
        clock: updates done.
    """

    agent: Any
    playing: Playing
    key: UInt32[Array, "2"]
    clock: Int[Array, ""]


class Metrics(NamedTuple):
    """What one update reports.

    Fields:
        totals: [channels] mean over the episodes that finished of each channel's sum, unweighted; NaN if none finished.
        episodes: how many finished.
        steps: their mean length.
        paid: mean training reward per step, shaping included: what the learner saw.
        measures: [measures] what the learner says of itself.
    """

    totals: Float[Array, "channels"]
    episodes: Int[Array, ""]
    steps: Float[Array, ""]
    paid: Float[Array, ""]
    measures: Float[Array, "measures"]


class Plan(NamedTuple):
    """What is fixed when training is compiled.

    Fields:
        worlds, rollout: environments side by side, and steps in each between two updates.
        shaped: the potentials that some schedule of the study shapes with.
        chunk: the most updates of one call of `advance`.
    """

    world: World
    agent: Agent
    worlds: int
    rollout: int
    shaped: tuple[str, ...]
    chunk: int = 16


Advance = Callable[[Member, Schedule, Array], tuple[Member, Metrics]]


def new(plan: Plan, schedule: Schedule, key: Array) -> Member:
    """A member before its first update. Members of equal seed begin alike under every schedule."""
    agent_key, world_key, rest = jax.random.split(jax.random.wrap_key_data(key), 3)
    params = _params(plan.world, in_force(schedule, jnp.int32(0)).params)
    playing = begin(plan.world, world_key, plan.worlds, len(names(plan.world).channels), params)
    return Member(plan.agent.init(agent_key), playing, jax.random.key_data(rest), jnp.int32(0))


def _params(world: World, numbers: Array) -> dict[str, Array]:
    return dict(zip(sorted(world.params), numbers, strict=True))


def update(plan: Plan, member: Member, schedule: Schedule) -> tuple[Member, Metrics]:
    """One rollout and what is learned from it. The schedule is constant within it."""
    rest, act_key, learn_key = jax.random.split(jax.random.wrap_key_data(member.key), 3)
    now, following = in_force(schedule, member.clock), in_force(schedule, member.clock + 1)

    def act(key: Array, observations: Array) -> Array:
        return plan.agent.act(member.agent.params, key, observations)

    params = _params(plan.world, now.params)
    playing, seen = collect(plan.world, act, act_key, member.playing, params, plan.rollout, plan.shaped)
    rewards = reward(now.reward, seen.facts)
    if plan.shaped:
        guide = shaping(now.shape, following.shape, seen.before, seen.after, seen.ended, plan.agent.discount)
        rewards = rewards + guide
    batch = Batch(seen.observations, seen.actions, rewards, seen.ended, seen.truncated, seen.finals, seen.last)
    agent, measured = plan.agent.learn(member.agent, learn_key, batch, now.learning_rate)
    return Member(agent, playing, jax.random.key_data(rest), member.clock + 1), _metrics(plan, seen, rewards, measured)


def _metrics(plan: Plan, seen: Rollout, rewards: Array, measured: dict[str, Array]) -> Metrics:
    count, steps, totals = seen.episodes
    return Metrics(totals, count, steps, jnp.mean(rewards), jnp.stack([measured[m] for m in plan.agent.measures]))


def make_advance(plan: Plan) -> Advance:
    """`advance(member, schedule, updates)`: that many updates, at most `plan.chunk`.

    How many is data, not shape, so that one compiled function serves every distance between checkpoints. Metrics come
    as [chunk, …], of which the first `updates` rows are meant.
    """

    def advance(member: Member, schedule: Schedule, updates: Array) -> tuple[Member, Metrics]:
        shapes = jax.eval_shape(lambda m, s: update(plan, m, s)[1], member, schedule)
        rows = jax.tree.map(lambda x: jnp.zeros((plan.chunk, *x.shape), x.dtype), shapes)

        def one(i: Array, carry: tuple[Member, Metrics]) -> tuple[Member, Metrics]:
            member, rows = carry
            member, row = update(plan, member, schedule)
            return member, jax.tree.map(lambda all_, x: all_.at[i].set(x), rows, row)

        return jax.lax.fori_loop(0, updates, one, (member, rows))

    return advance
