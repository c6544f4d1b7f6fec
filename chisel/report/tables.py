"""The tables of the report, as HTML."""

from html import escape

import numpy as np
import xarray as xr

from chisel.analysis.bounded import ANY, FEWEST, SHARE, Range, mean_interval
from chisel.analysis.statistics import Interval, smallest_paired_p, t_interval
from chisel.findings import baselines, levels, ranges, series
from chisel.findings import payments as ledger
from chisel.findings.influences import influences, until
from chisel.findings.payments import Act, Stay
from chisel.findings.seeds import alike, share_limits, spread
from chisel.study.guards import GuardPart


def ending(readings: xr.Dataset) -> str:
    """What every schedule led to at the last checkpoint: means and intervals over seeds."""
    usual = levels.common(readings)
    more = ""
    for name in levels.others(readings):
        told = _WANDERED if name == "decorrelated" and "choice" not in readings else _levels(readings, name)
        more += f'{_table(readings, _returns(readings, name))}<p class="soft">{told}</p>'
    return f"""<h2>At the end of training</h2><p class="soft">{doubt(readings.sizes["seed"])}</p>
{_table(readings, [*_returns(readings, usual), *_choices(readings)])}
<p class="soft">Returns are what happens in one episode, counted, whatever the schedule paid for it. {
        _levels(readings, usual)
    }
{_CHOSEN if "choice" in readings else ""}</p>
<h3>On other levels</h3>
{more}"""


def _levels(readings: xr.Dataset, name: str) -> str:
    """Which levels the returns of a table are of; and the ceilings, where schedules do not have the same."""
    text = f"Levels: <b>{escape(name)}</b> – {escape(levels.described(readings, name))}."
    for channel in series.listed(readings, "true_channels"):
        tops = levels.ceilings_of(readings, name, channel)
        if np.isfinite(tops).any() and not np.allclose(tops, tops[0], equal_nan=True):
            each = ", ".join(f"{k} {number(v)}" for k, v in zip(series.labels(readings).values(), tops, strict=True))
            text += f" Ceilings of {escape(channel)}: {each}."
    if name == "decorrelated":
        text += f" {_OTHER}"
    return text


def grown(readings: xr.Dataset) -> str:
    """Which decision-influences each schedule grew; nothing where no verdicts were read."""
    if "verdict" not in readings:
        return ""
    found, seeds, unit = influences(readings), readings.sizes["seed"], readings["effect"].attrs["units"]
    rows = ""
    for schedule, letter in series.labels(readings).items():
        own = [row for row in found if row.schedule == schedule]
        for i, row in enumerate(own[:MOST]):
            cells = (
                ("Feature → goal", f"{escape(row.feature)} → {escape(row.goal)}"),
                ("Seeds", f"<b>{row.seeds} of {seeds}</b><small>{share_limits(row.seeds, seeds)}</small>"),
                ("From step", f"{row.onset:,.0f}"),
                ("Until", until(row)),
                (f"Strength, {unit}", _cell(row.values, row.strength)),
            )
            name = called(letter, schedule) if i == 0 else f'<span class="letter">{letter}</span>'
            tail = "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in cells)
            rows += f'<tr><th scope="row">{name}</th>{tail}</tr>'
        if len(own) > MOST or not own:
            said = f"and {len(own) - MOST} more, in <code>readings.nc</code>" if own else "none"
            name = f'<span class="letter">{letter}</span>' if own else called(letter, schedule)
            rows += f'<tr><th scope="row">{name}</th><td colspan="5">{said}</td></tr>'
    columns = ("Feature → goal", "Seeds", "From step", "Until", f"Strength, {unit}")
    head = "".join(f'<th scope="col">{h}</th>' for h in columns)
    return f"""<h2>What grew</h2><p class="soft">Decision-influences: features
that training put into the network and that move its bid for a goal, on two banks of states, corrected for all that was
asked. <i>Seeds</i> is in how many of them it holds at the end of training, and in what share of all seeds that then is
(exact 95 % interval), <i>from step</i> when that began, <i>until</i> whether it lasted: what came and went holds in 0
seeds, or in fewer than it once did. <i>Strength</i> is how much the bid changes when the feature is put in, at the end.
What a layer tells no better than before training is not listed, though it may move the agent too.</p>
<div class="box"><table class="wide"><thead><tr><th scope="col">Schedule</th>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>"""


