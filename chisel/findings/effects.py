"""How much each phase of a factorial study mattered to what was read at the end of training.

Such a study trains every combination of conditions in phases, a cell each, with the same seeds. What differs between
cells is the phases' doing: effects are differences within a seed, and their intervals are over seeds.
"""

import json
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from chisel.analysis import intervals, phases
from chisel.analysis.bounded import FEWEST, Range, difference_interval
from chisel.analysis.missing import alike
from chisel.analysis.statistics import smallest_paired_p, t_interval
from chisel.findings import levels, ranges, series

# Readings that are one number for a member, or for each goal or channel, and what that number is called.
_NAMES = {
    "choice": "choice of {}",
    "utility": "utility of {}",
    "bid": "bid for {}",
    "total_effect": "effect of {}",
    "returns": "return of {}",
    "skill": "skill",
    "gain": "gain",
}


class Factorial(NamedTuple):
    """What was crossed in a study.

    Fields:
        lengths: steps of each phase.
        washout: steps after the last phase, the same for all cells.
        cells: schedules, in the order of `places`.
        places: the number of the condition in each phase, for every cell; the last phase changes fastest.
        arms: schedules that are a cell but for one phase: kind, phase, base.
    """

    phases: list[str]
    conditions: list[str]
    lengths: list[float]
    washout: float
    cells: list[str]
    places: list[tuple[int, ...]]
    arms: dict[str, dict[str, str]]


def factorial(readings: xr.Dataset) -> Factorial | None:
    """What the readings of a run say of its factorial; None where it is none.

    Raises:
        ValueError: there is no schedule for some combination of conditions.
    """
    if "factorial" not in readings.attrs:
        return None
    said: dict[str, Any] = json.loads(readings.attrs["factorial"])
    names = {tuple(place): name for name, place in said["cells"].items() if name in readings.schedule.values}
    places = list(product(range(len(said["conditions"])), repeat=len(said["phases"])))
    lost = [" ".join(said["conditions"][c] for c in place) for place in places if place not in names]
    if lost:
        raise ValueError(f"a factorial has a schedule for every combination of conditions; lacking: {', '.join(lost)}")
    arms = {name: arm for name, arm in said.get("arms", {}).items() if name in readings.schedule.values}
    lengths, washout = said["lengths"], said.get("washout", 0)
    return Factorial(said["phases"], said["conditions"], lengths, washout, [names[p] for p in places], places, arms)


