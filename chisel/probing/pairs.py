"""What `influence` is given beside a policy, as arrays, and whether it fits together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from chisel.probing.given import as_array, as_numbers, described
from chisel.probing.labels import checked_label


class Pair(NamedTuple):
    """The same states with something put in, and taken out.

    Fields:
        put_in, taken_out: [n, …] observations.
        toward: [n, goals, actions], the actions that lead to each goal, where it is put in.
        features_in, features_out: {feature: [n]}, the truth about both; the features of `influence`.
    """

    put_in: ArrayLike
    taken_out: ArrayLike
    toward: ArrayLike
    features_in: Mapping[str, ArrayLike]
    features_out: Mapping[str, ArrayLike]


class States(NamedTuple):
    """All that was given, as arrays: of the same features in the same order, and of equal lengths."""

    observations: np.ndarray
    features: dict[str, np.ndarray]
    toward: Bool[np.ndarray, "n goals actions"]
    pairs: dict[str, Pair]


def checked_states(
    observations: ArrayLike,
    features: Mapping[str, ArrayLike],
    toward: ArrayLike,
    pairs: Mapping[str, Pair],
    goals: Sequence[str],
) -> States:
    """Refuses what does not fit together, or is not finite."""
    for title, given, form in (("features", features, "{feature: [n]}"), ("pairs", pairs, "{edit: Pair}")):
        if not isinstance(given, Mapping) or not given:
            found = "none" if isinstance(given, Mapping) else described(given)
            raise ValueError(f"{title}: expected {form} with one {form[1:].split(':')[0]} or more, found {found}")
    names_of("goals", goals)
    seen = _observations("observations", observations)
    if len(seen) < 2:
        raise ValueError(f"observations: expected two rows or more, found the shape {seen.shape}")
    facts = _facts("feature", features, list(features), len(seen), "as observations")
    leads = _truth("toward", toward)
    if leads.shape[:1] != (len(seen),):
        raise ValueError(f"toward: expected {len(seen)} rows, as many as observations, found the shape {leads.shape}")
    if leads.ndim != 3 or leads.shape[1] != len(goals):
        raise ValueError(
            f"toward: expected [n, goals, actions] of the goals {list(goals)}, found the shape {leads.shape}"
        )
    own: dict[str, Pair] = {}
    for edit, pair in pairs.items():
        rows = len(next(iter(own.values())).put_in) if own else None  # type: ignore[arg-type]
        own[edit] = _pair(edit, pair, list(features), rows, seen.shape[1:], leads.shape[1:])
    return States(seen, facts, leads, own)


def names_of(title: str, names: Any) -> tuple[str, ...]:
    """Names, each once. A string would be taken for its letters."""
    if isinstance(names, str):
        raise ValueError(f"{title}: expected a list of names, found {names!r}; give [{names!r}]")
    found = tuple(names)
    twice = sorted({str(name) for name in found if found.count(name) > 1})
    if twice:
        raise ValueError(f"{title}: expected each name once, found {', '.join(map(repr, twice))} twice")
    return found


def _pair(
    edit: str, pair: Any, names: list[str], rows: int | None, row: tuple[int, ...], leads: tuple[int, ...]
) -> Pair:
    """One pair, which has `rows` rows (any number, of the first one)."""
    title = f"pair {edit!r}"
    if not isinstance(pair, Pair):
        raise ValueError(f"{title}: expected a Pair, found {described(pair)}")
    put_in = _observations(f"{title}, put_in", pair.put_in)
    rows = len(put_in) if rows is None else rows
    if not rows:
        raise ValueError(f"{title}, put_in: expected one row or more, found the shape {put_in.shape}")
    taken_out = _observations(f"{title}, taken_out", pair.taken_out)
    toward = _truth(f"{title}, toward", pair.toward)
    for part, values, form in (("put_in", put_in, row), ("taken_out", taken_out, row), ("toward", toward, leads)):
        if values.shape[:1] != (rows,):
            raise ValueError(f"{title}, {part}: expected {rows} rows, found the shape {values.shape}")
        if values.shape[1:] != form:
            whole = "as the whole has" if part == "toward" else "as observations have"
            raise ValueError(f"{title}, {part}: expected rows of the shape {form}, {whole}, found {values.shape[1:]}")
    for told in (pair.features_in, pair.features_out):
        found = list(told) if isinstance(told, Mapping) else described(told)
        if not isinstance(told, Mapping) or set(told) != set(names):
            raise ValueError(f"{title}: expected the features {names}, found {found}")
    facts_in = _facts(f"{title}, features_in", pair.features_in, names, rows, "as put_in")
    facts_out = _facts(f"{title}, features_out", pair.features_out, names, rows, "as put_in")
    return Pair(put_in, taken_out, toward, facts_in, facts_out)


def _facts(title: str, told: Mapping[str, ArrayLike], names: list[str], rows: int, like: str) -> dict[str, np.ndarray]:
    """Features in the order of `names`."""
    found = {}
    for name in names:
        values = checked_label(name, told[name], f"{title} {name!r}")
        if values.dtype.kind in "US":
            raise ValueError(f"{title} {name!r}: expected truth values or numbers, found strings; make each class one")
        if len(values) != rows:
            raise ValueError(f"{title} {name!r}: expected {rows} rows, as many {like}, found the shape {values.shape}")
        found[name] = values
    return found


def _observations(title: str, values: ArrayLike) -> np.ndarray:
    seen = as_numbers(title, values)
    wrong = ~np.isfinite(seen)
    if wrong.any():
        raise ValueError(f"{title}: {int(wrong.sum()):,} of {wrong.size:,} numbers are not finite (NaN or infinite)")
    return seen


def _truth(title: str, values: ArrayLike) -> Bool[np.ndarray, "..."]:
    array = as_array(title, values)
    if array.dtype == bool or (array.dtype.kind in "iuf" and np.isin(array, (0, 1)).all()):
        return array.astype(bool)
    raise ValueError(f"{title}: expected truth values (or 0 and 1), found others, of {array.dtype}")