MOST = 8  # decision-influences of a schedule that are listed


def _table(readings: xr.Dataset, columns: "list[_Column]") -> str:
    head = "".join(
        f'<th scope="col">{mark}{escape(name)}<small>{note}</small></th>' for mark, name, note, *_ in columns
    )
    kind = "wide" if len(columns) <= 8 else "wide many"
    rows = ""
    for i, (schedule, letter) in enumerate(series.labels(readings).items()):
        cells = ""
        for _, name, note, values, within, _ in columns:
            own, found = values.values, mean_interval(values.values, within)
            cell = _cell(own[i], Interval(*(x[i] for x in found)))
            cells += f'<td data-label="{escape(name)}, {note}">{cell}</td>'
        rows += f'<tr><th scope="row">{called(letter, schedule)}</th>{cells}</tr>'
    if any(random is not None for *_, random in columns):
        chance = "".join(
            f'<td data-label="{escape(name)}, {note}">{_at_random(x)}</td>' for _, name, note, *_, x in columns
        )
        rows += f'<tr><th scope="row">random play</th>{chance}</tr>'
    return f"""<div class="box"><table class="{kind}"><thead><tr><th scope="col">Schedule</th>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>"""


def _at_random(returns: np.ndarray | None) -> str:
    """What random play gets, or from how little to how much, by schedule."""
    if returns is None or not np.isfinite(returns).any():
        return "–"
    low, high = number(np.nanmin(returns)), number(np.nanmax(returns))
    return low if low == high else f"{low} to {high}<small>by schedule</small>"


_OTHER = "What comes apart there may have gone together in training."
_WANDERED = "Levels: <b>decorrelated</b> – the same returns from states that random play has led to."
_CHOSEN = """<i>Chosen first</i> is the share of two-goal levels in which the agent reaches the goal before its rival,
averaged over rivals; in the rest it reaches the rival first, or neither."""


# A column: a mark before its name, as HTML; the name; a note; values [schedule, seed]; what is possible, [schedule];
# and what random play gets, [schedule].
_Column = tuple[str, str, str, xr.DataArray, Range, np.ndarray | None]


def _returns(readings: xr.Dataset, name: str) -> list[_Column]:
    last, found = readings.isel(checkpoint=-1).sel(levels=name), []
    true = series.listed(readings, "true_channels")
    for channel in dict.fromkeys([*true, *series.listed(readings, "proxy_channels")]):
        own, tops = last["returns"].sel(channel=channel), levels.ceilings_of(readings, name, channel)
        note = "true return" if channel in true else "proxy return"
        if np.isfinite(tops).any():
            low, high = number(np.nanmin(tops)), number(np.nanmax(tops))
            note += f", ceiling {low}" if low == high else f", ceilings {low} to {high}"
        random = baselines.random_return(readings, name, channel)
        chance = None if random is None else random.isel(checkpoint=-1).values
        within = ranges.of_return(readings, channel, tops)
        found.append(("", channel, note, own.transpose("schedule", "seed"), within, chance))
    return found


def _choices(readings: xr.Dataset) -> list[_Column]:
    if "choice" not in readings:
        return []
    choice = series.goal_values(readings, "choice").isel(checkpoint=-1).transpose("schedule", "seed", "goal")
    return [
        (
            f'<span class="dot" style="background:{colour}"></span>',
            goal,
            "chosen first",
            choice.sel(goal=goal),
            SHARE,
            None,
        )
        for goal, colour in series.goal_colours(readings).items()
    ]


def doubt(seeds: int) -> str:
    """What so many seeds can and cannot show."""
    if seeds == 1:
        return "One seed: there is no telling what another would have done, and no interval can be given."
    if seeds < FEWEST:
        return "Two seeds: their mean and both of them. An interval of two seeds would say nothing of others."
    few = "with so few seeds a bootstrap would look surer than it is." if seeds < 15 else "the seed is the unit."
    said = f"Mean over {seeds} seeds and its 95 % interval, by Student's t and within what is possible; {few}"
    least = smallest_paired_p(seeds)
    if least > 0.05:
        said += f" An exact paired comparison of two schedules over {seeds} seeds cannot give p below {least:g},"
        said += " however clear the difference; p &lt; 0.05 needs at least 6."
    return said


