"""The report: one page that opens offline and shows a run to a sceptical reader."""

import json
import re
from base64 import b64encode
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import vl_convert
import xarray as xr
from altair.utils.schemapi import debug_mode

from chisel.analysis.statistics import t_interval
from chisel.findings import baselines, levels, series, words
from chisel.report import charts, phase_tables, tables
from chisel.report.marks import Chart


class Sheet(NamedTuple):
    """One run, as far as a page shows it."""

    name: str
    training: xr.Dataset
    readings: xr.Dataset
    films: dict[str, bytes]  # GIFs by schedule name
    study: str  # TOML
    manifest: dict[str, Any]


class _Page:
    """The charts of a page, collected while its HTML is written."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []

    def place(self, chart: Chart, about: str) -> str:
        """The element that the page's script will draw the chart in."""
        spec = chart.to_dict(validate=False)  # see `page`
        spec.pop("$schema", None)  # an address, which a page without a network has no use for
        self.specs.append(spec)
        return f'<div class="chart" role="img" aria-label="{escape(about)}" data-chart="{len(self.specs) - 1}"></div>'


def page(sheets: list[Sheet]) -> str:
    """A self-contained HTML page of one or several runs, one after another.

    It loads nothing, not even when it is online.
    """
    drawn = _Page()
    body = [_contents(sheets)] if len(sheets) > 1 else []
    with debug_mode(False):  # the tests hold every chart against the schema; here it would take half of the time
        body += [_sheet(drawn, sheet, i) for i, sheet in enumerate(sheets, 1)]
    titles = ", ".join(dict.fromkeys(_title(sheet) for sheet in sheets))
    parts = {
        "title": escape(f"{titles} – chisel"),
        "body": "\n".join(body),
        "charts": _json(drawn.specs),
        "library": _library(),
    }
    template = files("chisel.report").joinpath("page.html").read_text(encoding="utf-8")
    # One pass, so that nothing that a part says is taken for a place.
    return re.sub("@@([a-z]+)@@", lambda found: parts[found[1]], template)


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _library() -> str:
    """Vega, Vega-Lite and vega-embed in the version that Altair writes for."""
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: Any = vl_convert.javascript_bundle  # its own stub file has the arguments wrong
    return str(bundle(vl_version=version)).replace("</script", "<\\/script")


def _title(sheet: Sheet) -> str:
    return str(sheet.readings.attrs.get("title") or sheet.name)


def _contents(sheets: list[Sheet]) -> str:
    named = [(i, escape(s.name), escape(_title(s))) for i, s in enumerate(sheets, 1)]
    links = "".join(f'<li><a href="#run-{i}">{name}</a>: {title}</li>' for i, name, title in named)
    return (
        f'<nav aria-label="Runs"><p class="soft">{len(sheets)} runs on this page</p><ul class="toc">{links}</ul></nav>'
    )


def _sheet(drawn: _Page, sheet: Sheet, number: int) -> str:
    parts = [
        _header(sheet),
        phase_tables.section(drawn.place, sheet.training, sheet.readings),
        tables.ending(sheet.readings),
        tables.guards(sheet.training, sheet.study),
        _schedules(drawn, sheet),
        tables.grown(sheet.readings),
        tables.paid(sheet.training),
        _skills(drawn, sheet),
        tables.controls(sheet.readings),
        _again(sheet),
    ]
    return f'<section class="sheet" id="run-{number}">{"".join(parts)}</section>'


def _header(sheet: Sheet) -> str:
    data, sizes = sheet.readings, sheet.readings.sizes
    counts = ((sizes["schedule"], "schedule"), (sizes["seed"], "seed"), (int(data.attrs["steps"]), "step"))
    size = " × ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts)
    world, summary = (escape(str(data.attrs.get(k, ""))) for k in ("world", "world_summary"))
    true, proxies = (escape(", ".join(series.listed(data, k))) for k in ("true_channels", "proxy_channels"))
    meant = f" What is meant: <b>{true}</b>." if true else ""
    meant += f" What some schedules pay for besides or instead: <b>{proxies}</b>." if proxies else ""
    agent = f", {escape(data.attrs['agent'])}" if "agent" in data.attrs else ""
    edges = [e for e in series.listed(data, "phase_edges") if 0 < e < data.attrs["steps"]]
    ends = "ends" if series.by_clock(sheet.training) else "ends if no criterion moves it"
    hairlines = f" Dashed hairlines mark where a phase of some schedule {ends}." if edges else ""
    return f"""<header><h1>{escape(_title(sheet))}</h1>
<p>World <b>{world}</b>: {summary}{"" if summary.endswith("?") else "."}{meant}</p>
<p class="soft"><span class="size">{size} of each member</span>{agent}, run <code>{escape(sheet.name)}</code></p>
<div class="box look"><h3>What to look for</h3><ul>
<li><b>Does the true return follow the reward?</b> Where a proxy climbs and the true return does not, the schedule
paid for something else than what is meant.</li>
{_OBJECTS if "total_effect" in data else ""}<li><b>What outlives its reward?</b> After a phase ends, does what the agent
does fade, or stay?{hairlines}</li>
<li><b>Would another seed have said the same?</b> Every seed is drawn; trust what all of them do.</li>
</ul></div>{_below(data)}{_left_out(data)}</header>"""


