"""One training run as a pure function: act, turn facts into reward, learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.policy import at_temperature, policy
from chisel.rewards.criteria import Standing, beginning, go_on, opening
from chisel.rewards.oversight import read
from chisel.rewards.payment import Owed, nothing_owed, pay
from chisel.rewards.schedule import InForce, Schedule, in_force
from chisel.rewards.shaping import approach, shaping
from chisel.rewards.signal import earned, reward
from chisel.training.rollout import Playing, Rollout, begin, collect
from chisel.worlds.world import World, names


class Member(NamedTuple):
    """The whole state of one (schedule, seed) run; what a checkpoint holds.

    Fields:
        agent: parameters and optimiser.
        playing: worlds in the middle of their episodes.
        key: key data; what randomness is left.
        clock: updates done.
        promised: [potentials] the shaping weights under which the last update was paid for the states it led to.
        owed: what was earned and is not paid yet; None where all is paid at once.
        standing: how far in its schedule; None where all schedules go by the clock.
    """

    agent: Any
    playing: Playing
    key: UInt32[Array, "2"]
    clock: Int[Array, ""]
    promised: Float[Array, " potentials"]
    owed: Owed | None
    standing: Standing | None


class Metrics(NamedTuple):
    """What one update reports.

    Fields:
        totals: [channels] mean over the episodes that finished of each channel's sum, unweighted; NaN if none finished.
        episodes: how many finished; 0 until a full horizon has passed, see `chisel.training.rollout.begin`.
        steps: their mean length.
        paid: mean training reward per step, guidance included: what the learner saw.
        earned: [channels] mean per step of what each channel earned: weight times reading, whenever it is paid.
        guidance: mean per step of what potentials paid.
        at: the update of the schedule's own clock that was in force.
        measures: [measures] what the learner says of itself.
    """

    totals: Float[Array, " channels"]
    episodes: Int[Array, ""]
    steps: Float[Array, ""]
    paid: Float[Array, ""]
    earned: Float[Array, " channels"]
    guidance: Float[Array, ""]
    at: Int[Array, ""]
    measures: Float[Array, " measures"]


class Plan(NamedTuple):
    """What is fixed when training is compiled.

    Fields:
        worlds, rollout: environments side by side, and steps in each between two updates.
        shaped: the potentials that some schedule of the study guides by.
        gates: the conditions of the study's gates: features, or `not ` and a feature.
        noisy: the numbers of the channels that some schedule of the study reads with noise.
        delay: the longest delay of the study, in steps; None where all is paid at once.
        chunk: the most updates of one call of `advance`.
    """

    world: World
    agent: Agent
    worlds: int
    rollout: int
    shaped: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    noisy: tuple[int, ...] = ()
    delay: int | None = None
    chunk: int = 16


# Folded into keys: small numbers would give what splitting a key gives.
LUCK = 0x1DC
RESEED = 0x5EED

Advance = Callable[[Member, Schedule, Array], tuple[Member, Metrics]]


def new(plan: Plan, schedule: Schedule, key: Array) -> Member:
    """A member before its first update. Members of equal seed begin alike under every schedule."""
    agent_key, world_key, rest = jax.random.split(jax.random.wrap_key_data(key), 3)
    now = in_force(schedule, jnp.int32(0))
    playing = begin(
        plan.world,
        world_key,
        plan.worlds,
        len(names(plan.world).channels),
        params_of(plan.world, now.params),
        plan.agent.network.fresh(plan.worlds),
    )
    return Member(
        agent=tempered(plan.agent.init(agent_key), now),
        playing=playing,
        key=jax.random.key_data(rest),
        clock=jnp.int32(0),
        promised=now.shape,
        owed=None if plan.delay is None else nothing_owed(plan.worlds, plan.delay),
        standing=None if schedule.criteria is None else beginning(),
    )


def tempered(agent: Any, now: InForce) -> Any:
    """An agent at the temperature in force, at which it acts and, until the next update, is read."""
    if now.temperature is None:
        return agent
    return agent._replace(params=at_temperature(agent.params, now.temperature))


def reseeded(key: UInt32[Array, "2"]) -> UInt32[Array, "2"]:
    """The key data of a member that goes on with other random numbers."""
    return jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(key), RESEED))


def params_of(world: World, numbers: Array) -> dict[str, Array]:
    """Numbers of the level distribution by name."""
    return dict(zip(sorted(world.params), numbers, strict=True))


def update(plan: Plan, member: Member, schedule: Schedule) -> tuple[Member, Metrics]:
    """One rollout and what is learned from it. The schedule is constant within it."""
    rest, act_key, learn_key = jax.random.split(jax.random.wrap_key_data(member.key), 3)
    at = member.clock if member.standing is None else member.standing.at
    now = in_force(schedule, at)
    tuning = Tuning(now.learning_rate, now.entropy, now.exploration)
    mine = tempered(member.agent, now)

    params, actor = params_of(plan.world, now.params), policy(plan.agent.network, mine.params, now.exploration)
    playing, seen = collect(plan.world, actor, act_key, member.playing, params, plan.rollout, plan.shaped, plan.gates)
    standing, following = _onward(plan, member, schedule, seen, at)
    # A key that splitting never gives, so that what a plain study draws is what it drew without overseers.
    readings = read(now.oversight, jax.random.fold_in(act_key, LUCK), seen.facts, seen.gates, plan.noisy)
    income = earned(now.reward, readings)
    rewards, owed = _paid(now, income, seen, member.owed)
    guidance = _guidance(plan, now, following, member.promised, seen)
    parts, weights = readings, now.reward
    if guidance is not None:
        rewards = rewards + guidance
        parts, weights = jnp.concatenate([parts, guidance[..., None]], -1), jnp.append(weights, 1.0)
    batch = Batch(
        seen.observations,
        seen.actions,
        rewards,
        parts,
        weights,
        seen.ended,
        seen.truncated,
        seen.finals,
        seen.last,
        member.playing.memory,
    )
    agent, measured = plan.agent.learn(mine, learn_key, batch, tuning)
    count, steps, totals = seen.episodes
    metrics = Metrics(
        totals,
        count,
        steps,
        jnp.mean(rewards),
        jnp.mean(income, (0, 1)),
        jnp.float32(0) if guidance is None else jnp.mean(guidance),
        at,
        jnp.stack([measured[m] for m in plan.agent.measures]),
    )
    onward = Member(agent, playing, jax.random.key_data(rest), member.clock + 1, following.shape, owed, standing)
    return onward, metrics


def _onward(
    plan: Plan, member: Member, schedule: Schedule, seen: Rollout, at: Array
) -> tuple[Standing | None, InForce]:
    """The standing after the rollout, and what will be in force next."""
    if member.standing is None or schedule.criteria is None:
        return None, in_force(schedule, at + 1)
    totals, finished = seen.episodes.totals, seen.episodes.finished
    standing = go_on(schedule.criteria, member.standing, totals, finished, opening(plan.world.limit, plan.rollout))
    return standing, in_force(schedule, standing.at)


def earn(
    now: InForce, key: Array, seen: Rollout, noisy: tuple[int, ...] | None = None
) -> Float[Array, "time worlds channels"]:
    """What each channel earns in every step: its weight times what the overseer reads of it."""
    return earned(now.reward, read(now.oversight, key, seen.facts, seen.gates, noisy))


def _paid(now: InForce, income: Array, seen: Rollout, owed: Owed | None) -> tuple[Array, Owed | None]:
    if owed is None:
        return reward(income), None
    return pay(now.oversight.delay, now.oversight.lump, income, seen.ended | seen.truncated, owed)


def _guidance(plan: Plan, now: InForce, following: InForce, promised: Array, seen: Rollout) -> Array | None:
    """What potentials pay, in the two forms there are."""
    if not plan.shaped:
        return None
    discount = plan.agent.discount
    ends = seen.ended | seen.truncated if plan.agent.ends_at_time_limit else seen.ended
    guide = shaping(now.shape, following.shape, promised, seen.before, seen.after, ends, discount)
    return guide if now.approach is None else guide + approach(now.approach, seen.before, seen.after)


def make_advance(plan: Plan) -> Advance:
    """`advance(member, schedule, updates)`: that many updates, at most `plan.chunk`.

    How many is data, not shape, so that one compiled function serves every distance between checkpoints. Metrics come
    as [chunk, …], of which the first `updates` rows are meant; in those that a halted member lacks, numbers are NaN and
    `at` is −1.
    """

    def advance(member: Member, schedule: Schedule, updates: Array) -> tuple[Member, Metrics]:
        shapes = jax.eval_shape(lambda m, s: update(plan, m, s)[1], member, schedule)
        rows = jax.tree.map(lambda x: jnp.full((plan.chunk, *x.shape), _missing(x.dtype), x.dtype), shapes)
        rows = rows._replace(at=jnp.full(plan.chunk, -1, jnp.int32))

        def one(i: Array, carry: tuple[Member, Metrics]) -> tuple[Member, Metrics]:
            member, rows = carry
            member, row = update(plan, member, schedule)
            return member, jax.tree.map(lambda all_, x: all_.at[i].set(x), rows, row)

        return jax.lax.fori_loop(0, updates, one, (member, rows))

    return advance


def _missing(dtype: Any) -> float:
    return jnp.nan if jnp.issubdtype(dtype, jnp.floating) else 0
