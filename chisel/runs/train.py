"""Trains a run: from its last whole checkpoint on, to the end, with guards looking at every checkpoint on the way."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from chisel.build.build import Resolved, levels_vary, resolve
from chisel.progress import News, Tell
from chisel.rewards.schedule import in_force
from chisel.runs.guards import Guards, Watch, record_guards, unwatched
from chisel.runs.store import TRAINING, Broken, Run, Saver, clear_unfinished, load_checkpoint
from chisel.study.files import WrongInput
from chisel.study.schedules import SchedulePart, edge_update
from chisel.study.study import Study
from chisel.training.member import reseeded
from chisel.training.population import Population, seed_keys
from chisel.training.record import record
from chisel.training.sharing import Sharing, alone, sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr

    from chisel.probing.reader import Reader


def population_of(study: Study, devices: int | None) -> tuple[Population, np.ndarray]:
    """All members of a study, and the keys from which they begin."""
    resolved = resolve(study)
    seeds, schedules = study.training.seed_numbers, len(study.schedule)
    under = np.repeat(np.arange(schedules), len(seeds))
    return Population(resolved.plan, _of_members(resolved, under), devices), seed_keys(seeds, schedules)


def sharing_of(study: Study, resolved: Resolved) -> Sharing:
    """Which members are trained as one, and for how long: see `chisel.training.sharing`."""
    count, seeds, fork = len(study.schedule), study.training.seeds, study.fork
    if study.guard or (fork and fork.schedule is None):  # then what members do, or begin with, is their own
        return alone(count, seeds, study.training.updates)
    return sharing(resolved.schedules, seeds, [reseeds(part, study) for part in study.schedule], study.start)


def reseeds(part: SchedulePart, study: Study) -> list[int]:
    """The updates before which a schedule changes to other random numbers."""
    begins = [0, *(edge_update(phase.until, study.training.updates) for phase in part.phases or ())]
    return [at for at, phase in zip(begins, part.phases or (), strict=False) if phase.reseed]


def _of_members(resolved: Resolved, under: np.ndarray) -> Any:
    """The schedule of every member, given the number of each."""
    return jax.tree.map(lambda x: x[under], resolved.schedules)


class _Past(NamedTuple):
    """How far training is: after how many updates, and what there is of it at every checkpoint."""

    at: int
    members: Any  # the state, on the host; None before the first checkpoint
    rows: list[Any]  # metrics [members, updates, …] up to each checkpoint from the one before
    watches: list[Watch]


def train(
    this: Run,
    devices: int | None,
    tell: Tell,
    make_reader: "Callable[[Population], Reader]",
    about: dict[str, Any],
    begin: "Callable[[Population, np.ndarray], Any] | None" = None,
) -> bool:
    """Trains what is not trained yet, from the last whole checkpoint on, and writes `training.nc`.

    Args:
        about: what the dataset says of itself.
        make_reader: what guards read with; called only if there are guards and there is something to train.
        begin: the members' state on the host where training begins, given their keys; new members, if None.

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
            guards = Guards(study, make_reader(population), new_members(population, keys).agent.params)
        tell(News("compiling", text="training"))
        members = (begin or new_members)(population, keys) if past.members is None else past.members
        population.compile(population.lay(members))
        past = _advance(this, population, keys, past._replace(members=members), guards, tell)
    elif (this.path / TRAINING).is_file():
        return False
    this.write_dataset(TRAINING, _training(study, population, past).assign_attrs(about))
    return True


def new_members(population: Population, keys: np.ndarray) -> Any:
    """The state of members before their first update, on the host."""
    return population.gather(population.new(keys))


def _like(population: Population, keys: np.ndarray, study: Study, updates: int) -> dict[str, Any]:
    """The shapes of what a checkpoint holds that comes so many updates after the one before."""
    state, metrics = population.shapes(keys, updates)
    parts = {"state": state, "metrics": metrics}
    return parts | ({"watch": unwatched(study)} if study.guard else {})


def load_members(this: Run, population: Population, keys: np.ndarray, updates: int) -> Any:
    """The members' state at one checkpoint, on the host. A fork has none from before it; but new members can be made.

    Raises:
        WrongInput: the checkpoint is missing or damaged.
    """
    if updates == 0 and this.study.start:
        return new_members(population, keys)
    before = max((u for u in this.study.checkpoint_updates if u < updates), default=updates)
    try:
        return load_checkpoint(this, updates, **_like(population, keys, this.study, updates - before))["state"]
    except Broken as error:
        raise WrongInput(f"{error}; `chisel run` with the same study and --out trains it again") from None


def _restore(this: Run, population: Population, keys: np.ndarray, tell: Tell) -> _Past:
    """The last state that can be trusted, and all that came before it."""
    state: Any = None
    rows: list[Any] = []
    watches: list[Watch] = []
    at = this.study.start
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
    return _Past(at, state, rows, watches)


