"""Networks. The only room that knows which neural-network library is used (Flax Linen).

A network is a pair of pure functions; parameters are a plain dict of arrays, and `apply` hands out its named
activations, so that probes need no capture machinery (XLA drops what nobody uses).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Params = Any


class Output(NamedTuple):
    """What a network says about an observation (leading axes are batch axes)."""

    logits: Float[Array, "*batch actions"]
    value: Float[Array, "*batch"]
    activations: dict[str, Float[Array, "*batch units"]]


class Network(NamedTuple):
    """A policy with a value head.

    Fields:
        layers: the names of the activations that `apply` returns, from the input upwards.
        init: (key) -> params.
        apply: (params, observation [..., *observation shape]) -> Output.
    """

    layers: tuple[str, ...]
    init: Callable[[Array], Params]
    apply: Callable[[Params, Array], Output]


class _MLP(nn.Module):
    """Dense tanh layers shared by policy and value head, orthogonally initialised (Huang et al. 2022, detail 2)."""

    widths: Sequence[int]
    actions: int

    @nn.compact
    def __call__(self, x: Array) -> Output:
        activations = {}
        for i, width in enumerate(self.widths):
            name = f"hidden_{i + 1}"
            x = jnp.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(np.sqrt(2)), name=name)(x))
            activations[name] = x
        logits = nn.Dense(self.actions, kernel_init=nn.initializers.orthogonal(0.01), name="policy")(x)
        value = nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0), name="value_head")(x)
        return Output(logits, value[..., 0], activations)


FORBIDDEN = -1e9  # a logit that no softmax gives weight; finite, so that 0 · log 0 stays 0


def masked(network: Network, legal: Callable[[Array], Array], observation: jax.ShapeDtypeStruct) -> Network:
    """A network that gives no probability to actions that are not legal.

    Args:
        legal: (observation) -> bool[actions].
    """

    def apply(params: Params, observed: Array) -> Output:
        out = network.apply(params, observed)
        allowed = jax.vmap(legal)(observed.reshape(-1, *observation.shape)).reshape(out.logits.shape)
        return out._replace(logits=jnp.where(allowed, out.logits, FORBIDDEN))

    return network._replace(apply=apply)


def explored(
    logits: Float[Array, "*batch actions"], exploration: Array | float | None
) -> Float[Array, "*batch actions"]:
    """The logits of a policy that chooses at random, evenly among the legal actions, with chance `exploration`.

    >>> import jax, jax.numpy as jnp
    >>> np.round(np.asarray(jax.nn.softmax(explored(jnp.array([50.0, 0.0, FORBIDDEN]), 0.5)), float), 3).tolist()
    [0.75, 0.25, 0.0]
    """
    if exploration is None:
        return logits
    legal = logits > FORBIDDEN / 2
    own = jnp.log1p(-exploration) + jax.nn.log_softmax(logits)  # in logarithms, or sure policies would underflow
    chance = jnp.log(exploration) - jnp.log(jnp.sum(legal, -1, keepdims=True))
    return jnp.where(legal, jnp.logaddexp(own, chance), FORBIDDEN)


def mlp(observation: jax.ShapeDtypeStruct, actions: int, widths: Sequence[int]) -> Network:
    """A multi-layer perceptron on the flattened observation.

    >>> import jax, jax.numpy as jnp
    >>> network = mlp(jax.ShapeDtypeStruct((7, 7, 2), jnp.bool_), actions=4, widths=[8])
    >>> out = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 7, 7, 2), bool))
    >>> out.logits.shape, out.value.shape, network.layers
    ((5, 4), (5,), ('hidden_1',))
    """
    module = _MLP(tuple(widths), actions)
    ndim = len(observation.shape)

    def flat(x: Array) -> Array:
        return x.reshape(*x.shape[: x.ndim - ndim], -1).astype(jnp.float32)

    return Network(
        layers=tuple(f"hidden_{i + 1}" for i in range(len(widths))),
        init=lambda key: module.init(key, flat(jnp.zeros(observation.shape, observation.dtype)))["params"],
        apply=lambda params, observed: module.apply({"params": params}, flat(observed)),
    )
