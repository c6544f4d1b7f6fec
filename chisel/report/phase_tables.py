"""How much each phase mattered, as HTML: a card for each of the most moved measures, and all of them in a table."""

from collections.abc import Callable
from html import escape
from itertools import combinations

import numpy as np
import xarray as xr

from chisel.analysis.bounded import FEWEST
from chisel.findings import series
from chisel.findings.effects import Factorial, effects, factorial
from chisel.report import phase_charts
from chisel.report.effect_rows import Row, further, in_words, percent, rows, share_in_words
from chisel.report.marks import Chart
from chisel.report.tables import amount

MOST = 6  # measures that have a card
_PAIRS = 3  # of phases, side by side in one chart
_NEUTRAL = "#4B5563"
_FEW = {1: "One seed: no interval and no share can be given.", 2: "Two seeds: both are given, and no interval."}
_UNITS = {"nat": "nats", "return": "in units of return"}


def section(place: Callable[[Chart, str], str], training: xr.Dataset, readings: xr.Dataset) -> str:
    """The part of the page that tells phases apart; nothing if no phases were crossed.

    Args:
        place: puts a chart on the page, with what it is about, and returns its element.
    """
    design = factorial(readings)
    if design is None:
        return ""
    found, goals, channels = effects(readings), series.goal_colours(readings), series.channel_colours(training)
    cards = ""
    for measure in found.measure.values[:MOST]:
        own = found.sel(measure=measure)
        colour = (channels if own.reading == "returns" else goals).get(str(own.of.values), _NEUTRAL)
        cards += f'<article class="box">{_card(place, own, colour)}</article>'
    if not cards:
        return f"""<h2>How much each phase mattered</h2><p class="empty">No combination of {_and(design.conditions)}
differs from another in anything that was read.</p>"""
    notes = "".join(f"<li>{escape(note)}</li>" for note in series.listed(found, "notes"))
    count = found.sizes["measure"]
    told = f"{count} measures" if count > MOST else "All measures"
    return f"""<h2>How much each phase mattered</h2>{_intro(found, design)}{_key(design, found)}
<div class="cards phases">{cards}</div>
<details class="box"><summary>{told} in numbers, and what they cannot show</summary>{_table(found)}
{_lasting(found)}<ul class="soft">{notes}</ul></details>"""


def _and(names: list[str]) -> str:
    """Names in a sentence.

    >>> _and(["early", "mid", "late"])
    '<b>early</b>, <b>mid</b> and <b>late</b>'
    """
    marked = [f"<b>{escape(name)}</b>" for name in names]
    return " and ".join([", ".join(marked[:-1]), marked[-1]] if marked[1:] else marked)


def _intro(found: xr.Dataset, design: Factorial) -> str:
    first, *others = (escape(c) for c in design.conditions)
    seeds, even = found.sizes["seed"], len(set(design.lengths)) == 1
    lengths = ", ".join(f"{x:,.0f}" for x in (design.lengths[:1] if even else design.lengths))
    last = f", and {design.washout:,.0f} that are the same for all" if design.washout else ""
    other = others[0] if len(others) == 1 else "each other condition"
    order = f""" An <b>effect of order</b> is the outcome with {first} in the earlier of two phases and {others[0]} in
the later, less the outcome with the two exchanged."""
    level = f"""All intervals ({100 * found.attrs["level"]:.0f} %) are over training seeds: they say what other seeds
give. Those of effects end where the reading's range does not allow more."""
    return f"""<p class="soft">Every combination of {_and(design.conditions)} in the phases {_and(design.phases)} was
trained with the same {seeds} seed{"" if seeds == 1 else "s"} ({lengths} steps{" each" if even else ""}{last}); all
numbers are read at the end of training, returns on levels that are the same for all.</p>
<p class="soft">A <b>main effect</b> is how much higher a reading is with {first} in that phase than with {other},
averaged over what the other phases hold. A <b>Shapley share</b> is the part of all differences between combinations
that is the phase's doing; what phases do only together is shared among them.{order if "order" in found else ""}
{level if seeds >= FEWEST else _FEW[seeds]}</p>"""


def _key(design: Factorial, found: xr.Dataset) -> str:
    """What is alike in all cards: dots, lines, the band."""
    dashes = ("solid", "dashed", "dotted", "double")
    lines = [
        f'<span><i style="border-top-style:{kind};border-color:{_NEUTRAL}"></i>{escape(condition)}</span>'
        for condition, kind in zip(design.conditions, dashes, strict=False)
    ]
    band = '<span><i class="floor"></i>noise floor: how far runs part by chance alone</span>'
    floor = bool(np.isfinite(found["noise"]).any()) if "noise" in found else False
    return f"""<div class="box key calm"><b>A dot is a seed</b><b>Lines: condition in the later phase</b>
{"".join(lines)}{band if floor else ""}</div>"""


