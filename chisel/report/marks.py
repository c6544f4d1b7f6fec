"""What charts are made of: axes, colours, lines, and the numbers written short."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from chisel.analysis.bounded import ANY, Range, mean_interval
from chisel.analysis.statistics import Interval
from chisel.findings.seeds import spread
from chisel.findings.series import listed

GUTTER = 38  # pixels left of every chart over training
GUTTER_AXIS: dict[str, Any] = {"minExtent": GUTTER, "maxExtent": GUTTER}

Row = dict[str, Any]
Chart = alt.LayerChart | alt.Chart | alt.FacetChart  # what Altair says that encoding or styling a chart may give


def time_axis(data: xr.Dataset, axis: Any = alt.Undefined) -> alt.X:
    """Steps, from 0 to the end of training."""
    grey: dict[str, Any] = {"domainColor": "#9CA3AF", "tickColor": "#9CA3AF", "grid": False}
    text: dict[str, Any] = {
        "labelExpr": "format(datum.value, '~s')",
        "labelFlush": True,
        "labelOverlap": True,
        "labelFontSize": 10,
    }
    shown = alt.Axis(title=None, tickCount=5, tickSize=4, **grey, **text)
    scale = alt.Scale(domain=[0, int(data.attrs["steps"])], nice=False)
    return alt.X("t:Q", axis=shown if axis is alt.Undefined else axis, scale=scale)


def value_axis(domain: list[float]) -> alt.Y:
    """Values, with labels in a gutter of fixed width."""
    text: dict[str, Any] = {"labelFontSize": 10, "labelPadding": 5, "gridColor": "#E5E7EB"}
    axis = alt.Axis(**GUTTER_AXIS, **text, title=None, tickCount=4, domain=False, ticks=False)
    return alt.Y("v:Q", scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis)


def edges(data: xr.Dataset, axis: Any = alt.Undefined) -> list[Chart]:
    """Hairlines where a phase of any schedule ends."""
    inside = [{"t": e} for e in listed(data, "phase_edges") if 0 < e < data.attrs["steps"]]
    rule = rows_chart(inside).mark_rule(color="#9CA3AF", strokeWidth=1, strokeDash=[2, 2])
    return [rule.encode(x=time_axis(data, axis))] if inside else []


def reach(values: Iterable[float]) -> list[float]:
    """The range of what is drawn, with a little air."""
    known = [float(v) for v in values if np.isfinite(v)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    air = 0.06 * (high - low) or 0.5
    return [low - air if low < 0 else low, high + air]


def colour(colours: dict[str, str]) -> alt.Color:
    """Colour by name; the page has one legend for all charts."""
    return alt.Color("k:N", legend=None, scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def tip(field: str, title: str, form: str = ".3~g") -> alt.Tooltip:
    """A line of what a reader sees when pointing at a mark."""
    return alt.Tooltip(field, title=title, format=form) if field.endswith(":Q") else alt.Tooltip(field, title=title)


def short(value: float, digits: int = 4) -> float | None:
    """Short numbers keep the page small; None is a gap."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def limits(values: ArrayLike, interval: Interval) -> str:
    """The interval of a mean over seeds in words: those of `spread`."""
    return spread(values, interval, lambda x: f"{x:.3g}".replace("-", "\N{MINUS SIGN}")) or "none: one seed"


def rows_chart(rows: list[Row]) -> alt.Chart:
    """A chart of rows that are written into it: as a tuple, which Altair does not copy with every layer."""
    return alt.Chart(alt.InlineData(values=tuple(rows)))


def over_training(layers: list[Chart], height: int, data: xr.Dataset) -> Chart:
    """Layers over training; what the page's script needs to draw them on a logarithmic axis goes along."""
    time = {"steps": int(data.attrs["steps"])}
    # Equal room on both sides for what sticks out of the frame: without it frames would differ by a few pixels.
    room = (
        rows_chart([{}])
        .mark_rect(opacity=0, xOffset=-GUTTER - 2, x2Offset=10)
        .encode(x=alt.value(0), x2=alt.value("width"))
    )
    return style(alt.layer(room, *layers).properties(width="container", height=height, usermeta={"time": time}))


def style(chart: Chart) -> Chart:
    """What all charts have in common."""
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
    padding = {"left": 2, "right": 6, "top": 4, "bottom": 2}
    return (
        chart.properties(autosize=fit, padding=padding)
        .configure(font=font, background="transparent")
        .configure_view(stroke=None)
    )


def seed_lines(
    values: xr.DataArray,
    times: np.ndarray,
    key: str,
    colours: dict[str, str],
    domain: list[float],
    data: xr.Dataset,
    dots: bool,
    within: Sequence[Range] | None = None,
) -> list[Chart]:
    """Every seed as a thin line, their mean as a thick one.

    Args:
        values: one schedule: (seed, a dimension of time, key).
        times: the steps along the dimension of time.
        data: whose time axis is drawn.
        dots: whether to mark the measured values, where there are few.
        within: what values of each key can be; anything, if not given.
    """
    time = next(d for d in values.dims if d not in ("seed", key))
    array = values.transpose("seed", time, key).values
    keys, seeds = [str(k) for k in values[key].values], values.seed.values
    ends = [np.array([one[i] for one in within or [ANY] * len(keys)], float) for i in (0, 1)]
    found = mean_interval(array, Range(*ends), axis=0)
    own = [{"t": int(t), "v": short(array[s, i, k]), "k": keys[k], "s": int(seeds[s])}
           for k in range(len(keys)) for s in range(len(seeds)) for i, t in enumerate(times)]  # fmt: skip
    means = [{"t": int(t), "v": short(found.mean[i, k]), "k": keys[k],
              "i": limits(array[:, i, k], Interval(*(x[i, k] for x in found)))}
             for k in range(len(keys)) for i, t in enumerate(times)]  # fmt: skip
    # The name is written as a JSON string, which is a string of the expression language too.
    schedule = {"schedule": json.dumps(str(values.schedule.values))}
    x, y, color = time_axis(data), value_axis(domain), colour(colours)
    tips = [tip("schedule:N", "schedule"), tip("k:N", key), tip("t:Q", "steps", ",d"), tip("v:Q", "value")]
    seed, middle = rows_chart(own).transform_calculate(**schedule), rows_chart(means).transform_calculate(**schedule)
    each = seed.mark_point(filled=True, size=14, opacity=0.55 if dots else 0)
    mean_of_all = middle.mark_point(filled=True, size=50, opacity=0)  # only there to be pointed at
    return [
        seed.mark_line(strokeWidth=1, opacity=0.42).encode(x=x, y=y, color=color, detail="s:N"),
        middle.mark_line(strokeWidth=2.6).encode(x=x, y=y, color=color),
        mean_of_all.encode(x=x, y=y, color=color, tooltip=[*tips, tip("i:N", "mean; 95 % interval")]),
        each.encode(x=x, y=y, color=color, tooltip=[*tips, tip("s:N", "seed")]),
    ]