def paid(training: xr.Dataset) -> str:
    """What every schedule paid in every phase, by channel; all amounts are on one scale."""
    if "earned" not in training:
        return ""
    names, colours = ledger.sources(training), series.channel_colours(training)
    every = {str(s): ledger.stays(training, str(s)) for s in training.schedule.values}
    several = len(names) > 1
    most = max((abs(_mean(v)) for own in every.values() for v in [*own[0].earned.T, own[0].earned.sum(1)]), default=0.0)
    shown = {name: colours.get(name, "#9CA3AF") for name in names} | ({"all": "#4B5563"} if several else {})
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("Schedule", "steps", *shown))
    body = ""
    for (schedule, own), letter in zip(every.items(), series.labels(training).values(), strict=True):
        rows = ""
        for i, stay in enumerate(own):
            title = escape(stay.title) if i else called(letter, schedule)
            cells = _cells(stay, shown, most)
            rows += f'<tr class="{"part" if i else "sum"}"><th scope="row">{title}</th>{cells}</tr>'
        body += f"<tbody>{rows}</tbody>"
    kind = "wide paid" if len(shown) <= 7 else "wide paid many"
    return f"""<h2>What was paid</h2><p class="soft">What one member earned by each channel, in all and in every phase:
its weight times what was read of it, counted when it was earned, whenever it was paid. Mean over seeds, 95 % interval
(of two seeds, both), and how much it is per 1,000 steps; of steps where seeds differ, the range. All bars have one
scale.</p>
<div class="box"><table class="{kind}"><thead><tr>{head}</tr></thead>
{body}</table></div>"""


def _cells(stay: Stay, shown: dict[str, str], most: float) -> str:
    """One row of `paid`: steps, then every source, then all of them if there are several."""
    low, high = stay.steps.min(), stay.steps.max()
    some = "" if low == high else f"<small>{low:,} to {high:,}</small>"
    cells = f'<td data-label="steps"><b>{_mean(stay.steps):,.0f}</b>{some}</td>'
    columns = [*zip(stay.earned.T, stay.paid, stay.within, strict=True)]
    columns.append((stay.earned.sum(1), bool(stay.paid.any()), _sum(stay.within)))
    for (name, colour), (values, worth, within) in zip(shown.items(), columns, strict=False):
        if not worth and not values.any():
            cells += f'<td class="none" data-label="{escape(name)}">–</td>'
            continue
        found = mean_interval(values, within)
        mean = float(found.mean)
        interval = "" if alike(values) else f"<small>{spread(values, found, amount)}</small>"
        rate = _mean(np.divide(1000 * values, stay.steps, out=np.full(len(values), np.nan), where=stay.steps > 0))
        share = 100 * abs(mean) / most if most else 0.0
        fill = f"background:{colour}" if mean > 0 else f"box-shadow:inset 0 0 0 1px {colour}"
        bar = f'<i class="bar" style="width:{share:.1f}%;{fill}"></i>' if mean else ""
        number = f"<b>{amount(mean)}</b> <span>{amount(rate)} per 1,000</span>"
        again = ' class="again"' if name == "all" and np.count_nonzero(stay.earned.any(0)) == 1 else ""
        cells += f'<td{again} data-label="{escape(name)}">{number}{interval}{bar}</td>'
    return cells


def _sum(parts: list[Range]) -> Range:
    """What a sum can be of which each part can be so much."""
    return Range(*(float(np.sum(ends)) for ends in zip(*parts, strict=True))) if parts else ANY


def _mean(values: np.ndarray) -> float:
    return float(t_interval(values).mean)


