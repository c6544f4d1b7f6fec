"""Trains a run: from its last whole checkpoint on, to the end, with guards looking at every checkpoint on the way."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chisel.guards import Guards, Watch, record_guards, unwatched
from chisel.news import News, Tell
from chisel.resolve import Resolved, resolve
from chisel.run import TRAINING, Broken, Run, Saver, clear_unfinished, load_checkpoint
from chisel.spec import WrongInput
from chisel.study import Study, edge_update
from chisel.training.population import Population, gather, lay, seed_keys
from chisel.training.record import record

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from chisel.probing.reader import Reader


def population_of(study: Study, devices: int | None) -> tuple[Population, np.ndarray]:
    """All members of a study, and the keys from which they begin."""
    resolved = resolve(study)
    seeds, schedules = study.training.seeds, len(study.schedule)
    under = np.repeat(np.arange(schedules), seeds)
    return Population(resolved.plan, _of_members(resolved, under), devices), seed_keys(seeds, schedules)


def _of_members(resolved: Resolved, under: np.ndarray) -> Any:
    """The schedule of every member, given the number of each."""
    return jax.tree.map(lambda x: x[under], resolved.schedules)


class _Past(NamedTuple):
    """How far training is: after how many updates, and what there is of it at every checkpoint."""

    at: int
    members: Any  # the state, laid over the devices; None before the first checkpoint
    rows: list[Any]  # metrics [members, updates, …] up to each checkpoint from the one before
    watches: list[Watch]


def train(
    this: Run, devices: int | None, tell: Tell, make_reader: "Callable[[Population], Reader]", about: dict[str, Any]
) -> bool:
    """Trains what is not trained yet, from the last whole checkpoint on, and writes `training.nc`.

    Args:
        about: what the dataset says of itself.
        make_reader: what guards read with; called only if there are guards and there is something to train.

    Returns:
        Whether there was anything to do.
    """
    clear_unfinished(this)
    study = this.study
    population, keys = population_of(study, devices)
    past = _restore(this, population, keys, tell)
    if past.at < study.checkpoint_updates[-1] or not past.rows:
        guards = None
        if study.guard:
            tell(News("compiling", text="readings for the guards"))
            guards = Guards(
                study, make_reader(population), gather(population.new(keys), population.members).agent.params
            )
        tell(News("compiling", text="training"))
        members = population.new(keys) if past.members is None else past.members
        population.compile(members)
        past = _advance(this, population, keys, past._replace(members=members), guards, tell)
    elif (this.path / TRAINING).is_file():
        return False
    this.write_dataset(TRAINING, _training(study, population, past).assign_attrs(about))
    return True


def _like(population: Population, keys: np.ndarray, study: Study, updates: int) -> dict[str, Any]:
    """The shapes of what a checkpoint holds that comes so many updates after the one before."""
    state, metrics = population.shapes(keys, updates)
    parts = {"state": state, "metrics": metrics}
    return parts | ({"watch": unwatched(study)} if study.guard else {})


def load_members(this: Run, population: Population, keys: np.ndarray, updates: int) -> Any:
    """The members' state at one checkpoint, on the host.

    Raises:
        WrongInput: the checkpoint is missing or damaged.
    """
    before = max((u for u in this.study.checkpoint_updates if u < updates), default=0)
    try:
        return load_checkpoint(this, updates, **_like(population, keys, this.study, updates - before))["state"]
    except Broken as error:
        raise WrongInput(f"{error}; `chisel run` with the same study and --out trains it again") from None


def _restore(this: Run, population: Population, keys: np.ndarray, tell: Tell) -> _Past:
    """The last state that can be trusted, and all that came before it."""
    state: Any = None
    rows: list[Any] = []
    watches: list[Watch] = []
    at = 0
    for updates in this.study.checkpoint_updates:
        try:
            parts = load_checkpoint(this, updates, **_like(population, keys, this.study, updates - at))
        except Broken as error:
            if len(this.saved()) > len(rows):  # something is there that should be whole
                tell(News("note", text=f"{error}; training goes on from {at * this.study.training.batch:,} steps"))
            break
        state, at = parts["state"], updates
        rows.append(parts["metrics"])
        watches.append(parts.get("watch", unwatched(this.study)))
    return _Past(at, None if state is None else lay(state, population.mesh), rows, watches)


def _advance(
    this: Run, population: Population, keys: np.ndarray, past: _Past, guards: Guards | None, tell: Tell
) -> _Past:
    """Trains to the end, saving at every checkpoint of the plan."""
    study, count = this.study, population.members
    each, total = study.training.batch * count, study.training.updates
    resolved = resolve(study)
    at, members, rows, watches = past
    saver = Saver(this)

    def save(updates: int) -> None:
        watch = {"watch": watches[-1]} if study.guard else {}
        saver.save(updates, state=gather(members, count), metrics=rows[-1], **watch)

    try:
        if not rows:
            rows, watches = [population.no_metrics(keys)], [unwatched(study)]
            save(0)
        for target in [u for u in study.checkpoint_updates if u > at]:
            population.use(_of_members(resolved, watches[-1].under))
            segment = [population.no_metrics(keys)]
            while at < target:
                tell(News("training", at * each, total * each, "steps"))
                step = min(population.plan.chunk, target - at)
                members, metrics = population.advance(members, step, watches[-1].halted)
                segment.append(metrics)
                at += step
            rows.append(jax.tree.map(lambda *x: np.concatenate(x, axis=1), *segment))
            if guards is not None:
                params = gather(members.agent.params, count)
                watches.append(guards.look(params, at, watches[-1]))
                members = _entering(members, watches[-1].under != watches[-2].under, population)
                _tell_acts(study, at, watches[-1], tell)
            else:
                watches.append(watches[-1])
            save(target)
        tell(News("training", total * each, total * each, "steps"))
    finally:
        saver.close()
    return _Past(at, members, rows, watches)


def _entering(members: Any, switched: np.ndarray, population: Population) -> Any:
    """Members with nothing achieved yet where they were switched, so that a phase's criterion counts from there on."""
    standing = members.standing
    if standing is None:
        return members
    new = lay(switched, population.mesh)
    total, episodes = (jnp.where(new, 0, x) for x in (standing.total, standing.episodes))
    return members._replace(standing=standing._replace(total=total, episodes=episodes))


