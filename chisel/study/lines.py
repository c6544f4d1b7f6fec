"""Where in a TOML text something stands."""

import bisect
import re
import tomllib
from collections.abc import Sequence
from typing import Any

Loc = Sequence[str | int]  # a place in a file: the keys and indices on the way to it
TOKENS = re.compile(  # of TOML, as far as needed to tell which brackets and strings are open
    r"""#[^\n]*|"{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[][{}\n]""", re.DOTALL
)


def line_of(text: str, loc: Loc) -> int | None:
    """The line (from 1) of a TOML text at which a place stands, or else the nearest place around it that exists.

    tomllib tells no positions. But the place is in the first n lines if these, with what they leave open closed, parse
    to something that has it; the smallest such n is found by bisection.

    Returns:
        None if not even the first part of `loc` is there, or the text is no TOML.

    >>> line_of("[tree]\\nleaves = [\\n  1,\\n  2,\\n]", ["tree", "leaves", 1])
    4
    """
    lines = text.split("\n")  # not splitlines, which parts lines where TOML does not
    try:
        ends = _closings(text + "\n")
        known = _depth(tomllib.loads(text), loc)

        def depth(n: int) -> int:
            return _depth(tomllib.loads("\n".join([*lines[:n], ends[n - 1]])), loc)

        return bisect.bisect_left(range(1, len(lines) + 1), known, key=depth) + 1 if known else None
    except (tomllib.TOMLDecodeError, IndexError):
        return None


def _closings(text: str) -> list[str]:
    """For every line, what must follow it to close the strings, arrays and inline tables that are open at its end."""
    ends: list[str] = []
    closing = ""
    for token in TOKENS.findall(text):
        if token in ("[", "{"):
            closing = {"[": "]", "{": "}"}[token] + closing
        elif token in ("]", "}"):
            closing = closing[1:]
        elif token == "\n":
            ends.append(closing)
        else:
            ends += [token[:3] + closing] * token.count("\n")
    return ends


def _depth(raw: Any, loc: Loc) -> int:
    """How many parts of a place exist."""
    for i, part in enumerate(loc):
        if not has(raw, part):
            return i
        raw = raw[part]
    return len(loc)


def has(raw: Any, part: Any) -> bool:
    """Whether a key or an index is there."""
    if isinstance(raw, dict):
        return part in raw
    return isinstance(raw, list) and isinstance(part, int) and 0 <= part < len(raw)
