"""The battery: what to read from every checkpoint."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args

import jax
import numpy as np
from pydantic import Field, model_validator

from chisel.agents.networks import Network
from chisel.probing.defaults import L2, NULLS, STATES, STRENGTHS
from chisel.resolve import check_params
from chisel.spec import Part, WrongInput, fault, find, load, nearest, place, unknown
from chisel.worlds.world import Facts, State, World, names


class BankPart(Part):
    """The states on which everything is read."""

    layouts: int = Field(2048, ge=16, multiple_of=2, description="half of them fitted on, half tested")
    seed: int = Field(0, ge=0)
    burn_in: int = Field(3, ge=0, description="times that an agent with memory looks at a state before it is read")


class DecodePart(Part):
    """Linear probes."""

    features: Literal["all"] | list[str] = "all"
    layers: Literal["all"] | list[str] = "all"
    l2: float = Field(L2, gt=0)
    functions: list[str] = Field(
        [], description="Python files beside this one, each with `features(state) -> {name: truth value or number}`"
    )


class InfluencePart(Part):
    """Edits, interventions, and the nulls that they are held against."""

    states: int = Field(
        STATES, ge=8, description="test layouts on which nulls are drawn, and all that is held against them"
    )
    nulls: int = Field(NULLS, ge=19, description="draws of every null; p values are at least 1 / (draws + 1)")


class SteeringPart(Part):
    """Moving activations along what a layer holds of a feature."""

    strengths: tuple[float, ...] = Field(
        STRENGTHS, min_length=1, description="in units of what the feature itself does"
    )


class ChoicePart(Part):
    """Two-goal levels."""

    layouts: int = Field(64, ge=2, multiple_of=2, description="levels for every pair of goals, half of them exchanged")


class ReturnsPart(Part):
    """Evaluation episodes."""

    episodes: int = Field(128, ge=1, description="episodes on the levels of every distribution")


Reading = Literal[
    "score", "selectivity", "description_length", "transfer",
    "bid", "total_effect", "gating", "mediated", "erasure", "steering",
    "choice", "utility", "returns",
]  # fmt: skip
READINGS: tuple[Reading, ...] = get_args(Reading)
NEEDS: dict[str, Reading] = {  # what another reading is made from
    "selectivity": "score",
    "description_length": "score",
    "transfer": "score",
    "gating": "total_effect",
    "mediated": "total_effect",
    "erasure": "total_effect",
    "steering": "total_effect",
    "utility": "choice",
}
COSTLY = ("description_length", "transfer", "erasure", "steering")

# The distributions of levels that every battery plays, and what they are.
LEVELS = {
    "training": "levels as the schedule in force deals them to the member at the checkpoint",
    "study": "levels of the study's own world_params at the end of training, the same for all schedules",
    "decorrelated": "levels in which everything is there or not, and lies anywhere, independently",
}


class Battery(Part):
    """What to read from every checkpoint of every member."""

    readings: list[Reading] = Field(
        default_factory=lambda: [reading for reading in READINGS if reading not in COSTLY],
        min_length=1,
        description="what to read; verdicts are told where score, total_effect and mediated are",
    )
    bank: BankPart = BankPart()
    decode: DecodePart = DecodePart()
    influence: InfluencePart = InfluencePart()
    steering: SteeringPart = SteeringPart()
    choice: ChoicePart = ChoicePart()
    returns: ReturnsPart = ReturnsPart()
    levels: dict[str, Annotated[dict[str, float], Field(min_length=1)]] = Field(
        {}, description="more distributions of levels by name, each some world_params; the rest is as in the study"
    )

    @model_validator(mode="after")
    def _levels_are_new(self) -> "Battery":
        for name in self.levels:
            if name in LEVELS:
                raise fault(f"every battery plays these already ({LEVELS[name]}); choose another name", "levels", name)
        return self

    @property
    def distributions(self) -> dict[str, str]:
        """All distributions of levels that returns are read on, and what each is."""
        told = {
            name: ", ".join(f"{key} = {value:g}" for key, value in params.items())
            for name, params in self.levels.items()
        }
        return LEVELS | {name: f"levels with {text}, the rest as in `study`" for name, text in told.items()}

    @property
    def asked(self) -> tuple[str, ...]:
        """What is read, what it is made from included; returns always."""
        wanted = {"returns", *self.readings, *(NEEDS[reading] for reading in self.readings if reading in NEEDS)}
        return tuple(reading for reading in READINGS if reading in wanted)


def load_battery(name: str) -> tuple[Battery, Path]:
    """A battery by path, or by the bare name of a shipped one; and where it was found.

    Raises:
        WrongInput: there is no such battery, or it cannot be used as it is.
    """
    path = find(name, "probes")
    return load(path, Battery), path


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