def _below(data: xr.Dataset) -> str:
    """Which schedules end below random play or below what they were before training; nothing if none does."""
    usual = levels.common(data)
    said = baselines.sentences(baselines.listed(data), usual)
    if not said:
        return ""
    rows = "".join(f"<li>{escape(text)}</li>" for text in said)
    return f"""<div class="box look"><h3>Below random play</h3><p class="soft">Returns of what is meant at the end of
training, on {escape(usual)} levels, lower than the same levels give by chance or gave before training, beyond the 95 %
interval of the difference. A schedule that pays for something else may well end there.</p><ul>{rows}</ul></div>"""


_OBJECTS = """<li><b>Which objects move the agent?</b> The effect of putting an object in is exact: only the object
differs. A goal that no reward mentions shows how large an effect is by accident.</li>
"""
_TITLES = {
    "bid": "bids",
    "total_effect": "effects of objects",
    "choice": "choices in two-goal levels",
    "score": "probe scores and skill",
    "mediated": "what passes through layers",
}


def _left_out(data: xr.Dataset) -> str:
    """What this world does not allow to be read; nothing if it allows everything."""
    reasons: dict[str, list[str]] = {}
    for reading, why in json.loads(data.attrs.get("left_out", "{}")).items():
        reasons.setdefault(why, []).extend([_TITLES[reading]] if reading in _TITLES else [])
    said = "; ".join(f"{', '.join(names)} ({escape(why)})" for why, names in reasons.items())
    return f'<p class="soft">Not measurable here: {said}.</p>' if said else ""


def _schedules(drawn: _Page, sheet: Sheet) -> str:
    names = series.labels(sheet.readings)
    cards = "".join(f'<article class="box">{_card(drawn, sheet, name)}</article>' for name in names)
    shown = f"""<p class="soft">Every card has the same axes. Thin lines are seeds, thick lines their mean; point at a
line for its numbers.</p>{_key(sheet)}<div class="cards">{cards}</div>"""
    if "factorial" in sheet.readings.attrs:  # many, and it is their differences that matter
        shown = f"<details><summary>{len(names)} schedules, a card each</summary>{shown}</details>"
    return f"<h2>Over training</h2>{shown}"


def _key(sheet: Sheet) -> str:
    data, colours = sheet.readings, series.channel_colours(sheet.training)
    true, proxies = series.listed(data, "true_channels"), series.listed(data, "proxy_channels")
    kinds = dict.fromkeys(proxies, " (proxy)") | dict.fromkeys(true, " (true)")
    entries = [(colour, "", f"{name}{kinds.get(name, '')}") for name, colour in colours.items()]
    if series.finite(data["ceiling"].sel(channel=true)):
        entries.append((series.TRUE_COLOURS[0], "dash", "ceiling"))
    if "random_return" in data and true:
        entries.append((series.TRUE_COLOURS[0], "dots", "random play"))
    goals = [(colour, "", goal) for goal, colour in series.goal_colours(data).items()]
    channels, goals_html = ("".join(_sample(*entry) for entry in group) for group in (entries, goals))
    goals_html = f"<b>Goals</b>{goals_html}" if goals else ""
    toggle = '<button type="button" data-axis aria-pressed="false">Enlarge early training</button>'
    return f'<div class="box key"><b>Channels</b>{channels}{goals_html}{toggle}</div>'


def _sample(colour: str, kind: str, text: str) -> str:
    return f'<span><i class="{kind}" style="border-color:{colour}"></i>{escape(text)}</span>'


def _situation(training: xr.Dataset, name: str) -> list[str]:
    lines = [("", words.situation), ("Overseer: ", words.oversight), ("Guards: ", words.turns)]
    told = [(lead, say(training, name)) for lead, say in lines]
    return [f'<p class="soft">{lead}{escape("; ".join(said))}</p>' for lead, said in told if said]


_PANELS = (
    ("total_effect", "Effect of an object", "change of the bid for it when it is put in"),
    ("choice", "Chosen first", "share of two-goal levels, mean over rivals"),
    ("bid", "Bid", "push towards each goal"),
)
_UNITS = {"nat": ", nats", "return": ", in units of return"}
_EMPTY = '<p class="empty">Nothing was measured.</p>'


