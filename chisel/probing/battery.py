"""The battery: what to read from every checkpoint."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from chisel.agents.networks import Network
from chisel.spec import Part, find, load, unknown
from chisel.worlds.world import World, names


class BankPart(Part):
    """The states on which everything is read."""

    layouts: int = Field(2048, ge=16, multiple_of=2, description="half of them fitted on, half tested")
    seed: int = Field(0, ge=0)
    burn_in: int = Field(3, ge=0, description="times that an agent with memory looks at a state before it is read")


class DecodePart(Part):
    """Linear probes."""

    features: Literal["all"] | list[str] = "all"
    layers: Literal["all"] | list[str] = "all"
    l2: float = Field(1e-2, gt=0)


class ChoicePart(Part):
    """Two-goal levels."""

    layouts: int = Field(64, ge=2, multiple_of=2, description="levels for every pair of goals, half of them exchanged")


class ReturnsPart(Part):
    """Evaluation episodes."""

    episodes: int = Field(128, ge=1, description="episodes on training levels, and as many on decorrelated ones")


class Battery(Part):
    """What to read from every checkpoint of every member."""

    bank: BankPart = BankPart()
    decode: DecodePart = DecodePart()
    choice: ChoicePart = ChoicePart()
    returns: ReturnsPart = ReturnsPart()


def load_battery(name: str) -> tuple[Battery, Path]:
    """A battery by path, or by the bare name of a shipped one; and where it was found.

    Raises:
        WrongInput: there is no such battery, or it cannot be used as it is.
    """
    path = find(name, "probes")
    return load(path, Battery), path


def check_battery(battery: Battery, where: str, world: World, network: Network) -> None:
    """Checks the names in a battery.

    Raises:
        WrongInput: a feature or layer is named that the world or the network does not have.
    """
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
    if not world.goals:
        missing = dict.fromkeys(("bid", "total_effect", "choice"), "the world names no goals")
    else:
        missing = {} if world.shortens else {"bid": "no paths to goals are known"}
        if not (world.present and world.shortens):
            missing["total_effect"] = "objects cannot be put in or taken out"
        if not world.contest:
            missing["choice"] = "levels with two goals cannot be made"
    return missing if names(world).features else missing | {"score": "the world tells no features"}
