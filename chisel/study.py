"""The study file: TOML to validated objects and back.

What can be told wrong without knowing the world is told here, and nothing here imports JAX; `chisel.resolve` goes on.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from chisel.spec import Part, dotted, validate

Knots = tuple[tuple[float, float], ...]
SHAPE = "shape."  # what a reward key begins with that names a potential


def _amount(raw: Any) -> float | Knots:
    """A number, or knots [[progress, value], …]."""
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    if isinstance(raw, list | tuple) and raw and all(_is_knot(k) for k in raw):
        times = [k[0] for k in raw]
        if times != sorted(times):
            raise ValueError(f"knots must be in order of progress, found {times}")
        if times[0] < 0 or times[-1] > 1:
            raise ValueError(f"progress runs from 0 to 1, found {[t for t in times if not 0 <= t <= 1]}")
        return tuple((float(t), float(v)) for t, v in raw)
    raise ValueError(f"expected a number or knots [[progress, value], ...], found {raw!r}")


def _is_knot(knot: Any) -> bool:
    return (
        isinstance(knot, list | tuple)
        and len(knot) == 2
        and all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in knot)
    )


Amount = Annotated[
    float | Knots,
    BeforeValidator(_amount, json_schema_input_type=float | list[tuple[float, float]]),
]


def _rate(amount: float | Knots) -> float | Knots:
    values = [amount] if isinstance(amount, float) else [v for _, v in amount]
    if min(values) < 0:
        raise ValueError(f"a learning rate cannot be negative, found {min(values):g}")
    return amount


Rate = Annotated[Amount, AfterValidator(_rate)]


class NetworkPart(Part):
    """What acts and is probed."""

    kind: Literal["mlp"] = "mlp"
    widths: list[Annotated[int, Field(ge=1)]] = Field([64, 64], min_length=1)


class AgentPart(Part):
    """How the agent learns."""

    learner: Literal["ppo"] = "ppo"
    network: NetworkPart = NetworkPart()
    learning_rate: Rate = 3e-3
    discount: float = Field(0.97, gt=0, lt=1)
    trace: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0)
    entropy: float = Field(0.01, ge=0)
    value_weight: float = Field(0.5, ge=0)
    gradient_norm: float = Field(0.5, gt=0)
    epochs: int = Field(4, ge=1)
    minibatches: int = Field(4, ge=1)


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


class PhasePart(SituationPart):
    """One interval of progress: from where the one before it ended, to `until`."""

    until: float = Field(gt=0, le=1)
    reward: dict[str, Amount]


class SchedulePart(SituationPart):
    """What is rewarded, when: either one `reward` table or `phases`. A phase may have a situation of its own."""

    name: str = Field(min_length=1)
    reward: dict[str, Amount] | None = None
    phases: list[PhasePart] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> "SchedulePart":
        if (self.reward is None) == (self.phases is None):
            found = "both" if self.reward is not None else "neither"
            raise ValueError(f"expected either `reward` or `phases`, found {found}")
        if self.phases:
            edges = [p.until for p in self.phases]
            if any(a >= b for a, b in pairwise(edges)):
                raise ValueError(f"phases must each end later than the one before; found until = {edges}")
            if edges[-1] != 1:
                raise ValueError(f"the last phase must end at 1 (until = 1.0), found {edges[-1]}")
        return self


class Study(Part):
    """A world, several reward schedules, seeds: one experiment."""

    title: str = ""
    world: str
    true: list[str] | None = Field(None, min_length=1, description="channels that are meant; by default the world's")
    world_params: dict[str, Amount] = {}
    agent: AgentPart = AgentPart()
    training: TrainingPart = TrainingPart()
    schedule: list[SchedulePart] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [s.name for s in self.schedule]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"schedule names must differ; {', '.join(map(repr, twice))} is given twice")
        for part in self.schedule:
            starts = [edge_update(p.until, self.training.updates) for p in part.phases or ()]
            for until, a, b in zip([p.until for p in part.phases or ()], [0, *starts], starts, strict=False):
                if a == b:
                    raise ValueError(
                        f"schedule {part.name!r}: the phase until {until:g} is shorter than one of the "
                        f"{self.training.updates} updates; make it longer, or train for more steps"
                    )
        batch, parts = self.training.batch, self.agent.minibatches
        if batch % parts:
            fits = [d for d in range(1, batch + 1) if batch % d == 0]
            near = min(fits, key=lambda d: (abs(d - parts), d))
            raise ValueError(
                f"agent.minibatches = {parts} does not divide the {batch} samples of an update; the nearest is {near}"
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
