"""Words on the command line to calls of `lab`. Nothing heavy is imported before it is needed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chisel import lab
from chisel.build.build import load_study
from chisel.devices import Platform, use_devices
from chisel.runs.estimate import check as check_study
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.terminal.progress import teller
from chisel.terminal.tables import influences_table, paths_table, phases_tables, plain_table, plan_tables, returns_table

app = typer.Typer(
    name="chisel",
    help="Which reward, given when in training, carves which values into a network?",
    epilog="Start with `chisel run smile`. Exit status: 0 done; 1 failed while working; "
    "2 wrong input, nothing written; 130 interrupted, the same command goes on.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

StudyName = Annotated[str, typer.Argument(help="A study file, or the bare name of a shipped one.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Another number of seeds than the study's.")]
FirstSeed = Annotated[
    int | None, typer.Option("--first-seed", help="The number of the first seed; the others follow it.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Another number of environment steps a member.")]
BatteryName = Annotated[str, typer.Option("--battery", help="A battery file, or the bare name of a shipped one.")]
Devices = Annotated[
    int | None, typer.Option("--devices", help="How many CPU cores or accelerators to use; all by default.")
]
Device = Annotated[
    Platform | None,
    typer.Option("--device", help="What to compute on; by default what JAX prefers.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")]


@contextmanager
def _exit_status() -> Iterator[None]:
    """The statuses of the command line: see the help."""
    try:
        yield
    except WrongInput as error:
        _end(2, str(error))
    except KeyboardInterrupt:
        _end(130, "interrupted; the same command goes on where it stopped")
    except BrokenPipeError:  # whoever read our output has gone
        sys.exit(1)
    except OSError as error:  # a full disk, say; anything else is our mistake and shows where
        _end(1, str(error))


def _end(status: int, message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]chisel:[/] {escape(message)}", highlight=False)
    sys.exit(status)


def _command(name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command that ends with the statuses of the help, whatever is raised in it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def guarded(*arguments: Any, **options: Any) -> None:
            with _exit_status():
                function(*arguments, **options)

        return app.command(name)(guarded)

    return register


def _wanted(study: Study, seeds: int | None, steps: int | None, first_seed: int | None) -> Study:
    """The study with the numbers that were given beside it."""
    given = (seeds, steps, first_seed)
    return study if given == (None, None, None) else study.replaced(*given)


@_command()
def run(
    study: StudyName,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; runs/NAME by default.", show_default=False)
    ] = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    steps: Steps = None,
    battery: BatteryName = "values",
    devices: Devices = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Train, read and report a study.

    The same command on an unfinished run goes on where it stopped; on a finished one it says so.
    """
    use_devices(devices, device)
    wanted = _wanted(load_study(study), seeds, steps, first_seed)
    folder = out or Path("runs") / Path(study).stem
    with teller(quiet) as tell:
        page = lab.run(wanted, folder, battery, devices, tell)
    typer.echo(page)


@_command()
def check(
    study: StudyName,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    steps: Steps = None,
    devices: Devices = None,
    device: Device = None,
    timing: Annotated[bool, typer.Option(help="Compile the study's program and time a few updates of it.")] = True,
    quiet: Quiet = False,
) -> None:
    """Validate a study and print the plan: members, environment steps, estimated time and disk."""
    use_devices(devices, device)
    wanted = _wanted(load_study(study), seeds, steps, first_seed)
    with teller(quiet) as tell:
        plan = check_study(wanted, devices, timing, tell)
    for table in plan_tables(study, wanted, plan):
        Console().print(table)
    for doubt in plan.doubts:
        typer.echo(f"note: {doubt}", err=True)


