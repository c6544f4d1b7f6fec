"""What a study file may say of guards: which reading, which limit, and what then.

Nothing here imports JAX; what guards do is in `chisel.runs.guards`.
"""

from pydantic import Field, model_validator

from chisel.study.files import Part, fault, nearest

# The readings that a guard may look at, with the dimensions it may name; the first one it must.
READINGS = {
    "bid": ("goal",),
    "total_effect": ("goal", "edit"),
    "choice": ("goal", "rival"),
    "neither": ("goal", "rival"),
    "returns": ("channel", "levels"),
    "score": ("feature", "layer"),
    "shuffled_score": ("feature", "layer"),
    "skill": ("feature", "layer"),
}


class WhenPart(Part):
    """A reading of a checkpoint, and what it must exceed or fall below; the mean over dimensions that are not named."""

    reading: str
    goal: str | None = None
    rival: str | None = None
    edit: str | None = Field(None, description="the object that is put in; by default that of the goal")
    channel: str | None = None
    levels: str | None = Field(
        None, min_length=1, description="of which distribution of levels, by default `training`; a battery names more"
    )
    layer: str | None = None
    feature: str | None = None
    above: float | None = None
    below: float | None = None
    after: float = Field(0.0, ge=0, le=1, description="from which progress on it is looked at")

    @model_validator(mode="after")
    def _readable(self) -> "WhenPart":
        if (self.above is None) == (self.below is None):
            found = "both" if self.above is not None else "neither"
            raise ValueError(f"expected either `above` or `below`, found {found}")
        if self.reading not in READINGS:
            raise fault(f"unknown reading {self.reading!r}; {nearest(self.reading, READINGS)}", "reading")
        known = READINGS[self.reading]
        for name in self.dimensions:
            if name not in known:
                raise fault(f"{self.reading} has no {name}; it has {' and '.join(known)}", name)
        if known[0] not in self.dimensions:
            raise ValueError(f"which {known[0]}? {self.reading} is read of one {known[0]} at a time")
        return self

    @property
    def dimensions(self) -> dict[str, str]:
        """The dimensions that are named."""
        names = dict.fromkeys(name for dims in READINGS.values() for name in dims)
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ThenPart(Part):
    """What happens to the member."""

    switch: str | None = Field(None, description="the schedule that it is under from then on")
    halt: bool = Field(False, description="whether it stops training")
    note: str | None = Field(None, min_length=1, description="what is noted; training goes on as before")

    @model_validator(mode="after")
    def _one_thing(self) -> "ThenPart":
        given = [key for key in ("switch", "halt", "note") if getattr(self, key)]
        if len(given) != 1:
            found = " and ".join(f"`{key}`" for key in given) or "none"
            raise ValueError(f"expected one of `switch`, `halt = true` and `note`, found {found}")
        return self


class GuardPart(Part):
    """Reads the checkpoints of every member while it trains, and acts the first time that a condition holds."""

    name: str | None = Field(None, min_length=1)
    watch: list[str] | None = Field(None, min_length=1, description="schedules whose members are read; by default all")
    when: WhenPart
    then: ThenPart

    @property
    def title(self) -> str:
        """Its name, or what it says."""
        return self.name or f"{self.condition}: {self.action}"

    @property
    def condition(self) -> str:
        """What must hold, in words."""
        of = ", ".join(f"{k} {v}" for k, v in self.when.dimensions.items())
        limit = f"above {self.when.above:g}" if self.when.above is not None else f"below {self.when.below:g}"
        return f"{self.when.reading}{f' ({of})' if of else ''} {limit}"

    @property
    def action(self) -> str:
        """What then happens, in words."""
        return self.then.note or ("halt" if self.then.halt else f"switch to {self.then.switch!r}")
