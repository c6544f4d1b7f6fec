"""Adapters to environments that others have made. Their packages are the optional extra `worlds`.

A borrowed world knows no paths to its goals and cannot have objects put in or taken out, so that readings which need
that leave it out. One file each, imported when it is asked for; `BORROWED` says what there is without importing any.
"""

from importlib import import_module
from typing import NamedTuple

from chisel.study.files import WrongInput
from chisel.worlds.world import World


class Borrowed(NamedTuple):
    """A borrowed world before it is loaded.

    Fields:
        summary, true: as in `World`.
        package: what has to be installed.
        family: the world is a family, and `NAME:MEMBER` is one of it.
    """

    summary: str
    true: tuple[str, ...]
    package: str
    family: bool = False


BORROWED = {
    "pacman": Borrowed("eat pellets in a maze of ghosts, seen from close by", ("score",), "jumanji"),
    "chess": Borrowed("Gardner's 5×5 chess against itself: does it want the win, or the queen?", ("win",), "pgx"),
    "craftax": Borrowed("survive and craft; every achievement is a channel", ("all",), "craftax"),
    "gymnax": Borrowed("any environment of gymnax, as gymnax:NAME", ("reward",), "gymnax", family=True),
}


def load_borrowed(name: str, member: str = "") -> World:
    """A borrowed world, or the member of a borrowed family.

    Raises:
        WrongInput: its package is not installed, or the family has no such member.
    """
    package = BORROWED[name].package
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        raise WrongInput(
            f"{name!r} needs the package {error.name}, which is not installed; "
            "`pip install 'chisel-rl[worlds]'` brings what borrowed worlds need"
        ) from None
    make = import_module(f"{__name__}.{name}").make
    return make(member) if BORROWED[name].family else make()
