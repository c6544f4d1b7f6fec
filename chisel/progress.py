"""How far long work is, told to whoever wants to know."""

from collections.abc import Callable
from typing import NamedTuple


class News(NamedTuple):
    """How far a long piece of work is.

    Fields:
        stage: `compiling`, `training`, `reading`, `drawing`; or `note`, for a sentence that a person should see.
        done, total: in `unit`; both 0 where it cannot be known.
        text: the sentence, or what is being compiled.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    text: str = ""


Tell = Callable[[News], None]


def silent(news: News) -> None:
    """Tells nobody."""
