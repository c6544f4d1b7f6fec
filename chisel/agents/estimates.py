"""What learners share: the network over a rollout, advantages, and the step of the optimiser."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import optax
import rlax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.agent import Batch
from chisel.agents.networks import Memory, Network, Output, Params

State = TypeVar("State")


class Judged(NamedTuple):
    """A rollout under the parameters that acted.

    Fields:
        out: [time, worlds, …] what the network said.
        begins: [time, worlds] where an episode begins within the rollout.
        after_truncation: the value of the state that a truncated step led to; meant only there.
        last: the value of the state after the last step.
    """

    out: Output
    begins: Bool[Array, "time worlds"]
    after_truncation: Float[Array, "time worlds"]
    last: Float[Array, " worlds"]


def judge(network: Network, params: Params, batch: Batch) -> Judged:
    """What the network says of a rollout. Values have a trailing axis where the critic is told apart."""
    over = batch.ended | batch.truncated
    begins = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
    # Only few steps are truncated: their states are valued on their own instead of every state twice.
    where = jnp.flatnonzero(batch.truncated, size=len(batch.finals), fill_value=batch.truncated.size)
    if network.unroll is None:
        out = network.apply(params, batch.observations)
        last = network.apply(params, batch.last).value
        finals = network.apply(params, batch.finals).value
    else:
        out, kept = network.unroll(params, batch.observations, begins, batch.memory)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), kept)
        finals = value_of(network, params, batch.finals, jnp.zeros(len(where), bool), _rows(flat, where))
        last = value_of(network, params, batch.last, over[-1], jax.tree.map(lambda x: x[-1], kept))
    shape = out.value.shape
    after = jnp.zeros((batch.truncated.size, *shape[2:])).at[where].set(finals, mode="drop")
    return Judged(out, begins, after.reshape(shape), last)


def _rows(tree: Any, where: Array) -> Any:
    return jax.tree.map(lambda x: jnp.take(x, where, axis=0, mode="clip"), tree)


def value_of(network: Network, params: Params, observations: Array, begins: Array, memory: Memory) -> Array:
    """Values of observations [batch, …] by a network that remembers."""
    assert network.unroll is not None
    return network.unroll(params, observations[None], begins[None], memory)[0].value[0]


def advantages(
    rewards: Float[Array, "time worlds"],
    values: Float[Array, "time worlds"],
    last_value: Float[Array, " worlds"],
    after_truncation: Float[Array, "time worlds"],
    ended: Bool[Array, "time worlds"],
    truncated: Bool[Array, "time worlds"],
    discount: float,
    trace: float,
) -> Float[Array, "time worlds"]:
    """Generalised advantages (Schulman et al. 2016).

    A truncated step is turned into a terminal one whose reward holds the discounted value of the state it led to: the
    same bootstrap, with the trace cut, so that nothing of the next episode leaks into this one.

    Args:
        last_value: V of the observation after the last step.
        after_truncation: V of the state that a truncated step led to; read only where `truncated`.
        discount, trace: γ and λ.
    """
    chex.assert_rank(rewards, 2)
    chex.assert_equal_shape((rewards, values, after_truncation, ended, truncated))
    rewards = rewards + discount * jnp.where(truncated, after_truncation, 0.0)
    discounts = discount * (1.0 - (ended | truncated))
    estimate = partial(rlax.truncated_generalized_advantage_estimation, stop_target_gradients=True)
    values = jnp.concatenate([values, last_value[None]])
    return jax.vmap(estimate, (1, 1, None, 1), 1)(rewards, discounts, trace, values)


def credit(judged: Judged, batch: Batch, discount: float, trace: float) -> tuple[Array, Array]:
    """Advantages [time, worlds] of what was done, and the returns that the value heads should have foretold.

    Where the critic is told apart, each part of the reward has advantages of its own, which are added up by the weights
    in force: what a head has learned stays true when the weights change.
    """
    value, ends = judged.out.value, (batch.ended, batch.truncated)
    if value.ndim == 2:
        found = advantages(batch.rewards, value, judged.last, judged.after_truncation, *ends, discount, trace)
        return found, found + value
    of_part = jax.vmap(
        lambda r, v, last, after: advantages(r, v, last, after, *ends, discount, trace), in_axes=-1, out_axes=-1
    )
    parts = of_part(batch.readings, value, judged.last, judged.after_truncation)
    return parts @ batch.weights, parts + value


ROUNDING = 8 * float(jnp.finfo(jnp.float32).eps)


def centred(x: Float[Array, "*batch"], used: Float[Array, "*batch"] | None = None) -> Float[Array, "*batch"]:
    """What numbers are more than their mean; exactly 0 where they are equal but for the rounding of float32.

    A mean of equal numbers is not exactly that number. What rounding leaves of them would be made as large as any other
    advantage by who divides by its spread, or by Adam.

    Args:
        used: 1 for the numbers that count, 0 for others, whose result is not meant; all count, if None.

    >>> import jax.numpy as jnp
    >>> centred(jnp.full(512, 5.3)).any().item(), centred(jnp.array([1.0, 3.0])).tolist()
    (False, [-1.0, 1.0])
    """
    used = jnp.ones_like(x) if used is None else used

    def less_the_mean(x: Array) -> Array:
        return x - jnp.sum(x * used) / jnp.maximum(jnp.sum(used), 1.0)

    rest = less_the_mean(less_the_mean(x))  # twice: the first mean of many is off by more than rounding of one
    equal = jnp.max(jnp.abs(rest) * used) <= ROUNDING * jnp.max(jnp.abs(x) * used)
    return jnp.where(equal, 0.0, rest)


def normalised(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """What numbers are more than their mean, in standard deviations; 0 where they are equal but for rounding."""
    rest = centred(x)
    return rest / (jnp.sqrt(jnp.mean(rest**2)) + 1e-8)


def said(network: Network, params: Params, samples: Any) -> Output:
    """What the network says of samples, with `begins` and `memory` where it remembers."""
    if network.unroll is None:
        return network.apply(params, samples.observations)
    return network.unroll(params, samples.observations, samples.begins, samples.memory)[0]


def log_prob(logits: Float[Array, "*batch actions"], actions: Array) -> Float[Array, "*batch"]:
    """The logarithm of the chance of each action."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def mean_entropy(logits: Float[Array, "*batch actions"]) -> Float[Array, ""]:
    """The mean entropy of a policy, in nats."""
    rows = logits.reshape(-1, logits.shape[-1])
    return -rlax.entropy_loss(rows, jnp.ones(len(rows)))


