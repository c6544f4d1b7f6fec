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


TEMPERATURE = "temperature"  # among the parameters of a softmax policy of action values; it is set, not learned


def softmax_policy(network: Network) -> Network:
    """The policy softmax(Q/τ) of a network of action values, as a network like any other.

    Its logits are Q/τ and its value is what following it is worth, Σ_a π(a) Q(a). τ is one more number among the
    parameters, so that whatever acts or reads with these parameters does so at the same temperature. As τ falls to 0,
    the policy becomes the greedy one. Illegal actions stay forbidden.

    >>> import jax, jax.numpy as jnp
    >>> from chisel.agents.networks import Form, make_network
    >>> values = make_network(jax.ShapeDtypeStruct((3,), jnp.float32), 2, Form(widths=(4,)), head="values")
    >>> network, seen = softmax_policy(values), jnp.ones(3)
    >>> params = at_temperature(network.init(jax.random.key(0)), 0.5)
    >>> q, out = values.apply(params, seen).logits, network.apply(params, seen)
    >>> bool(jnp.allclose(out.logits, q / 0.5)), bool(jnp.allclose(out.value, q @ jax.nn.softmax(q / 0.5)))
    (True, True)
    """

    def softened(out: Output, params: Params) -> Output:
        q = out.logits
        logits = jnp.where(q > FORBIDDEN / 2, q / params[TEMPERATURE], FORBIDDEN)
        return out._replace(logits=logits, value=jnp.sum(jax.nn.softmax(logits) * q, -1))

    def init(key: Array) -> Params:
        return at_temperature(network.init(key), 1.0)

    def apply(params: Params, *rest: Any) -> Output:
        return softened(network.apply(learned(params), *rest), params)

    soft = network._replace(init=init, apply=apply, greedy=False, values=network)
    unroll = network.unroll
    if unroll is None:
        return soft

    def soft_unroll(params: Params, *rest: Any) -> tuple[Output, Memory]:
        out, memory = unroll(learned(params), *rest)
        return softened(out, params), memory

    return soft._replace(unroll=soft_unroll)


def at_temperature(params: Params, temperature: Array | float | None) -> Params:
    """The parameters of a softmax policy at a temperature; as they are, for None."""
    return params if temperature is None else params | {TEMPERATURE: jnp.asarray(temperature, jnp.float32)}


def learned(params: Params) -> Params:
    """The parameters that are learned: all but a temperature."""
    return {name: value for name, value in params.items() if name != TEMPERATURE}


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
