"""The study file: TOML to validated objects, and objects to what training needs.

Reading a study imports no JAX, so that a wrong file is refused at once; `resolve` checks the names against the world.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tomli_w
from pydantic import BeforeValidator, Field, model_validator

from chisel.spec import Part, WrongInput, dotted, find, load, unknown, validate

if TYPE_CHECKING:
    from chisel.curve import Curve
    from chisel.rewards.schedule import Schedule
    from chisel.training.member import Plan
    from chisel.worlds.world import World

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


class NetworkPart(Part):
    """What acts and is probed."""

    kind: Literal["mlp"] = "mlp"
    widths: list[Annotated[int, Field(ge=1)]] = Field([64, 64], min_length=1)


class AgentPart(Part):
    """How the agent learns."""

    learner: Literal["ppo"] = "ppo"
    network: NetworkPart = NetworkPart()
    learning_rate: Amount = 3e-3
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


class PhasePart(Part):
    """One interval of progress: from where the one before it ended, to `until`."""

    until: float = Field(gt=0, le=1)
    reward: dict[str, Amount]


class SchedulePart(Part):
    """What is rewarded, when: either one `reward` table or `phases`."""

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


def load_study(name: str) -> Study:
    """A study by path, or by the bare name of a shipped one, with its names checked against its world.

    Raises:
        WrongInput: there is no such study, or it cannot be used as it is.
    """
    path = find(name, "curricula")
    study = load(path, Study)
    check_names(study, str(path))
    return study


def read_study(path: Path) -> Study:
    """The study that a run folder holds.

    Raises:
        WrongInput: as for `load_study`.
    """
    study = load(path, Study)
    check_names(study, str(path))
    return study


class Resolved(NamedTuple):
    """A study made ready: what is compiled, and what varies over members."""

    plan: "Plan"
    schedules: "Schedule"  # [schedules], not yet repeated over seeds


def check_names(study: Study, where: str) -> None:
    """Checks every name in the study against its world.

    Raises:
        WrongInput: something is named that the world does not have, or a parameter is out of its bounds.
    """
    from chisel.worlds import WORLDS
    from chisel.worlds.world import names

    if study.world not in WORLDS:
        raise unknown(f"{where}: world", "world", study.world, WORLDS)
    world = WORLDS[study.world]
    known = names(world)
    for name in study.true or ():
        if name not in known.channels:
            raise unknown(f"{where}: true", "channel", name, known.channels)
    _check_params(study, world, where)
    rewards = [*known.channels, *(SHAPE + p for p in known.potentials)]
    for i, part in enumerate(study.schedule):
        raw = study.model_dump()
        for loc, table in _tables(part):
            for name in table:
                if name not in rewards:
                    place = dotted(["schedule", i, *loc], raw)
                    kind = "potential" if name.startswith(SHAPE) else "channel"
                    choices = [r for r in rewards if r.startswith(SHAPE) == name.startswith(SHAPE)]
                    raise unknown(f"{where}: {place}", f"{kind} of world {world.name!r}", name, choices)


def _check_params(study: Study, world: "World", where: str) -> None:
    for name, amount in study.world_params.items():
        if name not in world.params:
            raise unknown(f"{where}: world_params", f"parameter of world {world.name!r}", name, world.params)
        low, high = world.params[name].low, world.params[name].high
        values = [amount] if isinstance(amount, float) else [v for _, v in amount]
        bad = [v for v in values if not low <= v <= high]
        if bad:
            raise WrongInput(
                f"{where}: world_params.{name} is {bad[0]:g}; expected between {low:g} and {high:g} "
                f"({world.params[name].meaning})"
            )


def _tables(part: SchedulePart) -> Iterable[tuple[list[Any], Mapping[str, Any]]]:
    if part.reward is not None:
        yield ["reward"], part.reward
    for j, phase in enumerate(part.phases or ()):
        yield ["phases", j, "reward"], phase.reward


def true_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that are meant in this study."""
    return tuple(study.true or world.true)


def proxy_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that some schedule pays for and that are not meant, in order of appearance."""
    paid = (n for s in study.schedule for _, t in _tables(s) for n in t if not n.startswith(SHAPE))
    return tuple(dict.fromkeys(n for n in paid if n not in true_channels(study, world)))


def make_network(study: Study, world: "World") -> Any:
    """The study's network over the world's observations and actions."""
    from chisel.agents.networks import mlp
    from chisel.worlds.world import names

    return mlp(names(world).observation, len(world.actions), study.agent.network.widths)


def resolve(study: Study) -> Resolved:
    """What training needs: the plan that is compiled, and the schedules as data."""
    from chisel.agents.ppo import Settings, ppo
    from chisel.rewards.schedule import make, stack_schedules
    from chisel.training.member import Plan
    from chisel.worlds import WORLDS
    from chisel.worlds.world import defaults, names

    world = WORLDS[study.world]
    known = names(world)
    shaped = {n.removeprefix(SHAPE) for s in study.schedule for _, t in _tables(s) for n in t if n.startswith(SHAPE)}
    potentials = tuple(p for p in known.potentials if p in shaped)
    params = {k: curve(v) for k, v in (defaults(world) | study.world_params).items()}
    schedules = [
        make(
            known.channels,
            potentials,
            params,
            curve(study.agent.learning_rate),
            study.training.updates,
            {n: c for n, c in _curves(part, study.training.updates).items() if not n.startswith(SHAPE)},
            {n.removeprefix(SHAPE): c for n, c in _curves(part, study.training.updates).items() if n.startswith(SHAPE)},
        )
        for part in study.schedule
    ]
    settings = Settings(**{k: getattr(study.agent, k) for k in Settings._fields})
    plan = Plan(
        world, ppo(make_network(study, world), settings), study.training.worlds, study.training.rollout, potentials
    )
    return Resolved(plan, stack_schedules(schedules))


def curve(amount: float | Knots) -> "Curve":
    """An amount of a study as a curve."""
    from chisel.curve import constant, piecewise

    return constant(amount) if isinstance(amount, int | float) else piecewise(amount)


def _curves(part: SchedulePart, updates: int) -> dict[str, "Curve"]:
    """The curve of every channel and potential that a schedule names; in a phase that does not name it, it weighs 0.

    Phase edges are moved to the edge between the two updates that they part.
    """
    from chisel.curve import concatenate, constant

    if part.phases is None:
        return {name: curve(amount) for name, amount in (part.reward or {}).items()}
    named = dict.fromkeys(name for phase in part.phases for name in phase.reward)
    edges = [edge_update(p.until, updates) / updates if p.until < 1 else 1.0 for p in part.phases]
    return {
        name: concatenate(
            [
                (edge, curve(phase.reward[name]) if name in phase.reward else constant(0.0))
                for edge, phase in zip(edges, part.phases, strict=True)
            ]
        )
        for name in named
    }


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
