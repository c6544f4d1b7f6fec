"""From a study to what training needs: its names checked against its world, its schedules made data.

JAX and what needs it are imported where they are used, so that a wrong file is refused, and help given, at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from chisel.devices import use_devices
from chisel.spec import WrongInput, dotted, find, load, unknown
from chisel.study import (
    SHAPE,
    Knots,
    PhasePart,
    SchedulePart,
    Study,
    edge_update,
    reward_tables,
    situations,
)

if TYPE_CHECKING:
    from chisel.agents.networks import Network
    from chisel.curve import Curve
    from chisel.rewards.schedule import Schedule
    from chisel.training.member import Plan
    from chisel.worlds.world import World


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
    from chisel.worlds import load_world
    from chisel.worlds.world import names

    use_devices(None)
    world = load_world(study.world, f"{where}: world")
    known = names(world)
    for name in study.true or ():
        if name not in known.channels:
            raise unknown(f"{where}: true", "channel", name, known.channels)
    raw = study.model_dump()
    _check_params(study.world_params, world, f"{where}: world_params")
    for i, part in enumerate(study.schedule):
        for loc, situation in situations(part):
            place = dotted(["schedule", i, *loc, "world_params"], raw)
            _check_params(situation.world_params, world, f"{where}: {place}")
    rewards = [*known.channels, *(SHAPE + p for p in known.potentials)]
    for i, part in enumerate(study.schedule):
        for loc, table in reward_tables(part):
            for name in table:
                if name not in rewards:
                    place = dotted(["schedule", i, *loc], raw)
                    kind = "potential" if name.startswith(SHAPE) else "channel"
                    choices = [r for r in rewards if r.startswith(SHAPE) == name.startswith(SHAPE)]
                    raise unknown(f"{where}: {place}", f"{kind} of world {world.name!r}", name, choices)


def _check_params(given: dict[str, float | Knots], world: "World", place: str) -> None:
    for name, amount in given.items():
        if name not in world.params:
            raise unknown(place, f"parameter of world {world.name!r}", name, world.params)
        low, high = world.params[name].low, world.params[name].high
        values = [amount] if isinstance(amount, float) else [v for _, v in amount]
        bad = [v for v in values if not low <= v <= high]
        if bad:
            raise WrongInput(
                f"{place}.{name} is {bad[0]:g}; expected between {low:g} and {high:g} ({world.params[name].meaning})"
            )


def true_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that are meant in this study."""
    return tuple(study.true or world.true)


def proxy_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that some schedule pays for and that are not meant, in order of appearance."""
    paid = (n for s in study.schedule for _, t in reward_tables(s) for n in t if not n.startswith(SHAPE))
    return tuple(dict.fromkeys(n for n in paid if n not in true_channels(study, world)))


def make_network(study: Study, world: "World") -> "Network":
    """The study's network over the world's observations and actions."""
    from chisel.agents.networks import masked, mlp
    from chisel.worlds.world import names

    observation = names(world).observation
    network = mlp(observation, len(world.actions), study.agent.network.widths)
    return network if world.legal is None else masked(network, world.legal, observation)


def resolve(study: Study) -> Resolved:
    """What training needs: the plan that is compiled, and the schedules as data."""
    from chisel.agents.ppo import Settings, ppo
    from chisel.rewards.schedule import make, stack_schedules
    from chisel.training.member import Plan
    from chisel.worlds import load_world
    from chisel.worlds.world import defaults, names

    world = load_world(study.world)
    known, updates = names(world), study.training.updates
    named = {name for part in study.schedule for _, rewards in reward_tables(part) for name in rewards}
    potentials = tuple(p for p in known.potentials if SHAPE + p in named)
    usual = defaults(world) | study.world_params

    def schedule(part: SchedulePart) -> "Schedule":
        curves = _curves(part, updates)
        reward = {n: c for n, c in curves.items() if not n.startswith(SHAPE)}
        shape = {n.removeprefix(SHAPE): c for n, c in curves.items() if n.startswith(SHAPE)}
        told = [situation for _, situation in situations(part)]
        params = {k: _in_turn(part, updates, v, [s.world_params.get(k) for s in told]) for k, v in usual.items()}
        learning_rate = _in_turn(part, updates, study.agent.learning_rate, [s.learning_rate for s in told])
        return make(known.channels, potentials, params, learning_rate, updates, reward, shape)

    settings = Settings(**{k: getattr(study.agent, k) for k in Settings._fields})
    if world.alternating:  # what the other player gets next counts against this one
        settings = settings._replace(discount=-settings.discount)
    agent = ppo(make_network(study, world), settings)
    plan = Plan(world, agent, study.training.worlds, study.training.rollout, potentials)
    return Resolved(plan, stack_schedules([schedule(part) for part in study.schedule]))


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
    return {
        name: concatenate(
            [
                (edge, curve(phase.reward[name]) if name in phase.reward else constant(0.0))
                for edge, phase in zip(_edges(part.phases, updates), part.phases, strict=True)
            ]
        )
        for name in named
    }


def _edges(phases: Sequence[PhasePart], updates: int) -> list[float]:
    return [edge_update(p.until, updates) / updates if p.until < 1 else 1.0 for p in phases]


def _in_turn(part: SchedulePart, updates: int, usual: float | Knots, said: Sequence[float | Knots | None]) -> "Curve":
    """A circumstance of a schedule: what the phase says, or else the schedule, or else the study.

    Args:
        said: by the schedule, and by each of its phases.
    """
    from chisel.curve import concatenate

    own = usual if said[0] is None else said[0]
    if all(amount is None for amount in said[1:]):
        return curve(own)
    each = [curve(own if amount is None else amount) for amount in said[1:]]
    return concatenate(list(zip(_edges(part.phases or (), updates), each, strict=True)))
