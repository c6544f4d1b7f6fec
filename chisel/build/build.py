"""From a study to what training needs: its names checked against its world, its schedules made data.

JAX and what needs it are imported where they are used, so that a wrong file is refused, and help given, at once.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chisel.build.agents import check_agent, make_agent, make_network
from chisel.build.schedules import make_schedule, needs
from chisel.devices import use_devices
from chisel.study.files import WrongInput, find, load, nearest, place, unknown
from chisel.study.guards import GuardPart
from chisel.study.schedules import reward_tables
from chisel.study.study import Study
from chisel.study.terms import APPROACH, NOT, SHAPE, ChannelPart, Knots, values

if TYPE_CHECKING:
    from chisel.rewards.schedule import Schedule
    from chisel.training.member import Plan
    from chisel.worlds.world import Names, World


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
    raw = study.model_dump()
    load_world(study.world, place(where, ["world"], raw))
    world = load_world(study.world, place(where, ["view"], raw), study.view)
    known = names(world)
    check_agent(study, world, lambda *keys: place(where, keys, raw))
    for name in study.true or ():
        if name not in known.channels:
            raise unknown(place(where, ["true"], raw), "channel", name, known.channels)
    told: list[tuple[list[Any], Mapping[str, float | Knots]]] = [(["world_params"], study.world_params)]
    told += [([*loc, "world_params"], situation.world_params) for loc, situation in study.situations()]
    for loc, params in told:
        from chisel.worlds.world import check_params

        check_params(params, world, lambda key=None, loc=loc: place(where, loc, raw, key))
    for loc, table in study.reward_tables():
        for name, term in table.items():
            _check_key(name, world, known, partial(place, where, loc, raw, name))
            if isinstance(term, ChannelPart):
                _check_oversight(term, world, known, partial(place, where, [*loc, name], raw))
    for i, part in enumerate(study.schedule):
        for j, phase in enumerate(part.phases or ()):
            if phase.advance is not None and phase.advance.channel not in known.channels:
                at = partial(place, where, ["schedule", i, "phases", j, "advance", "channel"], raw)
                raise unknown(at(), f"channel of world {world.name!r}", phase.advance.channel, known.channels)
    for i, guard in enumerate(study.guard):
        _check_guard(guard, study, world, known, lambda key, i=i: place(where, ["guard", i, "when", key], raw))


def _check_key(name: str, world: "World", known: "Names", at: Callable[[], str]) -> None:
    """Checks a key of a reward table: a channel, or a potential to be guided by."""
    prefix = next((p for p in (SHAPE, APPROACH) if name.startswith(p)), "")
    own, of = name.removeprefix(prefix), f" of world {world.name!r}"
    if not prefix and name not in known.channels:
        if name in known.potentials:
            raise WrongInput(f"{at()}: {name!r} is a potential; did you mean {SHAPE + name!r}?")
        raise unknown(at(), f"channel{of}", name, known.channels)
    if prefix and own not in known.potentials:
        why = ""
        if own in known.channels:
            why = f" ({own!r} is a channel, which tells of a step; only potentials of a state keep optimal policies)"
        elif own in known.features:
            why = f" ({own!r} is a feature and not a potential)"
        choices = [prefix + p for p in known.potentials]
        raise WrongInput(f"{at()}: unknown potential{of} {name!r}{why}; {nearest(name, choices)}")


def _check_oversight(term: ChannelPart, world: "World", known: "Names", at: Callable[..., str]) -> None:
    """Checks that a gate can be told open or closed, and that what is paid later is paid to whom it is owed."""
    for key in ("delay", "lump"):
        if world.alternating and any(values(getattr(term, key))):
            raise WrongInput(f"{at(key)}.{key}: in {world.name!r} players alternate, and it would be paid to the other")
    if term.gate is None:
        return
    feature, of = term.gate.feature.removeprefix(NOT), f"feature of world {world.name!r}"
    binary = [f for f, b in zip(known.features, known.binary, strict=True) if b]
    if feature in known.features and feature not in binary:
        raise WrongInput(
            f"{at('gate')}.gate: {feature!r} is a number and not true or false; {nearest(feature, binary)}"
        )
    if feature not in binary:
        raise unknown(f"{at('gate')}.gate", of, feature, binary)


def _check_guard(guard: GuardPart, study: Study, world: "World", known: "Names", at: Callable[..., str]) -> None:
    """Checks what a guard names, and that there is something to read."""
    when, of = guard.when, f" of world {world.name!r}"
    objects = [g for g in world.goals if g not in world.places]
    layers = make_network(study, world).layers
    asked: list[tuple[str, str, Sequence[str]]] = [
        *((key, f"goal{of}", world.goals) for key in ("goal", "rival")),
        ("edit", f"edit{of}", (*world.goals, *world.edits)),
        ("channel", f"channel{of}", known.channels),
        ("feature", f"feature{of}", known.features),
        ("layer", "layer of the network", layers),
    ]
    for key, kind, names in asked:
        name = when.dimensions.get(key)
        if name is not None and not names:
            raise WrongInput(f"{at(key)} is {name!r}; world {world.name!r} tells no {kind.removesuffix(of)}s")
        if name is not None and name not in names:
            raise unknown(at(key), kind, name, names)
    if when.rival is not None and when.rival == when.goal:
        others = [g for g in world.goals if g != when.goal]
        raise WrongInput(f"{at('rival')} is {when.rival!r}, the goal itself; expected another: {_listed(others)}")
    key, edit = ("edit", when.edit) if when.edit is not None else ("goal", when.goal)
    if when.reading == "total_effect" and edit in world.places:
        why = "a place, which cannot be put in or taken out to see what that does"
        raise WrongInput(f"{at(key)} is {edit!r}, {why}; expected an object: {_listed(objects)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def true_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that are meant in this study."""
    return tuple(study.true or world.true)


def proxy_channels(study: Study, world: "World") -> tuple[str, ...]:
    """The channels that some schedule pays for and that are not meant, in order of appearance."""
    paid = (n for s in study.schedule for _, t in reward_tables(s) for n in t if not n.startswith((SHAPE, APPROACH)))
    return tuple(dict.fromkeys(n for n in paid if n not in true_channels(study, world)))


def world_of(study: Study) -> "World":
    """The world of a study, as its agents see it."""
    from chisel.worlds import load_world

    return load_world(study.world, view=study.view)


def final_params(study: Study) -> dict[str, float]:
    """The numbers of the level distribution at the end of training, under which agents are read."""
    from chisel.build.schedules import curve
    from chisel.worlds.world import defaults

    return {k: float(curve(v)(1.0)) for k, v in (defaults(world_of(study)) | study.world_params).items()}


def levels_vary(study: Study) -> bool:
    """Whether agents may train on other levels than those of `final_params`: by schedule, or by progress."""
    in_time = any(len(set(values(amount))) > 1 for amount in study.world_params.values())
    return in_time or any(situation.world_params for _, situation in study.situations())


def resolve(study: Study) -> Resolved:
    """What training needs: the plan that is compiled, and the schedules as data."""
    from chisel.rewards.schedule import stack_schedules
    from chisel.training.member import Plan

    world = world_of(study)
    wanted = needs(study, world)
    plan = Plan(
        world,
        make_agent(study, world),
        study.training.worlds,
        study.training.rollout,
        shaped=wanted.potentials,
        gates=wanted.gates,
        noisy=wanted.noisy,
        delay=wanted.delay,
    )
    return Resolved(plan, stack_schedules([make_schedule(part, study, world, wanted) for part in study.schedule]))
