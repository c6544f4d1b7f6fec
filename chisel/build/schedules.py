"""A schedule of a study file as data: its words turned into curves.

Phase edges are moved to the edge between the two updates that they part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from chisel.study.agents import OF_VALUES, entropy_of, temperature_of
from chisel.study.schedules import PhasePart, SchedulePart, SituationPart, edge_update, reward_tables, situations
from chisel.study.study import Study
from chisel.study.terms import APPROACH, SHAPE, ChannelPart, Knots, channel_part, gates_of, values

if TYPE_CHECKING:
    from chisel.rewards.criteria import Criteria
    from chisel.rewards.curve import Curve
    from chisel.rewards.oversight import Oversight
    from chisel.rewards.schedule import Schedule
    from chisel.worlds.world import World


class Needs(NamedTuple):
    """What some schedule of a study needs, and so all of them have.

    Fields:
        potentials: that somebody is guided by.
        gates: conditions of gates.
        kinds: the overseer's errors that are made.
        noisy: the numbers of channels that are read with noise.
        delay: the longest delay in steps; None where all is paid at once.
        exploration, temperature, approach, criteria: whether there is any.
    """

    potentials: tuple[str, ...]
    gates: tuple[str, ...]
    kinds: frozenset[str]
    noisy: tuple[int, ...]
    delay: int | None
    exploration: bool
    temperature: bool
    approach: bool
    criteria: bool


def needs(study: Study, world: "World") -> Needs:
    """What the schedules of a study need between them."""
    from chisel.worlds.world import names

    tables = [table for part in study.schedule for _, table in reward_tables(part)]
    named = {name for table in tables for name in table}
    terms = [channel_part(term) for table in tables for term in table.values()]
    told: list[SituationPart] = [situation for part in study.schedule for _, situation in situations(part)]
    exploring = [study.agent.exploration, *(s.exploration for s in told if s.exploration is not None)]
    delays = [round(v) for term in terms for v in values(term.delay)]
    lumped = any(v for term in terms for v in values(term.lump))
    noisy = {
        name
        for table in tables
        for name, term in table.items()
        if any(_told(channel_part(term), kind) for kind in ("noise", "event_noise"))
    }
    longest = min(max(delays, default=0), world.limit)
    return Needs(
        potentials=tuple(p for p in names(world).potentials if {SHAPE + p, APPROACH + p} & named),
        gates=tuple(dict.fromkeys(gate for table in tables for gate in gates_of(table.values()))),
        kinds=frozenset(kind for kind in _KINDS if any(_told(term, kind) for term in terms)),
        noisy=tuple(i for i, name in enumerate(names(world).channels) if name in noisy),
        delay=longest if longest or lumped else None,
        exploration=any(v for amount in exploring for v in values(amount)),
        temperature=softens(study),
        approach=any(name.startswith(APPROACH) for name in named),
        criteria=any(phase.advance is not None for part in study.schedule for phase in part.phases or ()),
    )


def softens(study: Study) -> bool:
    """Whether agents act by the softmax of their action values. Then all do, at any time (`chisel.build.agents`)."""
    said = [temperature_of(study.agent), *(s.temperature for _, s in study.situations() if s.temperature is not None)]
    return isinstance(study.agent, OF_VALUES) and any(v for amount in said for v in values(amount))


def doubts(study: Study, world: "World") -> list[str]:
    """What a reader should know of a study before it is run: what its rewards do to what is optimal, and criteria that
    cannot be met.
    """
    found = _hopeless(study, world)
    for part in study.schedule:
        for name in dict.fromkeys(n for _, table in reward_tables(part) for n in table if n.startswith(APPROACH)):
            found.append(
                f"schedule {part.name!r}: {name} pays for coming nearer and takes nothing back for going away, so that "
                f"what is optimal may change; {SHAPE}{name.removeprefix(APPROACH)} would keep it"
            )
    return found


def _hopeless(study: Study, world: "World") -> list[str]:
    """Phases that are over before their criterion begins to count."""
    from chisel.rewards.criteria import opening

    updates, first = study.training.updates, opening(world.limit, study.training.rollout)
    found = []
    for part in study.schedule:
        ends = [edge_update(phase.until, updates) for phase in part.phases or ()]
        for i, (start, end, phase) in enumerate(zip([0, *ends], ends, part.phases or (), strict=False)):
            if phase.advance is not None and not phase.advance.wait and end - start <= first:
                found.append(
                    f"schedule {part.name!r}, phase {i + 1}: it lasts {end - start} updates, and its criterion counts "
                    f"only after {first}, which take an episode's {world.limit} steps, so that it cannot be met; "
                    "make the phase longer, or let it `wait`"
                )
    return found


_KINDS = ("miss", "false_alarm", "flip", "corrected", "event_noise", "noise", "clip", "gate", "delay", "lump")


def _told(term: ChannelPart, kind: str) -> bool:
    said = getattr(term, kind)
    if isinstance(said, float | tuple):
        return kind == "clip" or any(values(said))
    return bool(said)


def make_schedule(part: SchedulePart, study: Study, world: "World", wanted: Needs) -> "Schedule":
    """One schedule of a study as data."""
    from chisel.rewards.schedule import make
    from chisel.worlds.world import defaults, names

    channels, updates = names(world).channels, study.training.updates
    told = [situation for _, situation in situations(part)]
    weights = _weights(part, updates)

    def circumstance(usual: float | Knots, said: Callable[[SituationPart], float | Knots | None]) -> "Curve":
        return _in_turn(part, updates, usual, [said(s) for s in told])

    usual = defaults(world) | study.world_params
    return make(
        channels,
        wanted.potentials,
        {k: circumstance(v, lambda s, k=k: s.world_params.get(k)) for k, v in usual.items()},  # type: ignore[misc]
        circumstance(study.agent.learning_rate, lambda s: s.learning_rate),
        updates,
        {n: c for n, c in weights.items() if n in channels},
        _without(SHAPE, weights),
        entropy=circumstance(entropy_of(study.agent), lambda s: s.entropy),
        exploration=circumstance(study.agent.exploration, lambda s: s.exploration) if wanted.exploration else None,
        temperature=circumstance(temperature_of(study.agent), lambda s: s.temperature) if wanted.temperature else None,
        approach=_without(APPROACH, weights) if wanted.approach else None,
        oversight=_oversight(part, updates, channels, wanted),
        criteria=_criteria(part, updates, channels) if wanted.criteria else None,
    )


def _without(prefix: str, curves: Mapping[str, "Curve"]) -> dict[str, "Curve"]:
    return {n.removeprefix(prefix): c for n, c in curves.items() if n.startswith(prefix)}


def curve(amount: float | Knots) -> "Curve":
    """An amount of a study as a curve."""
    from chisel.rewards.curve import constant, piecewise

    return constant(amount) if isinstance(amount, int | float) else piecewise(amount)


def _weights(part: SchedulePart, updates: int) -> dict[str, "Curve"]:
    """The weight of everything that a schedule names; in a phase that does not name it, it weighs 0."""
    named = dict.fromkeys(name for _, table in reward_tables(part) for name in table)
    return {name: _scaled(part, name, _kind_curve(part, updates, name, lambda t: t.weight, 0.0)) for name in named}


def _scaled(part: SchedulePart, name: str, weight: "Curve") -> "Curve":
    if part.scale is None or name.startswith((SHAPE, APPROACH)):
        return weight
    return weight._replace(values=weight.values * part.scale)


def _kind_curve(
    part: SchedulePart, updates: int, name: str, said: Callable[[ChannelPart], Any], nothing: float
) -> "Curve":
    """One number of a term over training; `nothing` where the term is not named, or says nothing of it."""

    def amount(table: Mapping[str, Any]) -> float | Knots:
        found = said(channel_part(table[name])) if name in table else None
        return nothing if found is None else float(found) if isinstance(found, bool) else found

    return _phased(part, updates, [amount(table) for _, table in reward_tables(part)])


def _phased(part: SchedulePart, updates: int, amounts: Sequence[float | Knots]) -> "Curve":
    """The amounts of a schedule's phases one after another; or its only amount."""
    from chisel.rewards.curve import concatenate

    if part.phases is None:
        return curve(amounts[0])
    return concatenate(list(zip(_edges(part.phases, updates), map(curve, amounts), strict=True)))