def _tell_acts(study: Study, at: int, watch: Watch, tell: Tell) -> None:
    for guard, acted, seen in zip(study.guard, watch.fired == at, watch.seen, strict=True):
        if acted.any():
            steps, members = at * study.training.batch, f"{acted.sum()} of {len(acted)} members"
            text = f"guard at {steps:,} steps: {guard.condition} in {members} (mean {seen[acted].mean():.3g})"
            tell(News("note", text=f"{text}: {guard.action}"))


def _training(study: Study, population: Population, past: _Past) -> "xr.Dataset":
    """What training reported, labelled."""
    metrics = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *past.rows)
    lengths = [row.paid.shape[1] for row in past.rows]
    before = [past.watches[0], *past.watches[:-1]]  # what was decided at a checkpoint holds from there on
    under = np.concatenate([np.repeat(w.under[:, None], n, 1) for w, n in zip(before, lengths, strict=True)], axis=1)
    labels = [s.name for s in study.schedule]
    data = record(population.plan, resolve(study).schedules, labels, study.training.seeds, metrics, under)
    data = data.assign(phase=(data["under"].dims, _phases(study, data["under"].values, data["schedule_update"].values)))
    data["phase"].attrs = {"long_name": "phase of the schedule that was in force in the update, from 0", "units": "1"}
    return data.merge(record_guards(study, past.watches)) if study.guard else data


def _phases(study: Study, under: np.ndarray, at: np.ndarray) -> np.ndarray:
    """In which phase of its schedule a member was, −1 where it had been halted."""
    updates = study.training.updates
    found = np.zeros(at.shape, np.int32)
    for i, part in enumerate(study.schedule):
        edges = [edge_update(phase.until, updates) for phase in (part.phases or ())[:-1]]
        found = np.where(under == i, np.searchsorted(edges, at, side="right"), found)
    return np.where(at < 0, -1, found).astype(np.int32)
