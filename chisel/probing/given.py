"""Whatever somebody gives for an array or a name, as an array or a name; refused where that would lose something."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

TRUTH = (bool, np.bool_)
NUMBER = (int, float, np.number, *TRUTH)


def as_array(title: str, values: ArrayLike) -> np.ndarray:
    """An array of one dimension or more, of the type that was given.

    Args:
        title: what an error calls it.

    Raises:
        ValueError: it cannot be made an array, its rows differ in length, or values are masked: NumPy would go on with
            whatever lies below the mask.
    """
    if isinstance(values, np.ma.MaskedArray):
        hidden = int(np.ma.getmaskarray(values).sum())
        if hidden:
            raise ValueError(
                f"{title}: expected a value everywhere, found {hidden:,} of {values.size:,} masked; leave those rows "
                "out, or for a label that does not apply there give values.astype(float).filled(numpy.nan)"
            )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{title}: expected an array, found {described(values)} that NumPy cannot take ({error}); "
            "of PyTorch, give x.detach().float().cpu().numpy()"
        ) from error
    if array.ndim == 0:
        hint = "; give its .numpy()" if hasattr(values, "numpy") else ""
        hint = "; give a list of it" if hasattr(values, "__next__") else hint
        raise ValueError(f"{title}: expected an array with a row for each state, found {described(values)}{hint}")
    return array


def as_numbers(title: str, values: ArrayLike) -> np.ndarray:
    """An array of numbers or truth values, of any type of them.

    Raises:
        ValueError: as `as_array`, or something else is among them.
    """
    array = as_array(title, values)
    if array.dtype == object and array.size:  # as of a pandas frame whose columns differ in type
        strange = [one for one in array.flat if not isinstance(one, NUMBER)]
        if strange:
            raise ValueError(
                f"{title}: expected numbers, found {len(strange):,} of {array.size:,} that are of the type "
                f"{' or '.join(types_of(strange))}"
            )
        return array.astype(np.float64)
    if array.dtype.kind == "m" or not any(
        jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)
    ):
        raise ValueError(f"{title}: expected numbers, found {array.dtype}")
    return array


def types_of(values: Sequence[Any]) -> list[str]:
    """The names of their types, each once."""
    return sorted({type(one).__name__ for one in values})


def described(thing: Any) -> str:
    """What an error calls something that was not expected."""
    shape = getattr(thing, "shape", None)
    return f"a {type(thing).__name__}" + ("" if shape is None else f" of the shape {tuple(shape)}")


def is_missing(one: Any) -> bool:
    """Whether it is None, NaN, or the NA or NaT of pandas."""
    try:
        return one is None or bool(one != one)
    except TypeError:  # NA, which does not say whether it differs from itself
        return True
    except ValueError:  # an array
        return False


def as_name(title: str, name: Any) -> Any:
    """The name of a checkpoint: a string, a number or a date.

    Raises:
        ValueError: it is something else, or NaN.
    """
    if not isinstance(name, np.generic) and getattr(name, "shape", None) == () and hasattr(name, "item"):
        name = name.item()  # a step that is an array of no dimension
    if isinstance(name, (str, int, float, np.number, datetime.date, np.datetime64)) and name == name:
        return name
    raise ValueError(f"{title}: expected a string or a number for its name, found {name!r}")


def check_alike(title: str, name: Any, first: Any) -> None:
    """Refuses numbers among strings for names: NumPy would make them strings, and they could not be found again."""
    if isinstance(name, str) != isinstance(first, str):
        raise ValueError(
            f"{title}: expected names that are all strings or all numbers, found {name!r} beside {first!r}; "
            "make them all strings"
        )


def check_arrays(title: str, values: Any) -> None:
    """Refuses what is no mapping of names to arrays, such as an array alone; nothing at all is one."""
    if values is not None and not isinstance(values, Mapping):
        raise ValueError(f"{title}: expected {{name: [n, …]}}, found {described(values)}; e.g. {{'input': x}}")


def check_penalty(title: str, value: Any) -> float | None:
    """A penalty: a number from 0 on, or None."""
    if value is None:
        return None
    if isinstance(value, TRUTH) or not isinstance(value, NUMBER) or not 0 <= value < np.inf:
        raise ValueError(f"{title}: expected a number from 0 on, found {value!r}")
    return float(value)


def check_count(title: str, value: Any, least: int = 0) -> int:
    """A whole number that is not too small."""
    if isinstance(value, TRUTH) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{title}: expected a whole number from {least} on, found {value!r}")
    return int(value)
