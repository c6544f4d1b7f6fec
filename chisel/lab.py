"""The order of work: train, read, report; going on where it stopped.

Everything long tells how far it is through a `Tell`; nothing here prints.
"""

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chisel.build.build import check_names, final_params, levels_vary, true_channels
from chisel.devices import use_devices
from chisel.progress import News, Tell, silent
from chisel.study.files import WrongInput
from chisel.study.schedules import edge_update
from chisel.study.study import Study

if TYPE_CHECKING:
    import xarray as xr

    from chisel.probing.reader import Reader
    from chisel.runs.store import Run
    from chisel.study.battery import Battery
    from chisel.training.population import Population


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
    from chisel.build.budget import matched
    from chisel.runs import store as runs
    from chisel.runs.estimate import within_limits

    out = Path(out)
    check_names(study, "study")
    _checked_battery(study, battery, guards=not (out / runs.TRAINING).is_file())
    study = matched(study)
    if not (out / "study.toml").is_file():
        within_limits(study, devices, tell)
        _tell_moved(study, tell)
    lineage = {} if study.fork is None else {"forked_from": study.fork.model_dump()}
    this = runs.create(out, study, {"battery": battery} | lineage)
    with runs.alone(out):
        trained = train(this, battery, devices, tell)
        if not (out / runs.READINGS).is_file() or this.manifest().get("battery_read") != _battery_mark(battery):
            read(this, battery, devices, tell)
        elif trained:  # which wrote training.nc anew, without what the readings say of random play
            _with_baselines(this, this.dataset(runs.READINGS), silent)
        elif (out / runs.REPORT).is_file():
            tell(News("note", text=f"{out} is finished already; nothing was left to do"))
            return out / runs.REPORT
        return report([this], out / runs.REPORT, tell)


def _tell_moved(study: Study, tell: Tell) -> None:
    """Says which phase edges lie within an update, and so begin with the next or with it."""
    updates = study.training.updates
    for edge in study.edges:
        at = edge_update(edge, updates)
        if abs(edge * updates - at) > 1e-6:
            moved = (
                f"moved from update {edge * updates:.2f} to the edge between two, {at * study.training.batch:,} steps"
            )
            tell(News("note", text=f"the phase that ends at {edge:.4g} of training is {moved}"))


def fork(
    this: "Run",
    at: int,
    study: Study,
    out: Path | str,
    schedule: str | None = None,
    reseed: bool = False,
    battery: str = "values",
    devices: int | None = None,
    tell: Tell = silent,
) -> Path:
    """Goes on from a checkpoint under other schedules: trains, reads and reports. Returns the report's path.

    Args:
        this: the run that is forked.
        at, study, schedule, reseed: as `chisel.runs.fork.forked` takes them.
        out: the folder of the fork.

    Raises:
        WrongInput: the run cannot go on so; nothing was written.
    """
    use_devices(devices)
    from chisel.runs.fork import forked

    return run(forked(this, at, study, schedule, reseed), out, battery, devices, tell)


def _checked_battery(study: Study, battery: str, guards: bool) -> "Battery":
    """The battery, if it suits the study; and its guards, if they are to read with it."""
    from chisel.build.agents import make_network
    from chisel.build.build import world_of
    from chisel.probing.battery import check_battery, left_out, with_functions
    from chisel.runs.guards import check_guards
    from chisel.study.battery import READINGS, load_battery
    from chisel.worlds.world import names

    chosen, where = load_battery(battery)
    world = with_functions(world_of(study), chosen, where)
    network = make_network(study, world)
    check_battery(chosen, str(where), world, network)
    features = names(world).features if chosen.decode.features == "all" else tuple(chosen.decode.features)
    layers = network.layers if chosen.decode.layers == "all" else tuple(chosen.decode.layers)
    if guards:
        not_asked = dict.fromkeys(set(READINGS) - set(chosen.asked), f"{where} does not ask for it")
        check_guards(study, not_asked | left_out(world), features, layers, tuple(chosen.distributions), "study")
    return chosen


def open_run(path: Path | str) -> "Run":
    """The run in a folder: its study, its datasets.

    Raises:
        WrongInput: there is none.
    """
    from chisel.runs import store as runs

    return runs.open_run(Path(path))


