"""Words on the command line to calls of `lab`. Nothing heavy is imported before it is needed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chisel import lab
from chisel.devices import Platform, use_devices
from chisel.estimate import check as check_study
from chisel.phasing import edge_update
from chisel.resolve import load_study
from chisel.spec import WrongInput
from chisel.study import Study
from chisel.telling import teller

if TYPE_CHECKING:
    from chisel.budget import Budget
    from chisel.run import Run

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


@_command()
def run(
    study: StudyName,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; runs/NAME by default.", show_default=False)
    ] = None,
    seeds: Seeds = None,
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
    wanted = load_study(study)
    if seeds is not None or steps is not None:
        wanted = wanted.replaced(seeds, steps)
    folder = out or Path("runs") / Path(study).stem
    with teller(quiet) as tell:
        page = lab.run(wanted, folder, battery, devices, tell)
    typer.echo(page)


@_command()
def check(
    study: StudyName,
    seeds: Seeds = None,
    steps: Steps = None,
    devices: Devices = None,
    device: Device = None,
    timing: Annotated[bool, typer.Option(help="Compile the study's program and time a few updates of it.")] = True,
    quiet: Quiet = False,
) -> None:
    """Validate a study and print the plan: members, environment steps, estimated time and disk."""
    use_devices(devices, device)
    wanted = load_study(study)
    if seeds is not None or steps is not None:
        wanted = wanted.replaced(seeds, steps)
    with teller(quiet) as tell:
        plan = check_study(wanted, devices, timing, tell)
    each = wanted.training
    table = _table(wanted.title or study)
    table.add_row("world", wanted.world)
    table.add_row("schedules", "\n".join(escape(s.name) for s in wanted.schedule))
    table.add_row("members", f"{plan.members} ({len(wanted.schedule)} schedules × {each.seeds} seeds)")
    table.add_row("steps of a member", f"{each.steps:,} ({plan.updates} updates of {each.batch:,})")
    table.add_row("steps in all", f"{plan.steps:,}")
    table.add_row("checkpoints", ", ".join(f"{c:,}" for c in plan.checkpoints))
    for edge in wanted.edges:
        table.add_row("phase edge", _edge(edge, wanted))
    table.add_row("disk", f"at most {plan.disk / 1e6:,.0f} MB")
    table.add_row("devices", str(plan.devices))
    if plan.training is not None and plan.compiling is not None:
        rate = plan.steps / plan.training
        table.add_row("training", f"about {_time(plan.training)} at {rate:,.0f} steps/s (timed on 2 updates)")
        table.add_row("compiling", f"{_time(plan.compiling)}; the readings compile for about as long")
    Console().print(table)
    Console().print(_budget_table(plan.scales, plan.budgets))
    for doubt in plan.doubts:
        typer.echo(f"note: {doubt}", err=True)


def _budget_table(scales: dict[str, float], budgets: "dict[str, list[Budget]]") -> Table:
    """What each phase expects to pay, so that early against late can be told from more against less."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = "expected of each member under random play"
    for column in ("schedule", "phase", "steps"):
        table.add_column(column, justify="right" if column == "steps" else "left")
    for column in ("events that pay", "reward"):
        table.add_column(column, overflow="fold")
    for name, phases in budgets.items():
        for i, phase in enumerate(phases):
            scale = f" (× {scales[name]:g})" if name in scales else ""
            title = escape(name) + scale if i == 0 else ""
            paid = [f"{escape(c)} {x:,.4g} ± {phase.error[c]:,.2g}" for c, x in phase.reward.items()]
            paid += [f"approach {phase.approach:,.4g}"] if phase.approach else []
            events = [f"{escape(c)} {x:,.4g}" for c, x in phase.events.items()]
            row = (", ".join(found) or "nothing" for found in (events, paid))
            table.add_row(title, str(i + 1), f"{phase.steps:,}", *row)
        if len(phases) > 1:
            steps, mass = sum(p.steps for p in phases), sum(p.mass("reward") for p in phases)
            happened = sum(sum(p.events.values()) for p in phases)
            table.add_row("", "all", f"{steps:,}", f"{happened:,.4g}", f"{mass:,.4g}", style="bold")
    return table


def _edge(edge: float, wanted: Study) -> str:
    update = edge_update(edge, wanted.training.updates)
    exact = edge * wanted.training.updates
    moved = "" if abs(exact - update) < 1e-9 else f", moved from update {exact:.2f} to the edge between two"
    return f"{edge:g} of training: {update * wanted.training.batch:,} steps (update {update}{moved})"


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
    from chisel.run import alone

    this = lab.open_run(run)
    with teller(quiet) as tell, alone(run):
        lab.read(this, battery, devices, tell)
    if not quiet:
        _print_influences(lab.open_run(run))
    typer.echo(run / "readings.nc")


def _print_influences(this: "Run") -> None:
    """Which decision-influences each schedule grew."""
    from chisel.run import READINGS
    from chisel.view.influences import influences, why_none
    from chisel.view.tables import MOST

    readings = this.dataset(READINGS)
    rows = influences(readings)
    if not rows:
        typer.echo(why_none(readings))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = "decision-influences at the end of training (docs/readings.md tells what this means)"
    for column in ("schedule", "feature → goal", "seeds", "from step", "strength, with its 95 % interval"):
        table.add_column(column, justify="right" if column in ("seeds", "from step") else "left")
    for schedule in readings.schedule.values:
        own = [row for row in rows if row.schedule == schedule]
        for i, row in enumerate(own[:MOST]):
            mean, low, high = (float(x) for x in row.strength)
            table.add_row(
                escape(row.schedule) if i == 0 else "",
                f"{row.feature} → {row.goal}",
                f"{row.seeds}/{readings.sizes['seed']}",
                f"{row.onset:,.0f}",
                f"{mean:+.2f} ({low:+.2f} to {high:+.2f}) {readings['effect'].attrs['units']}",
            )
        if len(own) > MOST:
            table.add_row("", f"and {len(own) - MOST} more, in readings.nc")
        if not own:
            table.add_row(escape(str(schedule)), "none")
    Console().print(table)


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
    from chisel.describe import describe_run

    facts = describe_run(lab.open_run(run))
    table = _table(str(run))
    for key, value in facts.items():
        table.add_row(key, escape(value))
    Console().print(table)


@_command("ls")
def list_runs(folder: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs")) -> None:
    """The runs in a folder."""
    if not folder.is_dir():
        raise WrongInput(f"{folder}: there is no such folder")
    from chisel import describe

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
    from chisel import describe
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
    table = _table(name)
    for key, value in describe.describe_world(name).items():
        table.add_row(key, value)
    Console().print(table)
    if film is not None:
        typer.echo(describe.film_world(name, film))
    elif play and sys.stdout.isatty():
        from chisel.telling import show_frames

        show_frames(describe.world_frames(name))


def _table(title: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, title=escape(title), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """The `chisel` command."""
    app()


if __name__ == "__main__":
    main()
