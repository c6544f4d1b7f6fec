"""Proximal policy optimisation (Schulman et al. 2017), with the details of Huang et al. 2022.

Advantages are generalised (Schulman et al. 2016) and normalised within a minibatch; the gradient is clipped by its
global norm; one Adam optimiser serves policy and value head. A step that was truncated bootstraps from the value of the
state it led to and cuts the trace there; a step that ended the episode bootstraps from nothing.

Where there is exploration, what acts is the mixture of the policy with chance, and that mixture is what the ratio and
the entropy are of: learning stays on-policy. Readings are of the policy alone.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
import rlax
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.networks import Network, explored


class Settings(NamedTuple):
    """What can be chosen about PPO and is compiled; what a schedule gives is in `Tuning`."""

    discount: float = 0.97
    trace: float = 0.95  # λ of the generalised advantage
    clip: float = 0.2
    value_weight: float = 0.5
    gradient_norm: float = 0.5
    epochs: int = 4
    minibatches: int = 4


class PPOState(NamedTuple):
    """Everything that learns."""

    params: Any
    optimiser: Any


class Samples(NamedTuple):
    """A rollout made flat: every field starts with [time × worlds]."""

    observations: Array
    actions: Int[Array, "samples"]
    log_probs: Float[Array, "samples"]
    advantages: Float[Array, "samples"]
    returns: Float[Array, "samples"]


MEASURES = ("policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm")


def advantages(
    rewards: Float[Array, "time worlds"],
    values: Float[Array, "time worlds"],
    last_value: Float[Array, "worlds"],
    after_truncation: Float[Array, "time worlds"],
    ended: Bool[Array, "time worlds"],
    truncated: Bool[Array, "time worlds"],
    settings: Settings,
) -> Float[Array, "time worlds"]:
    """Generalised advantages.

    A truncated step is turned into a terminal one whose reward holds the discounted value of the state it led to: the
    same bootstrap, with the trace cut, so that nothing of the next episode leaks into this one.

    Args:
        last_value: V of the observation after the last step.
        after_truncation: V of the state that a truncated step led to; read only where `truncated`.
    """
    chex.assert_rank(rewards, 2)
    chex.assert_equal_shape((rewards, values, after_truncation, ended, truncated))
    rewards = rewards + settings.discount * jnp.where(truncated, after_truncation, 0.0)
    discounts = settings.discount * (1.0 - (ended | truncated))
    estimate = partial(rlax.truncated_generalized_advantage_estimation, stop_target_gradients=True)
    values = jnp.concatenate([values, last_value[None]])
    return jax.vmap(estimate, (1, 1, None, 1), 1)(rewards, discounts, settings.trace, values)


def _log_prob(logits: Array, actions: Array) -> Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def loss(
    params: Any, samples: Samples, network: Network, settings: Settings, tuning: Tuning
) -> tuple[Array, dict[str, Array]]:
    """The clipped surrogate, plus the squared error of the value head, minus entropy."""
    out = network.apply(params, samples.observations)
    logits = explored(out.logits, tuning.exploration)
    log_ratio = _log_prob(logits, samples.actions) - samples.log_probs
    ratio = jnp.exp(log_ratio)
    spread = jnp.std(samples.advantages)
    advantage = (samples.advantages - jnp.mean(samples.advantages)) / (spread + 1e-8)
    policy_loss = rlax.clipped_surrogate_pg_loss(ratio, advantage, settings.clip)
    value_loss = jnp.mean(rlax.l2_loss(out.value, samples.returns))
    flatness = rlax.entropy_loss(logits, jnp.ones(len(samples.actions)))  # minus the mean entropy
    total = policy_loss + settings.value_weight * value_loss + tuning.entropy * flatness
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": -flatness,
        "kl": jnp.mean(ratio - 1 - log_ratio),  # Schulman's low-variance estimator
        "clipped": jnp.mean((jnp.abs(ratio - 1) > settings.clip).astype(jnp.float32)),
    }


def _samples(params: Any, batch: Batch, network: Network, settings: Settings, tuning: Tuning) -> Samples:
    """Advantages and returns under the parameters that acted, flattened over time and worlds."""
    out = network.apply(params, batch.observations)
    last_value = network.apply(params, batch.last).value
    # Only few steps are truncated: their states are valued on their own instead of every state twice.
    where = jnp.flatnonzero(batch.truncated, size=len(batch.finals), fill_value=batch.truncated.size)
    after = jnp.zeros(batch.truncated.size).at[where].set(network.apply(params, batch.finals).value, mode="drop")
    after = after.reshape(batch.truncated.shape)
    advantage = advantages(batch.rewards, out.value, last_value, after, batch.ended, batch.truncated, settings)
    log_probs = _log_prob(explored(out.logits, tuning.exploration), batch.actions)
    samples = Samples(batch.observations, batch.actions, log_probs, advantage, advantage + out.value)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)


def ppo(network: Network, settings: Settings) -> Agent:
    """A PPO learner over `network`."""
    optimiser = optax.chain(optax.clip_by_global_norm(settings.gradient_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: Array) -> PPOState:
        params = network.init(key)
        return PPOState(params, optimiser.init(params))

    def act(params: Any, key: Array, observations: Array, tuning: Tuning) -> Array:
        logits = network.apply(params, observations).logits
        return jax.random.categorical(key, explored(logits, tuning.exploration))

    def learn(state: PPOState, key: Array, batch: Batch, tuning: Tuning) -> tuple[PPOState, dict[str, Array]]:
        samples = _samples(state.params, batch, network, settings, tuning)
        count = len(samples.actions)

        def minibatch(state: PPOState, rows: Array) -> tuple[PPOState, dict[str, Array]]:
            chosen = jax.tree.map(lambda x: x[rows], samples)
            gradient, measured = jax.grad(loss, has_aux=True)(state.params, chosen, network, settings, tuning)
            step, moments = optimiser.update(gradient, state.optimiser)
            params = jax.tree.map(lambda p, s: p - tuning.learning_rate * s, state.params, step)
            return PPOState(params, moments), measured | {"gradient_norm": optax.tree.norm(gradient)}

        def epoch(state: PPOState, key: Array) -> tuple[PPOState, dict[str, Array]]:
            rows = jax.random.permutation(key, count).reshape(settings.minibatches, -1)
            return jax.lax.scan(minibatch, state, rows)

        state, measured = jax.lax.scan(epoch, state, jax.random.split(key, settings.epochs))
        return state, jax.tree.map(jnp.mean, measured)

    return Agent(network, settings.discount, init, act, learn, MEASURES)
