"""Charts of what phases did: one measure each, in the colour of the goal or channel that the measure is of.

A dot is a seed. What is compared stands in groups along an axis of numbers, so that groups have room between them and a
name above, at any width of the page.
"""

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from chisel.analysis.bounded import Range, difference_interval, mean_interval
from chisel.analysis.statistics import Interval
from chisel.findings import series
from chisel.report import marks
from chisel.report.effect_rows import percent, signed
from chisel.report.marks import Chart, Row, limits, rows_chart, short, tip

KINDS = {"noise": "another random key", "freeze": "no learning", "zero": "no reward"}
DASHES = ([1, 0], [5, 3], [1.5, 2.5], [8, 3, 1.5, 3])  # of conditions, in the order of the study
_INK = "#111827"
_SHARES = [-0.1, 1.1]  # what is drawn of shares: where cells hardly differ, their intervals reach far beyond
_GAP = 0.8  # between groups, in widths of a place


def main_chart(found: xr.Dataset, colour: str) -> Chart:
    """How much more the first condition led to than each other one, phase by phase.

    Args:
        found: `effects` of one measure.
    """
    names, others = ([str(x) for x in found[d].values] for d in ("phase", "against"))
    means = [[signed(m) for m in row] for row in found["main_mean"].transpose("phase", "against").values]
    if len(others) == 1:
        groups = [("", [[p, m] for p, (m,) in zip(names, means, strict=True)])]
    else:
        groups = [(p, [[o, m] for o, m in zip(others, row, strict=True)]) for p, row in zip(names, means, strict=True)]
    values = found["main"].transpose("phase", "against", "seed").values.reshape(-1, found.sizes["seed"])
    said = [{"p": p, "a": o} for p in names for o in others]
    return _compared(_Places(groups), values, said, [tip("p:N", "phase"), tip("a:N", "against")], found, colour)


def shares_chart(found: xr.Dataset, colour: str) -> Chart:
    """Shapley shares of the variance between cells, phase by phase, with their intervals."""
    names, shares = [str(p) for p in found.phase.values], found["shapley"].values
    places = _Places([("", [[n, percent(v)] for n, v in zip(names, shares, strict=True)])])
    rows: list[Row] = []
    for i in np.flatnonzero(np.isfinite(shares)):
        first, total, low, high = (float(found[k][i]) for k in ("first", "total", "shapley_low", "shapley_high"))
        about = {"p": names[i], "f": short(first, 3), "o": short(total, 3)}
        about["i"] = f"{percent(low)} to {percent(high)}" if np.isfinite(low) else "none"
        rows.append(_bar(places.at[i], shares[i], low, high) | about)
    tips = [tip("p:N", "phase"), tip("v:Q", "Shapley share", ".0%"), tip("i:N", "interval")]
    tips += [tip("f:Q", "by itself", ".0%"), tip("o:Q", "with all it takes part in", ".0%")]
    y = _Values(_SHARES, format="%", values=[0, 0.5, 1])
    return _finish([_zero(y), *_intervals(rows, places, y, tips, colour)], 90)


def together_chart(found: xr.Dataset, colour: str, pairs: Sequence[tuple[int, int]] | None = None) -> Chart:
    """The outcome by the conditions of two phases, for pairs of phases: where lines are parallel, effects add up.

    Across is the condition in the earlier phase, a line is one in the later; means over all other phases.

    Args:
        found: `effects` of one measure.
        pairs: of phases, by number; all if not given.
    """
    names, conditions = [str(p) for p in found.phase.values], series.listed(found, "conditions")
    chosen = list(pairs or combinations(range(len(names)), 2))
    places = _Places([(f"{names[i]} × {names[j]}", [[c] for c in conditions]) for i, j in chosen])
    outcome = found["outcome"].transpose("cell", "seed").values
    under = found["condition"].transpose("cell", "phase").values
    seeds: list[Row] = []
    means: list[Row] = []
    for n, (i, j) in enumerate(chosen):
        for later in conditions:
            for c, earlier in enumerate(conditions):
                own = outcome[(under[:, i] == earlier) & (under[:, j] == later)].mean(0)
                interval = mean_interval(own, _within(found), level=found.attrs["level"])
                row = {"n": n, "x": places.at[n * len(conditions) + c], "k": later}
                row |= {"a": f"{earlier} in {names[i]}, {later} in {names[j]}"}
                means.append(row | {"v": short(float(interval.mean)), "i": limits(own, interval)})
                seeds += [row | {"v": short(v), "s": int(s)} for v, s in zip(own, found.seed.values, strict=True)]
    y = _Values(_reach([row["v"] for row in seeds if row["v"] is not None]))
    return _finish([*places.titles, *_lines(seeds, means, places, y, conditions, colour)], 130)


