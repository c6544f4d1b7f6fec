"""How much reward a study's schedules expect to pay, before anyone trains.

So that *early against late* is not by accident *more against less*. The reference is random play in the middle of
episodes, under the level parameters of the moment, with phases that end by the clock: the one policy that all members
begin with and that belongs to no schedule. What agents were really paid is in a run's `training.nc` (`earned`). Shaping
is left out: its discounted sum over an episode does not depend on what the agent does in it.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chisel.study.files import WrongInput
from chisel.study.schedules import SchedulePart, edge_update
from chisel.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax  # noqa: F401 - in types

    from chisel.rewards.oversight import Oversight
    from chisel.rewards.schedule import InForce, Schedule
    from chisel.training.member import Plan
    from chisel.training.rollout import Rollout

STEPS = 200_000  # of random play that are looked at, at least
LUCKS = 8  # overseers who read them
SAMPLES = 4  # moments of a phase that are looked at
DIGITS = 4  # of a scale, so that it is the same on every machine


class Budget(NamedTuple):
    """What one phase of a schedule expects to pay each member under random play.

    Fields:
        steps: how long it lasts.
        events: {channel: how often it happens}, for the channels that are paid for.
        reward: {channel: what it earns in all}, after the overseer's errors.
        error: {channel: standard error of `reward`}, of having looked at only so much random play.
        weighed: {channel: events times the size of their weight}: what would be paid for events if each were seen as 1.
        approach: what coming nearer to potentials pays.
    """

    steps: int
    events: dict[str, float]
    reward: dict[str, float]
    error: dict[str, float]
    weighed: dict[str, float]
    approach: float

    def mass(self, kind: str) -> float:
        """The total of channels: of `reward` (those that charge count as those that pay), or of weighed `events`."""
        if kind == "events":
            return sum(self.weighed.values())
        return sum(abs(x) for x in self.reward.values())


def budgets(study: Study) -> dict[str, list[Budget]]:
    """What every phase of every schedule expects to pay, by the schedule's name."""
    import jax
    import jax.numpy as jnp

    from chisel.build.build import resolve
    from chisel.rewards.schedule import in_force

    resolved = resolve(study)
    sample, force = _sampler(resolved.plan), jax.jit(in_force)
    found: dict[str, list[Budget]] = {}
    for i, part in enumerate(study.schedule):
        own: Schedule = jax.tree.map(lambda x, i=i: x[i], resolved.schedules)
        clocks = [_moments(a, b) for a, b in _spans(part, study)]
        forces = [[jax.tree.map(np.asarray, force(own, jnp.int32(c))) for c in phase] for phase in clocks]
        lengths = [(b - a) * study.training.batch for a, b in _spans(part, study)]
        found[part.name] = [_budget(resolved.plan, f, n, sample) for f, n in zip(forces, lengths, strict=True)]
    return found


def _spans(part: SchedulePart, study: Study) -> list[tuple[int, int]]:
    """The updates of every phase, by the clock."""
    updates = study.training.updates
    ends = [edge_update(phase.until, updates) for phase in (part.phases or ())[:-1]]
    return list(zip([0, *ends], [*ends, updates], strict=True))


def _moments(first: int, end: int) -> list[int]:
    """Updates evenly spread over a phase, the middles of its parts."""
    count = min(SAMPLES, end - first)
    return [int(first + (i + 0.5) * (end - first) / count) for i in range(count)]


def _budget(
    plan: "Plan", forces: "list[InForce]", steps: int, sample: "Callable[[InForce], dict[str, np.ndarray]]"
) -> Budget:
    from chisel.worlds.world import names

    rates = [sample(now) for now in forces]
    mean = {k: np.mean([rate[k] for rate in rates], axis=0) * steps for k in rates[0]}
    weights = np.abs([now.reward for now in forces])
    paid = [i for i in range(weights.shape[1]) if weights[:, i].any()]
    channels = names(plan.world).channels
    kinds = ("events", "reward", "error", "weighed")
    by_channel = {k: {channels[i]: float(mean[k][i]) for i in paid} for k in kinds}
    return Budget(steps, **by_channel, approach=float(mean["approach"]))


