"""The study file: TOML to validated objects and back.

What can be told wrong without knowing the world is told here; `chisel.build.build` goes on.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import tomli_w
from pydantic import Field, model_validator

from chisel.study.agents import Agent, PPOPart, fault_of
from chisel.study.factorial import FactorialPart
from chisel.study.files import Part, dotted, fault, nearest, validate
from chisel.study.guards import GuardPart
from chisel.study.schedules import SchedulePart, SituationPart, edge_update, reward_tables, situations
from chisel.study.terms import Amount

MOST_UPDATES = 2**23  # of which single precision tells every middle apart, see `chisel.rewards.schedule.progress`
LAST_SEED = 2**31 - 1  # what a file can hold of a seed


class CheckpointPart(Part):
    """When to save; the untrained agent, phase edges and the end are always added."""

    count: int = Field(10, ge=1)
    spacing: Literal["log", "even"] = "log"


class TrainingPart(Part):
    """How long, how many."""

    steps: int = Field(409_600, ge=1, description="environment steps of each member")
    seeds: int = Field(4, ge=1, description="how many")
    first_seed: int = Field(0, ge=0, description="the number of the first seed; the others follow it")
    worlds: int = Field(64, ge=1, description="environments side by side in each member")
    rollout: int = Field(32, ge=1, description="steps in each environment between two updates")
    checkpoints: CheckpointPart = CheckpointPart()

    @property
    def batch(self) -> int:
        """Environment steps of one update."""
        return self.worlds * self.rollout

    @property
    def updates(self) -> int:
        """Updates of each member."""
        return self.steps // self.batch

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds by number."""
        return list(range(self.first_seed, self.first_seed + self.seeds))

    @model_validator(mode="after")
    def _countable(self) -> "TrainingPart":
        if self.first_seed + self.seeds - 1 > LAST_SEED:
            raise fault(
                f"seeds are at most {LAST_SEED:,} (31 bits); with {self.seeds:,} of them expected at most "
                f"{max(LAST_SEED - self.seeds + 1, 0):,}, found {self.first_seed:,}",
                "first_seed",
            )
        return self

    @model_validator(mode="after")
    def _divisible(self) -> "TrainingPart":
        if self.steps % self.batch:
            low = self.steps // self.batch * self.batch
            choices = f"{low} or {low + self.batch}" if low else f"{self.batch}"
            raise ValueError(
                f"steps = {self.steps} is not a multiple of {self.batch} "
                f"({self.worlds} worlds × {self.rollout} steps of rollout); the nearest are {choices}"
            )
        if self.updates > MOST_UPDATES:
            raise fault(
                f"{self.steps} steps are {self.updates} updates of {self.worlds} worlds × {self.rollout} steps; "
                f"schedules are read in single precision, which tells at most {MOST_UPDATES} updates apart; "
                f"expected at most {MOST_UPDATES * self.batch} steps, or more worlds, or longer rollouts",
                "steps",
            )
        return self


class ForkPart(Part):
    """Where training goes on from, instead of from new agents; `chisel fork` writes this."""

    run: str = Field(min_length=1, description="the folder of the run")
    study: str = Field(description="the hash of its study")
    at: int = Field(gt=0, description="environment steps of each member, at which it has a checkpoint")
    schedule: str | None = Field(None, description="whose agents go on; by default those under equally named schedules")
    reseed: bool = Field(False, description="go on with other random numbers than the run did")


class LimitsPart(Part):
    """What a study may take; it is refused, before anything is written, where it would take more."""

    memory: float | None = Field(None, gt=0, description="GiB")
    hours: float | None = Field(None, gt=0, description="of training, as timed here on a few updates")