def train(this: "Run", battery: str = "values", devices: int | None = None, tell: Tell = silent) -> bool:
    """Trains what is not trained yet, from the last whole checkpoint on, and writes `training.nc`.

    Args:
        battery: what guards read with, if the study has any.

    Returns:
        Whether there was anything to do.

    Raises:
        WrongInput: guards began with another battery, or cannot read with this one.
    """
    from chisel.runs import fork as forking
    from chisel.runs import train as trainer
    from chisel.runs.guards import asked_of

    def reader_of_guards(population: "Population") -> "Reader":
        _checked_battery(this.study, battery, guards=True)
        _hold_guards(this, battery)
        # While agents train, what guards ask for and nothing more.
        only = sorted({asked_of(guard) for guard in this.study.guard})
        return _reader(this.study, battery, population, devices, only)

    begin = None if this.study.fork is None else forking.going_on(this.study)
    return trainer.train(this, devices, tell, reader_of_guards, about(this.study), begin)


def _hold_guards(this: "Run", battery: str) -> None:
    """Holds guards to the battery that they began with; a run is repeatable only then."""
    mark, began = _battery_mark(battery), this.manifest()
    if began.get("guards_read", mark) != mark:
        name = began["guards_battery"]
        other = "which has been changed since" if name == battery else f"and go on with it only, not with {battery!r}"
        raise WrongInput(f"{this.path}: its guards began to read with the battery {name!r}, {other}")
    this.note(guards_read=mark, guards_battery=battery)


def _reader(
    study: Study, battery: str, population: "Population", devices: int | None, only: list[str] | None = None
) -> "Reader":
    """The reader of a study's networks. `only`: some of what the battery asks for."""
    from chisel.probing.battery import with_functions
    from chisel.probing.reader import Reader
    from chisel.study.battery import load_battery

    chosen, where = load_battery(battery)
    chosen = chosen if only is None else chosen.model_copy(update={"readings": only})
    world, network = with_functions(population.plan.world, chosen, where), population.plan.agent.network
    return Reader(chosen, world, network, final_params(study), population.members, devices, levels_vary(study))


def read(this: "Run", battery: str = "values", devices: int | None = None, tell: Tell = silent) -> None:
    """Reads every checkpoint with a battery and writes `readings.nc`; a page of older readings is removed.

    Raises:
        WrongInput: the battery cannot be used, or a checkpoint is missing or damaged.
    """
    use_devices(devices)
    from chisel.analysis.statistics import smallest_paired_p
    from chisel.probing.dataset import dataset, with_transfer
    from chisel.probing.diverged import in_words
    from chisel.runs import store as runs
    from chisel.runs.train import level_params, load_members, population_of

    study = this.study
    _checked_battery(study, battery, guards=False)
    population, keys = population_of(study, devices)
    tell(News("compiling", text="readings"))
    reader = _reader(study, battery, population, devices)
    for warning in reader.warnings():
        tell(News("note", text=warning))
    # A fork begins with trained agents; what training added is told from untrained ones, and these can be made again.
    plan, rows, probes = sorted({0, *study.checkpoint_updates}), [], []
    trained_on = level_params(this.dataset(runs.TRAINING), plan)

    def networks(updates: int) -> Any:
        return load_members(this, population, keys, updates).agent.params

    for i, updates in enumerate(plan):
        params = networks(updates)
        rows.append(reader.read(params, trained_on[:, i]))
        probes += [reader.probes(params)] if "transfer" in reader.asked else []
        tell(News("reading", i + 1, len(plan), "checkpoints"))
    names = [s.name for s in study.schedule]
    training = study.training
    edges = [edge_update(edge, training.updates) for edge in study.edges]
    counts = training.seeds, plan, training.batch, training.updates
    data = dataset(reader, rows, names, *counts, edges, trained_on, training.first_seed)
    if data["diverged"].any():
        tell(News("note", text=in_words(data)))
    if len(names) > 1 and smallest_paired_p(training.seeds) > 0.05:
        tell(News("note", text=f"{training.seeds} seeds: no comparison of schedules in pairs can reach p < 0.05"))
    if probes:
        tell(News("compiling", text="transfer of probes between checkpoints"))
        data = with_transfer(data, reader, probes, (networks(updates) for updates in plan))
    data = _with_baselines(this, data.assign_attrs(about(study)), tell)
    this.write_dataset(runs.READINGS, data)
    (this.path / runs.REPORT).unlink(missing_ok=True)
    this.note(battery_read=_battery_mark(battery))  # last: until then the run is read again


