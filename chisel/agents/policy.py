"""From what a network says to what is done: legal actions, exploration, memory."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chisel.agents.networks import NOTHING, Memory, Network, Output, Params

FORBIDDEN = -1e9  # a logit that no softmax gives weight; finite, so that 0 · log 0 stays 0


Luck = Any  # what chance decides in one step


class Actor(NamedTuple):
    """Something that acts.

    Fields:
        luck: (key, worlds) -> Luck of one step; drawn ahead for many, which is cheaper than one by one.
        act: (Luck, observations [worlds, …], Memory) -> (actions [worlds], Memory).
        fresh: (worlds) -> Memory at the beginning of an episode, [worlds, …]; None where nothing is remembered.
    """

    luck: Callable[[Array, int], Luck]
    act: Callable[[Luck, Array, Memory], tuple[Int[Array, " worlds"], Memory]]
    fresh: Callable[[int], Memory] = lambda worlds: None


def forgetful(choose: Callable[[Array, Array], Array]) -> Actor:
    """An actor without memory, from (key, observations) -> actions."""
    return Actor(lambda key, worlds: key, lambda key, observations, memory: (choose(key, observations), memory))


def masked(network: Network, legal: Callable[[Array], Array], observation: jax.ShapeDtypeStruct) -> Network:
    """A network that forbids actions that are not legal.

    Args:
        legal: (observation) -> bool[actions].
    """

    def fenced(out: Output, observed: Array) -> Output:
        allowed = jax.vmap(legal)(observed.reshape(-1, *observation.shape)).reshape(out.logits.shape)
        out = out._replace(logits=jnp.where(allowed, out.logits, FORBIDDEN))
        return out._replace(value=jnp.max(out.logits, -1)) if network.greedy else out

    def apply(params: Params, observed: Array, *put: Mapping[str, Array]) -> Output:
        return fenced(network.apply(params, observed, *put), observed)

    unroll = network.unroll
    if unroll is None:
        return network._replace(apply=apply)

    def fenced_unroll(
        params: Params, observed: Array, begins: Array, memory: Memory, *put: Mapping[str, Array]
    ) -> tuple[Output, Memory]:
        out, memory = unroll(params, observed, begins, memory, *put)
        return fenced(out, observed), memory

    return network._replace(apply=apply, unroll=fenced_unroll)


def step(
    network: Network, params: Params, observations: Array, memory: Memory, put: Mapping[str, Array] = NOTHING
) -> tuple[Output, Memory]:
    """What a network says in one step, and what it remembers after it. Memory is fresh where an episode begins.

    Args:
        put: activations that layers are given instead of their own.
    """
    added = (put,) if put else ()
    if network.unroll is None:
        return network.apply(params, observations, *added), memory
    begins = jnp.zeros((1, *jax.tree.leaves(memory)[0].shape[:-1]), bool)
    added = jax.tree.map(lambda x: x[None], added)
    return jax.tree.map(lambda x: x[0], network.unroll(params, observations[None], begins, memory, *added))


def explored(
    logits: Float[Array, "*batch actions"], exploration: Array | float | None
) -> Float[Array, "*batch actions"]:
    """The logits of a policy that chooses at random, evenly among the legal actions, with chance `exploration`.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> np.round(np.asarray(jax.nn.softmax(explored(jnp.array([50.0, 0.0, FORBIDDEN]), 0.5)), float), 3).tolist()
    [0.75, 0.25, 0.0]
    """
    if exploration is None:
        return logits
    legal = logits > FORBIDDEN / 2
    # In logarithms, or sure policies would underflow; none of which may be infinite, or gradients would be NaN where
    # infinities meet: at exploration 0, in a row without a legal action.
    own = _log(1 - exploration, jnp.log1p(-exploration)) + jax.nn.log_softmax(logits)
    chance = _log(exploration, jnp.log(exploration)) - jnp.log(jnp.maximum(jnp.sum(legal, -1, keepdims=True), 1))
    return jnp.where(legal, jnp.logaddexp(own, chance), FORBIDDEN)


def _log(chance: Array | float, log: Array) -> Array:
    """The logarithm of a chance, or, of none, a number so low that its exponential is 0."""
    return jnp.where(chance > 0, log, FORBIDDEN)


def luck(network: Network, key: Array, worlds: int) -> Luck:
    """What `choose` needs of chance: Gumbel numbers [worlds, actions]; for greedy ones, uniform ones before."""
    shape = worlds, network.actions
    if not network.greedy:
        return jax.random.gumbel(key, shape)
    chance_key, any_key = jax.random.split(key)
    return jax.random.uniform(chance_key, (worlds,)), jax.random.gumbel(any_key, shape)


def choose(
    network: Network, luck: Luck, logits: Float[Array, "worlds actions"], exploration: Array | float | None = None
) -> Int[Array, " worlds"]:
    """An action for each row: drawn from the policy, or that of the highest value; at random as often as explored."""
    if not network.greedy:
        return jnp.argmax(explored(logits, exploration) + luck, -1)  # the Gumbel-max way to draw (Maddison et al. 2014)
    best = jnp.argmax(logits, -1)
    if exploration is None:
        return best
    chance, numbers = luck
    anything = jnp.argmax(jnp.where(logits > FORBIDDEN / 2, numbers, FORBIDDEN), -1)
    return jnp.where(chance < exploration, anything, best)


def policy(network: Network, params: Params, exploration: Array | float | None = None) -> Actor:
    """What a network does, if it explores so often; by default never."""

    def act(luck: Luck, observations: Array, memory: Memory) -> tuple[Array, Memory]:
        out, memory = step(network, params, observations, memory)
        return choose(network, luck, out.logits, exploration), memory

    return Actor(partial(luck, network), act, network.fresh)


def looked(
    network: Network, params: Params, observations: Array, before: int, put: Mapping[str, Array] = NOTHING
) -> Output:
    """What a network says of observations with which an episode begins, after `before` looks at the same.

    Without memory it says the same every time. Layers are given other activations than their own at every look.
    """
    if network.unroll is None:
        return step(network, params, observations, None, put)[0]
    batch = jax.eval_shape(network.apply, params, observations).logits.shape[:-1]

    def look(memory: Memory, _: None) -> tuple[Memory, None]:
        return step(network, params, observations, memory, put)[1], None

    memory, _ = jax.lax.scan(look, network.fresh(*batch), None, before)
    return step(network, params, observations, memory, put)[0]