def _oversight(part: SchedulePart, updates: int, channels: Sequence[str], wanted: Needs) -> "Oversight":
    """How every channel is observed; None for the errors that nobody in the study makes."""
    from chisel.rewards.curve import stack
    from chisel.rewards.oversight import USUAL, Oversight

    def of(said: Callable[[ChannelPart], Any], nothing: float) -> "Curve":
        return stack([_kind_curve(part, updates, name, said, nothing) for name in channels])

    def strength(gate: str) -> Callable[[ChannelPart], Any]:
        return lambda term: term.gate.strength if term.gate is not None and term.gate.feature == gate else 0.0

    plain = [kind for kind in _KINDS if kind in wanted.kinds and kind != "gate"]
    found: dict[str, Any] = {
        kind: of(lambda term, kind=kind: getattr(term, kind), getattr(USUAL, kind))  # type: ignore[misc]
        for kind in plain
    }
    if wanted.gates:
        rows = [
            stack([_kind_curve(part, updates, name, strength(gate), 0.0) for gate in wanted.gates]) for name in channels
        ]
        found["gate"] = stack(rows)
    return Oversight(**found)


def _criteria(part: SchedulePart, updates: int, channels: Sequence[str]) -> "Criteria":
    """When each phase is over, by achievement."""
    import numpy as np

    from chisel.rewards.criteria import FOREVER, Criteria, no_criteria

    if part.phases is None:
        return no_criteria(len(channels))
    said = [phase.advance for phase in part.phases]
    ends = [edge_update(phase.until, updates) for phase in part.phases[:-1]]
    return Criteria(
        np.array([*ends, FOREVER], np.int32),
        np.array([[a is not None and a.channel == c for c in channels] for a in said], np.float32),
        np.array([0.0 if a is None else a.above for a in said], np.float32),
        np.array([1.0 if a is None else a.episodes for a in said], np.float32),
        np.array([a is not None and a.wait for a in said]),
    )


def _edges(phases: Sequence[PhasePart], updates: int) -> list[float]:
    return [edge_update(p.until, updates) / updates if p.until < 1 else 1.0 for p in phases]


def _in_turn(part: SchedulePart, updates: int, usual: float | Knots, said: Iterable[float | Knots | None]) -> "Curve":
    """A circumstance of a schedule: what the phase says, or else the schedule, or else the study.

    Args:
        said: by the schedule, and by each of its phases.
    """
    whole, *each = said
    own = usual if whole is None else whole
    if all(amount is None for amount in each):
        return curve(own)
    return _phased(part, updates, [own if amount is None else amount for amount in each])
