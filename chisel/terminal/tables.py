"""What the terminal shows: tables of plans, budgets, decision-influences and effects of phases."""

import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from chisel.study.schedules import edge_update
from chisel.study.study import Study

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from chisel.build.budget import Budget
    from chisel.findings.influences import Influence
    from chisel.runs.estimate import Estimate
    from chisel.runs.store import Run

MOST = 8  # schedules whose budgets are told
_UNITS = {"1": ""}
_INTERVALS = "intervals: 95 %, over seeds"


def plan_tables(name: str, wanted: Study, plan: "Estimate") -> list[Table]:
    """What a study will take, and what its phases expect to pay."""
    each = wanted.training
    table = plain_table(wanted.title or name)
    table.add_row("world", wanted.world)
    table.add_row("schedules", _schedules(wanted))
    table.add_row("members", f"{plan.members} ({len(wanted.schedule)} schedules × {_seeds(each.seed_numbers)})")
    table.add_row("steps of a member", f"{each.steps:,} ({plan.updates} updates of {each.batch:,})")
    table.add_row("steps in all", f"{plan.steps:,}")
    if plan.trained < plan.steps:
        saved = f"{plan.trained:,} ({plan.trained / plan.steps:.0%}: what members share is trained once)"
        table.add_row("trained of these", saved)
    table.add_row("checkpoints", ", ".join(f"{c:,}" for c in plan.checkpoints))
    for edge in wanted.edges:
        table.add_row("phase edge", _edge(edge, wanted))
    table.add_row("can be told", _detectable(each.seeds))
    table.add_row("memory", f"about {plan.memory / 2**30:.1f} GiB")
    table.add_row("disk", f"at most {plan.disk / 1e6:,.0f} MB")
    table.add_row("devices", str(plan.devices))
    if plan.training is not None and plan.compiling is not None:
        rate = plan.trained / plan.training
        table.add_row("training", f"about {_time(plan.training)} at {rate:,.0f} steps/s (timed on 2 updates)")
        table.add_row("compiling", f"{_time(plan.compiling)}; the readings compile for about as long")
    return [table, _budget_table(plan.scales, plan.budgets)]


def _seeds(numbers: list[int]) -> str:
    """How many seeds, and which if they do not begin with 0."""
    which = f", {numbers[0]} to {numbers[-1]}" if numbers[0] else ""
    return f"{len(numbers)} seeds{which}"


def _schedules(wanted: Study) -> str:
    """The schedules by name; those of a factorial by what is combined."""
    if wanted.factorial is None:
        return "\n".join(escape(s.name) for s in wanted.schedule)
    made = wanted.factorial
    cells = f"{' or '.join(made.conditions)} in {', '.join(made.phases)}: {len(made.cells)} combinations"
    return escape("\n".join([cells, *made.compared]))


def _detectable(seeds: int) -> str:
    """The least difference that so many seeds will tell, before anyone spends the compute."""
    from chisel.analysis.statistics import detectable, smallest_paired_p

    if seeds < 2:
        return "with one seed nothing, of differences between schedules"
    spread = "standard deviations of what seeds differ by"
    least = f"a difference of {detectable(seeds):.1f} {spread}, 4 times in 5 (paired t test, p < 0.05)"
    few = f"\nwith {seeds} seeds no permutation test reaches p < 0.05" if smallest_paired_p(seeds) > 0.05 else ""
    return least + few


