"""Somebody's activations, checked, laid out as [n, units] and standardised in double precision, a layer at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from chisel.probing.given import as_name, as_numbers, check_alike, described
from chisel.probing.linear import Probe
from chisel.study.files import nearest

Layers = Mapping[str, ArrayLike]  # {layer: [n, …]}
Checkpoints = Mapping[Any, Layers] | Callable[[], Iterable[tuple[Any, Layers]]]
Spatial = Literal["flatten", "mean", "place"]

AT_ONCE = 2**22  # numbers that are standardised at once
WANTED = "expected {checkpoint: {layer: [n, units]}}, or a function that yields (checkpoint, {layer: [n, units]})"


def checkpoints(activations: Checkpoints, least: int = 1) -> Iterator[tuple[Any, Layers]]:
    """Checkpoint after checkpoint, its layers unread.

    Raises:
        ValueError: there are fewer than `least`, or something else is given.
    """
    if isinstance(activations, Mapping):
        pairs: Iterable[Any] = activations.items()
    elif callable(activations):
        pairs = activations()
        if not isinstance(pairs, Iterable):
            raise ValueError(f"activations: {WANTED}; found a function that returns {described(pairs)}")
    else:
        hint = ""
        if isinstance(activations, Iterator):
            hint = "; a generator can be gone through only once: give the function that makes it, without calling it"
        raise ValueError(f"activations: {WANTED}; found {described(activations)}{hint}")
    count, first = 0, None
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError(f"activations: {WANTED}; the function yields {described(pair)}")
        checkpoint = as_name("checkpoint", pair[0])
        first = checkpoint if first is None else first
        check_alike("checkpoints", checkpoint, first)
        layers = pair[1]
        if not isinstance(layers, Mapping):
            raise ValueError(
                f"checkpoint {checkpoint}: expected {{layer: [n, units]}}, found {described(layers)}; "
                "name the layer, as in {0: {'hidden': x}}"
            )
        if not layers:
            raise ValueError(f"checkpoint {checkpoint}: expected one layer or more, found none")
        count += 1
        yield checkpoint, layers
    if count < least:
        raise ValueError(f"activations: {WANTED}; found no checkpoint")


def check_spatial(spatial: str) -> None:
    """Refuses what is no way to arrange layers, even if none of them has places."""
    if spatial not in get_args(Spatial):
        raise ValueError(
            f"spatial: expected one of {', '.join(get_args(Spatial))}, found {spatial!r}; "
            f"{nearest(str(spatial), get_args(Spatial))}"
        )


def arranged(
    title: str, name: str, values: ArrayLike, rows: int, spatial: Spatial
) -> Iterator[tuple[str, Float[np.ndarray, "n units"]]]:
    """The layers that one array makes: itself, or one for each place, `conv_1[0,2]`.

    Args:
        title: what an error calls it.
        spatial: of [n, height, width, channels] and [n, time, channels]: `flatten`: every channel at every place is a
            unit; `mean`: the mean over places; `place`: a layer for every place.
    """
    array = as_numbers(title, values)
    if len(array) != rows:
        hint = "; its second axis fits: give its transpose" if array.ndim == 2 and array.shape[1] == rows else ""
        raise ValueError(
            f"{title}: expected {rows} rows, as many as there are labels, found the shape {array.shape}{hint}"
        )
    if 0 in array.shape:
        raise ValueError(f"{title}: expected one unit or more, found the shape {array.shape}")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 or spatial == "flatten":
        yield name, array.reshape(rows, -1)
    elif spatial == "mean":
        yield name, array.mean(tuple(range(1, array.ndim - 1)), dtype=np.float64)
    else:
        for place in np.ndindex(array.shape[1:-1]):
            yield f"{name}[{','.join(map(str, place))}]", array[(slice(None), *place)]


class Standard(NamedTuple):
    """How a layer was standardised: z = (x − centre) · scale, in double precision.

    Fields:
        common: None; or the one scale of all its columns, where each keeps its own.
    """

    centre: Float[np.ndarray, " units"]
    scale: Float[np.ndarray, " units"]
    common: float | None = None


def standardised(
    title: str, x: np.ndarray, order: np.ndarray, fitted: int, own: bool = True
) -> tuple[Float[np.ndarray, "n units"], Standard]:
    """Rows in order, in single precision, as they are fitted: of mean 0 and standard deviation 1 in the first rows.

    Whatever the unit and the offset: the first row is taken off and columns are divided by their largest size before
    anything is squared. A column that varies by no more than the rounding of its type is constant, and 0.

    Args:
        fitted: how many rows mean and standard deviation are of.
        own: each column gets a scale of its own; otherwise all get the same, which changes nothing but the unit.

    Raises:
        ValueError: an activation is not finite.
    """
    rows, units = len(order), x.shape[1]
    z, centre, scale = np.empty((rows, units), np.float32), np.empty(units), np.empty(units)
    eps = float(jnp.finfo(x.dtype).eps) if jnp.issubdtype(x.dtype, jnp.floating) else 0.0  # whole numbers are exact
    step = max(1, AT_ONCE // rows)
    for start in range(0, units, step):
        block = slice(start, start + step)
        part = x[order, block]
        with np.errstate(invalid="ignore", over="ignore"):
            first, d = part[0].astype(np.float64), _from_first(part)
            size = np.maximum(d.max(0), -d.min(0))
        if not np.isfinite(size).all():
            raise ValueError(_not_finite(title, x))
        unit = np.where(size > 0, size, 1.0)
        d /= unit
        mean = d[:fitted].mean(0)
        d -= mean
        spread = np.sqrt(np.einsum("ij,ij->j", d[:fitted], d[:fitted]) / fitted)
        varies = spread > eps * np.abs(first) / unit
        d[:fitted, ~varies] = 0.0
        each = np.where(varies, spread, 1.0) if own else np.ones_like(spread)
        d /= each
        centre[block], scale[block] = first + mean * unit, 1 / (unit * each)
        z[:, block] = d
    if own:
        return z, Standard(centre, scale)
    # Numbers of the size of 1, which is all that single precision needs; the penalty is told in this unit, too.
    deviations = np.sqrt(np.mean(z[:fitted] ** 2, 0, dtype=np.float64)) / scale
    largest = deviations.max()
    common = 1 / (largest * np.sqrt(np.mean((deviations / largest) ** 2))) if largest > 0 else 1.0
    z *= (common / scale).astype(np.float32)
    return z, Standard(centre, np.full(units, common), common)


def _from_first(x: np.ndarray) -> Float[np.ndarray, "n units"]:
    """Less its first row, in double precision; exact for whole numbers of 64 bits, too, which that has no room for."""
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        apart = x.astype(np.uint64) - x[0].astype(np.uint64)  # modulo 2⁶⁴
        return np.where(x >= x[0], apart.astype(np.float64), -(np.uint64(0) - apart).astype(np.float64))
    d = x.astype(np.float64)
    d -= x[0].astype(np.float64)
    return d


def _not_finite(title: str, x: np.ndarray) -> str:
    wrong = ~np.isfinite(x)
    if not wrong.any():
        return (
            f"{title}: expected activations that can be subtracted in double precision, found up to {np.abs(x).max():g}"
        )
    return (
        f"{title}: {int(wrong.sum()):,} of {x.size:,} activations are not finite (NaN or infinite), in "
        f"{int(wrong.any(1).sum()):,} of {len(x):,} rows; expected finite numbers; leave out the checkpoint, or those "
        "rows of all layers and labels"
    )


LARGEST = float(np.finfo(np.float32).max)


class RawProbe(NamedTuple):
    """A probe of activations as they were given, in double precision: `linear.Probe` has the equation."""

    centre: Float[np.ndarray, " units"]
    scale: Float[np.ndarray, " units"]
    weights: Float[np.ndarray, "units columns"]
    intercept: Float[np.ndarray, " columns"]


def of_raw(probe: Probe, standard: Standard) -> RawProbe:
    """A probe of standardised activations as one of those that were given."""
    centre, scale, weights, intercept = (np.asarray(part, np.float64) for part in probe)
    return RawProbe(standard.centre + centre / standard.scale, standard.scale * scale, weights, intercept)


def moved(raw: RawProbe, standard: Standard) -> Probe:
    """A probe of activations as they were given, as one of what another checkpoint's were standardised to.

    So that no digits are lost where activations are far from 0 and probes are tried on other checkpoints.
    """
    weights = (raw.scale / standard.scale)[:, None] * raw.weights
    intercept = ((standard.centre - raw.centre) * raw.scale) @ raw.weights + raw.intercept
    weights, intercept = (np.clip(part, -LARGEST, LARGEST) for part in (weights, intercept))
    units = jnp.zeros(len(weights)), jnp.ones(len(weights))
    return Probe(*units, jnp.asarray(weights, jnp.float32), jnp.asarray(intercept, jnp.float32))
