"""Deep Q-learning (Mnih et al. 2015): double (van Hasselt et al. 2016), dueling if asked (Wang et al. 2016), n-step.

It learns from a replay of what was paid when it happened: after a switch of schedules, rewards of the old one are
learned from until they are overwritten. It explores by acting at random with chance `exploration` (ε), which is data:
knots make the ε-schedule. Its decisions are read without: the action of the highest value is chosen, and a bid is the
difference of the highest action values (`chisel.probing.influence`).

At a temperature it acts and is read by softmax(Q/τ) instead, and learns what that is worth (expected SARSA, van Seijen
et al. 2009): where the greedy learner takes the highest of the following action values, this one takes their mean under
the policy; with `double`, under the policy of the parameters that learn.

Where players alternate, the discount is negative: what is best for the next player counts against this one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import rlax
from jaxtyping import Array, Float, Int

from chisel.agents.agent import Agent, Batch, Tuning
from chisel.agents.estimates import descend, descent
from chisel.agents.networks import Network, Params
from chisel.agents.policy import TEMPERATURE, learned
from chisel.agents.replay import Hops, Replay, empty, sample, store
from chisel.study.agents import DQNPart

USUAL = DQNPart()  # the defaults of a study are the only ones
WORLDS = 64  # by which steps of each member are divided where nobody says how many there are


class Settings(NamedTuple):
    """What can be chosen about DQN and is compiled; what a schedule gives is in `Tuning`.

    Fields:
        hop: steps of the return before the value of the state they lead to.
        rows: steps of each world that are remembered.
        warmup: steps of each world before the first step of the optimiser.
        batch: samples of a step of the optimiser.
        descents: steps of the optimiser for each rollout.
        target_every: steps of the optimiser after which the target network is renewed.
        tau: how much of it then: target ← τ·params + (1 − τ)·target (Polyak averaging, Lillicrap et al. 2016); 1: all.
        huber: errors beyond it count linearly; None: all count by their square.
    """

    discount: float = USUAL.discount
    double: bool = USUAL.double
    hop: int = USUAL.n_step
    rows: int = USUAL.replay // WORLDS
    warmup: int = USUAL.warmup // WORLDS
    batch: int = USUAL.batch
    descents: int = USUAL.gradient_steps
    target_every: int = USUAL.target_every
    tau: float = USUAL.tau
    huber: float | None = USUAL.huber
    gradient_norm: float = USUAL.gradient_norm


class Learned(NamedTuple):
    """Everything that learns."""

    params: Any
    target: Any
    optimiser: Any
    done: Int[Array, ""]  # steps of the optimiser


class DQNState(NamedTuple):
    """Everything that learns, and what it learns from."""

    params: Any
    target: Any
    optimiser: Any
    done: Int[Array, ""]  # steps of the optimiser
    replay: Replay


MEASURES = ("value_loss", "value", "gradient_norm")


def loss(
    params: Params,
    target: Params,
    hops: Hops,
    network: Network,
    settings: Settings,
    temperature: Float[Array, ""] | float | None = None,
) -> tuple[Array, Array]:
    """Half the squared error of action values, or its Huber loss, and the mean action value.

    Args:
        network: of action values.
        temperature: of the policy that is learned about; None: it is greedy.
    """
    values = network.apply(params, hops.before).logits
    following = network.apply(target, hops.after).logits
    selecting = network.apply(params, hops.after).logits if settings.double else following
    if temperature is None:
        errors, told = jax.vmap(rlax.double_q_learning), selecting
    else:
        errors, told = jax.vmap(rlax.expected_sarsa), jax.nn.softmax(jax.lax.stop_gradient(selecting) / temperature)
    error = errors(values, hops.actions, hops.rewards, hops.discounts, following, told)
    each = rlax.l2_loss(error) if settings.huber is None else rlax.huber_loss(error, settings.huber)
    mean = jnp.mean(jnp.take_along_axis(values, hops.actions[:, None], axis=-1))
    return jnp.mean(each), mean


def nearer(target: Params, params: Params, tau: float) -> Params:
    """Parameters moved `tau` of the way: to the bit what they were where there is no way to go."""
    if tau == 1:
        return params
    return jax.tree.map(lambda old, new: old + tau * (new - old), target, params)


def dqn(network: Network, settings: Settings, observation: jax.ShapeDtypeStruct, worlds: int, limit: int) -> Agent:
    """A DQN learner over `network`: one of action values, or the softmax policy of one.

    Args:
        observation, worlds: shape of what is remembered.
        limit: the time limit of an episode, in steps; what a truncated step led to is remembered as well.
    """
    values = network.values or network
    optimiser = descent(values, settings.gradient_norm, apart=False)

    def init(key: Array) -> DQNState:
        params = network.init(key)
        replay = empty(observation, settings.rows, worlds, limit)
        own = learned(params)
        return DQNState(params, own, optimiser.init(own), jnp.int32(0), replay)

    def learn(state: DQNState, key: Array, batch: Batch, tuning: Tuning) -> tuple[DQNState, dict[str, Array]]:
        slots = worlds * -(-len(batch.actions) // limit)
        assert len(batch.finals) == slots, (batch.finals.shape, slots, "rollouts have another time limit")
        replay = store(state.replay, batch)
        temperature = None if network.greedy else state.params[TEMPERATURE]

        def one(before: Learned, key: Array) -> tuple[Learned, dict[str, Array]]:
            hops = sample(replay, key, settings.batch, settings.hop, settings.discount, observation)
            gradient_of = jax.value_and_grad(loss, has_aux=True)
            (error, value), gradient = gradient_of(before.params, before.target, hops, values, settings, temperature)
            params, moments, norm = descend(optimiser, gradient, before.optimiser, before.params, tuning.learning_rate)
            done = before.done + 1
            target = optax.periodic_update(
                nearer(before.target, params, settings.tau), before.target, done, settings.target_every
            )
            measured = {"value_loss": error, "value": value, "gradient_norm": norm}
            return Learned(params, target, moments, done), measured

        def go(before: Learned) -> tuple[Learned, dict[str, Array]]:
            after, measured = jax.lax.scan(one, before, jax.random.split(key, settings.descents))
            return after, jax.tree.map(jnp.mean, measured)

        def wait(before: Learned) -> tuple[Learned, dict[str, Array]]:
            return before, dict.fromkeys(MEASURES, jnp.float32(jnp.nan))

        ready = replay.filled >= max(settings.warmup, settings.hop + 1)
        own = Learned(learned(state.params), state.target, state.optimiser, state.done)
        after, measured = jax.lax.cond(ready, go, wait, own)
        params = state.params | after.params
        return DQNState(params, after.target, after.optimiser, after.done, replay), measured

    return Agent(network, settings.discount, init, learn, MEASURES)