class Study(Part):
    """A world, several reward schedules, seeds: one experiment."""

    title: str = ""
    world: str
    true: list[str] | None = Field(None, min_length=1, description="channels that are meant; by default the world's")
    world_params: dict[str, Amount] = {}
    view: int | None = Field(
        None, ge=3, description="cells along a side of the window through which the agent sees its board; odd"
    )
    agent: Agent = PPOPart()
    training: TrainingPart = TrainingPart()
    match: Literal["reward", "events"] | None = Field(
        None, description="scale schedules until they expect to pay as much in all, or pay for as many events"
    )
    schedule: list[SchedulePart] = Field([], description="what is compared; or else a factorial")
    factorial: FactorialPart | None = None
    guard: list[GuardPart] = []
    limits: LimitsPart | None = None
    fork: ForkPart | None = None

    @model_validator(mode="after")
    def _combined(self) -> "Study":
        if self.factorial is None:
            if not self.schedule:
                raise fault("expected one [[schedule]] or more, or a [factorial]; found none", "schedule")
            return self
        made = self.factorial.schedules()
        if self.schedule and self.schedule != made:
            raise fault("a [factorial] makes the schedules; leave out one of the two", "schedule")
        if self.training.seeds < 2:
            raise fault(
                f"found {self.training.seeds}; a factorial needs 2 seeds or more, or chance would pass for an effect",
                *("training", "seeds"),
            )
        if self.guard:
            raise fault("guards change what members are under, and a factorial compares what they are under", "guard")
        if self.match is not None:
            raise fault("a scale for every combination would undo what they share; weigh the conditions", "match")
        object.__setattr__(self, "schedule", made)  # what is frozen is made here
        return self

    @model_validator(mode="after")
    def _forked(self) -> "Study":
        fork, batch = self.fork, self.training.batch
        if fork is None:
            return self
        if fork.at % batch or fork.at >= self.training.steps:
            raise fault(
                f"expected a multiple of {batch} below training.steps = {self.training.steps}, found {fork.at}",
                *("fork", "at"),
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [s.name for s in self.schedule]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"schedule names must differ; {', '.join(map(repr, twice))} is given twice")
        for i, part in enumerate(self.schedule):
            starts = [edge_update(p.until, self.training.updates) for p in part.phases or ()]
            for j, (a, b) in enumerate(pairwise([0, *starts])):
                if a == b:
                    at = ("schedule", i, "phases", j, "until") if self.factorial is None else ("factorial", "phases")
                    raise fault(
                        f"the phase is shorter than one of the {self.training.updates} updates; "
                        "make it longer, or train for more steps",
                        *at,
                    )
        titles = [guard.title for guard in self.guard]
        for i, guard in enumerate(self.guard):
            if guard.title in titles[:i]:
                raise fault(f"another guard is called {guard.title!r} too; give them names that differ", "guard", i)
            asked: list[tuple[tuple[Any, ...], str]] = [
                (("watch", j), name) for j, name in enumerate(guard.watch or ())
            ]
            asked += [(("then", "switch"), guard.then.switch)] if guard.then.switch else []
            for loc, name in asked:
                if name not in names:
                    raise fault(f"unknown schedule {name!r}; {nearest(name, names)}", "guard", i, *loc)
        wrong = fault_of(self.agent, self.training.batch, self.training.worlds)
        if wrong is not None:
            raise fault(wrong[0], "agent", *wrong[1])
        if self.view is not None and self.view % 2 == 0:
            raise fault(
                f"{self.view} is even, but the agent is in the middle; nearest are {self.view - 1} and {self.view + 1}",
                "view",
            )
        return self

    def to_toml(self) -> str:
        """The study with every default written out; reading it gives an equal study."""
        return tomli_w.dumps(self._raw(), multiline_strings=False)

    def _raw(self) -> dict[str, Any]:
        made = {"schedule"} if self.factorial else set()
        return self.model_dump(exclude_none=True, mode="json", exclude=made)

    def replaced(self, seeds: int | None = None, steps: int | None = None, first_seed: int | None = None) -> "Study":
        """The same study with other numbers of seeds or steps, or other seeds.

        Raises:
            WrongInput: the numbers do not fit.
        """
        raw, numbers = self._raw(), {"seeds": seeds, "steps": steps, "first_seed": first_seed}
        given = {key: value for key, value in numbers.items() if value is not None}
        raw["training"] |= given
        return validate(raw, Study, " ".join(f"--{key.replace('_', '-')} {value}" for key, value in given.items()))

    @property
    def edges(self) -> list[float]:
        """Progress at which a phase of some schedule ends, without 0 and 1, in order."""
        return sorted({p.until for s in self.schedule for p in s.phases or [] if p.until < 1})

    @property
    def start(self) -> int:
        """Updates that were done when training begins: 0, but for a fork."""
        return self.fork.at // self.training.batch if self.fork else 0

    @property
    def checkpoint_updates(self) -> list[int]:
        """After how many updates to save: where it begins (0, but for a fork), the plan's own, phase edges, the end."""
        total, count = self.training.updates, self.training.checkpoints.count
        if self.training.checkpoints.spacing == "log":
            own = [round(math.exp(math.log(total) * i / max(count - 1, 1))) for i in range(count)]
        else:
            own = [round(total * (i + 1) / count) for i in range(count)]
        every = {*own, *(edge_update(e, total) for e in self.edges), total}
        return [self.start, *sorted(u for u in every if u > self.start)]

    def situations(self) -> Iterator[tuple[list[Any], SituationPart]]:
        """Every situation that the file tells of, with its place in it."""
        if self.factorial is not None:
            yield from [(["factorial", "washout"], self.factorial.washout)] if self.factorial.washout else []
            return
        for i, part in enumerate(self.schedule):
            yield from ((["schedule", i, *loc], situation) for loc, situation in situations(part))

    def reward_tables(self) -> Iterator[tuple[list[Any], Mapping[str, Any]]]:
        """Every reward table of the file, with its place in it."""
        if self.factorial is not None:
            yield from ((["factorial", *loc], table) for loc, table in self.factorial.tables())
            return
        for i, part in enumerate(self.schedule):
            yield from ((["schedule", i, *loc], table) for loc, table in reward_tables(part))


def differences(there: Study, here: Study) -> list[str]:
    """How two studies differ, a line each: `training.steps is 4 there and 8 here`."""
    lines: list[str] = []

    def walk(a: Any, b: Any, place: list[Any]) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in dict.fromkeys([*a, *b]):
                walk(a.get(key), b.get(key), [*place, key])
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and a and isinstance(a[0], dict):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                walk(x, y, [*place, i])
        elif a != b:
            lines.append(f"{dotted(place)} is {_short(a)} there and {_short(b)} here")

    made = {"schedule"} if there.factorial and here.factorial else set()
    walk(there.model_dump(mode="json", exclude=made), here.model_dump(mode="json", exclude=made), [])
    return lines


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return f"{len(value)} ({', '.join(repr(v['name']) for v in value)})"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
