"""What a study says of its schedules: what is rewarded, when, and under which circumstances.

What can be told wrong without knowing the world is told here, and nothing here imports JAX.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from pydantic import Field, model_validator

from chisel.study.files import Part, fault
from chisel.study.terms import APPROACH, SHAPE, Amount, Chance, ChannelPart, Rate, Temperature, Term, Weight


class SituationPart(Part):
    """Under which circumstances it is rewarded; what is not said is as for the whole study."""

    world_params: dict[str, Amount] = Field({}, description="numbers of the level distribution")
    learning_rate: Rate | None = Field(None, description="the optimiser's step size; 0 freezes the agent")
    entropy: Weight | None = Field(None, description="weight of the entropy bonus")
    exploration: Chance | None = Field(None, description="chance that an action is chosen at random")
    temperature: Temperature | None = Field(None, description="of the softmax of action values that acts and is read")


class AdvancePart(Part):
    """What must be achieved for a phase to be over."""

    channel: str = Field(min_length=1)
    above: float = Field(description="mean total of the channel per episode that must be reached")
    episodes: float = Field(100.0, gt=0, description="over about how many of the last episodes")
    wait: bool = Field(False, description="whether the phase waits for it, however long it takes")


class PhasePart(SituationPart):
    """One interval of progress: from where the one before it ended, to `until`."""

    until: float = Field(gt=0, le=1)
    reward: dict[str, Term]
    reseed: bool = Field(False, description="go on with other random numbers from here, and equal ones up to here")
    advance: AdvancePart | None = Field(None, description="go on to the next phase as soon as this is achieved")


class SchedulePart(SituationPart):
    """What is rewarded, when: either one `reward` table or `phases`. A phase may have a situation of its own."""

    name: str = Field(min_length=1)
    scale: float | None = Field(None, gt=0, description="multiplies all weights of channels; `match` fills it in")
    reward: dict[str, Term] | None = None
    phases: list[PhasePart] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _potentials_are_known(self) -> "SchedulePart":
        for loc, table in reward_tables(self):
            for name, term in table.items():
                if name.startswith((SHAPE, APPROACH)) and isinstance(term, ChannelPart):
                    message = "a potential is known and not observed; expected a number or knots, found a table"
                    raise fault(message, *loc, name)
        return self

    @model_validator(mode="after")
    def _ordered(self) -> "SchedulePart":
        if (self.reward is None) == (self.phases is None):
            found = "both" if self.reward is not None else "neither"
            raise ValueError(f"expected either `reward` or `phases`, found {found}")
        if self.phases:
            edges = [p.until for p in self.phases]
            for i, (one, other) in enumerate(pairwise(edges), 1):
                if one >= other:
                    message = f"phases overlap: each must end later than the one before; found until = {edges}"
                    raise fault(message, "phases", i, "until")
            if edges[-1] != 1:
                raise fault(f"the last phase must end at 1, found {edges[-1]}", "phases", len(edges) - 1, "until")
            reseeded = [i for i, phase in enumerate(self.phases) if phase.reseed]
            if reseeded and any(phase.advance is not None for phase in self.phases):
                message = (
                    "phases that end by achievement begin at another time for every seed; leave out one of the two"
                )
                raise fault(message, "phases", reseeded[0], "reseed")
            if self.phases[-1].advance is not None:
                raise fault("the last phase has nothing to advance to", "phases", len(edges) - 1, "advance")
        return self


def situations(part: SchedulePart) -> Iterable[tuple[list[Any], SituationPart]]:
    """Every situation of a schedule, with its place in it."""
    yield [], part
    for j, phase in enumerate(part.phases or ()):
        yield ["phases", j], phase


def reward_tables(part: SchedulePart) -> Iterable[tuple[list[Any], Mapping[str, Any]]]:
    """Every reward table of a schedule, with its place in it."""
    if part.reward is not None:
        yield ["reward"], part.reward
    for j, phase in enumerate(part.phases or ()):
        yield ["phases", j, "reward"], phase.reward


def edge_update(progress: float, updates: int) -> int:
    """The update (from 0) with which a phase begins that begins at `progress`: the first whose middle is not before it.

    >>> edge_update(0.33, 200), edge_update(1 / 3, 200), edge_update(0.0025, 200)
    (66, 67, 0)
    """
    return max(0, math.ceil(progress * updates - 0.5 - 1e-9))
