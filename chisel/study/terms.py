"""What a reward table of a study may say: amounts, and how a channel is observed.

Nothing here imports JAX; what the words mean for the reward is told in `chisel.rewards.oversight`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from chisel.study.files import Part, fault

Knots = tuple[tuple[float, float], ...]
SHAPE = "shape."  # what a reward key begins with that shapes by a potential
APPROACH = "approach."  # ... that pays for coming nearer by a potential
NOT = "not "


def _amount(raw: Any) -> float | Knots:
    """A number, or knots [[progress, value], …]."""
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    if isinstance(raw, list | tuple) and raw and all(_is_knot(k) for k in raw):
        times = [k[0] for k in raw]
        if times != sorted(times):
            raise ValueError(f"knots must be in order of progress, found {times}; in order they are {sorted(times)}")
        if times[0] < 0 or times[-1] > 1:
            raise ValueError(f"progress runs from 0 to 1, found {[t for t in times if not 0 <= t <= 1]}")
        return tuple((float(t), float(v)) for t, v in raw)
    raise ValueError(f"expected a number or knots [[progress, value], ...], found {raw!r}")


def _is_knot(knot: Any) -> bool:
    return (
        isinstance(knot, list | tuple)
        and len(knot) == 2
        and all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in knot)
    )


def values(amount: float | Knots) -> list[float]:
    """The number, or those of all knots."""
    return [amount] if isinstance(amount, float) else [v for _, v in amount]


def value_at(amount: float | Knots, progress: float) -> float:
    """What an amount is at some progress; of two knots at one time the later one."""
    if isinstance(amount, float):
        return amount
    passed = [i for i, (t, _) in enumerate(amount) if t <= progress]
    if not passed or passed[-1] == len(amount) - 1:
        return amount[passed[-1] if passed else 0][1]
    (t0, v0), (t1, v1) = amount[passed[-1]], amount[passed[-1] + 1]
    return v0 + (progress - t0) / (t1 - t0) * (v1 - v0)


def _within(low: float, high: float, what: str) -> Callable[[float | Knots], float | Knots]:
    def check(amount: float | Knots) -> float | Knots:
        bad = [v for v in values(amount) if not low <= v <= high]
        if bad:
            room = f"between {low:g} and {high:g}" if math.isfinite(high) else f"at least {low:g}"
            near = min(max(bad[0], low), high)
            raise ValueError(f"{what} is {room}, found {bad[0]:g}; the nearest is {near:g}")
        return amount

    return check


Amount = Annotated[float | Knots, BeforeValidator(_amount, json_schema_input_type=float | list[tuple[float, float]])]
Chance = Annotated[Amount, AfterValidator(_within(0, 1, "a chance"))]
Share = Annotated[Amount, AfterValidator(_within(0, 1, "a share"))]
Size = Annotated[Amount, AfterValidator(_within(0, math.inf, "a size"))]
Rate = Annotated[Amount, AfterValidator(_within(0, math.inf, "a learning rate"))]
Weight = Annotated[Amount, AfterValidator(_within(0, math.inf, "a weight of entropy"))]
Temperature = Annotated[Amount, AfterValidator(_within(0, math.inf, "a temperature"))]
Steps = Annotated[Amount, AfterValidator(_within(0, math.inf, "a number of steps"))]


class GatePart(Part):
    """Where an overseer sees: where a feature of the state holds."""

    feature: str = Field(min_length=1, description="a feature that is true or false, or `not ` and such a feature")
    strength: Share = Field(1.0, description="the share of the reading that is lost where it does not hold")


def _gate(raw: Any) -> Any:
    return {"feature": raw} if isinstance(raw, str) else raw


class ChannelPart(Part):
    """What a channel is worth, and how well it is observed; each a number or knots."""

    weight: Amount = Field(1.0, description="what a unit of what is read is worth")
    miss: Chance = Field(0.0, description="chance that an event reads as nothing")
    false_alarm: Chance = Field(0.0, description="chance that nothing reads as an event of size 1")
    flip: Chance = Field(0.0, description="chance that an event reads as nothing, and nothing as an event")
    corrected: bool = Field(False, description="undo miss, false_alarm and flip in the mean (Wang et al. 2020)")
    event_noise: Size = Field(0.0, description="standard deviation of what is read of an event, relative to its size")
    noise: Size = Field(0.0, description="standard deviation of what is added in every step, event or not")
    clip: Size | None = Field(None, description="the largest size of a reading")
    gate: Annotated[GatePart, BeforeValidator(_gate, json_schema_input_type=str | GatePart)] | None = Field(
        None, description="a feature, where alone the overseer sees"
    )
    delay: Steps = Field(0.0, description="steps until it is paid, rounded; at the end of the episode at the latest")
    lump: Share = Field(0.0, description="the share that is paid at the end of the episode")

    @model_validator(mode="after")
    def _correctable(self) -> "ChannelPart":
        if not self.corrected:
            return self
        if all(v == 0 for kind in (self.miss, self.false_alarm, self.flip) for v in values(kind)):
            raise fault("there is nothing to correct: miss, false_alarm and flip are 0", "corrected")
        knots = {t for kind in (self.miss, self.false_alarm, self.flip) if not isinstance(kind, float) for t, _ in kind}
        for t in sorted({0.0, 1.0} | knots | {max(t - 1e-9, 0.0) for t in knots}):  # jumps from both sides
            miss, alarm, flip = (value_at(kind, t) for kind in (self.miss, self.false_alarm, self.flip))
            if miss + alarm >= 1 or flip >= 0.5:
                found = f"miss + false_alarm is {miss + alarm:g}" if miss + alarm >= 1 else f"flip is {flip:g}"
                raise fault(
                    f"what is read must still tell an event from none: at progress {t:g} {found}; "
                    "expected miss + false_alarm < 1 and flip < 0.5",
                    "corrected",
                )
        return self


def _kind(raw: Any) -> str:
    return "channel" if isinstance(raw, dict | ChannelPart) else "amount"


Term = Annotated[
    Annotated[Amount, Tag("amount")] | Annotated[ChannelPart, Tag("channel")],
    Discriminator(_kind),
]


def channel_part(term: float | Knots | ChannelPart) -> ChannelPart:
    """A term in full: an amount is a weight."""
    return term if isinstance(term, ChannelPart) else ChannelPart(weight=term)


def gates_of(terms: Iterable[float | Knots | ChannelPart]) -> Iterable[str]:
    """The conditions of all gates among the terms."""
    return (t.gate.feature for t in terms if isinstance(t, ChannelPart) and t.gate is not None)
