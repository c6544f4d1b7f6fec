"""Charts: pure functions from datasets to Altair charts.

Charts over training share one time axis, [0, steps], and one left gutter, so that they line up when they are stacked.
Value axes are common to all schedules, so that cards can be compared by eye. A colour means one thing in a whole page.
"""

from typing import Any, Literal

import altair as alt
import numpy as np
import xarray as xr

from chisel.analysis.bounded import SHARE, difference_interval, mean_interval
from chisel.analysis.statistics import Interval, t_interval
from chisel.findings import baselines, levels, ranges, series
from chisel.report import marks
from chisel.report.marks import Chart, Row, colour, edges, limits, over_training, rows_chart, seed_lines, short, tip

# Where a text is held, and how far it keeps from there.
_SIDES: tuple[tuple[Literal["left", "right"], int], ...] = (("left", 4), ("right", -4))


def schedule_chart(training: xr.Dataset, schedule: str) -> Chart:
    """What each channel is worth over training: a row per channel, as high as its weight is large, named above.

    Where seeds differ, each is drawn thin; where all are alike again, they are as dark together as one.
    """
    weights = series.weights(training)
    rows = series.paid_for(weights) or series.listed(training, "true_channels")
    largest, seeds = float(np.abs(weights).max()) or 1.0, [int(s) for s in training.seed.values]
    together: list[Row] = []
    apart: list[Row] = []
    texts: list[Row] = []
    for i, name in enumerate(reversed(rows)):
        values = weights.sel(schedule=schedule, channel=name).transpose("seed", "update").values
        courses = [series.stretches(training, v) for v in values]
        if all(np.array_equal(v, values[0], equal_nan=True) for v in values):
            together += _area(name, i, courses[0], largest)
        else:
            apart += [row | {"s": s} for s, c in zip(seeds, courses, strict=True) for row in _area(name, i, c, largest)]
        texts += [row | {"v": i + 0.75} for row in _captions(name, courses, int(training.attrs["steps"]))]
    bare = alt.Axis(**marks.GUTTER_AXIS, labels=False, ticks=False, grid=False, domain=False, title=None)
    y = alt.Y("v:Q", axis=bare, scale=alt.Scale(domain=[0, max(len(rows), 1)], nice=False))
    x, color = marks.time_axis(training, axis=None), colour(series.channel_colours(training))
    shared = {"x": x, "y": y, "color": color}
    shapes = [*_outlines(together, 1, shared), *_outlines(apart, len(seeds), shared)]
    words = [
        rows_chart([r for r in texts if r["side"] == side])
        .mark_text(align=side, dx=dx, baseline="middle", fontSize=11, color="#1F2937", clip=True)
        .encode(x=x, y=y, text="text:N")
        for side, dx in _SIDES
    ]
    return over_training([*edges(training, axis=None), *shapes, *words], 28 * max(len(rows), 1), training)


def returns_chart(training: xr.Dataset, readings: xr.Dataset, schedule: str) -> Chart:
    """True and proxy return per episode of training, every seed, with the true channels' ceiling on those levels."""
    true, colours = series.listed(training, "true_channels"), series.channel_colours(training)
    shown = list(dict.fromkeys([*true, *series.listed(training, "proxy_channels")]))
    totals, middles = series.binned(training.sel(channel=shown))
    ceilings = {c: levels.ceiling(readings, "training", c) for c in true}
    tops = {c: values.sel(schedule=schedule).values for c, values in ceilings.items()}
    shared = readings.checkpoint.values, colour(colours), marks.time_axis(training)
    rules = _rules(tops, "ceiling of", [5, 4], *shared)
    chances = {c: baselines.random_return(readings, "training", c) for c in true}
    chance = {c: values.sel(schedule=schedule).values for c, values in chances.items() if values is not None}
    rules += _rules(chance, "random play's", [1, 3], *shared)
    of_levels = [v for v in (*ceilings.values(), *chances.values()) if v is not None]
    domain = marks.reach([*totals.values.ravel(), *(v for values in of_levels for v in values.values.ravel()), 0.0])
    own, within = totals.sel(schedule=schedule), [ranges.of_channel(training, c) for c in shown]
    drawn = seed_lines(own, middles, "channel", colours, domain, training, dots=False, within=within)
    return over_training([*edges(training), *rules, *drawn], 130, training)


def _rules(
    tops: dict[str, np.ndarray], name: str, dash: list[int], times: np.ndarray, color: alt.Color, x: alt.X
) -> list[Chart]:
    """A return on the levels that agents train on, as a rule; as steps where these change with training.

    Args:
        tops: [checkpoint] by channel; each holds from the checkpoint before.
        name: of what it is the return.
    """
    known = {c: values for c, values in tops.items() if np.isfinite(values).all()}
    tips = [tip("k:N", name), tip("v:Q", "return")]
    still = [{"v": short(v[0]), "k": c} for c, v in known.items() if np.allclose(v, v[0])]
    moving = [{"t": int(t), "v": short(v), "k": c} for c, values in known.items() if not np.allclose(values, values[0])
              for t, v in zip(times, values, strict=True)]  # fmt: skip
    dashed: dict[str, Any] = {"strokeDash": dash, "strokeWidth": 1.2}
    found: list[Chart] = []
    if still:
        found.append(rows_chart(still).mark_rule(**dashed).encode(y="v:Q", color=color, tooltip=tips))
    if moving:
        line = rows_chart(moving).mark_line(interpolate="step-before", **dashed)
        found.append(line.encode(x=x, y="v:Q", color=color, tooltip=tips))
    return found


