"""The contract of a learner, and of what it learns from."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

from chisel.agents.networks import Memory, Network

AgentState = Any  # a pytree with a field `params`


class Batch(NamedTuple):
    """What a learner learns from: one rollout, and nothing about why the reward is what it is.

    Fields:
        observations: [time, worlds, …] what the agent saw.
        actions, rewards: [time, worlds].
        readings: what each part of the reward was read as: every channel, and, last, what potentials paid.
        weights: what each part is worth: `rewards` are `readings @ weights`, unless something is paid later.
        ended: true termination: nothing of value follows.
        truncated: cut off by the time limit: what follows would have been worth something. Never both.
        finals: [slots, …] the observation after each truncated step (before the reset), in time-major order.
        last: [worlds, …] the observation after the last step (after a reset, where there was one).
        memory: [worlds, …] what the agent remembered before the first step; None where it remembers nothing.
    """

    observations: Array
    actions: Int[Array, "time worlds"]
    rewards: Float[Array, "time worlds"]
    readings: Float[Array, "time worlds parts"]
    weights: Float[Array, " parts"]
    ended: Bool[Array, "time worlds"]
    truncated: Bool[Array, "time worlds"]
    finals: Array
    last: Array
    memory: Memory = None


class Tuning(NamedTuple):
    """The numbers of a learner that a schedule sets, and may change while training goes on.

    Fields:
        learning_rate: the optimiser's step size; 0 freezes the agent.
        entropy: weight of the entropy bonus.
        exploration: chance that an action is chosen at random, evenly among the legal ones; None where nobody explores.
    """

    learning_rate: Float[Array, ""] | float
    entropy: Float[Array, ""] | float
    exploration: Float[Array, ""] | float | None = None


class Agent(NamedTuple):
    """A learner. Pure functions; everything that learns is in the state. It acts as `chisel.agents.policy` says.

    Fields:
        network: what acts, and what probes read: `network.apply(state.params, observation)`.
        discount: the learner's γ, which shaping must share; negative where players alternate and want the opposite.
        init: (key) -> state.
        learn: (state, key, Batch, Tuning) -> (state, {measure: number}).
        measures: the names of what `learn` reports, in order.
        ends_at_time_limit: whether it takes a truncated step for an end of which nothing follows, as a learner without
            a critic must; shaping must take the same for an end. Otherwise it bootstraps from `Batch.finals`.
    """

    network: Network
    discount: float
    init: Callable[[Array], AgentState]
    learn: Callable[[AgentState, Array, Batch, Tuning], tuple[AgentState, dict[str, Array]]]
    measures: tuple[str, ...]
    ends_at_time_limit: bool = False
