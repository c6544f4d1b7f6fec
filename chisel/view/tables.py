"""The tables of the report, as HTML."""

from html import escape

import numpy as np
import xarray as xr

from chisel.analysis.statistics import Interval, smallest_paired_p, t_interval
from chisel.view import series


def ending(readings: xr.Dataset) -> str:
    """What every schedule led to at the last checkpoint: means and intervals over seeds."""
    usual = _table(readings, [*_returns(readings, "training"), *_choices(readings)])
    decorrelated = _table(readings, _returns(readings, "decorrelated"))
    return f"""<h2>At the end of training</h2><p class="soft">{doubt(readings.sizes["seed"])}</p>
{usual}
<p class="soft">Returns are what happens in one episode on training levels, counted, whatever the schedule paid for it.
{_CHOSEN if "choice" in readings else ""}</p>
<h3>On other levels</h3>
{decorrelated}
<p class="soft">{_OTHER if "choice" in readings else _WANDERED}</p>"""


def _table(readings: xr.Dataset, columns: "list[_Column]") -> str:
    head = "".join(
        f'<th scope="col">{mark}{escape(name)}<small>{note}</small></th>' for mark, name, note, *_ in columns
    )
    kind = "wide" if len(columns) <= 8 else "wide many"
    rows = ""
    for i, (schedule, letter) in enumerate(series.labels(readings).items()):
        cells = ""
        for _, name, note, values, limits in columns:
            interval = t_interval(values.isel(schedule=i).values)
            cells += f'<td data-label="{escape(name)}, {note}">{_cell(interval, limits)}</td>'
        rows += f'<tr><th scope="row">{called(letter, schedule)}</th>{cells}</tr>'
    return f"""<div class="box"><table class="{kind}"><thead><tr><th scope="col">Schedule</th>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>"""


_OTHER = """The same returns on levels in which everything is there or not, and lies anywhere, independently: what comes
apart there may have gone together in training."""
_WANDERED = "The same returns from states that random play has led to."
_CHOSEN = """<i>Chosen first</i> is the share of two-goal levels in which the agent reaches the goal before its rival,
averaged over rivals; in the rest it reaches the rival first, or neither."""


# A column: a mark before its name, as HTML; the name; a note; values [schedule, seed]; the limits of what is possible.
_Column = tuple[str, str, str, xr.DataArray, tuple[float, float]]


def _returns(readings: xr.Dataset, levels: str) -> list[_Column]:
    last, found = readings.isel(checkpoint=-1).sel(levels=levels), []
    true = series.listed(readings, "true_channels")
    for channel in dict.fromkeys([*true, *series.listed(readings, "proxy_channels")]):
        own, top = last["returns"].sel(channel=channel), float(last["ceiling"].sel(channel=channel))
        note = "true return" if channel in true else "proxy return"
        note += f", ceiling {number(top)}" if np.isfinite(top) else ""
        found.append(("", channel, note, own.transpose("schedule", "seed"), (-np.inf, np.inf)))
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
            (0.0, 1.0),
        )
        for goal, colour in series.goal_colours(readings).items()
    ]


def doubt(seeds: int) -> str:
    """What so many seeds can and cannot show."""
    if seeds == 1:
        return "One seed: there is no telling what another would have done, and no interval can be given."
    few = "with so few seeds a bootstrap would look surer than it is." if seeds < 15 else "the seed is the unit."
    said = f"Mean over {seeds} seeds and its 95 % Student t interval; {few}"
    least = smallest_paired_p(seeds)
    if least > 0.05:
        said += f" An exact paired comparison of two schedules over {seeds} seeds cannot give p below {least:g},"
        said += " however clear the difference; p &lt; 0.05 needs at least 6."
    return said


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


def _cell(interval: Interval, limits: tuple[float, float]) -> str:
    mean, low, high = (float(x) for x in interval)
    if not np.isfinite(mean):
        return "–"
    if not np.isfinite(low):
        return f"<b>{number(mean)}</b>"
    return f"<b>{number(mean)}</b><small>{number(max(low, limits[0]))} to {number(min(high, limits[1]))}</small>"