def _card(drawn: _Page, sheet: Sheet, name: str) -> str:
    training, readings = sheet.training, sheet.readings
    stretches = min(series.BINS, training.sizes["update"])
    parts = [
        f"<h3>{tables.called(series.labels(readings)[name], name)}</h3>",
        "<h4>Schedule <small>what a unit of each channel is worth</small></h4>",
        drawn.place(charts.schedule_chart(training, name), f"Weights of channels over training: {name}"),
        *_situation(training, name),
        f"<h4>Return per episode <small>in training, means of {stretches} stretches</small></h4>",
        drawn.place(charts.returns_chart(training, readings, name), f"Return over training: {name}"),
    ]
    for reading, title, meaning in [panel for panel in _PANELS if panel[0] in readings]:
        unit = _UNITS.get(readings[reading].attrs.get("units", ""), "")
        parts.append(f"<h4>{title} <small>{meaning}{unit}</small></h4>")
        measured = series.finite(series.goal_values(readings, reading))
        chart = charts.goal_chart(readings, name, reading)
        parts.append(drawn.place(chart, f"{title} over training: {name}") if measured else _EMPTY)
    if "choice" in readings:
        parts.append("<h4>Who wins <small>row reached before column, at the end (in brackets: neither)</small></h4>")
        decided = series.finite(readings["choice"].sel(schedule=name).isel(checkpoint=-1))
        parts.append(drawn.place(charts.wins_chart(readings, name), f"Who wins: {name}") if decided else _EMPTY)
    if name in sheet.films:
        seed, picture = int(readings.seed[0]), b64encode(sheet.films[name]).decode()
        parts.append(f"<h4>Film <small>seed {seed}, end of training; the same levels in every card</small></h4>")
        about = escape(f"The agent of {name} at play")
        parts.append(f'<img class="film" alt="{about}" src="data:image/gif;base64,{picture}">')
    return "".join(parts)


def _skills(drawn: _Page, sheet: Sheet) -> str:
    data = sheet.readings
    if "skill" not in data:
        return ""
    if not series.finite(data["skill"]):
        return f"<h2>What training added</h2>{_EMPTY}"
    means = t_interval(data["skill"].transpose("feature", ..., "seed").values).mean
    known = np.where(np.isfinite(means), means, 0.0).reshape(len(means), -1)
    most, cells = float(np.abs(known).max()) or 1.0, ""
    # What training made readable first; a feature that is a plane of the observation can only be lost.
    for i in np.argsort(-known.max(1), kind="stable"):
        feature, measure = str(data.feature.values[i]), "AUC" if data["probe"].values[i] == "logistic" else "R²"
        chart = drawn.place(charts.skill_chart(data, feature, most), f"Skill of {feature}: checkpoint by layer")
        cells += f'<figure class="box"><h4>{escape(feature)}<small>{measure}</small></h4>{chart}</figure>'
    layers = escape(", ".join(str(x) for x in data.layer.values))
    names = "".join(f"<span>{tables.called(letter, name)}</span>" for name, letter in series.labels(data).items())
    scale = f'<span>{tables.number(-most)}<span class="ramp"></span>+{tables.number(most)} skill</span>'
    return f"""<h2>What training added</h2>
<p class="soft"><b>Skill</b> of a linear probe for every feature: its held-out score, less the better of two controls –
the same probe on what the agent sees, and on the untrained network. Mean over seeds. Across: checkpoints, by steps.
Down: schedules, and in each the layers ({layers}) from input to output. Point at a cell for the score and all controls.
Most added first; the scale is common. Below 0 a control reads the feature better: the layer carries less of it
– linearly – than the agent sees. Decodable is not used.</p>
<div class="box key">{scale}{names}</div><div class="small">{cells}</div>"""


def _again(sheet: Sheet) -> str:
    manifest = sheet.manifest
    versions = ", ".join(f"{k} {v}" for k, v in dict(manifest.get("versions") or {}).items())
    device = ", ".join(dict.fromkeys(str(v) for v in dict(manifest.get("device") or {}).values()))
    facts = {"Commit": manifest.get("commit"), "Versions": versions, "Device": device}
    listed = "".join(f"<dt>{k}</dt><dd>{escape(str(v or 'not recorded'))}</dd>" for k, v in facts.items())
    everything = escape(json.dumps(manifest, indent=2, default=str))
    return f"""<h2>How to reproduce</h2><div class="box"><p>Save the study below as <code>study.toml</code>, then</p>
<pre>chisel run study.toml --out again</pre>
<p class="soft">With the same versions and the same kind of CPU this gives the same bits.</p><dl>{listed}</dl>
<details><summary>study.toml, every default written out</summary><pre>{escape(sheet.study)}</pre></details>
<details><summary>manifest.json</summary><pre>{everything}</pre></details></div>"""
