"""Networks. The only room that knows which neural-network library is used (Flax Linen).

A network is a record of pure functions; parameters are a plain dict of arrays, and every output hands out its named
activations, so that probes need no capture machinery (XLA drops what nobody uses).

Layers are called from the input upwards `conv_1` …, `hidden_1` …, `gru`, as far as there are any; those of a critic
that has layers of its own are called `critic_conv_1` and so on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Params = Any
Memory = Any  # {trunk: [*batch, units]}; None where nothing is remembered


class Output(NamedTuple):
    """What a network says about an observation (leading axes are batch axes).

    Fields:
        logits: of the policy; or action values, where the network is greedy.
        value: of the state; of each part of the reward, where the critic is told apart.
    """

    logits: Float[Array, "*batch actions"]
    value: Float[Array, "*batch"]
    activations: dict[str, Float[Array, "*batch units"]]


class Network(NamedTuple):
    """What acts, and what probes read.

    Fields:
        layers: the names of the activations, from the input upwards.
        actions: how many there are.
        init: (key) -> params.
        apply: (params, observation [*batch, …], put = {}) -> Output; with memory, of an observation with which an
            episode begins. `put` gives layers other activations than they would have, as `Output.activations` has them.
        unroll: (params, observations [time, *batch, …], begins [time, *batch], Memory, put = {}) -> (Output, Memory),
            both [time, *batch, …]: what is said at each step, and what is remembered after it. None where nothing is.
        fresh: (*batch) -> Memory at the beginning of an episode.
        greedy: the outputs are action values, of which the highest is chosen.
        values: the network of action values whose softmax this policy is (`chisel.agents.policy.softmax_policy`); None
            for any other.
        parts: value heads, one for each part of the reward; None: one value for all.
        critics: the names in `params` of what only the critic uses.
    """

    layers: tuple[str, ...]
    actions: int
    init: Callable[[Array], Params]
    apply: Callable[..., Output]
    unroll: Callable[..., tuple[Output, Memory]] | None = None
    fresh: Callable[..., Memory] = lambda *batch: None
    greedy: bool = False
    values: "Network | None" = None
    parts: int | None = None
    critics: tuple[str, ...] = ()


class Form(NamedTuple):
    """How a network is built.

    Fields:
        widths: units of the dense layers, from the input upwards; of `gru`, the last is what it remembers.
        channels: of 3×3 convolutions below them; none for an observation that is not [height, width, planes].
        recurrent: the last layer is a gated recurrent unit (Cho et al. 2014).
        separate: the critic has layers of its own, so that what it learns does not shape those of the policy.
        parts: value heads, one for each part of the reward; None: one for all.
        activation: a key of `ACTIVATIONS`.
        dtype: in which layers compute; parameters and outputs are float32.
        layer_norm: each layer's sums are normalised over its units (Ba et al. 2016) before the activation function; of
            a convolution, over its channels at every place. The recurrent unit is left as it is.
    """

    widths: tuple[int, ...] = (64, 64)
    channels: tuple[int, ...] = ()
    recurrent: bool = False
    separate: bool = False
    parts: int | None = None
    activation: str = "tanh"
    dtype: str = "float32"
    layer_norm: bool = False


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "gelu": nn.gelu,
    "swish": nn.swish,
    "silu": nn.swish,
    "mish": jax.nn.mish,
    "softplus": nn.softplus,
}
NOTHING: Mapping[str, Array] = {}
CRITIC = "critic_"  # what the names of a critic's own layers begin with


def conv3x3(kernel: Float[Array, "3 3 planes units"], x: Float[Array, "*batch height width planes"]) -> Array:
    """A 3×3 convolution that keeps the size, [*batch, height, width, units], as one product of patches with a matrix.

    The same numbers as XLA's convolution, which is orders of magnitude slower on CPU inside compiled loops.
    """
    height, width, planes = x.shape[-3:]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    patches = [padded[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(9 * planes, -1)


class _Conv(nn.Module):
    """`nn.Conv(units, (3, 3))`, parameters and all, by patches."""

    units: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = 3, 3, x.shape[-1], self.units
        kernel = self.param("kernel", nn.initializers.orthogonal(np.sqrt(2)), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return conv3x3(kernel, x) + bias


class _Normed(nn.Module):
    """A dense layer, or a 3×3 convolution, whose sums are normalised over units: `nn.LayerNorm` after it.

    Sums have mean 0 over units if the kernel has, which is a smaller array to centre. There is no bias before the
    normalisation, only the one after it.
    """

    units: int
    dtype: Any
    convolves: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3) * self.convolves + (x.shape[-1], self.units)
        kernel = self.param("kernel", nn.initializers.orthogonal(np.sqrt(2)), shape)
        scale = self.param("scale", nn.initializers.ones, (self.units,))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        kernel = kernel - jnp.mean(kernel, -1, keepdims=True)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        sums = (conv3x3(kernel, x) if self.convolves else x @ kernel).astype(jnp.float32)
        normed = sums * jax.lax.rsqrt(jnp.mean(sums**2, -1, keepdims=True) + 1e-6)
        return (normed * scale + bias).astype(self.dtype)


class _Gru(nn.Module):
    """One step of a gated recurrent unit that forgets where an episode begins."""

    units: int
    dtype: Any

    @nn.compact
    def __call__(self, memory: Array, seen: tuple[Array, Array]) -> tuple[Array, Array]:
        x, begins = seen
        memory = jnp.where(begins[..., None], 0.0, memory)
        memory, _ = nn.GRUCell(self.units, dtype=self.dtype, name="cell")(memory, x)
        memory = memory.astype(jnp.float32)
        return memory, memory


class _Net(nn.Module):
    """Layers and heads, orthogonally initialised (Huang et al. 2022, detail 2)."""

    form: Form
    actions: int
    head: str  # `policy`, `values` or `dueling`

    def _trunk(
        self, prefix: str, x: Array, begins: Array, memory: Memory, put: Mapping[str, Array], seen: dict[str, Array]
    ) -> tuple[Array, Any]:
        """The layers of one trunk. Their activations are added to `seen`; what it remembers comes second."""
        form, dtype = self.form, jnp.dtype(self.form.dtype)
        act = ACTIVATIONS[form.activation]
        for i, units in enumerate(form.channels):
            name = f"{prefix}conv_{i + 1}"
            x = act(self._sums(units, name, x, convolves=True))
            x = put[name].astype(dtype).reshape(x.shape) if name in put else x
            seen[name] = _flat(x, 3)
        x = _flat(x, 3) if form.channels else x
        for i, width in enumerate(form.widths[:-1] if form.recurrent else form.widths):
            name = f"{prefix}hidden_{i + 1}"
            x = act(self._sums(width, name, x, convolves=False))
            x = seen[name] = put[name].astype(dtype) if name in put else x
        if not form.recurrent:
            return x, None
        name = f"{prefix}gru"
        gru = nn.scan(_Gru, variable_broadcast="params", split_rngs={"params": False})
        _, x = gru(form.widths[-1], dtype, name=name)(memory[prefix], (x, begins))
        x = seen[name] = put.get(name, x)
        return x, x

    def _sums(self, units: int, name: str, x: Array, convolves: bool) -> Array:
        """What a layer's activation function is given."""
        dtype = jnp.dtype(self.form.dtype)
        if self.form.layer_norm:
            return _Normed(units, dtype, convolves, name=name)(x)
        return _Conv(units, dtype, name=name)(x) if convolves else self._dense(units, np.sqrt(2), name, x)

    @nn.compact
    def __call__(
        self, x: Array, put: Mapping[str, Array], begins: Any = None, memory: Memory = None
    ) -> tuple[Output, Memory]:
        seen: dict[str, Array] = {}
        top, kept = self._trunk("", x, begins, memory, put, seen)
        remembered = {"": kept}
        own = top
        if self.form.separate:
            own, remembered[CRITIC] = self._trunk(CRITIC, x, begins, memory, put, seen)
        logits, value = (
            self._policy(top, own) if self.head == "policy" else self._values(top, dueling=self.head == "dueling")
        )
        activations = {name: a.astype(jnp.float32) for name, a in seen.items()}
        out = Output(logits.astype(jnp.float32), value.astype(jnp.float32), activations)
        return out, remembered if self.form.recurrent else None

    def _dense(self, units: int, gain: float, name: str, x: Array) -> Array:
        dtype = jnp.dtype(self.form.dtype)
        return nn.Dense(units, dtype=dtype, kernel_init=nn.initializers.orthogonal(gain), name=name)(x)

    def _policy(self, top: Array, own: Array) -> tuple[Array, Array]:
        logits = self._dense(self.actions, 0.01, "policy", top)
        value = self._dense(self.form.parts or 1, 1.0, "value_head", own)
        return logits, value[..., 0] if self.form.parts is None else value

    def _values(self, top: Array, dueling: bool) -> tuple[Array, Array]:
        """Action values; dueling (Wang et al. 2016): the state's value plus centred advantages."""
        q = self._dense(self.actions, 0.01, "action_values", top)
        if dueling:
            q = q - jnp.mean(q, -1, keepdims=True) + self._dense(1, 1.0, "state_value", top)
        return q, jnp.max(q, -1)