def _sampler(plan: "Plan") -> "Callable[[InForce], dict[str, np.ndarray]]":
    """(what is in force) -> per step and channel: events, reward, its error, weighed events; and approach per step."""
    import jax
    import jax.numpy as jnp

    from chisel.rewards.shaping import approach
    from chisel.training.member import earn, params_of
    from chisel.training.rollout import at_random, begin, collect
    from chisel.worlds.world import names

    world, channels = plan.world, len(names(plan.world).channels)
    begin_key, open_key, act_key, luck_key = jax.random.split(jax.random.key(0xB0D), 4)
    worlds = max(256, -(-STEPS // world.limit))

    @jax.jit
    def play(numbers: jax.Array) -> "Rollout":
        params = params_of(world, numbers)
        playing = begin(world, begin_key, worlds, channels, params)
        # A horizon first, after which the worlds are in the middle of their episodes as they are in training: the first
        # steps of episodes alone are not what an episode pays on average.
        playing, _ = collect(world, at_random(world), open_key, playing, params, world.limit)
        seen = collect(world, at_random(world), act_key, playing, params, world.limit, plan.shaped, plan.gates)[1]
        return seen._replace(observations=jnp.zeros(0), finals=jnp.zeros(0), last=jnp.zeros(0))

    @jax.jit
    def judge(now: "InForce", seen: "Rollout") -> dict[str, jax.Array]:
        overseers = LUCKS if any(x is not None for x in _by_luck(now.oversight)) else 1
        lucks = jax.random.split(luck_key, overseers)
        income = jnp.mean(
            jax.lax.map(lambda key: jnp.mean(earn(now, key, seen, plan.noisy), 0), lucks), 0
        )  # [worlds, channels]
        happened = jnp.mean(seen.facts != 0, (0, 1))
        nearer = 0.0 if now.approach is None else jnp.mean(approach(now.approach, seen.before, seen.after))
        return {
            "events": happened,
            "reward": jnp.mean(income, 0),
            "error": jnp.std(income, 0) / worlds**0.5,
            "weighed": happened * jnp.abs(now.reward),
            "approach": jnp.asarray(nearer),
        }

    played: dict[bytes, Rollout] = {}  # what happens depends on the level parameters alone
    judged: dict[bytes, dict[str, np.ndarray]] = {}

    def sample(now: "InForce") -> dict[str, np.ndarray]:
        where, what = np.asarray(now.params).tobytes(), b"".join(x.tobytes() for x in jax.tree.leaves(now))
        if where not in played:
            played[where] = play(now.params)
        if what not in judged:
            judged[what] = jax.tree.map(np.asarray, judge(now, played[where]))
        return judged[what]

    return sample


def _by_luck(errors: "Oversight") -> tuple[Any, ...]:
    """The errors that are made by chance."""
    return errors.miss, errors.false_alarm, errors.flip, errors.event_noise, errors.noise


def matched(study: Study) -> Study:
    """The study with a `scale` in every schedule that has none, if its `match` asks for it.

    A scale is a factor on all weights of channels, such that the schedule expects as much over the whole of training as
    the first one.

    Raises:
        WrongInput: a schedule expects nothing under random play, so that no factor makes it equal.
    """
    if study.match is None or all(part.scale is not None for part in study.schedule):
        return study
    masses = [sum(b.mass(study.match) for b in phases) for phases in budgets(study).values()]
    parts = []
    for part, mass in zip(study.schedule, masses, strict=True):
        if not mass > 0:
            raise WrongInput(
                f"study: match = {study.match!r}, but schedule {part.name!r} expects nothing under random play; "
                "give it a `scale`, or leave `match` out"
            )
        scale = float(f"{masses[0] / mass:.{DIGITS}g}") if part.scale is None else part.scale
        parts.append(part.model_copy(update={"scale": scale}))
    return study.model_copy(update={"schedule": parts})
