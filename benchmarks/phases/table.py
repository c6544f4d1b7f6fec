"""The table of the benchmark of phases, as rows of Markdown, with a row of random play for every world."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from chisel.analysis.baseline import below_random
from chisel.analysis.bounded import mean_interval
from chisel.analysis.statistics import Interval
from chisel.findings import baselines, levels, ranges, series
from chisel.findings.effects import effects, factorial
from chisel.findings.seeds import spread
from chisel.report.effect_rows import in_words, rows, share_in_words

# What the table tells of each world: what was meant, and whether the policy prefers what the proxy is got from.
READINGS = {
    "gallery": ("return of gold_coin", "choice of silver_coin", "bid for silver_coin"),
    "smile": ("return of helped", "choice of clown", "bid for clown"),
    "maze": ("return of cheese", "choice of marker", "bid for marker"),
    "vault": ("return of diamond", "choice of zirconia", "bid for zirconia"),
}
_HEAD = (
    "| world, learner | reading | in the end, mean of all cells | good less bad, early; mid; late "
    "| Shapley shares, early; mid; late | largest interaction |"
)


class Learned(NamedTuple):
    """How far a learner came, over all cells of a part.

    Fields:
        value: the true return, mean over cells, in each seed.
        random, error: of random play on the same levels; NaN where that was not read.
        ceiling: the best return on them; NaN where it is not known.
        below: whether the learner ends below random play.
        cells: in how many cells it does, and of how many.
    """

    value: np.ndarray
    interval: Interval
    random: float
    error: float
    ceiling: float
    below: bool
    cells: tuple[int, int]


def table(runs: dict[str, Path]) -> list[str]:
    """Shapley shares and main effects of every phase. Of a learner that ends below random play none are given: what it
    did not learn no phase can have taught.

    Args:
        runs: folders by `world/learner`, all of a world one after another.
    """
    lines, last = [_HEAD, "|---" * 6 + "|"], ""
    for name, path in runs.items():
        world, learner = name.split("/")
        readings = xr.load_dataset(path / "readings.nc")
        how = learned(readings)
        if world != last:
            lines.append(_of_random(world, how))
            last = world
        lines += _of_learner(f"{world}, {learner}", READINGS[world], effects(readings), how)
    return lines


def learned(readings: xr.Dataset) -> Learned:
    """The true return in the end, beside that of random play."""
    design = factorial(readings)
    assert design is not None
    on, (channel, *_) = levels.common(readings), series.listed(readings, "true_channels")
    own = readings["returns"].isel(checkpoint=-1).sel(levels=on, channel=channel, schedule=design.cells)
    value = own.transpose("schedule", "seed").values.mean(0)
    ceiling = float(levels.ceilings_of(readings, on, channel)[0])
    within = ranges.of_return(readings, channel, ceiling)
    interval = mean_interval(value, within)
    if "random_return" not in readings:
        return Learned(value, interval, np.nan, np.nan, ceiling, False, (0, len(design.cells)))
    known = (baselines.random_return(readings, on, channel, n) for n in ("random_return", "random_return_error"))
    random, error = (float(x[0, -1]) for x in known if x is not None)
    once = error * float(np.sqrt(readings.attrs["random_plays"]))  # chance is the same in all cells
    below = below_random(value, random, error, once, within)
    rows_ = [r for r in baselines.below(readings) if r["levels"] == on and r["than"] == baselines.RANDOM]
    count = sum(row["schedule"] in design.cells for row in rows_)
    return Learned(value, interval, random, error, ceiling, below, (count, len(design.cells)))


def _of_random(world: str, how: Learned) -> str:
    told = "not read" if np.isnan(how.random) else f"{how.random:.2f} ± {1.96 * how.error:.2f}"
    top = f"; ceiling {how.ceiling:.2f}" if np.isfinite(how.ceiling) else ""
    return f"| {world}, **random play** | {READINGS[world][0]} | {told}{top} | – | – | – |"


def _of_learner(label: str, readings: tuple[str, ...], found: xr.Dataset, how: Learned) -> list[str]:
    """A row for every reading of one part."""
    lines = []
    for reading in readings:
        value = _value(how) if reading == readings[0] else "–"
        start = f"| {label} | {reading} | {value} |"
        if reading not in found.measure:
            lines.append(f"{start} the same in all cells | – | – |")
        elif how.below:
            lines.append(f"{start} not read: below random play | – | – |")
        else:
            own = rows(found.sel(measure=[reading]))
            main = "; ".join(in_words(row.main, row.seeds) for row in own)
            shares = "; ".join(share_in_words(row.share) for row in own)
            lines.append(f"{start} {main} | {shares} | {_interaction(found, reading)} |")
    return lines


def _value(how: Learned) -> str:
    told = spread(how.value, how.interval, "{:.2f}".format)
    value = f"{float(how.interval.mean):.2f}{f' ({told})' if told else ''}"
    count, every = how.cells
    mark = "**below random play**, " if how.below else ""
    return f"{value}; {mark}below it in {count} of {every} cells" if count or how.below else value


def _interaction(found: xr.Dataset, reading: str) -> str:
    """The interaction that is furthest from 0."""
    own = found.sel(measure=reading)
    at = int(np.argmax(np.abs(own["interaction_mean"].values)))
    value = Interval(*(own[f"interaction_{k}"].values[at] for k in Interval._fields))
    return f"{own['set'].values[at]} {in_words(value, own['interaction'].values[at])}"