def arms_chart(found: xr.Dataset, colour: str) -> Chart:
    """What another random key, no learning or no reward in a phase changed; the noise floor as a band."""
    kinds, phases = (found[k].values.astype(str) for k in ("kind", "arm_phase"))
    groups, values, said = [], [], []
    for kind in dict.fromkeys([k for k in KINDS if k in kinds] + [str(k) for k in kinds]):
        shown = [str(p) for p in found.phase.values if str(p) in phases[kinds == kind]]
        for phase in shown:  # several arms of one kind have other cells that they are copies of
            own = found["arm_effect"].isel(arm=(kinds == kind) & (phases == phase))
            values.append(own.transpose("arm", "seed").values.mean(0))
            said.append({"p": phase, "a": KINDS.get(kind, kind), "b": ", ".join(own["base"].values.astype(str))})
        groups.append((KINDS.get(kind, kind), [[p] for p in shown]))
    tips = [tip("a:N", "instead"), tip("p:N", "in"), tip("b:N", "less")]
    return _compared(_Places(groups), np.array(values), said, tips, found, colour, float(found["noise"]))


def order_chart(found: xr.Dataset, colour: str) -> Chart:
    """What the order of two conditions changed, for every pair of phases that are equally long."""
    values, pairs = found["order"].transpose("pair", "seed").values, [str(p) for p in found.pair.values]
    means = [signed(m) for m in found["order_mean"].values]
    places = _Places([("", [[p, m] for p, m in zip(pairs, means, strict=True)])])
    return _compared(places, values, [{"p": p} for p in pairs], [tip("p:N", "phases")], found, colour, height=100)


