"""Path dependence of a finished run: agents that score alike, and what different schedules left in them.

Two questions. At matched return, do policies differ more between schedules than between seeds, on states that none was
trained on? And at the end, does the straight line between two agents of equal seed pass over a barrier of loss, or bend
their bids (Frankle et al. 2020)? The methods and their sources are in `chisel.analysis.paths`.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from chisel.analysis.paths import Divergence, Matched, distances, divergence, matched
from chisel.analysis.statistics import t_interval
from chisel.build.build import final_params, true_channels, world_of
from chisel.devices import use_devices
from chisel.findings.levels import common
from chisel.probing.battery import left_out
from chisel.probing.paths import PAIRS, Ground, connected, described, ground, lines, policies
from chisel.probing.reader import Reader
from chisel.progress import News, Tell, silent
from chisel.runs.store import READINGS, Run
from chisel.runs.train import load_members, population_of
from chisel.study.battery import Battery, DecodePart, load_battery
from chisel.study.files import WrongInput, unknown
from chisel.study.study import Study
from chisel.training.population import Population
from chisel.worlds.world import World

FIRST = 6  # schedules that are compared where nobody says which
TOLERANCE = 0.1  # of what training added to the return; a member farther from the target is not matched
MEMBERS = ("schedule", "seed")


class _Chosen(NamedTuple):
    """What is compared.

    Fields:
        schedules: names, in the order of the study; `others` are left out.
        rows: [schedule, seed], the members' numbers in the population.
        pairs: numbers of two schedules each.
        returns: [schedule, seed, checkpoint], of the true channels on `study` levels; NaN where a member has diverged.
        whole: [schedule, seed], members that have not diverged in the end.
    """

    schedules: list[str]
    others: list[str]
    rows: np.ndarray
    pairs: list[tuple[int, int]]
    returns: np.ndarray
    whole: np.ndarray


class _Agents(NamedTuple):
    """Parameters, and where they are equal bit for bit.

    Fields:
        matched: [schedules × seeds, …] at matched return.
        last: [members, …] of the whole population at the last checkpoint.
        same: [pair, seed] whether they are equal at matched return.
        same_until: [pair, seed] the number of the last checkpoint up to which they are equal; −1 where they never are.
    """

    matched: Any
    last: Any
    same: np.ndarray
    same_until: np.ndarray


def paths(
    run: Run,
    battery: str = "values",
    pairs: Sequence[tuple[str, str]] | None = None,
    target: float | None = None,
    points: int = 11,
    draws: int = 20_000,
    devices: int | None = None,
    tell: Tell = silent,
) -> xr.Dataset:
    """How far apart schedules left agents: at matched return, and along the straight lines between them in the end.

    All is about the schedules that `pairs` names, the target too: between two that both learn it is what both reach,
    and with one that does not it falls to what that one reaches. The untrained agent, the first checkpoint, is never
    matched: nobody has gone any way yet.

    Args:
        run: trained and read.
        battery: whose bank, and whose number of episodes.
        pairs: of schedules, by name; by default all among the first six.
        target: the return to match, of the true channels per episode on `study` levels (docs/readings.md); by default
            the smallest of the schedules' highest mean returns.
        points: on each line, its ends included; odd, so that there is a middle.
        draws: at most so many rearrangements in a permutation test.

    Returns:
        Dimensions schedule, seed, pair, alpha, goal, channel; every variable says what it is, and in which unit.

    Raises:
        WrongInput: the run is not read yet, there is nothing to compare, or a pair, the battery or `points` is wrong.
    """
    if points < 3 or points % 2 == 0:
        raise WrongInput(f"points={points}: expected an odd number of at least 3; try {max(3, points + 1)}")
    use_devices(devices)
    readings = run.dataset(READINGS)
    chosen = _chosen(run, readings, pairs)
    found = _match(run, chosen, target)
    part = load_battery(battery)[0].model_copy(update={"readings": ["bid"], "decode": DecodePart()})
    population, keys = population_of(run.study, devices)
    world, network = population.plan.world, population.plan.agent.network
    on, before = _ground(run.study, part, population, devices), part.bank.burn_in
    agents = _agents(run, population, keys, readings.checkpoint.values, chosen, found, tell)
    tell(News("compiling", text="policies, and lines between agents"))
    apart = distances(policies(network, before, agents.matched, on, devices))
    first, second = _ends(agents.last, chosen)
    alphas, true = np.linspace(0.0, 1.0, points), true_channels(run.study, world)
    along = lines(world, network, before, alphas, first, second, on, devices)
    whole = np.array([chosen.whole[i] & chosen.whole[j] for i, j in chosen.pairs])
    parts = [_members(chosen, found, apart, readings), _divergences(chosen, found, apart, draws)]
    parts += [connected(along, alphas, whole, world, true), _shared(agents, readings)]
    data = xr.merge(parts, compat="equals", join="exact").assign_coords(_pair_names(chosen))
    told = {"battery": battery, "states": part.bank.layouts, "episodes": part.returns.episodes}
    data = described(data, network.greedy).assign_attrs(_about(readings, chosen, found, agents, world) | told)
    for text in _doubts(data, chosen):
        tell(News("note", text=text))
    return data


def _chosen(run: Run, readings: xr.Dataset, pairs: Sequence[tuple[str, str]] | None) -> _Chosen:
    """The schedules and pairs that are meant, and what is known of their members."""
    every, seeds = [str(name) for name in readings.schedule.values], readings.sizes["seed"]
    if len(every) < 2:
        raise WrongInput(f"{run.path}: has one schedule, {every[0]!r}; to compare ways, expected two or more")
    if seeds < 2:
        raise WrongInput(f"{run.path}: has one seed; pairs of different seeds are compared, expected two or more")
    asked = list(combinations(every[:FIRST], 2)) if pairs is None else [tuple(pair) for pair in pairs]
    if not asked:
        raise WrongInput("pairs: expected one or more, found none")
    for i, pair in enumerate(asked):
        if len(pair) != 2 or pair[0] == pair[-1]:
            raise WrongInput(f"pairs[{i}] is {pair!r}; expected two different schedules")
        for name in pair:
            if name not in every:
                raise unknown(f"pairs[{i}]", "schedule", name, every)
        if set(pair) in map(set, asked[:i]):
            raise WrongInput(f"pairs[{i}]: {pair[0]!r} and {pair[1]!r} are given twice")
    schedules = [name for name in every if any(name in pair for pair in asked)]
    data = readings.sel(schedule=schedules)
    true = list(true_channels(run.study, world_of(run.study)))
    returns = data["returns"].sel(levels=common(data), channel=true).sum("channel", skipna=False)
    diverged = data["diverged"].astype(bool)
    values = returns.where(~diverged).transpose(*MEMBERS, "checkpoint").values
    rows = np.array([every.index(name) for name in schedules])[:, None] * seeds + np.arange(seeds)
    whole = ~diverged.isel(checkpoint=-1).transpose(*MEMBERS).values
    numbers = [(schedules.index(a), schedules.index(b)) for a, b in asked]
    return _Chosen(schedules, [name for name in every if name not in schedules], rows, numbers, values, whole)


def _match(run: Run, chosen: _Chosen, target: float | None) -> Matched:
    """Every member's checkpoint of the common return, but never the first."""
    try:
        found = matched(chosen.returns[..., 1:], target)
    except ValueError:
        lost = np.isnan(chosen.returns[..., 1:]).all((1, 2))
        names_ = ", ".join(repr(name) for name, gone in zip(chosen.schedules, lost, strict=True) if gone)
        raise WrongInput(f"{run.path}: all agents of {names_} have diverged; leave it out of pairs") from None
    if np.sum((found.at >= 0).all(0)) < 2:
        raise WrongInput(f"{run.path}: agents of all but one seed have diverged; expected two whole seeds or more")
    return found._replace(at=np.where(found.at < 0, -1, found.at + 1))


