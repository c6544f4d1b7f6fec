"""Members whose network has diverged: their readings mean nothing, and are NaN."""

from typing import Any, TypeVar

import numpy as np
import xarray as xr

T = TypeVar("T", bound=tuple)


def without_diverged(readings: T) -> T:
    """Readings [members, …] in which all numbers of a member that has `diverged` are NaN.

    A probe of activations that are not finite, or an episode of actions drawn from them, would give numbers as usual.
    """
    gone = np.asarray(readings.diverged)  # type: ignore[attr-defined]

    def blank(values: Any) -> Any:
        if values is None or not np.issubdtype(values.dtype, np.floating) or not gone.any():
            return values
        return np.where(gone.reshape(-1, *[1] * (values.ndim - 1)), np.float32(np.nan), values)

    return type(readings)(*(blank(values) for values in readings))


def in_words(data: xr.Dataset) -> str:
    """Which members have diverged, from which checkpoint on and in which layers: one sentence, and what follows."""
    marks = data["diverged"].transpose("schedule", "seed", "checkpoint")
    of_layers = data["layer_diverged"].transpose("schedule", "seed", "checkpoint", "layer")
    told = []
    for schedule, seed in zip(*np.nonzero(marks.any("checkpoint").values), strict=True):
        first = int(np.argmax(marks.values[schedule, seed]))
        layers = [str(name) for name in data.layer.values[of_layers.values[schedule, seed, first]]]
        where = f"in {', '.join(layers)}" if layers else "in its outputs"
        member = f"{marks.schedule.values[schedule]}, seed {marks.seed.values[seed]}"
        told.append(f"{member}, first at checkpoint {int(marks.checkpoint.values[first]):,} {where}")
    count = marks.sizes["schedule"] * marks.sizes["seed"]
    return (
        f"{len(told)} of {count} members have activations or outputs that are not finite (NaN or infinite): "
        f"{'; '.join(told)}. Their readings there are NaN; those of other members are not affected"
    )