class _Places:
    """Where what is compared stands along the axis: groups, one after another.

    Args:
        groups: name, and for each of what is in it the lines that stand below it.

    Attributes:
        at: places, through all groups.
        titles: the names of groups, drawn above them; none where all are empty.
    """

    def __init__(self, groups: Sequence[tuple[str, list[list[str]]]]) -> None:
        self.at: list[float] = []
        above: list[Row] = []
        for name, labels in groups:
            start = self.at[-1] + 1 + _GAP if self.at else 0.0
            own = [round(start + i, 1) for i in range(len(labels))]
            above += [{"x": (own[0] + own[-1]) / 2, "t": name}] if name else []
            self.at += own
        below = [lines for _, labels in groups for lines in labels]
        told = json.dumps({f"{x:g}": lines for x, lines in zip(self.at, below, strict=True)}, ensure_ascii=False)
        plain: dict[str, Any] = {"title": None, "grid": False, "ticks": False, "domain": False, "labelOverlap": False}
        text: dict[str, Any] = {"labelFontSize": 11, "labelColor": _INK, "labelLimit": max(26, 320 // len(self.at))}
        # JSON is an expression of the page's library too.
        self._axis = alt.Axis(**plain, **text, labelPadding=4, values=self.at, labelExpr=f"({told})[datum.value]")
        spare = max(1.2, 2.6 - self.at[-1]) / 2  # a lone bar would be as wide as the page
        self._scale = alt.Scale(domain=[-spare, self.at[-1] + spare], nice=False, zero=False)
        words = rows_chart(above).mark_text(fontSize=11, fontWeight=600, color="#374151", limit=140)
        self.titles = [words.encode(x=self.x(), y=alt.value(-11), text="t:N")] if above else []

    def x(self, field: str = "x") -> alt.X:
        """The axis, for a field of the rows."""
        return alt.X(f"{field}:Q", axis=self._axis, scale=self._scale)


class _Values:
    """The axis of values."""

    def __init__(self, domain: list[float], **axis: Any) -> None:
        text: dict[str, Any] = {"labelFontSize": 10, "labelPadding": 5, "gridColor": "#E5E7EB", "title": None}
        text |= {"domain": False, "ticks": False, "tickCount": 4}
        self._axis, self._scale = alt.Axis(**marks.GUTTER_AXIS, **(text | axis)), alt.Scale(domain=domain, nice=False)

    def y(self, field: str = "v") -> alt.Y:
        """The axis, for a field of the rows."""
        return alt.Y(f"{field}:Q", axis=self._axis, scale=self._scale)


def _compared(
    places: _Places,
    values: np.ndarray,
    said: list[Row],
    tips: list[alt.Tooltip],
    found: xr.Dataset,
    colour: str,
    floor: float = np.nan,
    height: int = 130,
) -> Chart:
    """Bars of means with intervals over seeds, and every seed beside; the floor, if any, as a band around 0.

    Args:
        values: [places, seeds].
        said: about each place.
    """
    every = difference_interval(values, _within(found), level=found.attrs["level"])
    mean, low, high = every
    seeds, step = found.seed.values, min(0.08, 0.5 / values.shape[1])
    bars: list[Row] = []
    dots: list[Row] = []
    for i in np.flatnonzero(np.isfinite(mean)):
        bars.append(
            _bar(places.at[i], mean[i], low[i], high[i])
            | said[i]
            | {"i": limits(values[i], Interval(*(x[i] for x in every)))}
        )
        aside = places.at[i] + (np.arange(len(seeds)) - (len(seeds) - 1) / 2) * step
        own = zip(aside, values[i], seeds, strict=True)
        dots += [{"x": short(x), "v": short(v), "s": int(s)} | said[i] for x, v, s in own if np.isfinite(v)]
    y = _Values(_reach([*values.ravel(), 0.0, floor, -floor], [*low, *high]))
    layers = _intervals(bars, places, y, [*tips, tip("v:Q", "mean"), tip("i:N", "interval")], colour)
    dot = rows_chart(dots).mark_point(filled=True, size=20, opacity=0.85, color=colour)
    layers.append(dot.encode(x=places.x(), y=y.y(), tooltip=[*tips, tip("v:Q", "value"), tip("s:N", "seed")]))
    return _finish([*_band(floor, y), *places.titles, _zero(y), *layers], height)


def _intervals(rows: list[Row], places: _Places, y: _Values, tips: list[alt.Tooltip], colour: str) -> list[Chart]:
    """Bars from 0 to a mean, and a rule from limit to limit."""
    bar = rows_chart(rows).mark_rect(clip=True, color=colour, opacity=0.3)
    rule = rows_chart([row for row in rows if row["l"] is not None]).mark_rule(clip=True, color=_INK, strokeWidth=1.6)
    return [
        bar.encode(x=places.x("w"), x2="e:Q", y=y.y(), y2="z:Q", tooltip=tips),
        rule.encode(x=places.x(), y=y.y("l"), y2="h:Q", tooltip=tips),
    ]


def _lines(
    seeds: list[Row], means: list[Row], places: _Places, y: _Values, conditions: list[str], colour: str
) -> list[Chart]:
    """Lines of means by condition, told apart by their dashes, and a dot for every seed, hollow but for the first."""
    dashes = alt.StrokeDash("k:N", legend=None, scale=alt.Scale(domain=conditions, range=list(DASHES)))
    line = rows_chart(means).mark_line(color=colour, strokeWidth=2.4).encode(strokeDash=dashes, detail="n:N")
    pointed = rows_chart(means).mark_point(filled=True, size=70, opacity=0, color=colour)
    about = [tip("a:N", "under"), tip("v:Q", "value")]
    layers = [line.encode(x=places.x(), y=y.y())]
    for hollow, aside in ((False, -4), (True, 4)):
        own = rows_chart([row for row in seeds if (row["k"] != conditions[0]) == hollow])
        fill = "white" if hollow else colour
        dot = own.mark_point(size=18, opacity=0.6, color=colour, filled=not hollow, fill=fill, xOffset=aside)
        layers.append(dot.encode(x=places.x(), y=y.y(), tooltip=[*about, tip("s:N", "seed")]))
    return [*layers, pointed.encode(x=places.x(), y=y.y(), tooltip=[*about, tip("i:N", "mean; interval")])]


def _within(found: xr.Dataset) -> Range:
    """What the measure can be."""
    return Range(float(found["least"]), float(found["most"]))


def _bar(x: float, v: float, low: float, high: float) -> Row:
    row: Row = {"x": x, "w": round(x - 0.36, 2), "e": round(x + 0.36, 2), "z": 0}
    return row | {"v": short(v), "l": short(low), "h": short(high)}


def _band(floor: float, y: _Values) -> list[Chart]:
    rows = [{"l": short(-floor), "h": short(floor)}]
    band = rows_chart(rows).mark_rect(color="#9CA3AF", opacity=0.3, clip=True)
    tips = [tip("h:Q", "noise floor, ±")]
    return [band.encode(y=y.y("l"), y2="h:Q", x=alt.value(0), x2=alt.value("width"), tooltip=tips)] if floor > 0 else []


def _zero(y: _Values) -> Chart:
    return rows_chart([{"v": 0}]).mark_rule(color="#6B7280", strokeWidth=1).encode(y=y.y())


def _reach(drawn: list[float], limits_of: Sequence[float] = ()) -> list[float]:
    """The range of what is drawn, limits too, with a little air."""
    known = np.array([v for v in drawn if np.isfinite(v)] or [0.0])
    span = np.ptp(known) or abs(known[0]) or 1.0
    ends = [v for v in limits_of if np.isfinite(v)]
    low, high = min([*ends, known.min()]), max([*ends, known.max()])
    air = 0.06 * ((high - low) or span)
    return [float(low - air), float(high + air)]


def _finish(layers: list[Chart], height: int) -> Chart:
    return marks.style(alt.layer(*layers).properties(width="container", height=height))