@_command()
def read(
    run: RunFolder,
    battery: BatteryName = "values",
    devices: Devices = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Take readings from a run's checkpoints again; `chisel report` then draws the page anew."""
    use_devices(devices, device)
    from chisel.runs.store import alone

    this = lab.open_run(run)
    with teller(quiet) as tell, alone(run):
        lab.read(this, battery, devices, tell)
    if not quiet:
        done = lab.open_run(run)
        grown = influences_table(done)
        Console().print(*([] if grown is None else [grown, ""]), returns_table(done), sep="\n")
    typer.echo(run / "readings.nc")


@_command()
def fork(
    run: RunFolder,
    at: Annotated[int, typer.Option("--at", help="Environment steps of a member, at which the run has a checkpoint.")],
    study: Annotated[
        str | None,
        typer.Option(
            "--study", help="What the agents go on under; the run's own study by default.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The fork's folder; runs/STUDY-AT by default.", show_default=False)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option("--from", help="The run's schedule whose agents go on; by default those of equal name."),
    ] = None,
    reseed: Annotated[bool, typer.Option("--reseed", help="Go on with other random numbers than the run did.")] = False,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    steps: Steps = None,
    battery: BatteryName = "values",
    devices: Devices = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Go on from a checkpoint of a run under other schedules: train, read and report.

    The clock goes on: phases that end before the fork are over. The same command on an unfinished fork goes on.
    """
    use_devices(devices, device)
    this = lab.open_run(run)
    wanted = this.study.model_copy(update={"fork": None}) if study is None else load_study(study)
    wanted = _wanted(wanted, seeds, steps, first_seed)
    folder = out or Path("runs") / f"{Path(study or run).stem}-{at}"
    with teller(quiet) as tell:
        typer.echo(lab.fork(this, at, wanted, folder, schedule, reseed, battery, devices, tell))


@_command()
def phases(
    run: RunFolder,
    most: Annotated[int, typer.Option("--most", help="How many measures, those that moved most.")] = 6,
    paths: Annotated[
        bool, typer.Option("--paths", help="Compare policies at equal return, and the lines between agents.")
    ] = False,
    devices: Devices = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """How much each phase of a factorial mattered to what was read in the end, as a table."""
    use_devices(devices, device)
    this = lab.open_run(run)
    if this.study.factorial is not None:
        for table in phases_tables(this, most):
            Console().print(table)
    elif not paths:
        raise WrongInput(
            f"{run}: its study is no [factorial], so that the effects of its phases cannot be told apart; "
            "`chisel run phases` is one, and `--paths` compares any schedules"
        )
    if paths:
        from chisel.runs.path_dependence import paths as compare

        with teller(quiet) as tell:
            found = compare(this, devices=devices, tell=tell)
        Console().print(paths_table(found))


@_command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One or several run folders.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; by default report.html in the (first) run.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the page again; of several runs, side by side."""
    use_devices(None)
    these = [lab.open_run(r) for r in runs]
    default = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    with teller(quiet) as tell:
        typer.echo(lab.report(these, out or default, tell))


@_command()
def show(run: RunFolder) -> None:
    """What a run is, and how far it got."""
    from chisel.terminal.describe import describe_run

    facts = describe_run(lab.open_run(run))
    table = plain_table(str(run))
    for key, value in facts.items():
        table.add_row(key, escape(value))
    Console().print(table)


@_command("ls")
def list_runs(folder: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs")) -> None:
    """The runs in a folder."""
    if not folder.is_dir():
        raise WrongInput(f"{folder}: there is no such folder")
    from chisel.terminal import describe

    rows = describe.list_runs(folder)
    if not rows:
        typer.echo(f"{folder}: no runs here; `chisel run smile` makes one")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "world", "members", "trained", "read", "report"):
        table.add_column(column)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


@_command()
def worlds(
    name: Annotated[
        str | None, typer.Argument(help="A world, to see it in full and played.", show_default=False)
    ] = None,
    film: Annotated[Path | None, typer.Option("--film", help="Write a GIF of random play.", show_default=False)] = None,
    play: Annotated[bool, typer.Option(help="Play a film of it in the terminal (only where there is one).")] = True,
) -> None:
    """The worlds: their channels, features, goals, parameters."""
    from chisel.terminal import describe
    from chisel.worlds import MAKERS, WORLDS, load_world
    from chisel.worlds.borrowed import BORROWED

    if name is None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("world", "what happens", "true channel"):
            table.add_column(column)
        for world in WORLDS.values():
            sizes = f" (also {world.name}:SIZE)" if world.name in MAKERS else ""
            table.add_row(world.name, world.summary + sizes, ", ".join(world.true))
        for called, other in BORROWED.items():
            called += ":NAME" if other.family else ""
            table.add_row(called, f"{other.summary} (borrowed from {other.package})", ", ".join(other.true))
        Console().print(table)
        return
    load_world(name)
    table = plain_table(name)
    for key, value in describe.describe_world(name).items():
        table.add_row(key, value)
    Console().print(table)
    if film is not None:
        typer.echo(describe.film_world(name, film))
    elif play and sys.stdout.isatty():
        from chisel.terminal.progress import show_frames

        show_frames(describe.world_frames(name))


def main() -> None:
    """The `chisel` command."""
    app()


if __name__ == "__main__":
    main()