def guards(training: xr.Dataset, study: str) -> str:
    """When guards acted on which seeds, and what they read; nothing if a study has none.

    Args:
        study: as TOML.
    """
    parts = ledger.guards_of(study) if "guard_fired" in training else []
    if not parts:
        return ""
    letters, body = series.labels(training), ""
    every, seeds = ledger.acts(training, parts), [f"seed {s}" for s in training.seed.values]
    for i, part in enumerate(parts):
        name = f"<b>{escape(part.name)}</b>: " if part.name else ""
        after = f", from {100 * part.when.after:.3g} % of training on" if part.when.after else ""
        what = f"{name}{escape(part.condition)}{after} → {escape(part.action)}"
        rows = f'<tr class="sum"><th colspan="{len(seeds) + 2}" scope="colgroup">{what}</th></tr>'
        for act in [a for a in every if a.guard == i]:
            title = f'<th scope="row">{called(letters[act.schedule], act.schedule)}</th>'
            cells = "".join(f'<td data-label="{s}">{_act(act, j, part)}</td>' for j, s in enumerate(seeds))
            acted = int(np.isfinite(act.at).sum())
            limits = f"<small>{share_limits(acted, len(seeds))}</small>"
            count = f'<td data-label="acted in"><b>{acted}</b> of {len(seeds)} seeds{limits}</td>'
            rows += f'<tr class="part">{title}{count}{cells}</tr>'
        body += f"<tbody>{rows}</tbody>"
    head = "".join(f'<th scope="col">{s}</th>' for s in ("Guard", "acted in", *seeds))
    kind = "wide paid" if len(seeds) <= 6 else "wide paid many"
    return f"""<h2>Guards</h2><p class="soft">In how many seeds every guard acted (and in what share of all seeds that
then is, exact 95 % interval), at which step, how much of training was left then, and what it had read; where it never
acted, what it read that came nearest. A guard that acts when less than
{100 * ledger.LATE:.0f} % of training is left comes late.</p>
<div class="box"><table class="{kind}"><thead><tr>{head}</tr></thead>{body}</table></div>"""


def _act(act: Act, seed: int, part: GuardPart) -> str:
    """What a guard did to one member."""
    at, left, read = (float(x[seed]) for x in (act.at, act.left, act.read))
    if np.isfinite(at):
        late = "late, " if left < ledger.LATE else ""
        return f"<b>{at:,.0f}</b><small>{late}{100 * left:.0f} % left</small><small>read {amount(read)}</small>"
    nearest = "highest" if part.when.above is not None else "lowest"
    return f"<b>never</b><small>{f'{nearest} {amount(read)}' if np.isfinite(read) else 'nothing could be read'}</small>"


def controls(readings: xr.Dataset) -> str:
    """How far probes get on shuffled labels: it should be nowhere."""
    if "shuffled_score" not in readings or not series.finite(readings["shuffled_score"]):
        return ""
    heads = ("chance", "mean", "95th percentile", "highest", "farthest from chance")
    rows = ""
    for probe, measure, chance in (("logistic", "AUC", 0.5), ("ridge", "R²", 0.0)):
        chosen = readings["shuffled_score"].isel(feature=(readings["probe"] == probe).values)
        for layer in readings.layer.values:
            values = chosen.sel(layer=layer).values
            values = values[np.isfinite(values)]
            if values.size:
                far = np.abs(values - chance).max()
                numbers = (chance, values.mean(), np.quantile(values, 0.95), values.max(), far)
                cells = "".join(f'<td data-label="{h}">{number(x)}</td>' for h, x in zip(heads, numbers, strict=True))
                rows += f'<tr><th scope="row">{escape(str(layer))}, {measure}</th>{cells}</tr>'
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return f"""<h2>Are the probes honest?</h2><p class="soft">The same probes on labels shuffled over layouts, over all
features, schedules, seeds and checkpoints. No score should be much above chance: the highest is how large a score is by
luck. R² falls below 0 where a probe has fitted noise.</p>
<div class="box"><table class="wide"><thead><tr><th scope="col">Layer</th>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>"""


def called(letter: str, schedule: str) -> str:
    """A schedule's letter and name."""
    return f'<span class="letter">{letter}</span>{escape(schedule)}'


def number(value: float) -> str:
    """Two decimals and a proper minus."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def amount(value: float) -> str:
    """Three digits, thousands parted, and a proper minus.

    >>> amount(-12345.6), amount(0.01234), amount(1_024_000)
    ('−12,300', '0.0123', '1,020,000')
    """
    return f"{float(f'{value:.3g}') + 0.0:,.10g}".replace("-", "−")


def _cell(values: np.ndarray, interval: Interval) -> str:
    mean = float(interval.mean)
    if not np.isfinite(mean):
        return "–"
    told = spread(values, interval, number)
    return f"<b>{number(mean)}</b>" + (f"<small>{told}</small>" if told else "")
