"""A battery against its world and network: what it names must be there, and what cannot be read is left out."""

import runpy
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from chisel.agents.networks import Network
from chisel.study.battery import NEEDS, Battery
from chisel.study.files import WrongInput, nearest, place, unknown
from chisel.worlds.world import Facts, State, World, check_params, names


def with_functions(world: World, battery: Battery, where: Path) -> World:
    """A world that also tells the features of a battery's Python files.

    Args:
        where: the battery's file.

    Raises:
        WrongInput: a file is missing or cannot be run, has no function `features`, or tells what the world tells.
    """
    for name in battery.decode.functions:
        path, at = where.parent / name, f"{where}: decode.functions: {name!r}"
        if not path.is_file():
            near = sorted(p.name for p in where.parent.glob("*.py"))
            raise WrongInput(f"{at}: there is no such file beside the battery; {nearest(name, near)}")
        try:
            more = runpy.run_path(str(path)).get("features")
        except Exception as error:
            raise WrongInput(f"{at} cannot be run: {type(error).__name__}: {error}") from error
        if not callable(more):
            raise WrongInput(f"{at}: expected a function `features(state)`, found none")
        world = _telling(world, more, at)
    return world


def _telling(world: World, more: Callable[[State], Facts], at: str) -> World:
    state = jax.eval_shape(world.scatter, jax.eval_shape(lambda: jax.random.key(0)))
    try:
        told = jax.eval_shape(more, state)
    except Exception as error:
        raise WrongInput(f"{at} does not fit world {world.name!r}: {type(error).__name__}: {error}") from error
    for name, fact in told.items():
        if name in names(world).features:
            raise WrongInput(f"{at}: {name!r} is told by world {world.name!r} already; expected another name")
        if fact.shape != () or fact.dtype not in (np.bool_, np.float32):
            found = f"{fact.dtype}{list(fact.shape)}"
            raise WrongInput(f"{at}: {name!r} is {found}; expected one truth value or one float32 number")
    own = world.features
    return world._replace(features=lambda state: {**own(state), **more(state)})


def check_battery(battery: Battery, where: str, world: World, network: Network) -> None:
    """Checks the names in a battery, and that parameters of levels are within their bounds.

    Raises:
        WrongInput: a feature, layer or parameter is named that the world or the network does not have, or a parameter
            is out of its bounds.
    """
    raw = battery.model_dump()
    for name, params in battery.levels.items():
        check_params(params, world, lambda key=None, name=name: place(where, ["levels", name], raw, key))
    asked = (
        ("features", "feature", battery.decode.features, names(world).features),
        ("layers", "layer", battery.decode.layers, network.layers),
    )
    for key, kind, chosen, known in asked:
        for name in () if chosen == "all" else chosen:
            if name not in known:
                raise unknown(f"{where}: decode.{key}", kind, name, known)


def left_out(world: World) -> dict[str, str]:
    """The readings that a world does not allow, and why.

    >>> from chisel.worlds import WORLDS
    >>> left_out(WORLDS["smile"])
    {}
    """
    missing: dict[str, str] = {}
    if not world.goals:
        missing = dict.fromkeys(("bid", "total_effect", "choice"), "the world names no goals")
    else:
        missing = {} if world.shortens else {"bid": "no paths to goals are known"}
        if not (world.present and world.shortens):
            missing["total_effect"] = "objects cannot be put in or taken out"
        if not world.contest:
            missing["choice"] = "levels with two goals cannot be made"
    if not names(world).features:
        missing |= dict.fromkeys(("score", "mediated", "erasure", "steering"), "the world tells no features")
    return missing | {reading: missing[need] for reading, need in NEEDS.items() if need in missing}
