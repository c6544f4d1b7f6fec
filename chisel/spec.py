"""Files that people write: TOML read into validated objects, with errors that help.

Every complaint about input is a `WrongInput` whose message names the file, the key, what was found, what was expected
and the nearest valid choice.
"""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class WrongInput(ValueError):
    """Something that a person wrote cannot be used as it is. The message is a whole sentence for that person."""


class Part(BaseModel):
    """A table of a file: immutable, and every key must be known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


P = TypeVar("P", bound=Part)

PACKAGE = Path(__file__).parent


def nearest(found: str, valid: Iterable[str]) -> str:
    """What to suggest for a name that is unknown: the nearest valid names, or all of them.

    >>> nearest("smil", ["smile", "maze"])
    "did you mean 'smile'?"
    >>> nearest("zzz", ["smile", "maze"])
    "known: 'maze', 'smile'"
    """
    valid = sorted(valid)
    close = difflib.get_close_matches(found, valid, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known: {', '.join(repr(v) for v in valid)}" if valid else "there is nothing to choose from"


def unknown(where: str, kind: str, found: str, valid: Iterable[str]) -> WrongInput:
    """The complaint about a name that does not exist."""
    return WrongInput(f"{where}: unknown {kind} {found!r}; {nearest(found, valid)}")


def shipped(folder: str) -> Path:
    """Where the studies (`curricula`) or batteries (`probes`) of chisel itself lie: in the wheel, or the checkout."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def find(name: str, folder: str) -> Path:
    """The file that a user means by a path, or by the bare name of a shipped one.

    Raises:
        WrongInput: there is no such file.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path("."):
        if path.is_file():
            return path
        raise WrongInput(f"{name}: there is no such file")
    known = {p.stem: p for p in sorted(shipped(folder).glob("*.toml"))}
    if name not in known:
        raise WrongInput(f"{name}: neither a .toml file nor one of the shipped {folder}; {nearest(name, known)}")
    return known[name]


def load(path: Path, kind: type[P]) -> P:
    """Reads and validates one file.

    Raises:
        WrongInput: the file is unreadable, no TOML, or does not fit `kind`; every fault is named.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise WrongInput(f"{path}: is not valid TOML: {error}") from error
    return validate(raw, kind, str(path))


def validate(raw: dict[str, Any], kind: type[P], where: str) -> P:
    """Turns a nested dict into `kind`.

    Raises:
        WrongInput: it does not fit; the message has one line per fault.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [_fault(fault, raw, kind) for fault in error.errors()]
        raise WrongInput("\n".join(f"{where}: {line}" for line in dict.fromkeys(lines))) from None


def _fault(fault: Any, raw: Any, kind: type[Part]) -> str:
    loc: Sequence[Any] = fault["loc"]
    key, found = dotted(loc, raw), fault.get("input")
    if fault["type"] == "extra_forbidden":
        fields = _fields(kind, loc[:-1])
        at = f" in {dotted(loc[:-1], raw)}" if len(loc) > 1 else ""
        return f"unknown key {loc[-1]!r}{at}; {nearest(str(loc[-1]), fields)}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    if fault["type"] == "literal_error" and isinstance(found, str):
        choices = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{key} is {found!r}; {nearest(found, choices)}"
    return f"{key} is {found!r}; expected {message}"


def dotted(loc: Sequence[Any], raw: Any = None) -> str:
    """A place in a file as people write it; a schedule is called by its name where it has one.

    >>> dotted(["schedule", 1, "reward"], {"schedule": [{}, {"name": "late"}]})
    "schedule 'late'.reward"
    """
    text = ""
    for part in loc:
        raw = raw[part] if _has(raw, part) else None
        if isinstance(part, int):
            name = raw.get("name") if isinstance(raw, dict) else None
            text += f" {name!r}" if isinstance(name, str) else f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _has(raw: Any, part: Any) -> bool:
    if isinstance(raw, dict):
        return part in raw
    return isinstance(raw, list) and isinstance(part, int) and part < len(raw)


def _fields(kind: Any, loc: Sequence[Any]) -> list[str]:
    """The keys allowed at a place, by walking the models' annotations."""
    for part in loc:
        if isinstance(part, str) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        while (args := getattr(kind, "__args__", None)) and not hasattr(kind, "model_fields"):
            kind = next((a for a in args if hasattr(a, "model_fields") or getattr(a, "__args__", None)), Part)
    return list(getattr(kind, "model_fields", {}))