def _ground(study: Study, part: Battery, population: Population, devices: int | None) -> Ground:
    """What a reader of the study's networks reads on: levels are those of the study at the end of training."""
    plan, params = population.plan, final_params(study)
    return ground(Reader(part, plan.world, plan.agent.network, params, population.members, devices), params)


def _agents(
    run: Run, population: Population, keys: np.ndarray, steps: np.ndarray, chosen: _Chosen, found: Matched, tell: Tell
) -> _Agents:
    """Loads one checkpoint after another, and keeps of each the members that are matched there."""
    at, rows = np.maximum(found.at, 0).ravel(), chosen.rows.ravel()
    kept: Any = None
    equal = []
    for i, step in enumerate(steps):
        params = load_members(run, population, keys, int(step) // run.study.training.batch).agent.params
        own = jax.tree.map(lambda x: np.asarray(x)[rows], params)
        here = at == i
        kept = own if kept is None else jax.tree.map(lambda old, new, here=here: _put(old, new, here), kept, own)
        equal.append(_equal(own, chosen))
        tell(News("reading", i + 1, len(steps), "checkpoints"))
    until = np.cumprod(np.stack(equal), axis=0).sum(0) - 1
    return _Agents(kept, params, _equal(kept, chosen), until)


def _ends(last: Any, chosen: _Chosen) -> list[Any]:
    """The agents at both ends of every line, [pairs × seeds, …]."""
    rows = [chosen.rows[[pair[side] for pair in chosen.pairs]].ravel() for side in (0, 1)]
    return [jax.tree.map(lambda x, own=own: np.asarray(x)[own], last) for own in rows]


def _put(old: np.ndarray, new: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _equal(params: Any, chosen: _Chosen) -> np.ndarray:
    """Whether the members of a pair are the same, bit for bit; [pair, seed]. Parameters are [schedules × seeds, …]."""
    seeds = chosen.rows.shape[1]
    leaves = [x.reshape(len(chosen.schedules), seeds, -1).view(np.uint8) for x in jax.tree.leaves(params)]
    return np.array([[all((x[i, s] == x[j, s]).all() for x in leaves) for s in range(seeds)] for i, j in chosen.pairs])


def _members(chosen: _Chosen, found: Matched, apart: np.ndarray, readings: xr.Dataset) -> xr.Dataset:
    """Where members are matched, and how far apart they are there."""
    known, shape = found.at >= 0, found.at.shape
    far = np.where(known.ravel()[:, None] & known.ravel(), apart, np.nan).reshape(*shape, *shape)
    steps = np.where(known, readings.checkpoint.values[found.at], np.nan)
    seed = readings.seed.values
    return xr.Dataset(
        {
            "matched_checkpoint": (MEMBERS, steps),
            "matched_return": (MEMBERS, found.achieved),
            "distance": ((*MEMBERS, "other_schedule", "other_seed"), far),
        },
        {"schedule": chosen.schedules, "seed": seed, "other_schedule": chosen.schedules, "other_seed": seed},
    )


def _divergences(chosen: _Chosen, found: Matched, apart: np.ndarray, draws: int) -> xr.Dataset:
    """Between schedules against within: of every pair, and of all together."""
    schedules, seeds = found.at.shape
    known = (found.at >= 0).ravel()
    far = np.where(known[:, None] & known, apart, np.nan)
    schedule, seed = np.repeat(np.arange(schedules), seeds), np.tile(np.arange(seeds), schedules)

    def of(numbers: Sequence[int]) -> Divergence:
        rows = np.flatnonzero(np.isin(schedule, numbers))
        return divergence(far[np.ix_(rows, rows)], schedule[rows], seed[rows], draws)

    overall, each = of(range(schedules)), [of(pair) for pair in chosen.pairs]
    one, all_ = (
        {
            "between": x[0], "within": x[1], "divergence": x[2], "divergence_low": x[3], "divergence_high": x[4],
            "divergence_p": x[5], "rearrangements": x[6],
        }
        for x in (np.array(each).T, overall)
    )  # fmt: skip
    return xr.Dataset(
        {name: ("pair", values) for name, values in one.items()}
        | {f"overall_{name}": ((), value) for name, value in all_.items()}
    )


def _pair_names(chosen: _Chosen) -> dict[str, Any]:
    first, second = ([chosen.schedules[pair[side]] for pair in chosen.pairs] for side in (0, 1))
    both = [f"{a} | {b}" for a, b in zip(first, second, strict=True)]
    return {"pair": both, "first": ("pair", first), "second": ("pair", second)}


def _shared(agents: _Agents, readings: xr.Dataset) -> xr.Dataset:
    """Which agents of a pair are one, and until when they were."""
    steps = np.append(readings.checkpoint.values.astype(float), np.nan)
    until = agents.same_until
    found = {"same_matched": agents.same, "same_last": until == len(steps) - 2, "same_until": steps[until]}
    return xr.Dataset({name: (PAIRS, values) for name, values in found.items()}, {"seed": readings.seed.values})


def _about(readings: xr.Dataset, chosen: _Chosen, found: Matched, agents: _Agents, world: World) -> dict[str, Any]:
    """What the dataset says of itself: plain strings and numbers."""
    untrained = float(np.nanmean(chosen.returns[..., 0]))
    highest = float(np.nanmax(t_interval(chosen.returns, axis=1).mean))
    near = np.abs(found.achieved - found.target) <= TOLERANCE * abs(found.target - untrained)
    seeds = readings.seed.values
    missed = [f"{chosen.schedules[i]}, seed {seeds[s]}" for i, s in zip(*np.nonzero(~near), strict=True)]
    why = left_out(world).get("bid")
    known = {
        name: readings.attrs[name] for name in ("title", "world", "agent", "true_channels") if name in readings.attrs
    }
    return known | {
        "target": found.target,
        "spread": found.spread,
        "untrained_return": untrained,
        "highest_return": highest,
        "tolerance": TOLERANCE * abs(found.target - untrained),
        "not_matched": json.dumps(missed),
        "same_pairs_matched": int(agents.same.sum()),
        "same_pairs_last": int((agents.same_until == len(readings.checkpoint) - 1).sum()),
        "schedules_left_out": json.dumps(chosen.others),
        "left_out": json.dumps({} if why is None else {"bid": why}),
    }


def _doubts(data: xr.Dataset, chosen: _Chosen) -> Iterator[str]:
    """What a person should know before believing the numbers."""
    about = data.attrs
    if chosen.others and len(chosen.schedules) == FIRST:
        yield f"compared are the first {FIRST} schedules; left out: {', '.join(map(repr, chosen.others))}"
    missed, members = json.loads(about["not_matched"]), chosen.rows.size
    if missed:
        yield (
            f"returns were not matched in {len(missed)} of {members} members: they are farther from "
            f"{about['target']:.3g} than {about['tolerance']:.2g}, a tenth of what training added by then: "
            f"{'; '.join(missed)}"
        )
    if about["target"] - about["untrained_return"] < TOLERANCE * (about["highest_return"] - about["untrained_return"]):
        yield (
            f"the target {about['target']:.3g} is hardly above the untrained agents' {about['untrained_return']:.3g}: "
            "matched there, agents have learned little; compare only schedules under which all learn"
        )
    least = 1 / float(data["rearrangements"].min())
    if least > 0.05:
        yield f"{data.sizes['seed']} seeds: no pair of schedules can reach p < 0.05 (the least is {least:.3g})"
    same = about["same_pairs_matched"], about["same_pairs_last"]
    if any(same):
        yield f"agents of {same[0]} pairs are the same, bit for bit, at matched return, and of {same[1]} in the end"
    for reading, why in json.loads(about["left_out"]).items():
        yield f"{reading} is not measurable here: {why}"