def _budget_table(scales: dict[str, float], budgets: "dict[str, list[Budget]]") -> Table:
    """What each phase expects to pay, so that early against late can be told from more against less."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = "expected of each member under random play"
    for column in ("schedule", "phase", "steps"):
        table.add_column(column, justify="right" if column == "steps" else "left")
    for column in ("events that pay", "reward"):
        table.add_column(column, overflow="fold")
    shown = list(budgets.items())[:MOST]
    for name, phases in shown:
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
    if len(budgets) > MOST:
        table.add_row(f"and {len(budgets) - MOST} more")
    return table


def _edge(edge: float, wanted: Study) -> str:
    update = edge_update(edge, wanted.training.updates)
    exact = edge * wanted.training.updates
    moved = "" if abs(exact - update) < 1e-9 else f", moved from update {exact:.2f} to the edge between two"
    return f"{edge:g} of training: {update * wanted.training.batch:,} steps (update {update}{moved})"


def influences_table(this: "Run") -> Table | str | None:
    """Which decision-influences each schedule grew, or why there are none; None where the battery did not ask."""
    from chisel.findings.influences import influences, until, why_none
    from chisel.findings.seeds import held
    from chisel.report.tables import MOST
    from chisel.runs.store import READINGS

    readings = this.dataset(READINGS)
    rows = influences(readings)
    if not rows:
        return why_none(readings)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = "decision-influences (docs/readings.md tells what this means)"
    for column in ("schedule", "feature → goal", "seeds", "from step", "until", "strength, with its 95 % interval"):
        table.add_column(column, justify="right" if column == "from step" else "left")
    for schedule in readings.schedule.values:
        own = [row for row in rows if row.schedule == schedule]
        for i, row in enumerate(own[:MOST]):
            table.add_row(
                escape(row.schedule) if i == 0 else "",
                f"{row.feature} → {row.goal}",
                held(row.seeds, readings.sizes["seed"]),
                f"{row.onset:,.0f}",
                until(row),
                f"{_strength(row)} {readings['effect'].attrs['units']}",
            )
        if len(own) > MOST:
            table.add_row("", f"and {len(own) - MOST} more, in readings.nc")
        if not own:
            table.add_row(escape(str(schedule)), "none")
    return table


def returns_table(this: "Run") -> Group:
    """What episodes add up to at the end of training: on which levels, and what could be reached there."""
    from chisel.findings import baselines, levels, series
    from chisel.runs.store import READINGS

    readings = this.dataset(READINGS)
    true, proxies = (series.listed(readings, f"{kind}_channels") for kind in ("true", "proxy"))
    table = _headed(f"returns per episode at the end of training ({_INTERVALS})")
    for column in ("levels", "schedule", *(f"{c} (true)" for c in true), *(f"{c} (proxy)" for c in proxies)):
        table.add_column(escape(column))
    names = [levels.common(readings), *levels.others(readings)]
    for name in names:
        tops = {c: levels.ceilings_of(readings, name, c) for c in (*true, *proxies)}
        for i, schedule in enumerate(readings.schedule.values):
            own = readings["returns"].isel(checkpoint=-1, schedule=i).sel(levels=name)
            cells = [_return(readings, c, own.sel(channel=c).values, float(top[i])) for c, top in tops.items()]
            table.add_row(name if i == 0 else "", escape(str(schedule)), *cells)
        if "random_return" in readings:
            table.add_row("", "random play", *(_at_random(readings, name, c) for c in tops))
    below = baselines.sentences(baselines.listed(readings), names[0])
    notes = [*(f"{name}: {levels.described(readings, name)}" for name in names), *below]
    return Group(table, *map(Text, notes))


def _at_random(readings: "xr.Dataset", name: str, channel: str) -> str:
    """What random play gets on levels, or from how little to how much, by schedule."""
    from chisel.findings.baselines import random_return

    found = random_return(readings, name, channel)
    assert found is not None
    ends = [f"{float(x):.2f}".replace("-", "−") for x in (found[:, -1].min(), found[:, -1].max())]
    return " to ".join(dict.fromkeys(ends))


def _return(readings: "xr.Dataset", channel: str, values: "np.ndarray", top: float) -> str:
    """The mean over seeds with its interval, or the seeds if they are two; and the ceiling where it is known."""
    from chisel.analysis.bounded import mean_interval
    from chisel.findings import ranges
    from chisel.findings.seeds import spread

    found = mean_interval(values, ranges.of_return(readings, channel, top))
    told = spread(values, found, "{:.2f}".format)
    of = f" of {top:.2f}" if math.isfinite(top) else ""
    return f"{float(found.mean):.2f}{f' ({told})' if told else ''}{of}".replace("-", "−")


def _strength(row: "Influence") -> str:
    """The mean effect over seeds and its interval; the seeds, where there are two."""
    from chisel.findings.seeds import spread

    told = spread(row.values, row.strength, "{:+.2f}".format)
    return f"{float(row.strength.mean):+.2f}{f' ({told})' if told else ''}"


def phases_tables(this: "Run", most: int = 6) -> list[Any]:
    """How much each phase of a factorial mattered to the measures that moved most."""
    from chisel.findings.effects import effects
    from chisel.findings.levels import common
    from chisel.report.effect_rows import further, in_words, rows, share_in_words
    from chisel.runs.store import READINGS

    readings = this.dataset(READINGS)
    found, on = effects(readings), f"returns: on {common(readings)} levels; {_INTERVALS}"
    main = _headed(f"how much each phase mattered, at the end of training ({on})")
    several = found.sizes["against"] > 1
    first = json.loads(found.attrs["conditions"])[0]
    for column in ("measure", "phase", f"{first} less {'' if several else found.against.values[0]}", "Shapley share"):
        main.add_column(column.strip())
    last = ""
    for row in rows(found, most):
        phase = f"{row.phase}, against {row.against}" if several else row.phase
        shown = "" if row.measure == last else row.measure
        main.add_row(
            shown,
            phase,
            f"{in_words(row.main, row.seeds)} {_UNITS.get(row.units, row.units)}",
            share_in_words(row.share),
        )
        last = row.measure
    parts: list[Any] = [main]
    more = further(found, most)
    if more:
        table = _headed("\ninteractions whose interval excludes 0, effects of order, and arms less their base")
        for column in ("measure", "kind", "of", "effect"):
            table.add_column(column)
        for other in more:
            value = f"{in_words(other.value, other.seeds)} {_UNITS.get(other.units, other.units)}"
            table.add_row(other.measure, other.kind, other.name, value)
        parts.append(table)
    return [*parts, Group(*(Text(f"note: {note}") for note in json.loads(found.attrs["notes"])))]


def paths_table(found: "xr.Dataset") -> Table:
    """Whether pairs of schedules came to other policies at equal return, and what lies on the line between agents."""
    from chisel.analysis.statistics import Interval
    from chisel.report.effect_rows import in_words

    table = _headed(f"path dependence, at a return of {found.attrs['target']:.3g} on study levels ({_INTERVALS})")
    for column in ("schedules", "divergence of policies", "p", "loss barrier"):
        table.add_column(column)

    def told(own: "xr.Dataset", *names: str, seeds: str | None = None) -> str:
        return in_words(Interval(*(own[name].values for name in names)), own[seeds].values if seeds else ())

    for pair in found.pair.values:
        own = found.sel(pair=pair)
        divergence = told(own, "divergence", "divergence_low", "divergence_high")
        barrier = told(own, "loss_barrier_mean", "loss_barrier_low", "loss_barrier_high", seeds="loss_barrier")
        table.add_row(escape(str(pair)), divergence, f"{float(own['divergence_p']):.2g}", barrier)
    return table


def _headed(title: str) -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")


def plain_table(title: str) -> Table:
    """Two columns without a header: what, and what it is."""
    table = Table(box=None, show_header=False, pad_edge=False, title=escape(title), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