def _with_baselines(this: "Run", readings: "xr.Dataset", tell: Tell) -> "xr.Dataset":
    """Says which schedules end below random play or below their untrained agents, here and in `training.nc`."""
    from chisel.findings import baselines, levels
    from chisel.runs import store as runs

    training = this.dataset(runs.TRAINING).drop_vars("random_return", errors="ignore")
    training.attrs.pop(baselines.ATTRIBUTE, None)
    if "random_return" in readings:
        found = baselines.below(readings)
        for text in baselines.sentences(found, levels.common(readings)):
            tell(News("note", text=text))
        readings = readings.assign_attrs({baselines.ATTRIBUTE: json.dumps(found)})
        chance = readings["random_return"].isel(checkpoint=-1, drop=True).sel(levels="training", drop=True)
        # In double precision the mean of equal seeds is what each of them is, however many there are.
        mean = chance.astype(float).mean("seed").astype(chance.dtype).assign_attrs(chance.attrs)
        training = training.assign(random_return=mean).assign_attrs({baselines.ATTRIBUTE: json.dumps(found)})
    this.write_dataset(runs.TRAINING, training)
    return readings


def _battery_mark(battery: str) -> str:
    """What a battery asks for, its functions included, so that a changed one is read again."""
    from chisel.study.battery import load_battery

    chosen, where = load_battery(battery)
    texts = [(where.parent / name).read_text(encoding="utf-8") for name in chosen.decode.functions]
    return chosen.model_dump_json() + "".join(hashlib.sha256(text.encode()).hexdigest() for text in texts)


def about(study: Study) -> dict[str, Any]:
    """What every dataset of a study says of itself: plain strings and numbers, so that any tool can read them."""
    from chisel.build.agents import agent_in_words
    from chisel.build.build import proxy_channels, world_of
    from chisel.findings.ranges import as_json

    world, training = world_of(study), study.training
    return {
        "title": study.title or f"A study of {study.world}",
        "world": study.world,
        "world_summary": world.summary,
        "agent": agent_in_words(study),
        "true_channels": json.dumps(list(true_channels(study, world))),
        "proxy_channels": json.dumps(list(proxy_channels(study, world))),
        "phase_edges": json.dumps([edge_update(e, training.updates) * training.batch for e in study.edges]),
        "channel_ranges": as_json(dict(world.ranges)),
        "steps": training.steps,
    } | _combined(study)


def _combined(study: Study) -> dict[str, str]:
    """What datasets say of a factorial."""
    if study.factorial is None:
        return {}
    ends = [edge_update(end, study.training.updates) for end in study.factorial.ends[:-1]] + [study.training.updates]
    lengths = [(b - a) * study.training.batch for a, b in pairwise([0, *ends])]
    return {"factorial": json.dumps(study.factorial.outline(lengths))}


def report(these: "list[Run]", path: Path, tell: Tell = silent) -> Path:
    """Draws one page of one or several runs.

    Raises:
        WrongInput: a run has not been read yet.
    """
    from chisel.report.page import Sheet, page
    from chisel.runs import store as runs

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

    from chisel.report.video import camera
    from chisel.runs.train import load_members, population_of

    population, keys = population_of(this.study, None)
    shoot = camera(population.plan.world, population.plan.agent.network, final_params(this.study))
    params = load_members(this, population, keys, this.study.checkpoint_updates[-1]).agent.params
    seeds = this.study.training.seeds

    def shot(index: int) -> bytes:
        return shoot(jax.tree.map(lambda x: x[index * seeds], params))

    return {s.name: shot(i) for i, s in enumerate(this.study.schedule)}
