"""The order of work: train, read, report; going on where it stopped.

Everything long tells how far it is through a `Tell`; nothing here prints.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chisel.devices import use_devices
from chisel.resolve import check_names, resolve, true_channels
from chisel.spec import WrongInput
from chisel.study import Study, edge_update

if TYPE_CHECKING:
    import xarray as xr

    from chisel.probing.battery import Battery
    from chisel.run import Run
    from chisel.training.population import Population


class News(NamedTuple):
    """How far a long piece of work is.

    Fields:
        stage: `compiling`, `training`, `reading`, `drawing`; or `note`, for a sentence that a person should see.
        done, total: in `unit`; both 0 where it cannot be known.
        text: the sentence, or what is being compiled.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    text: str = ""


Tell = Callable[[News], None]


def silent(news: News) -> None:
    """Tells nobody."""


def run(
    study: Study,
    out: Path | str,
    battery: str = "values",
    devices: int | None = None,
    tell: Tell = silent,
) -> Path:
    """Trains, reads and reports a study; goes on where an earlier call stopped. Returns the report's path.

    Raises:
        WrongInput: the study, the battery or the folder cannot be used; nothing was written.
    """
    use_devices(devices)
    from chisel import run as runs

    out = Path(out)
    check_names(study, "study")
    _checked_battery(study, battery)
    this = runs.create(out, study, {"battery": battery})
    with runs.alone(out):
        trained = train(this, devices, tell)
        if not (out / runs.READINGS).is_file() or this.manifest().get("battery_read") != _battery_mark(battery):
            read(this, battery, devices, tell)
        elif not trained and (out / runs.REPORT).is_file():
            tell(News("note", text=f"{out} is finished already; nothing was left to do"))
            return out / runs.REPORT
        return report([this], out / runs.REPORT, tell)


def _checked_battery(study: Study, battery: str) -> "Battery":
    from chisel.probing.battery import check_battery, load_battery
    from chisel.resolve import make_network
    from chisel.worlds import load_world

    world = load_world(study.world)
    chosen, where = load_battery(battery)
    check_battery(chosen, str(where), world, make_network(study, world))
    return chosen


def open_run(path: Path | str) -> "Run":
    """The run in a folder: its study, its datasets.

    Raises:
        WrongInput: there is none.
    """
    from chisel import run as runs

    return runs.open_run(Path(path))


def train(this: "Run", devices: int | None = None, tell: Tell = silent) -> bool:
    """Trains what is not trained yet, from the last whole checkpoint on, and writes `training.nc`.

    Returns:
        Whether there was anything to do.
    """
    from chisel import run as runs

    runs.clear_unfinished(this)
    population, keys = population_of(this.study, devices)
    members, rows, at = _restore(this, population, keys, tell)
    plan = this.study.checkpoint_updates
    if at < plan[-1] or not rows:
        tell(News("compiling", text="training"))
        if members is None:
            members = population.new(keys)
        population.compile(members)
        rows = _advance(this, population, members, keys, rows, at, tell)
    elif (this.path / runs.TRAINING).is_file():
        return False
    this.write_dataset(runs.TRAINING, _training(this.study, population, rows))
    return True


def population_of(study: Study, devices: int | None) -> tuple["Population", Any]:
    """All members of a study, and the keys from which they begin."""
    import jax

    from chisel.training.population import Population, seed_keys

    resolved = resolve(study)
    seeds, schedules = study.training.seeds, len(study.schedule)
    stacked = jax.tree.map(lambda x: x.repeat(seeds, axis=0), resolved.schedules)
    return Population(resolved.plan, stacked, devices), seed_keys(seeds, schedules)


def _restore(this: "Run", population: "Population", keys: Any, tell: Tell) -> tuple[Any, list[Any], int]:
    """The last state that can be trusted, the metrics up to it, and after how many updates it is."""
    from chisel.run import Broken, load_checkpoint
    from chisel.training.population import lay

    state: Any = None
    rows: list[Any] = []
    at = 0
    for updates in this.study.checkpoint_updates:
        like = population.shapes(keys, updates - at)
        try:
            state, metrics = load_checkpoint(this, updates, *like)
        except Broken as error:
            if len(this.saved()) > len(rows):  # something is there that should be whole
                tell(News("note", text=f"{error}; training goes on from {at * this.study.training.batch:,} steps"))
            break
        rows.append(metrics)
        at = updates
    return (None if state is None else lay(state, population.mesh)), rows, at


def _advance(
    this: "Run", population: "Population", members: Any, keys: Any, rows: list[Any], at: int, tell: Tell
) -> list[Any]:
    """Trains to the end, saving at every checkpoint of the plan."""
    import jax
    import numpy as np

    from chisel.run import Saver
    from chisel.training.population import gather

    study, count = this.study, population.members
    each, total = study.training.batch * count, study.training.updates
    saver = Saver(this)
    try:
        if not rows:
            rows = [population.no_metrics(keys)]
            saver.save(0, gather(members, count), rows[0])
        for target in [u for u in study.checkpoint_updates if u > at]:
            segment = [population.no_metrics(keys)]
            while at < target:
                tell(News("training", at * each, total * each, "steps"))
                step = min(population.plan.chunk, target - at)
                members, metrics = population.advance(members, step)
                segment.append(metrics)
                at += step
            rows = [*rows, jax.tree.map(lambda *x: np.concatenate(x, axis=1), *segment)]
            saver.save(target, gather(members, count), rows[-1])
        tell(News("training", total * each, total * each, "steps"))
    finally:
        saver.close()
    return rows


