"""Guards: reading a member's checkpoints while it trains, and acting on what they say.

Training itself knows nothing of this. Between two checkpoints a member is under one schedule; at a checkpoint guards
are asked in the order of the study, and what they decide is saved with it, so that a run that goes on from there goes
on as it would have. A reading is a pure function of a checkpoint, and so a run with guards is as repeatable as one
without.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from chisel.probing.dataset import DIMENSIONS, coordinates, observation_is_better
from chisel.probing.reader import Reader, Readings
from chisel.study.files import WrongInput, nearest, place
from chisel.study.guards import GuardPart
from chisel.study.study import Study


class Watch(NamedTuple):
    """What guards have decided, and what they saw at one checkpoint.

    Fields:
        under: the number of the schedule that each member is under from here on.
        halted: the members that have stopped training.
        fired: after how many updates each guard acted on each member; −1: not yet.
        seen: what each guard read of each member here; NaN where it does not watch, or not yet, or where nothing can be
            read.
    """

    under: Int[np.ndarray, " members"]
    halted: Bool[np.ndarray, " members"]
    fired: Int[np.ndarray, "guards members"]
    seen: Float[np.ndarray, "guards members"]


def unwatched(study: Study) -> Watch:
    """Before anything was read."""
    guards, schedules, seeds = len(study.guard), len(study.schedule), study.training.seeds
    each = (guards, schedules * seeds)
    return Watch(
        under=np.repeat(np.arange(schedules, dtype=np.int32), seeds),
        halted=np.zeros(each[1], bool),
        fired=np.full(each, -1, np.int32),
        seen=np.full(each, np.nan, np.float32),
    )


def asked_of(guard: GuardPart) -> str:
    """What a battery must read for a guard."""
    return "choice" if guard.when.reading == "neither" else "score" if guard.when.feature else guard.when.reading


def check_guards(
    study: Study,
    left_out: dict[str, str],
    features: tuple[str, ...],
    layers: tuple[str, ...],
    levels: tuple[str, ...],
    where: str,
) -> None:
    """Checks that a battery on this world takes the readings that guards ask for.

    Args:
        left_out: readings that the world does not allow, and why.
        features, layers: what the battery decodes, and from where.
        levels: the distributions of levels that returns are read on.

    Raises:
        WrongInput: it does not.
    """
    raw = study.model_dump()
    for i, guard in enumerate(study.guard):
        when = guard.when
        at: list[str | int] = ["guard", i, "when"]
        family = asked_of(guard)
        if family in left_out:
            at_reading = place(where, [*at, "reading"], raw)
            raise WrongInput(f"{at_reading} is {when.reading!r}, not measurable here: {left_out[family]}")
        for key, name, taken in (("feature", when.feature, features), ("layer", when.layer, layers)):
            if name is not None and name not in taken:
                why = f"which is not among the battery's decode.{key}s"
                raise WrongInput(f"{place(where, [*at, key], raw)} is {name!r}, {why}; {nearest(name, taken)}")
        if when.levels is not None and when.levels not in levels:
            listed = f"levels are {', '.join(map(repr, levels))}; a battery may name more of them"
            near = nearest(when.levels, levels)
            raise WrongInput(f"{place(where, [*at, 'levels'], raw)} is {when.levels!r}; {near} ({listed})")


class Guards:
    """The guards of a study, made ready to look at checkpoints.

    Args:
        untrained: the parameters of the untrained networks, [members, …]: what `skill` is compared with.
    """

    def __init__(self, study: Study, reader: Reader, untrained: object) -> None:
        self._study, self._reader, self._untrained = study, reader, untrained

    def look(self, params: object, updates: int, before: Watch, trained_on: np.ndarray | None = None) -> Watch:
        """What is decided at the checkpoint after so many updates.

        Args:
            params: of the networks, [members, …].
            before: what was decided at the checkpoint before.
            trained_on: [members, params] the numbers of the levels that each trains on; by default the study's.
        """
        row = self._reader.read(params, trained_on)
        under, halted, fired = before.under.copy(), before.halted.copy(), before.fired.copy()
        seen = np.full_like(before.seen, np.nan)
        for i, guard in enumerate(self._study.guard):
            if updates < guard.when.after * self._study.training.updates - 1e-9:
                continue
            watched = self._watched(guard) & ~halted
            seen[i] = np.where(watched, self._value(guard, row), np.nan)
            acts = watched & (fired[i] < 0) & _holds(guard, seen[i])
            fired[i, acts] = updates
            halted |= acts & guard.then.halt
            if guard.then.switch is not None:
                under[acts] = [s.name for s in self._study.schedule].index(guard.then.switch)
        return Watch(under, halted, fired, seen)

    def _watched(self, guard: GuardPart) -> np.ndarray:
        named = [guard.watch is None or s.name in guard.watch for s in self._study.schedule]
        return np.repeat(named, self._study.training.seeds)

    def _value(self, guard: GuardPart, row: Readings) -> np.ndarray:
        """The reading of every member."""
        name, where = guard.when.reading, guard.when.dimensions
        if name == "total_effect":
            where = {"edit": where["goal"]} | where
        if name == "returns":
            where = {"levels": "training"} | where
        array = row.score - self._baseline if name == "skill" else getattr(row, name)
        dims = DIMENSIONS["score" if name == "skill" else name]
        names = coordinates(self._reader)
        labelled = xr.DataArray(array, dims=("member", *dims), coords={d: names[d] for d in dims})
        chosen = labelled.sel(where).transpose("member", ...).values.reshape(len(array), -1)
        known = np.isfinite(chosen)
        count = known.sum(1)
        return np.where(count > 0, np.where(known, chosen, 0).sum(1) / np.maximum(count, 1), np.nan)

    @cached_property
    def _baseline(self) -> np.ndarray:
        """What a score must exceed to be skill: [members, layer, feature]."""
        observation, untrained = self._reader.observation_scores().score, self._reader.read(self._untrained).score
        better = np.asarray(observation_is_better(observation, np.asarray(untrained)))
        return np.where(better, observation, np.asarray(untrained))


def _holds(guard: GuardPart, value: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return value > guard.when.above if guard.when.above is not None else value < guard.when.below


def record_guards(study: Study, watches: list[Watch]) -> xr.Dataset:
    """What guards saw at every checkpoint, and when they acted, labelled.

    Args:
        watches: one per checkpoint of the study.
    """
    seeds, batch = study.training.seeds, study.training.batch
    shape = (len(study.guard), len(study.schedule), seeds)
    seen = np.stack([w.seen for w in watches], axis=-1).reshape(*shape, len(watches))
    fired = watches[-1].fired.reshape(shape)
    data = xr.Dataset(
        {
            "guard_seen": (("guard", "schedule", "seed", "checkpoint"), seen),
            "guard_fired": (("guard", "schedule", "seed"), np.where(fired < 0, np.nan, fired * float(batch))),
        },
        coords={
            "guard": [guard.title for guard in study.guard],
            "schedule": [s.name for s in study.schedule],
            "seed": np.array(study.training.seed_numbers, np.int32),
            "checkpoint": np.array(study.checkpoint_updates, np.int64) * batch,
        },
    )
    data["guard_seen"].attrs = {"long_name": "what the guard read; NaN where it did not look", "units": "1"}
    data["guard_fired"].attrs = {"long_name": "steps of the member when the guard acted; NaN: never", "units": "step"}
    return data
