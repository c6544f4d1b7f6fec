"""What a study may say about its agent: how it learns, and with what network.

Nothing here imports JAX; `chisel.build.agents` makes agents of it.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from chisel.study.files import Part, fault
from chisel.study.terms import Amount, Chance, Rate, Temperature, Weight

Units = Annotated[int, Field(ge=1)]
Activation = Literal[
    "tanh", "sigmoid", "relu", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish", "softplus"
]
NORM = "whether layers are normalised before their activation function; true by default for pqn and dqn"


class MLPPart(Part):
    """Dense layers on the flattened observation."""

    kind: Literal["mlp"] = "mlp"
    widths: list[Units] = Field([64, 64], min_length=1)
    activation: Activation = "tanh"
    layer_norm: bool = Field(False, description=NORM)
    separate: bool = Field(False, description="whether the critic has layers of its own")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="in which layers compute")


class ConvPart(Part):
    """3×3 convolutions on observations that are planes of a board, then dense layers."""

    kind: Literal["conv"] = "conv"
    channels: list[Units] = Field([16], min_length=1, description="units of each convolution")
    widths: list[Units] = Field([64], min_length=1)
    activation: Activation = "relu"
    layer_norm: bool = Field(False, description=NORM)
    separate: bool = Field(False, description="whether the critic has layers of its own")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="in which layers compute")


class GRUPart(Part):
    """A gated recurrent unit on top: an agent that remembers what it saw in this episode."""

    kind: Literal["gru"] = "gru"
    channels: list[Units] = Field([], description="units of each 3×3 convolution below")
    widths: list[Units] = Field([64, 64], min_length=1, description="dense layers; the last is what it remembers")
    activation: Activation = "tanh"
    layer_norm: bool = Field(False, description=NORM)
    separate: bool = Field(False, description="whether the critic has layers of its own, and a memory")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="in which layers compute")


NetworkPart = MLPPart | ConvPart | GRUPart


def _told_by(key: str, usual: str) -> Callable[[Any], str]:
    def discriminator(raw: Any) -> str:
        return raw.get(key, usual) if isinstance(raw, dict) else getattr(raw, key, usual)

    discriminator.__name__ = key  # by which complaints name the key
    return discriminator


Network = Annotated[
    Annotated[MLPPart, Tag("mlp")] | Annotated[ConvPart, Tag("conv")] | Annotated[GRUPart, Tag("gru")],
    Discriminator(_told_by("kind", "mlp")),
]

Critic = Annotated[
    Literal["single", "per_channel"],
    Field(description="one value for all that is paid, or a value head for each channel and one for potentials"),
]


NO_TEMPERATURE = (
    "has no temperature: its network gives a policy and not action values; how much it explores is set by `entropy`"
)


class _PolicyPart(Part):
    """What learners of a policy have in common."""

    @model_validator(mode="before")
    @classmethod
    def _no_temperature(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "temperature" in raw:
            learner = cls.model_fields["learner"].default
            raise fault(f"the learner {learner!r} {NO_TEMPERATURE}", "temperature")
        return raw


class PPOPart(_PolicyPart):
    """Proximal policy optimisation."""

    learner: Literal["ppo"] = "ppo"
    network: Network = MLPPart()
    critic: Critic = "single"
    learning_rate: Rate = 3e-3
    discount: float = Field(0.97, gt=0, lt=1)
    trace: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0)
    value_clip: bool = Field(False, description="whether the change of values is clipped as well")
    entropy: Weight = 0.01
    exploration: Chance = 0.0
    value_weight: float = Field(0.5, ge=0)
    gradient_norm: float = Field(0.5, gt=0)
    epochs: int = Field(4, ge=1)
    minibatches: int = Field(4, ge=1)


class A2CPart(_PolicyPart):
    """Advantage actor-critic: one step along the policy gradient for each rollout."""

    learner: Literal["a2c"] = "a2c"
    network: Network = MLPPart()
    critic: Critic = "single"
    learning_rate: Rate = 3e-3
    discount: float = Field(0.97, gt=0, lt=1)
    trace: float = Field(0.95, ge=0, le=1)
    entropy: Weight = 0.01
    exploration: Chance = 0.0
    value_weight: float = Field(0.5, ge=0)
    gradient_norm: float = Field(0.5, gt=0)


class ReinforcePart(_PolicyPart):
    """REINFORCE: reward reinforces what was done before it; no critic is needed."""

    learner: Literal["reinforce"] = "reinforce"
    network: Network = MLPPart()
    baseline: Literal["none", "mean", "value"] = Field("mean", description="what is subtracted from returns")
    learning_rate: Rate = 3e-3
    discount: float = Field(0.97, gt=0, lt=1)
    entropy: Weight = 0.01
    exploration: Chance = 0.0
    value_weight: float = Field(0.5, ge=0, description="of the error of the baseline, where it is learned")
    gradient_norm: float = Field(0.5, gt=0)


class _ValuesPart(Part):
    """What learners of action values have in common."""

    @model_validator(mode="before")
    @classmethod
    def _normalised(cls, raw: Any) -> Any:
        """Layers are normalised unless the study says otherwise, also where it says something else of the network."""
        if isinstance(raw, dict) and isinstance(raw.get("network"), dict):
            return raw | {"network": {"layer_norm": True} | raw["network"]}
        return raw


class PQNPart(_ValuesPart):
    """Parallelised Q-learning from the rollout alone: no replay, no target network."""

    learner: Literal["pqn"] = "pqn"
    network: Network = MLPPart(activation="relu", layer_norm=True)
    learning_rate: Rate = ((0.0, 1e-3), (1.0, 0.0))
    discount: float = Field(0.9, gt=0, lt=1)
    trace: float = Field(0.9, ge=0, le=1, description="λ of the returns")
    temperature: Temperature = 0.02
    exploration: Chance = 0.0
    gradient_norm: float = Field(10.0, gt=0)
    epochs: int = Field(3, ge=1)
    minibatches: int = Field(16, ge=1)


class DQNPart(_ValuesPart):
    """Deep Q-learning from a replay of what was paid when it happened."""

    learner: Literal["dqn"] = "dqn"
    network: Network = MLPPart(activation="relu", layer_norm=True)
    learning_rate: Rate = ((0.0, 1e-3), (1.0, 0.0))
    discount: float = Field(0.9, gt=0, lt=1)
    temperature: Temperature = 0.02
    exploration: Chance = 0.0
    double: bool = Field(True, description="whether the action is selected by the network that learns")
    dueling: bool = Field(False, description="whether action values are put together from value and advantages")
    n_step: int = Field(3, ge=1, description="steps of the return before the value of the state they lead to")
    replay: int = Field(131_072, ge=1, description="environment steps of each member that are remembered")
    warmup: int = Field(2_048, ge=1, description="environment steps of each member before it begins to learn")
    batch: int = Field(128, ge=1, description="samples of a gradient step")
    gradient_steps: int = Field(16, ge=1, description="for each rollout")
    target_every: int = Field(50, ge=1, description="gradient steps after which the target network is renewed")
    tau: float = Field(1.0, gt=0, le=1, description="how much of it then (Polyak averaging); 1: all")
    huber: float | None = Field(None, gt=0, description="the error beyond which it counts linearly; by default none")
    gradient_norm: float = Field(10.0, gt=0)


AgentPart = PPOPart | A2CPart | ReinforcePart | PQNPart | DQNPart
OF_VALUES = PQNPart, DQNPart  # learners of action values

Agent = Annotated[
    Annotated[PPOPart, Tag("ppo")]
    | Annotated[A2CPart, Tag("a2c")]
    | Annotated[ReinforcePart, Tag("reinforce")]
    | Annotated[PQNPart, Tag("pqn")]
    | Annotated[DQNPart, Tag("dqn")],
    Discriminator(_told_by("learner", "ppo")),
]


def entropy_of(agent: AgentPart) -> Amount:
    """The weight of the entropy bonus; 0 for learners that have none."""
    return getattr(agent, "entropy", 0.0)


def temperature_of(agent: AgentPart) -> Amount:
    """The temperature at which action values are acted on; 0 for learners that have none, and where it is greedy."""
    return getattr(agent, "temperature", 0.0)


def fault_of(agent: AgentPart, batch: int, worlds: int) -> tuple[str, tuple[str, ...]] | None:
    """What in an agent does not fit together, or does not fit a rollout, and where; None if all is well.

    Args:
        batch: environment steps of an update.
        worlds: of them side by side.
    """
    kind, learner = agent.network.kind, agent.learner
    if isinstance(agent, DQNPart):
        return _fault_of_dqn(agent, batch, worlds)
    if getattr(agent, "critic", "single") == "per_channel" and not agent.network.separate:
        why = "or heads of channels that nobody pays for would shape the layers that decide"
        return f"'per_channel' needs agent.network.separate = true, {why}", ("critic",)
    if isinstance(agent, PQNPart) and agent.network.separate:
        return _no_critic(learner)
    if isinstance(agent, PPOPart | PQNPart):
        count, what = (worlds, "worlds") if kind == "gru" else (batch, "samples of an update")
        if count % agent.minibatches:
            near = min(_divisors(count), key=lambda d: (abs(d - agent.minibatches), d))
            why = f" ({learner} with memory learns from whole stretches of worlds)" if kind == "gru" else ""
            found = f"{agent.minibatches} does not divide the {count} {what}{why}"
            return f"{found}; the nearest is {near}", ("minibatches",)
    return None


def _fault_of_dqn(agent: DQNPart, batch: int, worlds: int) -> tuple[str, tuple[str, ...]] | None:
    if agent.network.kind == "gru":
        why = "dqn learns from single steps of its replay, and cannot learn what to remember"
        return f"'gru' is not for the learner 'dqn' ({why}); expected 'mlp' or 'conv'", ("network", "kind")
    if agent.network.separate:
        return _no_critic("dqn")
    if agent.replay % batch or agent.replay < 2 * batch:
        low = max(agent.replay // batch, 2) * batch
        need = f"a multiple of the {batch} steps of an update, and two of them at least"
        return f"{agent.replay} is not {need}; the nearest are {low} and {low + batch}", ("replay",)
    if agent.warmup > agent.replay:
        return f"{agent.warmup} is more than the replay holds; expected at most {agent.replay}", ("warmup",)
    most = agent.replay // worlds - 1
    if agent.n_step > most:
        return f"{agent.n_step} is more than the replay holds of each world; expected at most {most}", ("n_step",)
    return None


def _no_critic(learner: str) -> tuple[str, tuple[str, ...]]:
    why = "which has no critic beside its action values"
    return f"true is not for the learner {learner!r}, {why}", ("network", "separate")


def _divisors(count: int) -> list[int]:
    return [d for d in range(1, count + 1) if count % d == 0]
