"""Plain policy gradient: REINFORCE (Williams 1992) and A2C (Mnih et al. 2016, in step).

The textbook case of *reward reinforces the computation that led to it*: one step of the optimiser for each rollout,
along the gradient of the log-probability of what was done, as much as it was worth.

REINFORCE needs no critic: what an action was worth is the discounted sum of rewards from there to the end of its
episode. It learns from the steps whose episode the rollout has seen to its end; without a critic nothing can stand for
what a time limit cuts off, so the limit counts as an end. What is subtracted as a baseline changes nothing in the mean:
nothing, the mean over the rollout, or a learned value.

A2C is judged by its critic: generalised advantages, not normalised. But for that it is PPO with one epoch of one
minibatch (Huang et al. 2022).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Bool, Float

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.estimates import centred, descend, descent, judge, mean_entropy, said
from chisel.agents.networks import Network, Params
from chisel.agents.policy import explored
from chisel.agents.ppo import LearnerState, Samples, samples_of, value_loss
from chisel.study.agents import A2CPart, ReinforcePart

A2C, REINFORCE = A2CPart(), ReinforcePart()  # the defaults of a study are the only ones


class A2CSettings(NamedTuple):
    """What can be chosen about A2C and is compiled; what a schedule gives is in `Tuning`."""

    discount: float = A2C.discount
    trace: float = A2C.trace  # λ of the generalised advantage
    value_weight: float = A2C.value_weight
    gradient_norm: float = A2C.gradient_norm


class ReinforceSettings(NamedTuple):
    """What can be chosen about REINFORCE and is compiled."""

    discount: float = REINFORCE.discount
    baseline: str = REINFORCE.baseline  # `none`, `mean` of the rollout, or a learned `value`
    value_weight: float = REINFORCE.value_weight
    gradient_norm: float = REINFORCE.gradient_norm


A2C_MEASURES = ("policy_loss", "value_loss", "entropy", "gradient_norm")
REINFORCE_MEASURES = (*A2C_MEASURES, "used")


def returns_to_go(
    rewards: Float[Array, "time worlds"], over: Bool[Array, "time worlds"], discount: float
) -> tuple[Float[Array, "time worlds"], Bool[Array, "time worlds"]]:
    """The discounted sum of rewards to the end of the episode, and whether the rollout has seen that end.

    >>> import jax.numpy as jnp
    >>> found, whole = returns_to_go(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([[False], [True], [False]]), 0.5)
    >>> found[:, 0].tolist(), whole[:, 0].tolist()
    ([2.0, 2.0, 4.0], [True, True, False])
    """

    def back(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (following, whole), (reward, ends) = later, now
        found = reward + discount * jnp.where(ends, 0.0, following), whole | ends
        return found, found

    nothing = jnp.zeros_like(rewards[0]), jnp.zeros_like(over[0])
    return jax.lax.scan(back, nothing, (rewards, over), reverse=True)[1]


def loss(
    params: Params,
    samples: Samples,
    used: Float[Array, "time worlds"],
    network: Network,
    value_weight: float,
    tuning: Tuning,
) -> tuple[Array, dict[str, Array]]:
    """Minus the mean log-probability of what was done, weighed by advantages; plus that of the critic, minus entropy.

    Args:
        used: 1 for steps to learn from, 0 for others. Means are over the former, but for the entropy's.
    """
    out = said(network, params, samples)
    logits = explored(out.logits, tuning.exploration)
    share = (used / jnp.maximum(jnp.mean(used), 1e-8)).reshape(-1)  # a mean over the steps that are used
    rows = logits.reshape(-1, logits.shape[-1])
    policy_loss = rlax.policy_gradient_loss(rows, samples.actions.reshape(-1), samples.advantages.reshape(-1), share)
    known = samples._replace(returns=jnp.where(_beside(used, out.value) > 0, samples.returns, out.value))
    error = value_loss(out.value, known, None) / jnp.maximum(jnp.mean(used), 1e-8)
    entropy = mean_entropy(logits)
    total = policy_loss + value_weight * error - tuning.entropy * entropy
    return total, {"policy_loss": policy_loss, "value_loss": error, "entropy": entropy}


def _beside(used: Array, values: Array) -> Array:
    return used.reshape(used.shape + (1,) * (values.ndim - used.ndim))


def _learner(
    network: Network, settings: Any, measures: tuple[str, ...], weigh: Any, ends_at_time_limit: bool = False
) -> Agent:
    """An agent that takes one step of the optimiser for each rollout.

    Args:
        weigh: (Judged, Batch, Tuning) -> (Samples with advantages and returns, used, further measures).
    """
    optimiser = descent(network, settings.gradient_norm, apart=network.parts is not None)

    def init(key: Array) -> LearnerState:
        params = network.init(key)
        return LearnerState(params, optimiser.init(params))

    def learn(state: LearnerState, key: Array, batch: Batch, tuning: Tuning) -> tuple[LearnerState, dict[str, Array]]:
        del key  # nothing is left to chance
        judged = judge(network, state.params, batch)
        samples, used, further = weigh(judged, batch, tuning)
        samples = samples._replace(begins=judged.begins, memory=batch.memory)
        gradient, measured = jax.grad(loss, has_aux=True)(
            state.params, samples, used, network, settings.value_weight, tuning
        )
        params, moments, norm = descend(optimiser, gradient, state.optimiser, state.params, tuning.learning_rate)
        return LearnerState(params, moments), measured | further | {"gradient_norm": norm}

    return Agent(network, settings.discount, init, learn, measures, ends_at_time_limit)


def a2c(network: Network, settings: A2CSettings) -> Agent:
    """An A2C learner over `network`."""

    def weigh(judged: Any, batch: Batch, tuning: Tuning) -> tuple[Samples, Array, dict[str, Array]]:
        return samples_of(judged, batch, settings, tuning), jnp.ones(batch.actions.shape), {}

    return _learner(network, settings, A2C_MEASURES, weigh)


def reinforce(network: Network, settings: ReinforceSettings) -> Agent:
    """A REINFORCE learner over `network`."""
    if settings.baseline != "value":
        settings = settings._replace(value_weight=0.0)

    def weigh(judged: Any, batch: Batch, tuning: Tuning) -> tuple[Samples, Array, dict[str, Array]]:
        worth, whole = returns_to_go(batch.rewards, batch.ended | batch.truncated, settings.discount)
        used = whole.astype(jnp.float32)
        values = judged.out.value
        more = {"none": lambda: worth, "mean": lambda: centred(worth, used), "value": lambda: worth - values}
        advantage = more[settings.baseline]() * used
        samples = Samples(batch.observations, batch.actions, jnp.zeros_like(worth), advantage, values, worth)
        return samples, used, {"used": jnp.mean(used)}

    return _learner(network, settings, REINFORCE_MEASURES, weigh, ends_at_time_limit=True)