def _card(place: Callable[[Chart, str], str], own: xr.Dataset, colour: str) -> str:
    measure, conditions = str(own.measure.values), series.listed(own, "conditions")
    unit = _UNITS.get(str(own.units.values), "")
    dot = f'<span class="dot" style="background:{colour}"></span>'
    less = f"{conditions[0]} less {conditions[1] if len(conditions) == 2 else 'each other'}"
    pairs = list(combinations(range(own.sizes["phase"]), 2))
    parts = [
        f"<h3>{dot}{escape(measure)}{f' <small>{unit}</small>' if unit else ''}</h3>",
        f"<h4>Main effect <small>{escape(less)}</small></h4>",
        place(phase_charts.main_chart(own, colour), f"Main effect of every phase on {measure}"),
        "<h4>Shapley share <small>of what differs between combinations</small></h4>",
        place(phase_charts.shares_chart(own, colour), f"Shapley share of every phase in {measure}")
        if np.isfinite(own["shapley"]).any()
        else f'<p class="empty">{_no_share(own)}</p>',
    ]
    if pairs:
        parts.append("<h4>Together <small>across: in the phase named first; lines: in the second</small></h4>")
    for some in (pairs[i : i + _PAIRS] for i in range(0, len(pairs), _PAIRS)):
        chart = phase_charts.together_chart(own, colour, some)
        parts.append(place(chart, f"{measure} by the conditions of two phases"))
    parts.append(_together(own))
    if "order" in own:
        first, second = (escape(c) for c in conditions[:2])
        parts.append(f"<h4>Order <small>{first} then {second}, less {second} then {first}</small></h4>")
        parts.append(place(phase_charts.order_chart(own, colour), f"Effect of order on {measure}"))
    if "arm_effect" in own:
        base = " or ".join(dict.fromkeys(own["base"].values.astype(str)))
        parts.append(f"<h4>One phase replaced <small>less {escape(base)}</small></h4>")
        parts.append(place(phase_charts.arms_chart(own, colour), f"What arms changed in {measure}"))
    return "".join(parts)


def _no_share(own: xr.Dataset) -> str:
    known = np.isfinite(own["variance"])
    return "Combinations differ no more than seeds make them differ." if known else "It takes two whole seeds to tell."


def _together(own: xr.Dataset) -> str:
    """Which sets of phases did more, or less, than the sum of what fewer do."""
    if "interaction" not in own or not np.isfinite(own["interaction_low"]).any():
        return ""
    known = [x for x in further(own.expand_dims("measure")) if x.kind == "interaction"]
    named = ", ".join(f"{escape(x.name)} <b>{in_words(x.value, x.seeds)}</b>" for x in known)
    return f'<p class="soft">Interactions whose interval excludes 0: {named or "none"}.</p>'


def _table(found: xr.Dataset) -> str:
    """Main effects and Shapley shares of all measures."""
    names, several = [str(p) for p in found.phase.values], found.sizes["against"] > 1
    body = ""
    for measure in found.measure.values:
        own = rows(found.sel(measure=[measure]))
        for other in dict.fromkeys(row.against for row in own):
            unit = _UNITS.get(own[0].units, "")
            note = ", ".join([f"against {other}"] * several + [unit] * bool(unit))
            cells = "".join(_cell(row) for row in own if row.against == other)
            small = f"<small>{escape(note)}</small>" if note else ""
            body += f'<tr><th scope="row">{escape(str(measure))}{small}</th>{cells}</tr>'
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f"""<table class="{"wide" if len(names) <= 6 else "wide many"}"><thead><tr>
<th scope="col">Main effect, interval, Shapley share</th>{head}</tr></thead><tbody>{body}</tbody></table>"""


def _cell(row: Row) -> str:
    mean, _, limits = in_words(row.main, row.seeds).partition(" ")
    share = f"share {share_in_words(row.share)}" if np.isfinite(row.share.mean) else "no share"
    return f'<td data-label="{escape(row.phase)}"><b>{mean}</b> {limits.strip("()")}<small>{share}</small></td>'


def _lasting(found: xr.Dataset) -> str:
    """Half-lives of bids after every phase; nothing where no bid was there to fall."""
    if "half_life" not in found or not found["halved"].notnull().any():
        return ""
    goals, body = [str(g) for g in found.goal.values], ""
    for phase in found.phase.values:
        own = found.sel(phase=phase)
        cells = ""
        for goal in goals:
            middle, halved = (float(own[k].sel(goal=goal)) for k in ("half_life", "halved"))
            told = "–" if np.isnan(halved) else amount(middle) if np.isfinite(middle) else "not by the end"
            share = f"<small>halved in {percent(halved)} of runs</small>" if np.isfinite(halved) else ""
            cells += f'<td data-label="{escape(goal)}">{told}{share}</td>'
        body += f'<tr><th scope="row">{escape(str(phase))}</th>{cells}</tr>' if own["halved"].notnull().any() else ""
    head, kind = "".join(f'<th scope="col">{escape(goal)}</th>' for goal in goals), " many" if len(goals) > 8 else ""
    return f"""<h4>Half-life of bids after a phase, in steps <small>median over all combinations and seeds</small></h4>
<table class="wide{kind}"><thead><tr><th scope="col">After phase</th>{head}</tr></thead>
<tbody>{body}</tbody></table>"""
