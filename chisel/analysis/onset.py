"""When a reading rises, whether it stays, and how long it lasts when what fed it has gone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from chisel.analysis.missing import measured


class Spell(NamedTuple):
    """From when until when something held; arrays of one shape, in the unit of `at`.

    Fields:
        onset: the first checkpoint at which it held; NaN: it held at none.
        offset: the first checkpoint at which it held no more; NaN: it still held at the last, or held at none.
    """

    onset: NDArray[np.float64]
    offset: NDArray[np.float64]


def spell(above: ArrayLike, at: ArrayLike) -> Spell:
    """From when until when something held: what came and stayed has no offset; what came and went has one.

    Where it holds at the last checkpoint, this is the spell that lasts until then. Where it does not, it is the longest
    spell (of equally long ones the last), so that one checkpoint that rose by chance does not hide a long stay.

    Args:
        above: [..., checkpoints] whether a reading is above its null: truth values, or 0 and 1.
        at: [checkpoints] steps or updates, rising.

    Raises:
        ValueError: fewer than two checkpoints, of which the first is before training: nothing can begin between them.
            Or they do not rise, are as many as `above` has, or `above` has other values (NaN would be taken for true).

    >>> found = spell([[False, True, False, True], [True, True, False, False], [False] * 4], [0, 10, 20, 40])
    >>> found.onset.tolist(), found.offset.tolist()
    ([40.0, 0.0, nan], [nan, 20.0, nan])
    """
    said = measured(above)
    if not np.isin(said, (0, 1)).all():
        raise ValueError("above: expected truth values, found other numbers or NaN; compare readings with their null")
    holds, when = said.astype(bool), _rising(at, said)
    if len(when) < 2:
        raise ValueError(f"{len(when)} checkpoint: an onset needs two or more")
    found = np.full((2, *holds.shape[:-1]), np.nan)
    for i in np.ndindex(holds.shape[:-1]):
        turns = np.diff(np.concatenate([[False], holds[i], [False]]).astype(int))
        begins, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
        if not len(begins):
            continue
        if ends[-1] == len(when):
            found[0, *i] = when[begins[-1]]
            continue
        spans = when[ends] - when[begins]
        longest = np.flatnonzero(spans == spans.max())[-1]
        found[:, *i] = when[begins[longest]], when[ends[longest]]
    return Spell(*found)


def _rising(at: ArrayLike, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Checkpoints that rise, as many as the last axis of values has."""
    when = measured(at)
    if when.ndim != 1 or values.shape[-1:] != when.shape:
        raise ValueError(
            f"at: expected [checkpoints], as many as values of the shape {values.shape} have, found {when.shape}"
        )
    if not (np.diff(when) > 0).all():
        raise ValueError(f"at: expected checkpoints that rise, found {np.array2string(when, threshold=8)}")
    return when


def half_life(values: ArrayLike, at: ArrayLike, since: float) -> NDArray[np.float64]:
    """How long it takes until a reading has fallen to half of what it was, and stays fallen.

    Readings scatter, and a curve that scatters crosses its half long before it has fallen so far: its first crossing
    is too early, the more so the more checkpoints there are. So half is crossed by the curve that only falls and lies
    nearest to the readings from `since` on (least squares; antitonic regression, Ayer et al. 1955; Barlow et al.
    1972), and it is half of that curve's beginning. A dip from which a reading comes back is no fall. Straight lines
    between checkpoints.

    Args:
        values: [..., checkpoints]; NaN counts as no checkpoint.
        at: [checkpoints] steps or updates, rising.
        since: when that which fed the reading was taken away; a checkpoint.

    Returns:
        In the unit of `at`; infinite where it has not fallen so far by the end, NaN where there was nothing to fall
        (the reading was not above 0) or nothing is known of `since`.

    Raises:
        ValueError: there is no checkpoint at `since`; checkpoints do not rise, or are not as many as values have.

    >>> half_life([[4.0, 4.0, 3.0, 1.0], [1.0, 4.0, 1.0, 4.0], [0.0, -1.0, 0.0, 0.0]], [0, 10, 20, 30], 10).tolist()
    [15.0, inf, nan]
    """
    readings = measured(values)
    when = _rising(at, readings)
    if since not in when:
        hint = f"the nearest is {float(when[np.abs(when - since).argmin()])!r}" if len(when) else "there is none at all"
        raise ValueError(f"since={since}: there is no checkpoint there; {hint}")
    first = int(np.flatnonzero(when == since)[0])
    readings, when = readings[..., first:], when[first:] - since
    found = np.full(readings.shape[:-1], np.nan)
    for i in np.ndindex(found.shape):
        if readings[i][0] > 0:
            known = ~np.isnan(readings[i])
            found[i] = _fallen_to_half(readings[i][known], when[known])
    return found


def _fallen_to_half(readings: NDArray[np.float64], when: NDArray[np.float64]) -> float:
    fit = isotonic_regression(readings, increasing=False).x
    if not 0 < fit[0] < np.inf:
        return np.nan
    half = fit[0] / 2
    if fit[-1] > half:
        return np.inf
    hit = int(np.argmax(fit <= half))
    part = (fit[hit - 1] - half) / (fit[hit - 1] - fit[hit])
    return float(when[hit - 1] + part * (when[hit] - when[hit - 1]))
