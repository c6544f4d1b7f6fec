"""Worlds: environments that also tell the ground truth about themselves. One file each; the contract is in `world`."""

from collections.abc import Callable
from functools import cache

from chisel.study.files import WrongInput, unknown
from chisel.worlds import maze
from chisel.worlds.borrowed import BORROWED, load_borrowed
from chisel.worlds.errands import ERRANDS
from chisel.worlds.gallery import GALLERY
from chisel.worlds.posture import POSTURE
from chisel.worlds.smile import SMILE
from chisel.worlds.vault import VAULT
from chisel.worlds.window import windowed
from chisel.worlds.world import World

WORLDS: dict[str, World] = {
    "smile": SMILE,
    "maze": maze.MAZE,
    "gallery": GALLERY,
    "vault": VAULT,
    "errands": ERRANDS,
    "posture": POSTURE,
}

# Worlds that can also be had otherwise, as NAME:OPTION.
MAKERS: dict[str, Callable[[str], World]] = {"maze": maze.make}


def load_world(name: str, where: str = "world", view: int | None = None) -> World:
    """A world by the name that studies use: `smile`, `pacman`, `gymnax:CartPole-v1`; one object, whoever asks.

    Args:
        where: what to call the place in which the name was found.
        view: cells along one side of the window through which the agent sees its board; None: it sees all.

    Raises:
        WrongInput: there is no such world, its package is not installed, or it has no board.
    """
    try:
        made = _make(name)
    except WrongInput as error:
        raise WrongInput(f"{where}: {error}") from None
    if made is None and name not in WORLDS:
        raise unknown(where, "world", name, known_worlds())
    world = made or WORLDS[name]
    if view is not None and not world.board:
        boards = ", ".join(repr(n) for n, w in WORLDS.items() if w.board)
        raise WrongInput(
            f"{where}: {name!r} has no board that could be seen through a window; expected one of {boards}"
        )
    return world if view is None else _through_window(name, view)


@cache
def _through_window(name: str, view: int) -> World:
    return windowed(load_world(name), view)


@cache
def _make(name: str) -> World | None:
    """A world that has to be made first; None if it is none of those."""
    base, colon, option = name.partition(":")
    if colon and base in MAKERS:
        return MAKERS[base](option)
    if base in BORROWED and bool(colon) == BORROWED[base].family:
        return load_borrowed(base, option)
    return None


def known_worlds() -> list[str]:
    """The names of all worlds, with a family of worlds as `gymnax:NAME`."""
    return [*WORLDS, *(name + ":NAME" if borrowed.family else name for name, borrowed in BORROWED.items())]