def effects(readings: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """Effects of phases on what the last checkpoint tells: a label along `measure` for each. Returns of what is meant
    come first, then what moved most; what is the same in all cells is left out, and of equal channels all but one.

    Raw: `outcome` of every cell. In each seed, and with `_mean`, `_low` and `_high` over seeds: `main`, the first
    condition less each other one; `interaction` of sets of phases, for two conditions; `order`, of phases that are
    equally long; `arm_effect`, an arm less the cell that it is a copy of. Over seeds, shares of the `variance` between
    cells: `first`, `total`, `shapley`; and `moved`, that variance in the variance of all runs, each seed's mean taken
    off. `noise`: the mean size of the effects of arms of that kind. Of bids: `half_life` after each phase, the median
    over members of cells, and `halved`, the share of these in which it ended before training did.

    Beside each measure stands what it can be, from `least` to `most`: intervals of effects are cut at ± the width of
    that. With fewer than three seeds there are no limits.

    Args:
        level: of all intervals.

    Returns:
        With `attrs["notes"]`, a JSON list of what the numbers cannot show.

    Raises:
        ValueError: the study is no factorial, or lacks a combination of conditions.
    """
    design = factorial(readings)
    if design is None:
        raise ValueError("not a factorial study: its readings name no phases that were crossed")
    values = measured(readings)
    cells = values.sel(schedule=design.cells).rename(schedule="cell")
    first = cells.isel(cell=0)
    same = (abs(cells - first) <= 1e-6 * abs(first)) | cells.isnull()  # but for the last bits of float32
    kept = ~same.all(("cell", "seed")).values & _unlike_earlier(cells)
    values, cells = values[kept], cells[kept]
    names = [[design.conditions[c] for c in place] for place in design.places]
    coords = {"phase": design.phases, "condition": (("cell", "phase"), names)}
    found = xr.Dataset({"outcome": cells}).assign_coords(coords).assign(_shares(cells, design, level))
    apart = _of_phases(cells, design) | _of_arms(values, design)
    for name, own in apart.items():
        found = found.assign({name: own}).assign(_over_seeds(name, own, level))
    if "arm_effect" in apart:
        floor = abs(apart["arm_effect"]).where(found["kind"] == "noise").transpose("measure", ...).values
        found["noise"] = ("measure", t_interval(floor.reshape(len(floor), -1)).mean)
    meant = [
        r == "returns" and o in _true(readings) for r, o in zip(found.reading.values, found.of.values, strict=True)
    ]
    found = found.isel(measure=np.lexsort((-found["moved"].fillna(-1).values, ~np.array(meant, bool))))
    found = found.assign(_half_lives(readings, design))
    facts = {"level": level, "seeds": cells.sizes["seed"], "conditions": json.dumps(design.conditions)}
    return found.assign_attrs(facts | {"notes": json.dumps(_notes(found, design, level))})


def _true(readings: xr.Dataset) -> list[str]:
    return series.listed(readings, "true_channels")


def _unlike_earlier(cells: xr.DataArray) -> np.ndarray:
    """Which measures are not the same numbers as one of the same reading before them."""
    told = list(zip(cells.reading.values, cells.values, strict=True))
    return np.array(
        [not any(r == q and np.array_equal(x, y, equal_nan=True) for q, y in told[:i]) for i, (r, x) in enumerate(told)]
    )


def measured(readings: xr.Dataset) -> xr.DataArray:
    """What the last checkpoint tells of members, one number each: (measure, schedule, seed)."""
    last, rows = readings.isel(checkpoint=[-1]), []
    # Gain is skill but for its control, which is the same in all cells or nearly so.
    twins = {"gain"} if "skill" in readings else set()
    for reading in [r for r in _NAMES if r in readings and r not in twins]:
        own, along = last[reading], {"returns": "channel"}.get(reading, "goal")
        if reading in ("choice", "total_effect"):
            goals = [g for g in last.goal.values if reading == "choice" or g in last.edit.values]
            own = series.goal_values(last.sel(goal=goals), reading)
        elif reading == "returns":
            own = own.sel(levels=levels.common(readings))  # cells are compared on the same levels
        elif reading in ("skill", "gain"):
            array = own.transpose("schedule", "seed", "checkpoint", ...).values
            mean = t_interval(array.reshape(*array.shape[:3], -1)).mean
            own = xr.DataArray(mean[..., None], dims=("schedule", "seed", "checkpoint", "goal")).assign_coords(
                goal=[""]
            )
        paid = [c for key in ("true_channels", "proxy_channels") for c in series.listed(readings, key)]
        for of in sorted(own[along].values, key=lambda of: str(of) not in paid):  # the known name of two equal ones
            array = own.sel({along: of}).isel(checkpoint=0).transpose("schedule", "seed").values
            rows.append((reading, str(of), str(readings[reading].attrs.get("units", "1")), array))
    names = [_NAMES[reading].format(of) for reading, of, *_ in rows]
    about: dict[str, Any] = {k: ("measure", [row[i] for row in rows]) for i, k in enumerate(("reading", "of", "units"))}
    within = [ranges.of_reading(readings, reading, of) for reading, of, *_ in rows]
    ends = enumerate(("least", "most"))
    about |= {k: ("measure", np.array([one[i] for one in within], float).tolist()) for i, k in ends}
    coords = {"measure": names, "schedule": readings.schedule.values, "seed": readings.seed.values} | about
    values = np.array([row[3] for row in rows], float).reshape(-1, *(last.sizes[d] for d in ("schedule", "seed")))
    return xr.DataArray(values, coords=coords, dims=("measure", "schedule", "seed"))


def _of_phases(cells: xr.DataArray, design: Factorial) -> dict[str, xr.DataArray]:
    """Main effects, interactions and effects of order, in each seed."""
    count, y = len(design.phases), _crossed(cells, design)
    own = {"seed": cells.seed.values, "measure": cells.measure.values}
    within = {end: ("measure", cells[end].values) for end in ("least", "most")}

    def labelled(values: np.ndarray, **names: list[str]) -> xr.DataArray:
        coords = names | own
        return xr.DataArray(values, coords, tuple(coords)).transpose("measure", ..., "seed").assign_coords(within)

    main = np.stack(phases.main_effects(y, count))
    found = {"main": labelled(main, phase=design.phases, against=design.conditions[1:])}
    if len(design.conditions) == 2 and count > 1:
        sets = [" × ".join(design.phases[i] for i in s) for s in phases.subsets(count) if len(s) > 1]
        found["interaction"] = labelled(phases.interactions(y, count), set=sets)
    pairs = list(combinations(range(count), 2))
    even = [n for n, (i, j) in enumerate(pairs) if design.lengths[i] == design.lengths[j]]
    if even:
        named = [f"{design.phases[i]}, {design.phases[j]}" for i, j in (pairs[n] for n in even)]
        found["order"] = labelled(phases.order_effects(y, count)[even], pair=named)
    return found


def _of_arms(values: xr.DataArray, design: Factorial) -> dict[str, xr.DataArray]:
    """Every arm less the cell that it is a copy of but for one phase, in each seed."""
    if not design.arms:
        return {}
    arms = list(design.arms.values())
    own = values.sel(schedule=list(design.arms)).rename(schedule="arm")
    told = {"kind": "kind", "arm_phase": "phase", "base": "base"}
    own = own.assign_coords({k: ("arm", [arm[said] for arm in arms]) for k, said in told.items()})
    return {"arm_effect": own - values.sel(schedule=[arm["base"] for arm in arms]).values}


def _over_seeds(name: str, values: xr.DataArray, level: float) -> dict[str, xr.DataArray]:
    """Mean and limits over seeds of what is one number in each."""
    array = values.transpose("measure", ..., "seed")
    shape = (-1, *[1] * (array.ndim - 2))
    within = Range(*(values[end].values.reshape(shape) for end in ("least", "most")))
    found = difference_interval(array.values, within, level=level)
    bare = array.isel(seed=0, drop=True)
    return {f"{name}_{k}": bare.copy(data=v) for k, v in found._asdict().items()}


def _shares(cells: xr.DataArray, design: Factorial, level: float) -> dict[str, Any]:
    """Shares of the variance between cells, of the seeds in which every cell was measured, if they are two or more."""
    count, measures = len(design.phases), cells.sizes["measure"]
    names = {"main": "first", "total": "total", "shapley": "shapley"}
    ends = ("", "_low", "_high")
    found: dict[str, np.ndarray] = {n + end: np.full((measures, count), np.nan) for n in names.values() for end in ends}
    found |= {name: np.full(measures, np.nan) for name in ("variance", "moved")}
    complete = np.isfinite(cells.transpose("measure", "cell", "seed").values).all(1)  # measures, seeds
    for seeds, chosen in alike(complete.T):
        if seeds.sum() < 2:
            continue
        y = _crossed(cells[chosen].isel(seed=seeds), design)
        variance = phases.shares(y, count).variance
        own = y.reshape(-1, *y.shape[-2:])  # cells, seeds, measures
        between, within = np.maximum(variance, 0.0), (own - own.mean(0)).var(1, ddof=1).mean(0)
        found["variance"][chosen], found["moved"][chosen] = variance, between / (between + within)
        # A share is not below 0; its estimate, from which noise was taken off, may be.
        share = intervals.Shares(*(np.clip(x, 0, 1) for x in intervals.fractions(y, count)))
        every = share, *intervals.fraction_intervals(y, count, level)
        for end, values in zip(ends, every, strict=True):
            for field, name in names.items():  # a share that cannot be told has no limits
                known = np.isfinite(getattr(every[0], field)) & (not end or seeds.sum() >= FEWEST)
                found[name + end][chosen] = np.where(known, getattr(values, field), np.nan).T
    return {name: (("measure", "phase")[: values.ndim], values) for name, values in found.items()}


def _crossed(cells: xr.DataArray, design: Factorial) -> np.ndarray:
    """[conditions of the first phase, …, of the last, seeds, measures]."""
    array = cells.transpose("cell", "seed", "measure").values
    return array.reshape(*(len(design.conditions),) * len(design.phases), *array.shape[1:])


def _half_lives(readings: xr.Dataset, design: Factorial) -> dict[str, xr.DataArray]:
    """How long bids last after each phase, where the next one is under another condition, over members; infinite is
    longer than was trained. After the last phase nothing is taken away: the washout pays all.
    """
    if "half_life" not in readings:
        return {}
    lasting = (
        readings["half_life"].sel(schedule=design.cells).transpose("phase_edge", "goal", "schedule", "seed").values
    )
    edges, near = readings.phase_edge.values, 0.01 * readings.attrs["steps"]
    places = np.array(design.places)
    middle = np.full((len(design.phases), readings.sizes["goal"]), np.nan)
    halved = middle.copy()
    for i, end in enumerate(np.cumsum(design.lengths)[:-1]):
        nearest = int(np.abs(edges - end).argmin())
        if abs(edges[nearest] - end) > near:
            continue
        turned = places[:, i] != places[:, i + 1]
        for j, values in enumerate(lasting[nearest][:, turned]):
            known = values[~np.isnan(values)]
            if known.size:
                middle[i, j], halved[i, j] = np.median(known), np.isfinite(known).mean()
    coords = {"phase": design.phases, "goal": readings.goal.values}
    return {k: xr.DataArray(v, coords, ("phase", "goal")) for k, v in (("half_life", middle), ("halved", halved))}


def _notes(found: xr.Dataset, design: Factorial, level: float) -> list[str]:
    """What the numbers cannot show."""
    seeds, notes = found.sizes["seed"], []
    if 1 < seeds < FEWEST:
        notes.append(f"{seeds} seeds: both are told, and no interval; one of two seeds would say nothing of others")
    if seeds < 6:
        said = f"an exact paired comparison over {seeds} seeds cannot give p below {smallest_paired_p(seeds):g}"
        notes.append(f"{said}, however clear the difference; p < 0.05 needs at least 6")
    count = found["main_mean"].size
    chance = f"{count * (1 - level):.1g} of the {count} intervals of main effects"
    if count and seeds >= FEWEST:
        notes.append(
            f"intervals are of one number each: if no phase did anything, about {chance} would exclude 0 all the same"
        )
    if len(set(design.lengths)) > 1:
        notes.append("phases that are not equally long have no effect of order: the conditions' places are not alike")
    if len(design.conditions) > 2:
        notes.append("interactions are given for two conditions only; total less first is their share")
    unlike = [str(m) for m in found.measure.values[found["variance"].values <= 0]]
    if unlike:
        notes.append(f"no shares where cells differ no more than seeds make them differ: {', '.join(unlike)}")
    if "kind" in found and (found["kind"] == "zero").any():
        notes.append(
            "no reward is not no learning: advantages are scaled up however small they are, and the agent drifts"
        )
    return notes
