"""What was paid in every phase, and what guards did: numbers for tables, from datasets."""

import tomllib
from typing import NamedTuple

import numpy as np
import xarray as xr

from chisel.analysis.bounded import ANY, Range
from chisel.findings import ranges, series
from chisel.findings.words import span
from chisel.study.guards import GuardPart

GUIDANCE = "guidance"  # what potentials paid, among what channels earned
HALTED = "halted"  # the title of the time after that
LATE = 0.1  # a guard that leaves less of training than this came late


class Stay(NamedTuple):
    """The time that a schedule's members spent under one phase.

    Fields:
        title: which phase, and until when: `phase 1 (to 205,000 steps)`.
        steps: [seed] that each member spent in it.
        earned: [seed, source] in all, by each member.
        paid: [source] whether it was worth anything then.
        within: [source] what each member can have earned.
    """

    title: str
    steps: np.ndarray
    earned: np.ndarray
    paid: np.ndarray
    within: list[Range]


class Act(NamedTuple):
    """What one guard did to the members of one schedule.

    Fields:
        guard: its number in the study.
        at: [seed] steps when it acted; NaN: never.
        left: [seed] share of training that was left then.
        read: [seed] what it read when it acted; where it never did, the nearest to acting that it read, if anything.
    """

    guard: int
    schedule: str
    at: np.ndarray
    left: np.ndarray
    read: np.ndarray


def sources(training: xr.Dataset) -> list[str]:
    """What paid anything, or would have: channels, and `GUIDANCE` if there are potentials."""
    own = series.paid_for(series.weights(training))
    channels = [c for c in series.channel_colours(training) if c in own and c in training.channel.values]
    return [*channels, *([GUIDANCE] if set(own) - set(channels) else [])]


def stays(training: xr.Dataset, schedule: str) -> list[Stay]:
    """What a schedule's members earned in all, and then in every phase that they went through, if in several.

    Phases come in the order of the schedule, after them those of schedules that guards put members under, and the time
    after they had been halted.
    """
    own = training.sel(schedule=schedule)
    under, phase = (own[v].transpose("seed", "update").values for v in ("under", "phase"))
    names = [str(s) for s in training.schedule.values]
    places = {(int(u), int(p)) if p >= 0 else (-1, -1) for u, p in zip(under.ravel(), phase.ravel(), strict=True)}
    order = sorted(places, key=lambda place: (place[1] < 0, names[place[0]] != schedule, *place))
    found = []
    for number, place in order:
        here = phase < 0 if place < 0 else (under == number) & (phase == place)
        until = _until(training, here)
        if place < 0:
            title = HALTED
        elif names[number] == schedule:
            title = f"phase {place + 1} ({until})"
        else:
            several = (training["phase"].values[training["under"].values == number] > 0).any()
            title = f"under {names[number]!r}{f', phase {place + 1}' if several else ''} ({until})"
        found.append(_stay(training, own, title, here))
    whole = _stay(training, own, "in all", phase >= 0)
    return [whole, *found] if len(found) > 1 else [whole]


def _stay(training: xr.Dataset, own: xr.Dataset, title: str, here: np.ndarray) -> Stay:
    """Sums over the updates `here`, [seed, update], of one schedule."""
    batch, wanted = series.batch_of(training), sources(training)
    earned = own["earned"].transpose("seed", "update", "channel")
    weights = series.weights(training).sel(schedule=own.schedule.values)
    sums, paid, within = [], [], []
    for name in wanted:
        if name == GUIDANCE:
            each = own["guidance"].transpose("seed", "update").values
            worth = weights.sel(channel=[c for c in weights.channel.values if c not in training.channel.values])
        else:
            each, worth = earned.sel(channel=name).values, weights.sel(channel=[name])
        sums.append(np.where(here, np.nan_to_num(each.astype(float)), 0.0).sum(1) * batch)
        worths = np.nan_to_num(worth.transpose("seed", "update", "channel").values)
        paid.append(bool((worths[here] != 0).any()))
        within.append(ANY if name == GUIDANCE else ranges.of_earned(own, name, worths[here]))
    every = np.stack(sums, -1) if sums else np.zeros((len(here), 0))
    return Stay(title, here.sum(1) * batch, every, np.array(paid), within)


def _until(training: xr.Dataset, here: np.ndarray) -> str:
    """When members left a phase for good; `here` is [seed, update]."""
    ends = [int(training["steps"].values[np.flatnonzero(row)[-1]]) for row in here if row.any()]
    before = [end for end in ends if end < training.attrs["steps"]]
    if not before:
        return "to the end"
    return f"to {span(before)} steps" + (" or the end" if len(before) < len(ends) else "")


def guards_of(study: str) -> list[GuardPart]:
    """The guards of a study, given as TOML."""
    return [GuardPart.model_validate(raw) for raw in tomllib.loads(study).get("guard", [])]


def acts(training: xr.Dataset, guards: list[GuardPart]) -> list[Act]:
    """What every guard did, in the order of the study; an entry for every schedule that it watches."""
    if "guard_fired" not in training:
        return []
    total, found = float(training.attrs["steps"]), []
    for i, guard in enumerate(guards):
        own = training[["guard_fired", "guard_seen"]].isel(guard=i)
        for name in [str(s) for s in training.schedule.values if guard.watch is None or s in guard.watch]:
            at = own["guard_fired"].sel(schedule=name).values
            seen = own["guard_seen"].sel(schedule=name).transpose("seed", "checkpoint")
            read = np.array([_read(guard, row, a) for row, a in zip(seen, at, strict=True)])
            found.append(Act(i, name, at, 1 - at / total, read))
    return found


def _read(guard: GuardPart, seen: xr.DataArray, at: float) -> float:
    """What the guard read of one member when it acted, or else what came nearest to its limit."""
    if np.isfinite(at):
        return float(seen.sel(checkpoint=int(at)))
    known = seen.values[np.isfinite(seen.values)]
    if not known.size:
        return float("nan")
    return float(known.max() if guard.when.above is not None else known.min())
