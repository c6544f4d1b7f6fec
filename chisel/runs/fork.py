"""Forks: a checkpoint goes on under other schedules.

The clock goes on too: a fork at half of training is half-way through its own schedules, whatever they would have said
before. What changes nothing is, bit for bit, the run gone on with.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from chisel.agents.policy import TEMPERATURE, learned
from chisel.build.build import resolve
from chisel.rewards.payment import Owed
from chisel.runs.store import Run, open_run
from chisel.runs.train import load_members, new_members, population_of
from chisel.study.files import WrongInput, nearest
from chisel.study.schedules import SchedulePart
from chisel.study.study import ForkPart, Study
from chisel.training.member import Member, Plan, reseeded
from chisel.training.population import Population


def forked(this: Run, at: int, study: Study, schedule: str | None = None, reseed: bool = False) -> Study:
    """The study that goes on from a run.

    Args:
        at: environment steps of each member, at which the run has a checkpoint.
        study: what the members go on under; of its seeds, each goes on from the run's same seed.
        schedule: of the run, whose members go on under every schedule of the study; by default its only one, or those
            under equally named schedules.
        reseed: whether members go on with other random numbers than in the run.

    Raises:
        WrongInput: there is no such checkpoint, or its members cannot go on so.
    """
    _check_step(this, at)
    _check_likeness(this, study)
    known, asked = ([part.name for part in s.schedule] for s in (this.study, study))
    if schedule is not None and schedule not in known:
        raise WrongInput(f"{this.path}: has no schedule {schedule!r} to fork from; {nearest(schedule, known)}")
    if schedule is None and len(known) == 1:
        schedule = known[0]
    strange = [name for name in asked if name not in known]
    if schedule is None and strange:
        raise WrongInput(
            f"{this.path}: has no schedule {strange[0]!r}, whose agents could go on; say from which schedule of the "
            f"run all go on (--from): {', '.join(map(repr, known))}"
        )
    if study.training.steps <= at:
        raise WrongInput(
            f"study: training.steps is {study.training.steps:,}; expected more than the {at:,} done already"
        )
    run, mark = str(this.path.resolve()), this.manifest()["study"]
    part = ForkPart(run=run, study=mark, at=at, schedule=schedule, reseed=reseed)
    made = Study.model_validate(study.model_dump() | {"fork": part})
    _states(made)  # so that what is damaged is told before anything is written
    return made


def _check_step(this: Run, at: int) -> None:
    saved = [updates * this.study.training.batch for updates in this.saved()]
    if at not in saved or at == 0:
        near = sorted((s for s in saved if s), key=lambda s: abs(s - at))[:3]
        told = f"the nearest are {', '.join(f'{s:,}' for s in sorted(near))} steps" if near else "it has none yet"
        raise WrongInput(f"{this.path}: has no checkpoint to fork from at {at:,} steps; {told}")


def _check_likeness(this: Run, study: Study) -> None:
    """Refuses what the members of a run cannot go on in."""
    there, here = this.study, study

    def facts(s: Study) -> dict[str, Any]:
        return {
            "world": s.world,
            "view": s.view,
            "agent.learner": s.agent.learner,
            "agent.network": s.agent.network.model_dump(),
            "training.worlds": s.training.worlds,
            "training.rollout": s.training.rollout,
        }

    for key, found in facts(here).items():
        expected = facts(there)[key]
        if found != expected:
            raise WrongInput(f"study: {key} is {found!r}; a fork of {this.path} goes on with {expected!r}")
    asked, known = here.training.seed_numbers, there.training.seed_numbers
    if asked[0] < known[0] or asked[-1] > known[-1]:
        raise WrongInput(
            f"study: training.first_seed is {asked[0]} and training.seeds is {len(asked)}, which asks for "
            f"{_span(asked)}; {this.path} has {_span(known)} to go on from"
        )


def _span(seeds: list[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def going_on(study: Study) -> Callable[[Population, np.ndarray], Any]:
    """What a fork begins with: the members of the run that it goes on from, on the host.

    Raises:
        WrongInput: the run is not there any more, or not what it was.
    """
    states, reseed = _states(study), _fork(study).reseed

    def begin(population: Population, keys: np.ndarray) -> Any:
        fresh = new_members(population, keys)
        members: Any = _fitted(states, fresh, population.plan)
        return members._replace(key=np.asarray(jax.vmap(reseeded)(members.key))) if reseed else members

    return begin


def _fork(study: Study) -> ForkPart:
    if study.fork is None:
        raise ValueError("the study is no fork")
    return study.fork


class _States(NamedTuple):
    """What members go on from.

    Fields:
        state: [schedules × seeds, …] on the host.
        plan: under which it was made.
        same: [schedules × seeds] whether a member goes on under the schedule that it was under.
    """

    state: Member
    plan: Plan
    same: np.ndarray


def _states(study: Study) -> _States:
    """What members of a fork go on from."""
    fork = _fork(study)
    this = open_run(Path(fork.run))
    if this.manifest()["study"] != fork.study:
        raise WrongInput(f"{fork.run}: is not the run that was forked: its study is another one")
    population, keys = population_of(this.study, None)
    state = load_members(this, population, keys, fork.at // this.study.training.batch)
    parts = {part.name: part for part in this.study.schedule}
    names = [fork.schedule or part.name for part in study.schedule]
    first = np.array([list(parts).index(name) for name in names]) * this.study.training.seeds
    seeds = np.array(study.training.seed_numbers) - this.study.training.first_seed
    rows = (first[:, None] + seeds).reshape(-1)
    same = [
        _tells(parts[name], this.study) == _tells(part, study) for name, part in zip(names, study.schedule, strict=True)
    ]
    plan = resolve(study).plan
    own, new = (_shapes(x._replace(params=learned(x.params))) for x in (state.agent, _agent(plan)))
    if own != new:
        raise WrongInput(f"study: its agent has other parameters than those of {fork.run}, and cannot go on with them")
    return _States(jax.tree.map(lambda x: x[rows], state), population.plan, np.repeat(same, study.training.seeds))


def _tells(part: SchedulePart, study: Study) -> tuple[Any, int]:
    """What a schedule's own clock depends on."""
    return part.model_dump(exclude={"name"}), study.training.updates