def goal_chart(readings: xr.Dataset, schedule: str, reading: str) -> Chart:
    """A reading of every goal over the checkpoints, every seed: `total_effect`, `choice` or `bid`."""
    values, colours = series.goal_values(readings, reading), series.goal_colours(readings)
    domain = [0.0, 1.0] if reading == "choice" else marks.reach([*values.values.ravel(), 0.0])
    zero = rows_chart([{"v": 0}]).mark_rule(color="#6B7280", strokeWidth=1).encode(y="v:Q")
    own, times = values.sel(schedule=schedule), readings.checkpoint.values
    within = [ranges.of_reading(readings, reading)] * own.sizes["goal"]
    drawn = seed_lines(own, times, "goal", colours, domain, readings, dots=True, within=within)
    return over_training([*edges(readings), zero, *drawn], 120, readings)


def skill_chart(readings: xr.Dataset, feature: str, largest: float | None = None) -> Chart:
    """What training added to the decoding of one feature: checkpoint × layer, a block of layers per schedule.

    Args:
        largest: the skill at the ends of the colour scale; the feature's own largest if not given.
    """
    own = readings.sel(feature=feature)
    means = t_interval(own["skill"].transpose(..., "seed").values).mean
    most = largest or float(np.max(np.abs(means[np.isfinite(means)]), initial=0.0)) or 1.0
    layers, times = [str(x) for x in readings.layer.values], readings.checkpoint.values
    diverging = alt.Scale(domain=[-most, 0, most], range=["#B35806", "#F7F7F7", "#20639B"], clamp=True)
    named = [int(times[i]) for i in np.unique(np.linspace(0, len(times) - 1, 5).round().astype(int))]
    plain: dict[str, Any] = {"title": None, "ticks": False, "domain": False}
    below = alt.Axis(**plain, values=named, labelExpr="format(datum.value, '.2~s')", labelAngle=0)
    letter = alt.Axis(**plain, labelExpr="slice(datum.value, 0, indexof(datum.value, ' '))", minExtent=14)
    names = {
        "v": "skill",
        "s": "score",
        "o": "control: observation",
        "u": "control: untrained",
        "h": "control: shuffled",
    }
    tips = [tip("c:N", "schedule"), tip("l:N", "layer"), tip("t:O", "steps"), tip("i:N", "95 % interval of skill")]
    chart = rows_chart(_skill_rows(own, feature)).mark_rect()
    chart = chart.encode(
        x=alt.X("t:O", axis=below),
        y=alt.Y("c:N", sort=None, axis=letter, scale=alt.Scale(paddingInner=0.14, paddingOuter=0.04)),
        yOffset=alt.YOffset("l:N", sort=layers),
        color=alt.Color("v:Q", legend=None, scale=diverging),
        tooltip=[*tips, *(tip(f"{k}:Q", name) for k, name in names.items())],
    )
    height = readings.sizes["schedule"] * (10 * len(layers) + 4)
    return marks.style(chart.properties(width="container", height=max(height, 24)))