def _advance(
    this: Run, population: Population, keys: np.ndarray, past: _Past, guards: Guards | None, tell: Tell
) -> _Past:
    """Trains to the end, saving at every checkpoint of the plan."""
    study, resolved = this.study, resolve(this.study)
    at, members, rows, watches = past
    shared = sharing_of(study, resolved)
    total = shared.trained(study.start, study.training.updates)
    saver = Saver(this)

    def save(updates: int) -> None:
        watch = {"watch": watches[-1]} if study.guard else {}
        saver.save(updates, state=members, metrics=rows[-1], **watch)

    def told(at: int) -> None:
        batch = study.training.batch
        tell(News("training", shared.trained(study.start, at) * batch, total * batch, "steps"))

    try:
        if not rows:
            rows, watches = [population.no_metrics(keys)], [unwatched(study)]
            save(at)
        for target in [u for u in study.checkpoint_updates if u > at]:
            population.use(_of_members(resolved, watches[-1].under))
            members = _other_luck(study, members, at, watches[-1])
            segment = [population.no_metrics(keys)]
            for edge in [*(u for u in shared.splits() if at < u < target), target]:
                population.together(shared.leaders(at))
                laid = population.lay(members)
                while at < edge:
                    told(at)
                    step = min(population.plan.chunk, edge - at)
                    laid, metrics = population.advance(laid, step, watches[-1].halted)
                    segment.append(metrics)
                    at += step
                members = population.gather(laid)
            rows.append(jax.tree.map(lambda *x: np.concatenate(x, axis=1), *segment))
            if guards is not None:
                trained_on = None
                if levels_vary(study):
                    trained_on = _trained_on(resolved, watches[-1].under, rows[-1].at[:, -1])
                watches.append(guards.look(members.agent.params, at, watches[-1], trained_on))
                members = _entering(members, watches[-1].under != watches[-2].under)
                _tell_acts(study, at, watches[-1], tell)
            else:
                watches.append(watches[-1])
            save(target)
        told(study.training.updates)
    finally:
        saver.close()
    return _Past(at, members, rows, watches)


def _trained_on(resolved: Resolved, under: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The level distribution of every member in one update, [members, params], by sorted name.

    Args:
        under, at: of each member, the number of its schedule, and the update of that schedule's clock.
    """
    schedules = jax.tree.map(jax.numpy.asarray, resolved.schedules)
    params = jax.jit(jax.vmap(lambda i, clock: in_force(jax.tree.map(lambda x: x[i], schedules), clock).params))
    return np.asarray(params(under, np.maximum(at, 0)))  # a halted member is not looked at


def level_params(training: "xr.Dataset", plan: "Sequence[int]") -> np.ndarray:
    """The level distribution that members trained on in the update that ended at each checkpoint; before any was
    done, in the first; after a member was halted, in its last. [members, checkpoints, params], by sorted name.

    Args:
        training: a run's `training.nc`.
        plan: updates done at each checkpoint.
    """
    members = training.sizes["schedule"] * training.sizes["seed"]
    if "param" not in training:  # the world has none
        return np.zeros((members, len(plan), 0), np.float32)
    rows = training["param"].transpose("schedule", "seed", "update", "param_name").values
    rows = rows.reshape(members, *rows.shape[2:])
    updates = training["update"].values
    trained = np.isfinite(rows).all(2)
    last = np.maximum.accumulate(np.where(trained, np.arange(len(updates)), 0), axis=1)
    place = np.clip(np.array(plan) - 1 - updates[0], 0, len(updates) - 1)
    found: np.ndarray = rows[np.arange(members)[:, None], last[:, place]]
    return found


def _other_luck(study: Study, members: Any, at: int, watch: Watch) -> Any:
    """Members under schedules that change to other random numbers here with new keys, the others as they are."""
    which = np.array([at in reseeds(part, study) for part in study.schedule])[watch.under] & ~watch.halted
    if not which.any():
        return members
    return members._replace(key=np.where(which[:, None], np.asarray(jax.vmap(reseeded)(members.key)), members.key))


def _entering(members: Any, switched: np.ndarray) -> Any:
    """Members with nothing achieved yet where they were switched, so that a phase's criterion counts from there on."""
    standing = members.standing
    if standing is None:
        return members
    counted = standing.total, standing.episodes, standing.updates
    total, episodes, updates = (np.where(switched, np.zeros_like(x), x) for x in counted)
    return members._replace(standing=standing._replace(total=total, episodes=episodes, updates=updates))


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
    data = record(population.plan, resolve(study).schedules, labels, study.training.seeds, metrics, under, study.start)
    data = data.assign_coords(seed=np.array(study.training.seed_numbers, np.int32))
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
