"""Files that people write: TOML read into validated objects, with errors that help.

Every complaint about input is a `WrongInput` whose message names the file, the key, what was found, what was expected
and the nearest valid choice, and the line where there is a file.
"""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Tag, ValidationError
from pydantic_core import PydanticCustomError

from chisel.study.lines import Loc, has, line_of


class WrongInput(ValueError):
    """Something that a person wrote cannot be used as it is. The message is a whole sentence for that person."""


class Part(BaseModel):
    """A table of a file: immutable, and every key must be known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


P = TypeVar("P", bound=Part)

PACKAGE = Path(__file__).parents[1]
FAULT = "fault"  # pydantic's name for the type of what `fault` makes


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
    if _is_path(path):
        if path.is_file():
            return path
        raise WrongInput(f"{name}: there is no such file")
    known = {p.stem: p for p in sorted(shipped(folder).glob("*.toml"))}
    if name not in known:
        raise WrongInput(f"{name}: neither a .toml file nor one of the shipped {folder}; {nearest(name, known)}")
    return known[name]


def _is_path(path: Path) -> bool:
    return path.suffix == ".toml" or path.parent != Path(".")


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
        text = _text(where)
        lines = [_fault(fault, raw, kind, where, text) for fault in error.errors()]
        raise WrongInput("\n".join(dict.fromkeys(lines))) from None


def fault(message: str, *loc: str | int) -> Exception:
    """What a validator of a `Part` raises to complain about a place inside that part, as seen from it."""
    # The template is filled in one key after the other, the message last: so its own braces survive.
    return PydanticCustomError(FAULT, "{message}", {"loc": loc, "message": message})


def _fault(fault: Any, raw: Any, kind: type[Part], where: str, text: str | None) -> str:
    extra = fault["type"] == "extra_forbidden"
    parent = fault["loc"][: -1 if extra else None]
    found = list(_follow(kind, parent))
    loc = next((place for end, place in found if end is not None), found[0][1])
    if extra:
        fields = sorted({name for end, _ in found for name in getattr(end, "model_fields", ())})
        key = fault["loc"][-1]
        at = f" in {dotted(loc, raw)}" if loc else ""
        return f"{_begin(where, text, (*loc, key))}: unknown key {key!r}{at}; {nearest(str(key), fields)}"
    if fault["type"] == FAULT:
        loc = (*loc, *fault["ctx"]["loc"])
    return f"{_begin(where, text, loc)}: {_sentence(fault, dotted(loc, raw))}"


def _sentence(fault: Any, key: str) -> str:
    found = fault.get("input")
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "union_tag_invalid":  # told by a key, after which the discriminator is called
        tag, choices = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        told_by = fault["ctx"]["discriminator"].removesuffix("()").strip("'")
        return f"{key}.{told_by} is {tag!r}; {nearest(str(tag), choices)}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if fault["type"] in ("value_error", FAULT):
        return f"{key}: {message}" if key else message
    if fault["type"] == "literal_error" and isinstance(found, str):
        choices = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{key} is {found!r}; {nearest(found, choices)}"
    return f"{key} is {found!r}; expected {message}"


def place(where: str, loc: Loc, raw: Any = None, key: str | None = None) -> str:
    """How a complaint begins: `mine.toml, line 12: schedule 'late'.reward`, or without a line where it is not known.

    Args:
        where: the path of the file, or in words what was read.
        raw: what stands in the file, for the names of schedules.
        key: a key at `loc` that the complaint itself will name; the line is its line.
    """
    at = loc if key is None else [*loc, key]
    return f"{_begin(where, _text(where), at)}: {dotted(loc, raw)}" if at else where


def _begin(where: str, text: str | None, loc: Loc) -> str:
    line = None if text is None else line_of(text, loc)
    return where if line is None else f"{where}, line {line}"


def _text(where: str) -> str | None:
    """The file that a complaint is about; None if there is none (an option, a study made in Python)."""
    path = Path(where)
    try:
        return path.read_text(encoding="utf-8") if _is_path(path) else None
    except (OSError, ValueError):
        return None


def dotted(loc: Sequence[Any], raw: Any = None) -> str:
    """A place in a file as people write it; a schedule is called by its name where it has one.

    >>> dotted(["schedule", 1, "reward"], {"schedule": [{}, {"name": "late"}]})
    "schedule 'late'.reward"
    """
    text = ""
    for part in loc:
        raw = raw[part] if has(raw, part) else None
        if isinstance(part, int):
            name = raw.get("name") if isinstance(raw, dict) else None
            text += f" {name!r}" if isinstance(name, str) else f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _follow(kind: Any, loc: Sequence[Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """What may stand at a place that pydantic names, and the place as people write it.

    Pydantic puts a tag, or the name of a type, into a place for the member of a union that it tried. Only the
    annotations can tell it from a key: a member tagged `channel` may well have a key `channel`.

    Yields:
        For every member that the tag may mean: the annotation (None if none is known), and the place without tags.
    """
    if get_origin(kind) is Annotated:
        yield from _follow(get_args(kind)[0], loc)
    elif get_origin(kind) in (Union, UnionType):
        members = [m for m in get_args(kind) if m is not NoneType]
        if len(members) > 1 and loc:  # `X | None` gets no tag
            members, loc = [m for m in members if loc[0] in _tags(m)] or members, loc[1:]
        for member in members:
            yield from _follow(member, loc)
    elif not loc:
        yield kind, ()
    else:
        for end, rest in _follow(_inside(kind, loc[0]), loc[1:]):
            yield end, (loc[0], *rest)


def _tags(member: Any) -> set[Any]:
    """What pydantic may call a member of a union: by its `Tag`, its name, or the literal that it is told by."""
    kind, *others = get_args(member) if get_origin(member) is Annotated else (member,)
    fields = getattr(kind, "model_fields", {}).values()
    literals = {v for f in fields if get_origin(f.annotation) is Literal for v in get_args(f.annotation)}
    return {o.tag for o in others if isinstance(o, Tag)} | {getattr(kind, "__name__", None)} | literals


def _inside(kind: Any, part: Any) -> Any:
    """The annotation of a field of a model, a value of a dict, or an item of a list or tuple; None if none is known."""
    if hasattr(kind, "model_fields"):
        return kind.model_fields[part].annotation if part in kind.model_fields else None
    args = [a for a in get_args(kind) if a is not ...]
    return (args[part] if isinstance(part, int) and part < len(args) else args[-1]) if args else None