def wins_chart(readings: xr.Dataset, schedule: str) -> Chart:
    """Who wins at the last checkpoint: the share of two-goal levels in which the row is reached before the column."""
    last = readings.sel(schedule=schedule).isel(checkpoint=-1)
    goals, rows = [str(g) for g in readings.goal.values], []
    each = last["choice"].transpose("goal", "rival", "seed").values
    wins = mean_interval(each, SHARE)
    none = t_interval(last["neither"].transpose("goal", "rival", "seed").values).mean
    for i, j in zip(*np.nonzero(np.isfinite(wins.mean)), strict=True):
        share = {"v": short(wins.mean[i, j]), "i": limits(each[i, j], Interval(*(x[i, j] for x in wins)))}
        rows.append({"g": goals[i], "r": goals[j], **share, "n": short(none[i, j]), "m": f"({none[i, j]:.0%})"})
    scale = alt.Scale(domain=goals, paddingInner=0.05)
    plain: dict[str, Any] = {"title": None, "ticks": False, "domain": False, "labelFontSize": 11, "labelLimit": 80}
    tilt = 0 if len(goals) <= 4 else -35  # or names would run into each other
    x = alt.X("r:N", sort=goals, scale=scale, axis=alt.Axis(**plain, orient="top", labelAngle=tilt, labelOverlap=True))
    y = alt.Y("g:N", sort=goals, scale=scale, axis=alt.Axis(**plain))
    shares = [tip("v:Q", "share", ".0%"), tip("i:N", "95 % interval"), tip("n:Q", "neither", ".0%")]
    base = rows_chart(rows).encode(x=x, y=y, tooltip=[tip("g:N", "goal"), tip("r:N", "before rival"), *shares])
    color = alt.Color("v:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=["#F3F5F8", "#6E9BCB"]))
    many = len(goals) > 5  # too many for two lines in a cell
    share_text = base.mark_text(fontSize=11 if many else 13, fontWeight=600, dy=0 if many else -6, color="#111827")
    layers = [
        base.mark_rect(cornerRadius=3).encode(color=color),
        share_text.encode(text=alt.Text("v:Q", format=".0%")),
        *([] if many else [base.mark_text(fontSize=10, dy=9, color="#374151").encode(text="m:N")]),
    ]
    return marks.style(alt.layer(*layers).properties(width="container", height=(24 if many else 36) * len(goals)))


def _skill_rows(own: xr.Dataset, feature: str) -> list[Row]:
    names = {"v": "skill", "s": "score", "u": "untrained_score", "h": "shuffled_score"}
    each = {
        k: own[n].broadcast_like(own["skill"]).transpose("schedule", "checkpoint", "layer", "seed").values
        for k, n in names.items()
    }
    # Skill is the difference of two scores.
    skill = difference_interval(each["v"], ranges.of_reading(own, "score", feature))
    means = {k: t_interval(v).mean for k, v in each.items()}
    called, rows = series.labels(own), []
    for index in zip(*np.nonzero(np.isfinite(skill.mean)), strict=True):
        name = str(own.schedule.values[index[0]])
        place = {
            "c": f"{called[name]} {name}",
            "t": int(own.checkpoint.values[index[1]]),
            "l": str(own.layer.values[index[2]]),
        }
        numbers = {k: short(v[index], 3) for k, v in means.items()}
        interval = limits(each["v"][index], Interval(*(x[index] for x in skill)))
        rows.append(place | numbers | {"o": short(float(own["observation_score"]), 3), "i": interval})
    return rows


def _area(name: str, base: int, found: list[tuple[int, float]], largest: float) -> list[Row]:
    """The outline of a weight over training, on its own base line; None where a member had been halted."""
    rows: list[Row] = []
    for (t, w), (end, following) in zip(found, [*found[1:], found[-1]], strict=True):
        row = {"t": t, "v": short(base + 0.46 * abs(w) / largest), "b": base, "w": short(w), "k": name}
        rows.append(row)
        if np.isfinite(w) and not np.isfinite(following):  # up to where it stops
            rows.append(row | {"t": end})
    return rows


def _outlines(rows: list[Row], seeds: int, shared: dict[str, Any]) -> list[Chart]:
    """Areas and their upper edges; of several seeds thin ones, together as dark as one."""
    if not rows:
        return []
    tips = [tip("k:N", "channel"), tip("t:Q", "from step", ",d"), tip("w:Q", "weight")]
    each = {"detail": "s:N"} if "s" in rows[0] else {}
    base = rows_chart(rows).encode(**shared, **each)
    area = base.mark_area(interpolate="step-after", opacity=1 - 0.72 ** (1 / seeds))
    line = base.mark_line(interpolate="step-after", strokeWidth=0.9 if each else 1.5)
    return [area.encode(y2="b:Q", tooltip=[*tips, *([tip("s:N", "seed")] if each else [])]), line]


def _captions(name: str, courses: list[list[tuple[int, float]]], steps: int) -> list[Row]:
    """A channel's name and weight where the weight begins to hold, as far as there is room to write.

    Args:
        courses: one per seed; the longest is written, and where seeds differ, that they do.
    """
    found = max(courses, key=len)
    common = set.intersection(*({t for t, _ in course} for course in courses))
    values = [w for _, w in found if np.isfinite(w)]
    if len(found) > 12:  # a ramp: its range says enough
        text = f"{name} {_signed(min(values))} … {_signed(max(values))}"
        return [{"t": 0, "text": text + (", by seed" if len(common) < len(found) else ""), "side": "left"}]
    said: list[Row] = []
    free = 0.0  # up to where there is writing already, as a share of the chart
    for start, weight in found[:-1]:
        at = start / steps
        if at < free or not np.isfinite(weight) or (not weight and any(values)):
            continue
        text = _signed(weight) if said else f"{name} {_signed(weight)}"
        for words in dict.fromkeys([text if start in common else f"{text}, by seed", text]):
            room = 0.03 * len(words)
            # Where little room is left, the text ends where the weight begins.
            side = "left" if at + room <= 1 else "right" if at - room >= free else None
            if side or (words == text and not said):  # the name is written in any case
                said.append({"t": start, "text": words, "side": side or "left"})
                free = at + room
                break
        if not weight:
            break
    return said


def _signed(number: float) -> str:
    return f"{number + 0.0:.3g}".replace("-", "\N{MINUS SIGN}")
