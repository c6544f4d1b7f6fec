"""Effects of phases in rows and in words, for the terminal and the page."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from chisel.analysis.statistics import Interval
from chisel.findings.seeds import spread


class Row(NamedTuple):
    """What one phase did to one measure.

    Fields:
        against: the condition that the first one is compared with.
        main: the first condition less that one; `seeds` has it in each seed.
        share: Shapley share of the variance between cells, 0 to 1; its mean is the estimate.
    """

    measure: str
    units: str
    phase: str
    against: str
    main: Interval
    share: Interval
    seeds: np.ndarray


class Further(NamedTuple):
    """What else is known of one measure.

    Fields:
        kind: `interaction`, `order`, or the kind of an arm.
        name: of the set of phases, of the pair, or of the arm's schedule.
        clear: whether the interval excludes 0.
        seeds: the value in each seed.
    """

    measure: str
    units: str
    kind: str
    name: str
    value: Interval
    clear: bool
    seeds: np.ndarray


def rows(found: xr.Dataset, most: int = 6) -> list[Row]:
    """Main effects and Shapley shares of the measures that moved most, a row for every phase."""
    listed = []
    for measure in found.measure.values[:most]:
        own = found.sel(measure=measure)
        for phase in found.phase.values:
            here = own.sel(phase=phase)
            share = Interval(*(here[f"shapley{end}"].values for end in ("", "_low", "_high")))
            for other in found.against.values:
                main = _interval(here.sel(against=other), "main")
                seeds = here["main"].sel(against=other).values
                listed.append(Row(str(measure), str(own.units.values), str(phase), str(other), main, share, seeds))
    return listed


def further(found: xr.Dataset, most: int = 6) -> list[Further]:
    """Of the same measures: interactions whose interval excludes 0, and all effects of order and arms."""
    listed = []
    for measure in found.measure.values[:most]:
        own = found.sel(measure=measure)
        for name, along in (("interaction", "set"), ("order", "pair"), ("arm_effect", "arm")):
            for label in found[along].values if name in found else []:
                here = own.sel({along: label})
                value = _interval(here, name)
                clear = bool(value.low > 0 or value.high < 0)
                if clear or name != "interaction":
                    kind = str(here["kind"].values) if along == "arm" else name
                    seeds = here[name].values
                    listed.append(Further(str(measure), str(own.units.values), kind, str(label), value, clear, seeds))
    return listed


def said(found: xr.Dataset) -> list[str]:
    """A sentence for every measure: its main effects with their intervals, and Shapley shares."""
    sentences, several = [], found.sizes["against"] > 1
    for measure in found.measure.values:
        own = rows(found.sel(measure=[measure]))
        effect = [f"{r.phase}{f' against {r.against}' if several else ''} {in_words(r.main, r.seeds)}" for r in own]
        shares = [percent(float(r.share.mean)) for r in own if r.against == own[0].against]
        known = np.isfinite(own[0].share.mean)
        sentences.append(f"{measure}: {', '.join(effect)}" + (f"; Shapley shares {', '.join(shares)}" if known else ""))
    return sentences


def in_words(value: Interval, seeds: ArrayLike = ()) -> str:
    """A difference and its interval, all with as many decimals as show two digits of the interval's half.

    Args:
        seeds: its value in each seed; if they are two, they are told instead of an interval.

    >>> in_words(Interval(*np.array([0.3142, 0.2218, 1.4049]))), in_words(Interval(*np.array([-12.4, np.nan, np.nan])))
    ('+0.31 (0.22 to 1.40)', '−12')
    >>> in_words(Interval(*np.array([0.3, np.nan, np.nan])), [0.1, 0.5])
    '+0.30 (two seeds: 0.10, 0.50)'
    """
    mean, low, high = (float(x) for x in value)
    decimals = _decimals((high - low) / 2 if high > low else mean)
    told = f"{low:z.{decimals}f} to {high:z.{decimals}f}" if np.isfinite(low) else ""
    if np.count_nonzero(np.isfinite(np.asarray(seeds, float))) == 2:
        told = spread(seeds, value, lambda x: f"{x:z.{decimals}f}")
    limits = f" ({told})" if told else ""
    return f"{signed(mean, decimals)}{limits}".replace("-", "−")


def signed(value: float, decimals: int | None = None) -> str:
    """A difference with its sign, to two digits if not told otherwise.

    >>> signed(0.314159), signed(-123.4), signed(0.00123), signed(np.nan)
    ('+0.31', '−123', '+0.0012', '–')
    """
    places = _decimals(value) if decimals is None else decimals
    return f"{value:+z.{places}f}".replace("-", "−") if np.isfinite(value) else "–"


def percent(share: float) -> str:
    """A share in words, if there is one.

    >>> percent(0.714), percent(-0.02), percent(np.nan)
    ('71 %', '−2 %', '–')
    """
    return f"{100 * share:z.0f} %".replace("-", "−") if np.isfinite(share) else "–"


def share_in_words(share: Interval) -> str:
    """A share and its interval, if it has one.

    >>> share_in_words(Interval(*np.array([0.714, 0.5, 0.9]))), share_in_words(Interval(*np.full(3, np.nan)))
    ('71 % (50 % to 90 %)', '–')
    """
    mean, low, high = (percent(float(x)) for x in share)
    return f"{mean} ({low} to {high})" if np.isfinite(share.low) else mean


def _decimals(value: float) -> int:
    """How many show two digits of it, as far as anyone would read them."""
    return int(np.clip(1 - np.floor(np.log10(abs(value))), 0, 5)) if value and np.isfinite(value) else 0


def _interval(found: xr.Dataset, name: str) -> Interval:
    return Interval(*(found[f"{name}_{k}"].values for k in Interval._fields))