def _numbers(x: Array) -> Array:
    """As float32. Casting truth values is scalar code in XLA on CPU, and takes longer than the layer they go into."""
    return jnp.where(x, 1.0, 0.0) if x.dtype == bool else x.astype(jnp.float32)


def _flat(x: Array, ndim: int) -> Array:
    return x.reshape(*x.shape[: x.ndim - ndim], -1)


def make_network(observation: jax.ShapeDtypeStruct, actions: int, form: Form, head: str = "policy") -> Network:
    """A network over observations of one shape.

    Args:
        head: `policy`: logits and the critic's values; `values`: action values; `dueling`: the same, in two streams.

    >>> import jax, jax.numpy as jnp
    >>> network = make_network(jax.ShapeDtypeStruct((7, 7, 2), jnp.bool_), actions=4, form=Form(widths=(8,)))
    >>> out = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 7, 7, 2), bool))
    >>> out.logits.shape, out.value.shape, network.layers
    ((5, 4), (5,), ('hidden_1',))
    """
    module, ndim = _Net(form, actions, head), len(observation.shape)

    def shown(x: Array) -> Array:
        return _numbers(x if form.channels else _flat(x, ndim))

    def fresh(*batch: int) -> Memory:
        trunks = ("", CRITIC) if form.separate else ("",)
        return {trunk: jnp.zeros((*batch, form.widths[-1])) for trunk in trunks} if form.recurrent else None

    def unroll(
        params: Params,
        observed: Array,
        begins: Bool[Array, " time *batch"],
        memory: Memory,
        put: Mapping[str, Array] = NOTHING,
    ) -> Any:
        return module.apply({"params": params}, shown(observed), put, begins, memory)

    def apply(params: Params, observed: Array, put: Mapping[str, Array] = NOTHING) -> Output:
        if not form.recurrent:
            return module.apply({"params": params}, shown(observed), put)[0]
        batch = observed.shape[: observed.ndim - ndim]
        once = {name: x[None] for name, x in put.items()}
        begins = jnp.ones((1, *batch), bool)
        return jax.tree.map(lambda x: x[0], unroll(params, observed[None], begins, fresh(*batch), once)[0])

    def init(key: Array) -> Params:
        empty = shown(jnp.zeros(observation.shape, observation.dtype))
        if not form.recurrent:
            return module.init(key, empty, NOTHING)["params"]
        return module.init(key, empty[None], NOTHING, jnp.ones(1, bool), fresh())["params"]

    made = jax.eval_shape(init, jax.random.key(0))
    return Network(
        layers=_layers(form),
        actions=actions,
        init=init,
        apply=apply,
        unroll=unroll if form.recurrent else None,
        fresh=fresh,
        greedy=head != "policy",
        parts=form.parts,
        critics=tuple(name for name in made if name.startswith(CRITIC) or name == "value_head"),
    )


def _layers(form: Form) -> tuple[str, ...]:
    dense = form.widths[:-1] if form.recurrent else form.widths
    trunk = [f"conv_{i + 1}" for i in range(len(form.channels))] + [f"hidden_{i + 1}" for i in range(len(dense))]
    trunk += ["gru"] if form.recurrent else []
    return tuple(trunk + [CRITIC + name for name in trunk] * form.separate)
