"""What somebody's labels are: truth values, classes or numbers, checked and laid out as one matrix."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from chisel.probing.decoding import Kind, Label
from chisel.probing.given import NUMBER, TRUTH, as_array, is_missing, types_of
from chisel.study.files import nearest

CLASSES = 20  # different whole numbers at most that are taken as classes
EACH = 10  # rows for each of them on average, at least
FEW = 5  # rows of a class in either half, at least, for a score


class LabelWarning(UserWarning):
    """What was assumed of a label, or why it gets no score."""


class Labels(NamedTuple):
    """All labels as one matrix.

    Fields:
        matrix: [n, columns]; a column for each class of a categorical label, one for any other; NaN: does not apply.
        known: what the columns are.
        classes: for each column, the class that is 1 in it; None for numbers.
        assumed: {label: how it was understood}, where that is not what its type says.
        doubtful: those of them of which a warning is due.
    """

    matrix: Float[np.ndarray, "n columns"]
    known: tuple[Label, ...]
    classes: list[Any]
    assumed: dict[str, str]
    doubtful: list[str]

    @property
    def binary(self) -> np.ndarray:
        """Which columns are 0 or 1."""
        return np.repeat([k.kind != "continuous" for k in self.known], [k.end - k.first for k in self.known])


def read_labels(labels: Mapping[str, ArrayLike], kinds: Mapping[str, Kind] | None = None) -> Labels:
    """Truth values are binary, and so is what has two values, the higher of which is the positive class; strings are
    classes; numbers are continuous, but whole numbers are classes where they are few and each is frequent.

    Args:
        kinds: {label: kind} for those that are meant otherwise.

    Raises:
        ValueError: a label is not [n] numbers, truth values or strings, or cannot be of the kind that is asked for.
    """
    if not isinstance(labels, Mapping) or not labels:
        found = "none" if isinstance(labels, Mapping) else f"a {type(labels).__name__}"
        hint = "; give dict(labels.items())" if hasattr(labels, "items") and getattr(labels, "ndim", 0) == 2 else ""
        raise ValueError(f"labels: expected {{feature: [n]}} with one feature or more, found {found}{hint}")
    for name in labels:
        if not isinstance(name, str):
            raise ValueError(f"labels: expected names that are strings, found {name!r}; e.g. {str(name)!r}")
    if kinds is not None and not isinstance(kinds, Mapping):
        raise ValueError(f"kinds: expected {{label: kind}}, found {kinds!r}")
    kinds = dict(kinds or {})
    for name, kind in kinds.items():
        if name not in labels:
            raise ValueError(f"kinds: there is no label {name!r}; {nearest(str(name), map(str, labels))}")
        if kind not in get_args(Kind):
            raise ValueError(f"kinds: expected {name!r} to be one of {', '.join(get_args(Kind))}, found {kind!r}")
    arrays = {name: checked_label(name, values) for name, values in labels.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"labels: expected one length, found {lengths}")
    if min(lengths.values()) < 2:
        raise ValueError(f"labels: expected two rows or more, to fit on and to test on, found {min(lengths.values())}")
    columns: list[np.ndarray] = []
    known, classes, assumed, doubtful = [], [], {}, []
    for name, array in arrays.items():
        kind, why, doubt = (kinds[name], "", False) if name in kinds else _guessed(array)
        if why:
            assumed[name] = why
            doubtful += [name] if doubt else []
        own, of = _columns(name, array, kind)
        known.append(Label(name, len(columns), len(columns) + len(own), kind))
        columns += own
        classes += of
    return Labels(np.stack(columns, 1), tuple(known), classes, assumed, doubtful)


def checked_label(name: str, values: ArrayLike, title: str = "") -> np.ndarray:
    """A label as an array [n] of truth values, numbers or strings.

    Args:
        title: what errors call it.
    """
    title = title or f"label {name!r}"
    # Of a list, NumPy would make strings of numbers and None or NaN among strings.
    listed = isinstance(values, list | tuple)
    array = as_array(title, np.array(values, object) if listed else values)
    if array.ndim != 1:
        hint = "; give each column a name of its own" if array.ndim == 2 else ""
        hint = "; give its only column, values[:, 0]" if array.ndim == 2 and array.shape[1] == 1 else hint
        raise ValueError(f"{title}: expected [n], one value for each row, found the shape {array.shape}{hint}")
    if array.dtype == object:
        array = _of_objects(title, array)
    if array.dtype.kind == "T":  # strings of any length
        array = _of_objects(title, array.astype(object))
    for given, wide in ((jnp.floating, np.float64), (jnp.integer, np.int64)):  # such as bfloat16
        if array.dtype.kind == "V" and jnp.issubdtype(array.dtype, given):
            array = array.astype(wide)
    if array.dtype.kind not in "biufUS":
        raise ValueError(f"{title}: expected truth values, numbers or strings, found {array.dtype}")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise ValueError(
            f"{title}: expected finite numbers, or NaN where it does not apply; "
            f"found {int(np.isinf(array).sum())} infinite ones among {len(array)}"
        )
    return array


def _of_objects(title: str, array: np.ndarray) -> np.ndarray:
    """An array of Python objects as one of strings, truth values or numbers, if they are all that."""
    array = _without_boxes(array)
    missing = np.array([is_missing(one) for one in array], bool)
    none = np.array([gone and not isinstance(one, NUMBER) for one, gone in zip(array, missing, strict=True)], bool)
    if none.any() or (missing.any() and any(isinstance(one, str) for one in array)):
        raise ValueError(
            f"{title}: expected a value for each row, found {int(missing.sum())} of {len(array)} that are None "
            "or NaN among other values; numbers may be NaN where a label does not apply, otherwise leave those rows out"
        )
    for types, dtype in ((str, str), (TRUTH, bool), ((int, np.integer), int), (NUMBER, float)):
        if all(isinstance(one, types) for one in array):
            with contextlib.suppress(OverflowError):  # whole numbers of more than 64 bits
                return array.astype(dtype)
    found = " and ".join(types_of(array.tolist()))
    raise ValueError(f"{title}: expected truth values, numbers or strings, found {found}")


def _without_boxes(array: np.ndarray) -> np.ndarray:
    """Values that are arrays of no dimension, as a list of losses is, taken out of them."""
    boxed = [not isinstance(one, np.generic) and getattr(one, "shape", None) == () for one in array]
    if any(boxed):
        array = array.copy()
        array[boxed] = [one.item() for one in array[boxed]]
    return array


def _guessed(array: np.ndarray) -> tuple[Kind, str, bool]:
    """The kind of a label, what is assumed by that, and whether somebody might well have meant another."""
    if array.dtype == bool:
        return "binary", "", False
    if array.dtype.kind in "US":
        return "categorical", "", False
    values = np.unique(array[~np.isnan(array)])
    if len(values) and np.isin(values, (0, 1)).all():
        return "binary", "0 and 1 are taken for truth values (binary)", False
    if len(values) == 2:
        return "binary", f"two values, {values[1]:g} taken for the positive class (binary)", True
    often = len(values) <= CLASSES and len(array) >= EACH * len(values)
    if array.dtype.kind == "f":
        if len(values) > 2 and often and (values == np.round(values)).all():
            why = f"whole numbers in floating point, {len(values)} different ones, taken for numbers (continuous)"
            return "continuous", why, True  # classes that do not apply everywhere look like this
        return "continuous", "", False
    if not often:
        return "continuous", f"whole numbers, {len(values)} different ones, taken for numbers (continuous)", True
    return "categorical", f"whole numbers, {len(values)} different ones, taken for classes (categorical)", True


def _columns(name: str, array: np.ndarray, kind: Kind) -> tuple[list[np.ndarray], list[Any]]:
    """The columns of a label, and the class that is 1 in each."""
    words = array.dtype.kind in "US"
    if kind == "continuous":
        if words:
            raise ValueError(f"label {name!r}: kinds says continuous, expected numbers, found strings")
        return [array.astype(np.float64)], [None]
    gone = np.zeros(len(array), bool) if array.dtype.kind != "f" else np.isnan(array)
    values = np.unique(array[~gone])
    if kind == "binary":
        truth = not words and bool(np.isin(values, (0, 1)).all())
        if len(values) > 2 or (len(values) < 2 and not truth):
            raise ValueError(f"label {name!r}: expected two values of what is binary, found {len(values)}")
        values = np.ones(1, array.dtype) if truth else values[1:]
    if len(values) > max(CLASSES, len(array) / 2):
        hint = "; they are numbers: give values.astype(float)" if words and _all_numbers(values) else ""
        raise ValueError(
            f"label {name!r}: expected classes that many rows share, found {len(values):,} different ones in "
            f"{len(array):,} rows{hint}"
        )
    if not len(values):
        return [np.full(len(array), np.nan)], [None]
    found = [np.where(gone, np.nan, array == one) for one in values]
    return found, [one.item() for one in values]


def _all_numbers(words: np.ndarray) -> bool:
    """Whether strings are numbers, all of them."""
    try:
        return bool(words.astype(float).size)
    except ValueError:
        return False


def unscored(labels: Labels, fitted: np.ndarray, tested: np.ndarray) -> tuple[dict[str, str], dict[str, str]]:
    """Labels that cannot be scored, and those whose score is doubtful, with the reasons.

    Args:
        fitted, tested: indices of rows.
    """
    none, doubtful = {}, {}
    for label in labels.known:
        y = labels.matrix[:, label.first : label.end]
        if label.kind == "continuous":
            if why := _constant(y[:, 0], fitted, tested):
                none[label.name] = why
            continue
        if label.kind == "binary":
            y = np.stack([y[:, 0], 1 - y[:, 0]], 1)
        counts = np.array([np.sum(y[rows] == 1, 0) for rows in (fitted, tested)])
        enough = (counts >= FEW).all(0)
        rarest = np.argmin(counts.min(0))
        if enough.sum() < 2:
            if np.sum(counts.sum(0) > 0) < 2:
                none[label.name] = "constant: all rows are of one class"
                continue
            none[label.name] = (
                f"too few rows of a class: of the rarest {counts[0, rarest]} are fitted on and {counts[1, rarest]} "
                f"tested; expected {FEW} of each"
            )
        elif not enough.all():
            rare = [labels.classes[label.first + i] for i in np.flatnonzero(~enough)]
            doubtful[label.name] = f"fewer than {FEW} rows in a half of the classes {rare}"
    return none, doubtful


def _constant(y: np.ndarray, fitted: np.ndarray, tested: np.ndarray) -> str:
    """Why numbers cannot be scored; empty if they can."""
    for rows, what in ((fitted, "fitted on"), (tested, "tested")):
        known = y[rows][~np.isnan(y[rows])]
        if len(known) < 2 * FEW:
            return f"too few rows: {len(known)} of those {what} have a number; expected {2 * FEW} or more"
        with np.errstate(over="ignore"):
            spread = np.ptp(known)
        if spread <= 4 * np.finfo(float).eps * np.abs(known).max():
            return f"constant: {known[0]:g} in all rows that are {what}"
    return ""


class Unit(NamedTuple):
    """Centre and scale of each column of labels: numbers are (y − centre) / scale while they are fitted."""

    centre: Float[np.ndarray, " columns"]
    scale: Float[np.ndarray, " columns"]


def unit_of(labels: Labels, fitted: np.ndarray) -> Unit:
    """Mean and standard deviation of numbers in the rows that are fitted on; 0 and 1 of classes."""
    count = labels.matrix.shape[1]
    centre, scale = np.zeros(count), np.ones(count)
    for i in np.flatnonzero(~labels.binary):
        known = labels.matrix[fitted, i]
        known = known[~np.isnan(known)]
        if len(known):
            largest = np.abs(known).max() or 1.0  # so that no square overflows
            centre[i] = np.mean(known / largest) * largest
            scale[i] = np.std(known / largest - centre[i] / largest) * largest or 1.0
    return Unit(centre, scale)
