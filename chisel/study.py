"""The study file: TOML to validated objects and back.

What can be told wrong without knowing the world is told here, and nothing here imports JAX; `chisel.resolve` goes on.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal

import tomli_w
from pydantic import Field, model_validator

from chisel.conditions import GuardPart
from chisel.spec import Part, dotted, fault, nearest, validate
from chisel.terms import APPROACH, SHAPE, Amount, Chance, ChannelPart, Rate, Term, Weight
from chisel.traits import Agent, PPOPart, fault_of


class CheckpointPart(Part):
    """When to save; the untrained agent, phase edges and the end are always added."""

    count: int = Field(10, ge=1)
    spacing: Literal["log", "even"] = "log"


class TrainingPart(Part):
    """How long, how many."""

    steps: int = Field(409_600, ge=1, description="environment steps of each member")
    seeds: int = Field(4, ge=1)
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

    @model_validator(mode="after")
    def _divisible(self) -> "TrainingPart":
        if self.steps % self.batch:
            low = self.steps // self.batch * self.batch
            choices = f"{low} or {low + self.batch}" if low else f"{self.batch}"
            raise ValueError(
                f"steps = {self.steps} is not a multiple of {self.batch} "
                f"({self.worlds} worlds × {self.rollout} steps of rollout); the nearest are {choices}"
            )
        return self


class SituationPart(Part):
    """Under which circumstances it is rewarded; what is not said is as for the whole study."""

    world_params: dict[str, Amount] = Field({}, description="numbers of the level distribution")
    learning_rate: Rate | None = Field(None, description="the optimiser's step size; 0 freezes the agent")
    entropy: Weight | None = Field(None, description="weight of the entropy bonus")
    exploration: Chance | None = Field(None, description="chance that an action is chosen at random")


class AdvancePart(Part):
    """What must be achieved for a phase to be over."""

    channel: str = Field(min_length=1)
    above: float = Field(description="mean total of the channel per episode that must be reached")
    episodes: float = Field(100.0, gt=0, description="over about how many of the last episodes")
    wait: bool = Field(False, description="whether the phase waits for it, however long it takes")


class PhasePart(SituationPart):
    """One interval of progress: from where the one before it ended, to `until`."""

    until: float = Field(gt=0, le=1)
    reward: dict[str, Term]
    advance: AdvancePart | None = Field(None, description="go on to the next phase as soon as this is achieved")


class SchedulePart(SituationPart):
    """What is rewarded, when: either one `reward` table or `phases`. A phase may have a situation of its own."""

    name: str = Field(min_length=1)
    scale: float | None = Field(None, gt=0, description="multiplies all weights of channels; `match` fills it in")
    reward: dict[str, Term] | None = None
    phases: list[PhasePart] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _potentials_are_known(self) -> "SchedulePart":
        for loc, table in reward_tables(self):
            for name, term in table.items():
                if name.startswith((SHAPE, APPROACH)) and isinstance(term, ChannelPart):
                    message = "a potential is known and not observed; expected a number or knots, found a table"
                    raise fault(message, *loc, name)
        return self

    @model_validator(mode="after")
    def _ordered(self) -> "SchedulePart":
        if (self.reward is None) == (self.phases is None):
            found = "both" if self.reward is not None else "neither"
            raise ValueError(f"expected either `reward` or `phases`, found {found}")
        if self.phases:
            edges = [p.until for p in self.phases]
            for i, (one, other) in enumerate(pairwise(edges), 1):
                if one >= other:
                    message = f"phases overlap: each must end later than the one before; found until = {edges}"
                    raise fault(message, "phases", i, "until")
            if edges[-1] != 1:
                raise fault(f"the last phase must end at 1, found {edges[-1]}", "phases", len(edges) - 1, "until")
            if self.phases[-1].advance is not None:
                raise fault("the last phase has nothing to advance to", "phases", len(edges) - 1, "advance")
        return self


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
    schedule: list[SchedulePart] = Field(min_length=1)
    guard: list[GuardPart] = []

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
                    raise fault(
                        f"the phase is shorter than one of the {self.training.updates} updates; "
                        "make it longer, or train for more steps",
                        *("schedule", i, "phases", j, "until"),
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
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"), multiline_strings=False)

    def replaced(self, seeds: int | None = None, steps: int | None = None) -> "Study":
        """The same study with other numbers of seeds or steps.

        Raises:
            WrongInput: the numbers do not fit.
        """
        raw = self.model_dump(exclude_none=True, mode="json")
        raw["training"] |= {k: v for k, v in {"seeds": seeds, "steps": steps}.items() if v is not None}
        given = " ".join(f"--{k} {v}" for k, v in {"seeds": seeds, "steps": steps}.items() if v is not None)
        return validate(raw, Study, given)

    @property
    def edges(self) -> list[float]:
        """Progress at which a phase of some schedule ends, without 0 and 1, in order."""
        return sorted({p.until for s in self.schedule for p in s.phases or [] if p.until < 1})

    @property
    def checkpoint_updates(self) -> list[int]:
        """After how many updates to save: the untrained agent (0), the plan's own, phase edges, and the end."""
        total, count = self.training.updates, self.training.checkpoints.count
        if self.training.checkpoints.spacing == "log":
            own = [round(math.exp(math.log(total) * i / max(count - 1, 1))) for i in range(count)]
        else:
            own = [round(total * (i + 1) / count) for i in range(count)]
        return sorted({0, *own, *(edge_update(e, total) for e in self.edges), total})


def edge_update(progress: float, updates: int) -> int:
    """The update (from 0) with which a phase begins that begins at `progress`: the first whose middle is not before it.

    >>> edge_update(0.33, 200), edge_update(1 / 3, 200), edge_update(0.0025, 200)
    (66, 67, 0)
    """
    return max(0, math.ceil(progress * updates - 0.5 - 1e-9))


def situations(part: SchedulePart) -> Iterable[tuple[list[Any], SituationPart]]:
    """Every situation of a schedule, with its place in it."""
    yield [], part
    for j, phase in enumerate(part.phases or ()):
        yield ["phases", j], phase


def reward_tables(part: SchedulePart) -> Iterable[tuple[list[Any], Mapping[str, Any]]]:
    """Every reward table of a schedule, with its place in it."""
    if part.reward is not None:
        yield ["reward"], part.reward
    for j, phase in enumerate(part.phases or ()):
        yield ["phases", j, "reward"], phase.reward


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

    walk(there.model_dump(mode="json"), here.model_dump(mode="json"), [])
    return lines


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return f"{len(value)} ({', '.join(repr(v['name']) for v in value)})"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
