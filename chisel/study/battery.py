"""The battery file: what to read from every checkpoint."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from chisel.study.files import Part, fault, find, load

# What is read where nobody chooses otherwise: of batteries, and of networks that chisel did not train.
L2 = 1e-2  # the penalty of probes on squared weights
STATES = 128  # of the test half, on which nulls are drawn, and all that is held against them
NULLS = 100  # draws of every null
STRENGTHS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # of steering, in units of what the feature itself does


class BankPart(Part):
    """The states on which everything is read."""

    layouts: int = Field(2048, ge=16, multiple_of=2, description="half of them fitted on, half tested")
    seed: int = Field(0, ge=0)
    burn_in: int = Field(3, ge=0, description="times that an agent with memory looks at a state before it is read")


class DecodePart(Part):
    """Linear probes."""

    features: Literal["all"] | list[str] = "all"
    layers: Literal["all"] | list[str] = "all"
    l2: float = Field(L2, gt=0)
    functions: list[str] = Field(
        [], description="Python files beside this one, each with `features(state) -> {name: truth value or number}`"
    )


class InfluencePart(Part):
    """Edits, interventions, and the nulls that they are held against."""

    states: int = Field(
        STATES, ge=8, description="test layouts on which nulls are drawn, and all that is held against them"
    )
    nulls: int = Field(NULLS, ge=19, description="draws of every null; p values are at least 1 / (draws + 1)")


class SteeringPart(Part):
    """Moving activations along what a layer holds of a feature."""

    strengths: tuple[float, ...] = Field(
        STRENGTHS, min_length=1, description="in units of what the feature itself does"
    )


class ChoicePart(Part):
    """Two-goal levels."""

    layouts: int = Field(64, ge=2, multiple_of=2, description="levels for every pair of goals, half of them exchanged")


class ReturnsPart(Part):
    """Evaluation episodes."""

    episodes: int = Field(128, ge=1, description="episodes on the levels of every distribution")


Reading = Literal[
    "score", "selectivity", "description_length", "transfer",
    "bid", "total_effect", "gating", "mediated", "erasure", "steering",
    "choice", "utility", "returns",
]  # fmt: skip
READINGS: tuple[Reading, ...] = get_args(Reading)
NEEDS: dict[str, Reading] = {  # what another reading is made from
    "selectivity": "score",
    "description_length": "score",
    "transfer": "score",
    "gating": "total_effect",
    "mediated": "total_effect",
    "erasure": "total_effect",
    "steering": "total_effect",
    "utility": "choice",
}
COSTLY = ("description_length", "transfer", "erasure", "steering")

# The distributions of levels that every battery plays, and what they are.
LEVELS = {
    "training": "levels as the schedule in force deals them to the member at the checkpoint",
    "study": "levels of the study's own world_params at the end of training, the same for all schedules",
    "decorrelated": "levels in which everything is there or not, and lies anywhere, independently",
}


class Battery(Part):
    """What to read from every checkpoint of every member."""

    readings: list[Reading] = Field(
        default_factory=lambda: [reading for reading in READINGS if reading not in COSTLY],
        min_length=1,
        description="what to read; verdicts are told where score, total_effect and mediated are",
    )
    bank: BankPart = BankPart()
    decode: DecodePart = DecodePart()
    influence: InfluencePart = InfluencePart()
    steering: SteeringPart = SteeringPart()
    choice: ChoicePart = ChoicePart()
    returns: ReturnsPart = ReturnsPart()
    levels: dict[str, Annotated[dict[str, float], Field(min_length=1)]] = Field(
        {}, description="more distributions of levels by name, each some world_params; the rest is as in the study"
    )

    @model_validator(mode="after")
    def _levels_are_new(self) -> "Battery":
        for name in self.levels:
            if name in LEVELS:
                raise fault(f"every battery plays these already ({LEVELS[name]}); choose another name", "levels", name)
        return self

    @property
    def distributions(self) -> dict[str, str]:
        """All distributions of levels that returns are read on, and what each is."""
        told = {
            name: ", ".join(f"{key} = {value:g}" for key, value in params.items())
            for name, params in self.levels.items()
        }
        return LEVELS | {name: f"levels with {text}, the rest as in `study`" for name, text in told.items()}

    @property
    def asked(self) -> tuple[str, ...]:
        """What is read, what it is made from included; returns always."""
        wanted = {"returns", *self.readings, *(NEEDS[reading] for reading in self.readings if reading in NEEDS)}
        return tuple(reading for reading in READINGS if reading in wanted)


def load_battery(name: str) -> tuple[Battery, Path]:
    """A battery by path, or by the bare name of a shipped one; and where it was found.

    Raises:
        WrongInput: there is no such battery, or it cannot be used as it is.
    """
    path = find(name, "probes")
    return load(path, Battery), path
