"""How a schedule's circumstances change, and how its channels are observed, in words."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from chisel.findings.seeds import held
from chisel.findings.series import batch_of, step_edges, stretches
from chisel.rewards.oversight import UNCLIPPED
from chisel.study.terms import NOT

MOST = 4  # stretches that are told one by one; more are a ramp
NEARLY = 0.999  # of the clip that limits nothing, which datasets hold in single precision


class _Kind(NamedTuple):
    """How a number is spoken of: `lead` and its value, then its value; or other words where they read better."""

    lead: str
    value: Callable[[float], str]
    first: Callable[[float], str] | None = None
    again: Callable[[float], str] | None = None

    def begin(self, number: float) -> str:
        return self.first(number) if self.first else f"{self.lead} {self.value(number)}"

    def go_on(self, number: float) -> str:
        return (self.again or self.value)(number)


def situation(training: xr.Dataset, schedule: str) -> list[str]:
    """How a schedule's circumstances change, or differ from those of others: `corner 3, from 768,000 steps 7`.

    What members were under after a guard had moved them is told with the schedule that it moved them to.
    """
    named: dict[str, xr.DataArray] = {}
    if "param" in training:
        named = {str(n): training["param"].sel(param_name=n) for n in training.param_name.values}
    numbers = {"learning rate": "learning_rate", "entropy": "entropy_weight", "exploration": "exploration"}
    named |= {name: training[variable] for name, variable in numbers.items() if variable in training}
    said = []
    for name, values in named.items():
        array = values.transpose("schedule", "seed", "update").values
        known = array[np.isfinite(array)]
        if (known != known[0]).any():
            own = values.sel(schedule=schedule).transpose("seed", "update").values
            said.append(_course(training, np.where(_own_time(training, schedule), own, np.nan), _Kind(name, _plain)))
    return said


def turns(training: xr.Dataset, schedule: str) -> list[str]:
    """What guards made of the schedule's members: `under 'help' from 1,020–2,050 steps in 2 of 4 seeds (…)`."""
    if "under" not in training or "phase" not in training:
        return []
    under, phase = (training[v].sel(schedule=schedule).transpose("seed", "update").values for v in ("under", "phase"))
    names = [str(s) for s in training.schedule.values]
    found = {
        f"under {name!r} from": (under == i) & (phase >= 0) for i, name in enumerate(names) if name != schedule
    } | {"halted at": phase < 0}
    said = []
    for what, here in found.items():
        starts = [_begins(training, int(row.argmax())) for row in here if row.any()]
        if starts:
            said.append(f"{what} {span(starts)} steps in {held(len(starts), len(here))}")
    return said


def oversight(training: xr.Dataset, schedule: str) -> list[str]:
    """How each channel is observed, where it is not read as it is: `helped missed 30 %, from 512,000 steps 0 %`.

    Only updates in which the schedule pays for the channel are told of: in the others nobody looks.
    """
    own = training.sel(schedule=schedule)
    said = []
    for channel in [str(c) for c in training.channel.values]:
        paid = np.nan_to_num(own["weight"].sel(channel=channel).transpose("seed", "update").values) != 0
        paid &= _own_time(training, schedule)
        clauses = []
        for kind, values, usual in _kinds(own.sel(channel=channel)):
            clauses.append(_course(training, np.where(paid, values.transpose("seed", "update"), np.nan), kind, usual))
        if any(clauses):
            said.append(f"{channel} {', '.join(c for c in clauses if c)}")
    return said


def span(steps: list[int]) -> str:
    """Numbers of steps in short, or the range of them.

    >>> span([4096]), span([204_800, 329_728])
    ('4,096', '205,000–330,000')
    """
    low, high = (f"{n if n < 10_000 else float(f'{n:.3g}'):,.0f}" for n in (min(steps), max(steps)))
    return low if low == high else f"{low}–{high}"


def _own_time(training: xr.Dataset, schedule: str) -> np.ndarray:
    """In which updates members were under the schedule that they began with: [seed, update]."""
    if "under" not in training:
        return np.ones((training.sizes["seed"], training.sizes["update"]), bool)
    under = training["under"].sel(schedule=schedule).transpose("seed", "update").values
    return under == [str(s) for s in training.schedule.values].index(schedule)


def _kinds(own: xr.Dataset) -> list[tuple[_Kind, xr.DataArray, float]]:
    """The overseer's errors that a study has, in the order in which they are made; of one channel."""
    found = [(kind, own[name], 0.0) for name, kind in _ERRORS.items() if name in own]
    if "clip" in own:
        limit = own["clip"].astype(float)
        found.append((_CLIP, limit.where(limit < NEARLY * UNCLIPPED, UNCLIPPED), UNCLIPPED))
    if "gate_strength" in own:
        found += [(_gate(str(g)), own["gate_strength"].sel(gate=g), 0.0) for g in own.gate.values]
    if "delay" in own:
        found.append((_DELAY, own["delay"].round(), 0.0))
    if "lump" in own:
        found.append((_LUMP, own["lump"], 0.0))
    return found


