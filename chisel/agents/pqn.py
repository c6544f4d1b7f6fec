"""Parallelised Q-learning (PQN; Gallici et al. 2024, *Simplifying Deep Temporal Difference Learning*).

Q-learning from the rollout alone: no replay, so that nothing of an earlier schedule is learned from after a switch, and
no target network; layer normalisation in the network keeps it stable. The targets are λ-returns (Peng and Williams
1996), computed once for each rollout by the parameters that acted; the network then moves towards them in several
epochs of shuffled minibatches, as PPO does:

    V(s)  = Σ_a π(a|s) Q(s, a)
    G_t   = r_t + γ [(1 − λ) V(s_{t+1}) + λ G_{t+1}]        within an episode and a rollout
    loss  = mean of ½ (Q(s_t, a_t) − G_t)²

π is the policy that acts, softmax(Q/τ) at the temperature τ in force: then the targets are those of expected SARSA (van
Seijen et al. 2009) at λ = 0, and the agent's behaviour is judged and not that of its argmax. Without a temperature π is
greedy, and V(s) = max_a Q(s, a), as in the paper; then `exploration` must see to it that other actions are tried. The
λ-return is not corrected for exploration (Peng's Q(λ)).

A step that was truncated bootstraps from V of the state it led to and cuts the return there; a step that ended the
episode bootstraps from nothing. Where players alternate, the discount is negative.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.estimates import credit, descend, descent, in_minibatches, judge, mean_entropy, said
from chisel.agents.networks import Memory, Network, Params
from chisel.agents.policy import learned
from chisel.study.agents import PQNPart

USUAL = PQNPart()  # the defaults of a study are the only ones


class Settings(NamedTuple):
    """What can be chosen about PQN and is compiled; what a schedule gives is in `Tuning`, or in the parameters.

    Fields:
        trace: λ of the returns.
    """

    discount: float = USUAL.discount
    trace: float = USUAL.trace
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
        returns: what the values of the actions should have been.
        begins, memory: for a network with memory, where episodes begin, and what was remembered before the first step.
    """

    observations: Array
    actions: Int[Array, " samples"]
    returns: Float[Array, " samples"]
    begins: Bool[Array, " samples"] | None = None
    memory: Memory = None


MEASURES = ("value_loss", "value", "entropy", "gradient_norm")


def loss(params: Params, samples: Samples, network: Network) -> tuple[Array, Array]:
    """Half the squared error of action values, and their mean.

    Args:
        network: of action values.
    """
    values = said(network, params, samples).logits
    chosen = jnp.take_along_axis(values, samples.actions[..., None], axis=-1)[..., 0]
    return jnp.mean(rlax.l2_loss(chosen, samples.returns)), jnp.mean(chosen)


def samples_of(network: Network, params: Params, batch: Batch, settings: Settings) -> tuple[Samples, Array]:
    """A rollout with its returns under the parameters that acted, [time, worlds, …]; and the policy's mean entropy.

    Generalised advantages plus values are λ-returns.
    """
    judged = judge(network, params, batch)
    _, returns = credit(judged, batch, settings.discount, settings.trace)
    entropy = jnp.float32(0) if network.greedy else mean_entropy(judged.out.logits)
    return Samples(batch.observations, batch.actions, returns, judged.begins, batch.memory), entropy


def pqn(network: Network, settings: Settings) -> Agent:
    """A PQN learner over `network`: one of action values, or the softmax policy of one."""
    values = network.values or network
    optimiser = descent(values, settings.gradient_norm, apart=False)

    def init(key: Array) -> LearnerState:
        params = network.init(key)
        return LearnerState(params, optimiser.init(learned(params)))

    def learn(state: LearnerState, key: Array, batch: Batch, tuning: Tuning) -> tuple[LearnerState, dict[str, Array]]:
        samples, entropy = samples_of(network, state.params, batch, settings)

        def descending(state: LearnerState, samples: Samples) -> tuple[LearnerState, dict[str, Array]]:
            (error, value), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, samples, values)
            params, moments, norm = descend(optimiser, gradient, state.optimiser, state.params, tuning.learning_rate)
            return LearnerState(params, moments), {"value_loss": error, "value": value, "gradient_norm": norm}

        before = LearnerState(learned(state.params), state.optimiser)
        after, measured = in_minibatches(
            descending, before, samples, network, key, settings.epochs, settings.minibatches
        )
        return LearnerState(state.params | after.params, after.optimiser), measured | {"entropy": entropy}

    return Agent(network, settings.discount, init, learn, MEASURES)
