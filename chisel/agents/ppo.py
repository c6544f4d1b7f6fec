"""Proximal policy optimisation (Schulman et al. 2017), with the details of Huang et al. 2022 (37 details of PPO).

- Advantages are generalised (Schulman et al. 2016, `trace` is λ), and normalised within a minibatch.
- A step that was truncated bootstraps from the value of the state it led to and cuts the trace there; a step that ended
  the episode bootstraps from nothing.
- The ratio is clipped; so is the change of the value, if `value_clip` (PPO2 does, and it seldom matters).
- Entropy is rewarded, at a weight that a schedule may change; the gradient is clipped by its global norm.
- One Adam optimiser (ε = 1e-5) serves policy and value head; its step size is data: knots anneal it.
- Layers are orthogonally initialised: √2 within, 0.01 at the policy, 1 at the value head.
- A network with memory learns from whole stretches of worlds: a minibatch is a set of worlds, unrolled from what was
  remembered when the rollout began.
- With one value head per part of the reward (`Form.parts`), advantages are those of each part, weighed as they are paid
  now (van Seijen et al. 2017 tell action values apart like that): after a switch of schedules the critic need not learn
  anew. The critic's gradient is then clipped on its own.

Where there is exploration, what acts is the mixture of the policy with chance, and that mixture is what the ratio and
the entropy are of: learning stays on-policy. Readings are of the policy alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.estimates import (
    Judged,
    credit,
    descend,
    descent,
    in_minibatches,
    judge,
    log_prob,
    mean_entropy,
    normalised,
    said,
)
from chisel.agents.networks import Memory, Network, Params
from chisel.agents.policy import explored
from chisel.study.agents import PPOPart

USUAL = PPOPart()  # the defaults of a study are the only ones


class Settings(NamedTuple):
    """What can be chosen about PPO and is compiled; what a schedule gives is in `Tuning`."""

    discount: float = USUAL.discount
    trace: float = USUAL.trace  # λ of the generalised advantage
    clip: float = USUAL.clip
    value_clip: bool = USUAL.value_clip
    value_weight: float = USUAL.value_weight
    gradient_norm: float = USUAL.gradient_norm
    epochs: int = USUAL.epochs
    minibatches: int = USUAL.minibatches


class LearnerState(NamedTuple):
    """Everything that learns."""

    params: Any
    optimiser: Any


class Samples(NamedTuple):
    """What is learned from. Fields start with [samples]; for a network with memory with [time, worlds].

    Fields:
        values, returns: what the value heads said, and what they should have said; [samples, parts] where told apart.
        begins, memory: for a network with memory, where episodes begin, and what was remembered before the first step.
    """

    observations: Array
    actions: Int[Array, " samples"]
    log_probs: Float[Array, " samples"]
    advantages: Float[Array, " samples"]
    values: Float[Array, " samples"]
    returns: Float[Array, " samples"]
    begins: Bool[Array, " samples"] | None = None
    memory: Memory = None


MEASURES = ("policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm")


def value_loss(values: Array, samples: Samples, clip: float | None) -> Array:
    """Half the squared error, added up over parts; the worse of it and of that of a value that moved `clip` at most."""
    error = rlax.l2_loss(values, samples.returns)
    if clip is not None:
        near = samples.values + jnp.clip(values - samples.values, -clip, clip)
        error = jnp.maximum(error, rlax.l2_loss(near, samples.returns))
    return jnp.mean(error if error.ndim == samples.actions.ndim else jnp.sum(error, -1))


def loss(
    params: Params, samples: Samples, network: Network, settings: Settings, tuning: Tuning
) -> tuple[Array, dict[str, Array]]:
    """The clipped surrogate, plus the squared error of the value head, minus entropy."""
    out = said(network, params, samples)
    logits = explored(out.logits, tuning.exploration)
    log_ratio = log_prob(logits, samples.actions) - samples.log_probs
    ratio = jnp.exp(log_ratio)
    advantage = normalised(samples.advantages).reshape(-1)
    policy_loss = rlax.clipped_surrogate_pg_loss(ratio.reshape(-1), advantage, settings.clip)
    error = value_loss(out.value, samples, settings.clip if settings.value_clip else None)
    entropy = mean_entropy(logits)
    total = policy_loss + settings.value_weight * error - tuning.entropy * entropy
    return total, {
        "policy_loss": policy_loss,
        "value_loss": error,
        "entropy": entropy,
        "kl": jnp.mean(ratio - 1 - log_ratio),  # Schulman's low-variance estimator
        "clipped": jnp.mean((jnp.abs(ratio - 1) > settings.clip).astype(jnp.float32)),
    }


def samples_of(judged: Judged, batch: Batch, settings: Any, tuning: Tuning) -> Samples:
    """A rollout with its advantages and returns under the parameters that acted, [time, worlds, …]."""
    advantage, returns = credit(judged, batch, settings.discount, settings.trace)
    log_probs = log_prob(explored(judged.out.logits, tuning.exploration), batch.actions)
    out = judged.out
    return Samples(batch.observations, batch.actions, log_probs, advantage, out.value, returns)


def ppo(network: Network, settings: Settings) -> Agent:
    """A PPO learner over `network`."""
    optimiser = descent(network, settings.gradient_norm, apart=network.parts is not None)

    def init(key: Array) -> LearnerState:
        params = network.init(key)
        return LearnerState(params, optimiser.init(params))

    def learn(state: LearnerState, key: Array, batch: Batch, tuning: Tuning) -> tuple[LearnerState, dict[str, Array]]:
        judged = judge(network, state.params, batch)
        samples = samples_of(judged, batch, settings, tuning)
        samples = samples._replace(begins=judged.begins, memory=batch.memory)

        def descending(state: LearnerState, samples: Samples) -> tuple[LearnerState, dict[str, Array]]:
            gradient, measured = jax.grad(loss, has_aux=True)(state.params, samples, network, settings, tuning)
            params, moments, norm = descend(optimiser, gradient, state.optimiser, state.params, tuning.learning_rate)
            return LearnerState(params, moments), measured | {"gradient_norm": norm}

        return in_minibatches(descending, state, samples, network, key, settings.epochs, settings.minibatches)

    return Agent(network, settings.discount, init, learn, MEASURES)