def _course(training: xr.Dataset, values: np.ndarray, kind: _Kind, usual: float | None = None) -> str:
    """How a number goes, in words; nothing if it is as usual all the time.

    Args:
        values: [seed, update]; NaN where there is none.
    """
    each = [found for found in (_known(training, row) for row in values) if found]
    if not each or (usual is not None and all(v == usual for found in each for _, v in found)):
        return ""
    longest = max(each, key=len)
    first, numbers = longest[0][1], [v for _, v in longest]
    if len(longest) > MOST or (len(longest) > 2 and _at_every_update(training, longest)):
        return _ramp(each, kind)
    if any([v for _, v in found] != numbers[: len(found)] for found in each):  # seeds went different ways
        later = [v for found in each for _, v in found[1:]]
        return f"{kind.begin(first)}, later between {kind.value(min(later))} and {kind.value(max(later))} by seed"
    said = [kind.begin(first)] if first != usual else []
    for j in range(1, len(longest)):
        starts = [found[j][0] for found in each if len(found) > j]
        some = f" in {held(len(starts), len(each))}" if len(starts) < len(each) else ""
        number = kind.go_on(numbers[j]) if said else kind.begin(numbers[j])
        said.append(f"from {span(starts)} steps {number}{some}")
    return ", ".join(said)


def _ramp(each: list[list[tuple[int, float]]], kind: _Kind) -> str:
    """Where a number begins and ends, and how far it goes between, if farther."""
    every, first, last = ([v for f in each for _, v in f], [f[0][1] for f in each], [f[-1][1] for f in each])
    begins, ends = ("–".join(dict.fromkeys([kind.value(min(v)), kind.value(max(v))])) for v in (first, last))
    by_seed = " by seed" if len({*first}) > 1 or len({*last}) > 1 else ""
    beyond = min(every) < min(*first, *last) or max(every) > max(*first, *last)
    between = f", between {kind.value(min(every))} and {kind.value(max(every))}" if beyond else ""
    return f"{kind.lead} from {begins} to {ends}{by_seed}{between}"


def _at_every_update(training: xr.Dataset, found: list[tuple[int, float]]) -> bool:
    batch = batch_of(training)
    return all(after[0] - before[0] == batch for before, after in pairwise(found))


def _known(training: xr.Dataset, values: np.ndarray) -> list[tuple[int, float]]:
    """Where a number changes, and to what, passing over where there is none."""
    found: list[tuple[int, float]] = []
    for start, value in stretches(training, values)[:-1]:
        if np.isfinite(value) and (not found or value != found[-1][1]):
            found.append((start, value))
    return found


def _begins(training: xr.Dataset, update: int) -> int:
    """Steps before an update."""
    return int(step_edges(training)[update])


def _plain(number: float) -> str:
    return f"{number + 0.0:.3g}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def _share(share: float) -> str:
    return {0.0: "none", 0.5: "half", 1.0: "all"}.get(share, _percent(share))


def _gate(condition: str) -> _Kind:
    """Where an overseer sees, and where not: `not ` and a feature is the feature, turned round."""
    elsewhere = condition.removeprefix(NOT) if condition.startswith(NOT) else f"{NOT}{condition}"

    def first(strength: float) -> str:
        return f"seen {again(strength)}" if strength in (0, 1) else again(strength)

    def again(strength: float) -> str:
        whole = {0.0: "everywhere", 1.0: f"only where {condition}"}
        return whole.get(strength, f"{_percent(strength)} lost where {elsewhere}")

    return _Kind(f"lost where {elsewhere}", _percent, first, again)


def _corrected(switch: float) -> str:
    return "corrected" if switch else "not corrected"


_ERRORS = {
    "miss": _Kind("missed", _percent),
    "false_alarm": _Kind("false alarms", _percent),
    "flip": _Kind("turned round", _percent),
    "corrected": _Kind("corrected", _corrected, _corrected),
    "event_noise": _Kind("size of events", lambda x: f"±{_percent(x)}"),
    "noise": _Kind("noise", lambda x: f"±{_plain(x)}"),
}
_CLIP = _Kind("read at most", lambda x: _plain(x) if x < UNCLIPPED else "unlimited")
_DELAY = _Kind("delayed", lambda x: f"{x:.0f} step{'' if x == 1 else 's'}")
_LUMP = _Kind("paid at the end", _share, lambda x: f"{_share(x)} of it paid at the end")
