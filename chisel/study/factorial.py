"""Every combination of conditions over phases, as schedules, and the arms that they are held against.

A two-level factorial of P phases tells how much the signal of each phase matters, alone and together: Box, Hunter &
Hunter (2005), "Statistics for experimenters", chapter 5. What it says is worked out in `chisel.analysis.phases`.
"""

from itertools import pairwise, product
from typing import Any, Literal

from pydantic import Field, model_validator

from chisel.study.files import Part, fault
from chisel.study.schedules import PhasePart, SchedulePart, SituationPart
from chisel.study.terms import APPROACH, SHAPE, ChannelPart, Term

Arm = Literal["noise", "freeze", "zero"]


class WashoutPart(SituationPart):
    """What all combinations end with, so that they are compared under equal rewards."""

    until: float = Field(gt=0, description="where it ends, on the scale of the phases")
    reward: dict[str, Term]


class FactorialPart(Part):
    """Every combination of conditions over phases, with equal seeds, instead of schedules one by one."""

    phases: dict[str, float] = Field(
        min_length=2, description="where each ends; the last end, or that of the washout, is the end of training"
    )
    conditions: dict[str, dict[str, Term]] = Field(min_length=2, description="reward tables by name")
    washout: WashoutPart | None = None
    arms: list[Arm] = Field(
        ["noise", "freeze", "zero"],
        description="what the first condition throughout is compared with: the same with other random numbers from a "
        "phase on, without learning in a phase, without any reward in a phase",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FactorialPart":
        ends = [*self.phases.values(), *([self.washout.until] if self.washout else [])]
        names = [*self.phases, *(["washout"] if self.washout else [])]
        if ends[0] <= 0:
            raise fault(f"a phase ends after 0, found {ends[0]:g}", "phases", names[0])
        for i, (one, other) in enumerate(pairwise(ends), 1):
            if one >= other:
                at = ("washout", "until") if names[i] == "washout" else ("phases", names[i])
                raise fault(f"phases overlap: each must end later than the one before; found {ends}", *at)
        for key, given in (("phases", list(self.phases)), ("conditions", list(self.conditions))):
            for word in given:
                if word.split() != [word]:
                    raise fault("is not one word; combinations are named after it", key, word)
        for loc, table in self.tables():
            for name, term in table.items():
                if name.startswith((SHAPE, APPROACH)) and isinstance(term, ChannelPart):
                    message = "a potential is known and not observed; expected a number or knots, found a table"
                    raise fault(message, *loc, name)
        told = list(self.conditions.items())
        for i, (name, table) in enumerate(told):
            for earlier, same in told[:i]:
                if _full(table) == _full(same):
                    raise fault(f"is equal to {earlier!r}; the effect of nothing cannot be told", "conditions", name)
        if len(set(self.arms)) < len(self.arms):
            raise fault(f"an arm is named twice: {', '.join(self.arms)}", "arms")
        return self

    @property
    def ends(self) -> list[float]:
        """Progress at which each phase ends, the washout's last: the last is 1."""
        ends = [*self.phases.values(), *([self.washout.until] if self.washout else [])]
        return [end / ends[-1] for end in ends[:-1]] + [1.0]

    @property
    def cells(self) -> dict[str, tuple[int, ...]]:
        """Every combination by name: the number of the condition in every phase."""
        names = list(self.conditions)
        every = product(range(len(names)), repeat=len(self.phases))
        return {" ".join(names[i] for i in cell): cell for cell in every}

    @property
    def compared(self) -> dict[str, tuple[Arm, str]]:
        """Every arm by name: its kind, and the phase in which it is unlike its base."""
        phases = list(self.phases)
        found: dict[str, tuple[Arm, str]] = {}
        for kind in self.arms:
            for phase in phases[1:] if kind == "noise" else phases:
                found[_ARMS[kind].format(phase)] = kind, phase
        return found

    @property
    def base(self) -> str:
        """The combination that arms are compared with: the first condition throughout."""
        return " ".join([next(iter(self.conditions))] * len(self.phases))

    def schedules(self) -> list[SchedulePart]:
        """Every combination and every arm as a schedule."""
        parts = [self._schedule(name, cell) for name, cell in self.cells.items()]
        first = (0,) * len(self.phases)
        return parts + [self._schedule(name, first, *arm) for name, arm in self.compared.items()]

    def _schedule(self, name: str, cell: tuple[int, ...], kind: Arm | None = None, at: str = "") -> SchedulePart:
        tables, parts = list(self.conditions.values()), []
        for phase, until, condition in zip(self.phases, self.ends, cell, strict=False):
            here = kind if phase == at else None
            told: dict[str, Any] = {"learning_rate": 0.0} if here == "freeze" else {}
            reward = {} if here == "zero" else tables[condition]
            parts.append(PhasePart(until=until, reward=reward, reseed=here == "noise", **told))
        if self.washout:
            said = self.washout.model_dump(exclude={"until", "reward"})
            parts.append(PhasePart(until=1.0, reward=self.washout.reward, **said))
        return SchedulePart(name=name, phases=parts)

    def tables(self) -> list[tuple[list[Any], dict[str, Term]]]:
        """Every reward table, with its place."""
        found: list[tuple[list[Any], dict[str, Term]]] = [
            (["conditions", name], table) for name, table in self.conditions.items()
        ]
        return found + ([(["washout", "reward"], self.washout.reward)] if self.washout else [])

    def outline(self, lengths: list[int]) -> dict[str, Any]:
        """What datasets say of it, as JSON can hold it.

        Args:
            lengths: steps of every phase and, where there is one, the washout.
        """
        return {
            "phases": list(self.phases),
            "conditions": list(self.conditions),
            "lengths": lengths[: len(self.phases)],
            "washout": lengths[len(self.phases)] if self.washout else 0,
            "cells": {name: list(cell) for name, cell in self.cells.items()},
            "arms": {n: {"kind": k, "phase": p, "base": self.base} for n, (k, p) in self.compared.items()},
        }


_ARMS: dict[Arm, str] = {"noise": "other luck from {}", "freeze": "freeze in {}", "zero": "no reward in {}"}


def _full(table: dict[str, Term]) -> dict[str, Any]:
    """A table without what weighs nothing, so that equal ones look equal."""
    return {name: term for name, term in table.items() if term != 0.0}