def descent(network: Network, norm: float, apart: bool) -> optax.GradientTransformation:
    """Adam (ε = 1e-5) on gradients that are clipped by their norm; the step size is the caller's.

    Parameters are put into one vector, since many small arrays cost more than one large one.

    Args:
        apart: clip the critic's gradient on its own, so that what it learns does not change the policy's step.
    """
    clip, adam = optax.clip_by_global_norm(norm), optax.scale_by_adam(eps=1e-5)
    if not apart:
        return optax.flatten(optax.chain(clip, adam))

    def whose(params: Params) -> dict[str, str]:
        return {name: "critic" if name in network.critics else "policy" for name in params}

    return optax.chain(optax.partition({"critic": clip, "policy": clip}, whose), optax.flatten(adam))


def descend(
    optimiser: optax.GradientTransformation, gradient: Params, moments: Any, params: Params, rate: Any
) -> tuple[Params, Any, Float[Array, ""]]:
    """One step: new parameters and moments, and the norm of the gradient before it was clipped."""
    move, moments = optimiser.update(gradient, moments)
    norm = optax.tree.norm(ravel_pytree(gradient)[0])  # of the vector that the optimiser makes anyway
    return jax.tree.map(lambda p, m: p - rate * m, params, move), moments, norm


def in_minibatches(
    descending: Callable[[State, Any], tuple[State, dict[str, Array]]],
    state: State,
    samples: Any,
    network: Network,
    key: Array,
    epochs: int,
    minibatches: int,
) -> tuple[State, dict[str, Array]]:
    """Learns from a rollout in minibatches of it, several times over, each time in another order.

    A network with memory learns from whole stretches of worlds: a minibatch is then a set of worlds.

    Args:
        descending: (state, samples) -> (state, measures); one step of the optimiser.
        samples: a NamedTuple of arrays [time, worlds, …], with `actions`, and with `begins` and `memory` [worlds, …]
            for a network with memory. Without it the first two axes are one for `descending`, and those two are None.

    Returns:
        The state after all steps, and the mean of each measure.
    """
    if network.unroll is None:
        samples = samples._replace(begins=None, memory=None)
        samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
    count = samples.actions.shape[-1]  # of samples; of worlds, for a network with memory

    def minibatch(state: State, rows: Array) -> tuple[State, dict[str, Array]]:
        return descending(state, _chosen(samples, rows))

    orders = jax.vmap(lambda k: shuffled(k, count))(jax.random.split(key, epochs))
    state, measured = jax.lax.scan(minibatch, state, orders.reshape(epochs * minibatches, -1))
    return state, jax.tree.map(jnp.mean, measured)


MOST_BITS = 14  # of a number that is shuffled together with random bits, of which there are 32 less these


def shuffled(key: Array, count: int) -> Int[Array, " count"]:
    """The numbers below `count` in random order.

    They are sorted by random bits, in the lower ones of which they are written: of one array of integers XLA's sort on
    CPU is several times faster than `jax.random.permutation`. Where the bits above are equal, the lower number comes
    first: among 2^11 numbers, that is so of about one of 2^21 pairs. Where it would be many, `permutation` does it.

    >>> sorted(shuffled(jax.random.key(0), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    low = max(count - 1, 1).bit_length()
    if low > MOST_BITS:
        return jax.random.permutation(key, count)
    bits = jax.random.bits(key, (count,), jnp.uint32)
    return (jnp.sort((bits >> low << low) | jnp.arange(count, dtype=jnp.uint32)) & ((1 << low) - 1)).astype(jnp.int32)


def _chosen(samples: Any, rows: Array) -> Any:
    """Some samples; or of a network with memory, the stretches of some worlds."""
    if samples.begins is None:
        return jax.tree.map(lambda x: x[rows], samples)
    memory = jax.tree.map(lambda x: x[rows], samples.memory)
    return jax.tree.map(lambda x: x[:, rows], samples._replace(memory=None))._replace(memory=memory)