def _training(study: Study, population: "Population", rows: list[Any]) -> "xr.Dataset":
    """What training reported, labelled; `rows` are metrics [members, updates, …] between checkpoints."""
    import jax
    import numpy as np

    from chisel.training.record import record

    metrics = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *rows)
    labels = [s.name for s in study.schedule]
    data = record(population.plan, resolve(study).schedules, labels, study.training.seeds, metrics)
    return data.assign_attrs(about(study))


def read(this: "Run", battery: str = "values", devices: int | None = None, tell: Tell = silent) -> None:
    """Reads every checkpoint with a battery and writes `readings.nc`; a page of older readings is removed.

    Raises:
        WrongInput: the battery cannot be used, or a checkpoint is missing or damaged.
    """
    use_devices(devices)
    from chisel import run as runs
    from chisel.probing.dataset import dataset
    from chisel.probing.reader import Reader
    from chisel.worlds import load_world

    study = this.study
    chosen = _checked_battery(study, battery)
    population, keys = population_of(study, devices)
    world, network = load_world(study.world), population.plan.agent.network
    tell(News("compiling", text="readings"))
    reader = Reader(chosen, world, network, _final_params(study), population.members, devices)
    for warning in reader.warnings():
        tell(News("note", text=warning))
    plan, rows = study.checkpoint_updates, []
    for i, updates in enumerate(plan):
        state = load(this, population, keys, updates)
        rows.append(reader.read(state.agent.params))
        tell(News("reading", i + 1, len(plan), "checkpoints"))
    names = [s.name for s in study.schedule]
    data = dataset(reader, rows, names, study.training.seeds, plan, study.training.batch, study.training.updates)
    this.write_dataset(runs.READINGS, data.assign_attrs(about(study)))
    (this.path / runs.REPORT).unlink(missing_ok=True)
    this.note(battery_read=_battery_mark(battery))  # last: until then the run is read again


def load(this: "Run", population: "Population", keys: Any, updates: int) -> Any:
    """The members' state at one checkpoint, on the host.

    Raises:
        WrongInput: the checkpoint is missing or damaged.
    """
    from chisel.run import Broken, load_checkpoint

    plan = this.study.checkpoint_updates
    before = max((u for u in plan if u < updates), default=0)
    try:
        return load_checkpoint(this, updates, *population.shapes(keys, updates - before))[0]
    except Broken as error:
        raise WrongInput(f"{error}; `chisel run` with the same study and --out trains it again") from None


def _battery_mark(battery: str) -> str:
    """What a battery asks for, so that a changed one is read again."""
    from chisel.probing.battery import load_battery

    return load_battery(battery)[0].model_dump_json()


def _final_params(study: Study) -> dict[str, float]:
    from chisel.resolve import curve
    from chisel.worlds import load_world
    from chisel.worlds.world import defaults

    return {k: float(curve(v)(1.0)) for k, v in (defaults(load_world(study.world)) | study.world_params).items()}


def about(study: Study) -> dict[str, Any]:
    """What every dataset of a study says of itself: plain strings and numbers, so that any tool can read them."""
    from chisel.resolve import proxy_channels
    from chisel.worlds import load_world

    world, training = load_world(study.world), study.training
    return {
        "title": study.title or f"A study of {study.world}",
        "world": study.world,
        "world_summary": world.summary,
        "true_channels": json.dumps(list(true_channels(study, world))),
        "proxy_channels": json.dumps(list(proxy_channels(study, world))),
        "phase_edges": json.dumps([edge_update(e, training.updates) * training.batch for e in study.edges]),
        "steps": training.steps,
    }


def report(these: "list[Run]", path: Path, tell: Tell = silent) -> Path:
    """Draws one page of one or several runs.

    Raises:
        WrongInput: a run has not been read yet.
    """
    from chisel import run as runs
    from chisel.view.report import Sheet, page

    sheets = []
    for i, this in enumerate(these):
        tell(News("drawing", i, len(these), "runs"))
        training, readings = this.dataset(runs.TRAINING), this.dataset(runs.READINGS)
        sheets.append(Sheet(this.path.name, training, readings, films(this), this.study.to_toml(), this.manifest()))
    path = path if path.suffix == ".html" else path / runs.REPORT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.writing")
        temporary.write_text(page(sheets), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise WrongInput(f"{path}: cannot be written to ({error.strerror or error})") from error
    tell(News("drawing", len(these), len(these), "runs"))
    return path


def films(this: "Run") -> dict[str, bytes]:
    """A film of the first seed's final agent under every schedule, all in the same levels: GIFs by schedule name."""
    import jax

    from chisel.view.film import film
    from chisel.worlds import load_world

    population, keys = population_of(this.study, None)
    world, network = load_world(this.study.world), population.plan.agent.network
    params = load(this, population, keys, this.study.checkpoint_updates[-1]).agent.params
    seeds = this.study.training.seeds

    def shot(index: int) -> bytes:
        own = jax.tree.map(lambda x: x[index * seeds], params)
        return film(world, network, own, _final_params(this.study))

    return {s.name: shot(i) for i, s in enumerate(this.study.schedule)}