def _agent(plan: Plan) -> Any:
    """The shapes of one new agent, with an axis for members."""
    return jax.eval_shape(jax.vmap(lambda key: plan.agent.init(key)), jax.random.split(jax.random.key(0), 1))


def _shapes(agent: Any) -> list[tuple[str, tuple[int, ...], Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(agent)
    return [(jax.tree_util.keystr(path), x.shape[1:], np.dtype(x.dtype)) for path, x in leaves]


def _fitted(found: _States, fresh: Any, after: Plan) -> Any:
    """Members of a run as members of another study: what is new in it begins, what it does not have is dropped."""
    state: Any = found.state
    before, params = found.plan, state.agent.params
    if (TEMPERATURE in params) != (TEMPERATURE in fresh.agent.params):  # greedy before and soft now, or the reverse
        params = fresh.agent.params | learned(params)
    promised = np.zeros_like(fresh.promised)
    for i, name in enumerate(after.shaped):
        if name in before.shaped:
            promised[:, i] = state.promised[:, before.shaped.index(name)]
    owed, standing = _carried(state.owed, fresh.owed), fresh.standing
    if standing is not None:
        entered = standing._replace(at=state.clock)
        told = entered if state.standing is None else state.standing
        standing = jax.tree.map(lambda old, new: np.where(found.same, old, new), told, entered)
    agent = state.agent._replace(params=params)
    return state._replace(agent=agent, promised=promised, owed=owed, standing=standing)


def _carried(owed: Owed | None, fresh: Owed | None) -> Owed | None:
    """What members are owed, in the accounts of another study: what would come later than these reach comes as late as
    they allow, or at the end of the episode. Where all is paid at once, nobody could be paid it, and it is dropped.
    """
    if owed is None or fresh is None:
        return fresh
    soon: Any = np.array(fresh.soon)  # on the host, as all that a fork begins with
    later: Any = np.array(owed.later)
    kept = min(soon.shape[-1], owed.soon.shape[-1])
    soon[..., :kept] = np.asarray(owed.soon)[..., :kept]
    beyond = np.asarray(owed.soon)[..., kept:]
    if beyond.size:
        last = soon[..., -1] if soon.size else later
        last += beyond.sum(-1)
    return Owed(soon, later)
