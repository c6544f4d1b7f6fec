"""Networks: pure functions with named activations."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.networks import Form, conv3x3, make_network
from chisel.agents.policy import step
from tests.bits import same_bits as same

SHAPE, ACTIONS, WIDTHS = (3, 2, 2), 4, (8, 5)
NETWORK = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.bool_), ACTIONS, Form(WIDTHS))
PARAMS = NETWORK.init(jax.random.key(0))

# By name: how it is built, and the layers of its trunk.
FORMS = {
    "mlp": (Form((6, 5)), ["hidden_1", "hidden_2"]),
    "flat": (Form(()), []),
    "conv": (Form((6,), (3, 4), activation="relu"), ["conv_1", "conv_2", "hidden_1"]),
    "gru": (Form((6, 5), recurrent=True, parts=2), ["hidden_1", "gru"]),
    "two trunks": (Form((6,), separate=True), ["hidden_1"]),
    "all": (Form((6, 5), (3,), True, True, 3), ["conv_1", "hidden_1", "gru"]),
}


@cache
def built(name: str, dtype: str = "float32"):
    """A network of that name over float observations, and parameters (biases, too) of which everything depends."""
    network = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, FORMS[name][0]._replace(dtype=dtype))
    shapes, rng = jax.eval_shape(network.init, jax.random.key(0)), np.random.default_rng(0)
    return network, jax.tree.map(
        lambda x: (rng.normal(size=x.shape) / np.prod(x.shape[:-1]) ** 0.5).astype(x.dtype), shapes
    )


def observations(*batch: int) -> np.ndarray:
    return np.random.default_rng(len(batch)).random((*batch, *SHAPE)) < 0.5


def normal(*batch: int) -> np.ndarray:
    return np.random.default_rng(len(batch)).normal(size=(*batch, *SHAPE)).astype(np.float32)


def test_the_key_alone_decides_the_start():
    assert same(PARAMS, NETWORK.init(jax.random.key(0)))
    assert not same(PARAMS, NETWORK.init(jax.random.key(1)))


def test_parameters_are_plain_dicts_of_float32_arrays():
    assert type(PARAMS) is dict
    assert set(PARAMS) == {"hidden_1", "hidden_2", "policy", "value_head"}
    for layer in PARAMS.values():
        assert type(layer) is dict
        assert {name: x.dtype for name, x in layer.items()} == {"kernel": np.float32, "bias": np.float32}
    assert PARAMS["hidden_1"]["kernel"].shape == (np.prod(SHAPE), WIDTHS[0])


def test_kernels_start_orthogonal_and_biases_at_zero():
    params = PARAMS | {"conv_1": jax.jit(built("conv")[0].init)(jax.random.key(0))["conv_1"]}
    scales = {"hidden_1": np.sqrt(2), "hidden_2": np.sqrt(2), "conv_1": np.sqrt(2), "policy": 0.01, "value_head": 1.0}
    for name, scale in scales.items():
        kernel = np.asarray(params[name]["kernel"], float)
        kernel = kernel.reshape(-1, kernel.shape[-1])
        gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
        np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=1e-5 * scale**2, err_msg=name)
        assert not np.any(params[name]["bias"])


@pytest.mark.parametrize("name", FORMS)
def test_layers_are_named_and_leading_axes_are_batch_axes(name):
    """And of a network with memory `apply` says what is said of the first observation of an episode."""
    (network, params), (form, trunk) = built(name), FORMS[name]
    layers = [*trunk, *[f"critic_{layer}" for layer in trunk] * form.separate]
    apply, seen = jax.jit(network.apply), normal(2, 3)
    out = apply(params, seen)
    assert list(network.layers) == layers
    assert set(out.activations) == set(layers)
    assert {name.removesuffix("_head") for name in params} == {*layers, "policy", "value"}
    assert out.logits.shape == (2, 3, ACTIONS)
    assert out.value.shape == (2, 3, *([form.parts] if form.parts else []))
    sizes = [3 * 2 * units for units in form.channels] + list(form.widths)
    assert [out.activations[layer].shape for layer in layers] == [(2, 3, size) for size in sizes * (1 + form.separate)]
    alone = apply(params, seen[1, 2])
    for one, many in zip(*map(jax.tree.leaves, (alone, out)), strict=True):
        np.testing.assert_allclose(one, many[1, 2], atol=1e-5)


def test_it_is_tanh_layers_with_two_linear_heads():
    seen = observations(4)
    out, x = NETWORK.apply(PARAMS, seen), seen.reshape(4, -1).astype(float)
    for name in NETWORK.layers:
        x = np.tanh(x @ np.asarray(PARAMS[name]["kernel"], float) + np.asarray(PARAMS[name]["bias"]))
        np.testing.assert_allclose(out.activations[name], x, atol=1e-5)
    heads = [x @ np.asarray(PARAMS[name]["kernel"], float) for name in ("policy", "value_head")]
    np.testing.assert_allclose(out.logits, heads[0], atol=1e-6)
    np.testing.assert_allclose(out.value, heads[1][:, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "conv", "gru"])
def test_truth_values_say_the_same_bits_as_zeros_and_ones(name):
    network, params = built(name)
    apply, seen = jax.jit(network.apply), observations(7)
    assert same(apply(params, seen), apply(params, seen.astype(np.float32)))


# Convolutions


@pytest.mark.parametrize("shape", [(3, 2, 2), (5, 5, 1), (1, 4, 3), (2, 6, 5, 4), (2, 3, 7, 7, 2)], ids=str)
def test_a_convolution_is_that_of_flax(shape):
    """With its gradients; leading axes are batch axes, and a board may be of any size."""
    rng = np.random.default_rng(0)
    kernel, x = (rng.normal(size=s).astype(np.float32) for s in ((3, 3, shape[-1], 5), shape))
    weights = rng.normal(size=(*shape[:-1], 5)).astype(np.float32)
    theirs = nn.Conv(5, (3, 3), use_bias=False)

    def told(convolve):
        return jax.jit(jax.value_and_grad(lambda *given: jnp.sum(weights * jnp.sin(convolve(*given))), (0, 1)))(
            kernel, x
        )

    np.testing.assert_allclose(conv3x3(kernel, x), theirs.apply({"params": {"kernel": kernel}}, x), atol=1e-4)
    found, meant = told(conv3x3), told(lambda k, x: theirs.apply({"params": {"kernel": k}}, x))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(meant), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


class Theirs(nn.Module):
    """The network `conv`, of layers that Flax offers."""

    @nn.compact
    def __call__(self, x):
        for i, units in enumerate((3, 4)):
            x = nn.relu(nn.Conv(units, (3, 3), name=f"conv_{i + 1}")(x))
        x = nn.relu(nn.Dense(6, name="hidden_1")(x.reshape(*x.shape[:-3], -1)))
        return nn.Dense(ACTIONS, name="policy")(x), nn.Dense(1, name="value_head")(x)[..., 0]


def test_a_network_of_convolutions_is_that_of_flax():
    network, params = built("conv")
    out = jax.jit(network.apply)(params, normal(2, 3))
    theirs = jax.jit(Theirs().apply)({"params": params}, normal(2, 3))
    np.testing.assert_allclose(out.logits, theirs[0], atol=1e-5)
    np.testing.assert_allclose(out.value, theirs[1], atol=1e-5)


# Memory


TIME, WORLDS = 7, 3
BEGINS = np.zeros((TIME, WORLDS), bool)
BEGINS[[0, 3, 4, 4], [1, 0, 0, 2]] = True  # world 1 begins with the stretch; two of world 0 in succession


def remembered(network, seed: int = 0):
    """Something to remember, in [-1, 1] as all that a unit remembers."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32), network.fresh(WORLDS))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_by_hand(cell, x, memory, begins) -> np.ndarray:
    """Cho et al. 2014, in the form of Flax: the reset gate acts on what is remembered after its matrix."""

    def linear(name, x):
        return x @ np.asarray(cell[name]["kernel"], float) + np.asarray(cell[name].get("bias", 0.0), float)

    told = []
    for now, begin in zip(x, begins, strict=True):
        memory = np.where(begin[:, None], 0.0, memory)
        reset, update = (sigmoid(linear("i" + gate, now) + linear("h" + gate, memory)) for gate in "rz")
        new = np.tanh(linear("in", now) + reset * linear("hn", memory))
        memory = (1 - update) * new + update * memory
        told.append(memory)
    return np.array(told)


def test_a_unit_with_memory_is_that_of_the_paper():
    network, params = built("gru")
    seen, memory = normal(TIME, WORLDS), remembered(network)
    out, kept = jax.jit(network.unroll)(params, seen, BEGINS, memory)
    dense = {
        name: {k: np.asarray(v, float) for k, v in params[name].items()}
        for name in ("hidden_1", "policy", "value_head")
    }
    below = np.tanh(seen.reshape(TIME, WORLDS, -1) @ dense["hidden_1"]["kernel"] + dense["hidden_1"]["bias"])
    meant = gru_by_hand(params["gru"]["cell"], below, memory[""], BEGINS)
    np.testing.assert_allclose(kept[""], meant, atol=1e-5)
    np.testing.assert_allclose(out.activations["gru"], meant, atol=1e-5)
    np.testing.assert_allclose(out.activations["hidden_1"], below, atol=1e-5)
    for said, head in ((out.logits, dense["policy"]), (out.value, dense["value_head"])):
        np.testing.assert_allclose(said, meant @ head["kernel"] + head["bias"], atol=1e-5)


@pytest.mark.parametrize("name", ["gru", "all"])
def test_unrolled_it_says_what_it_says_step_by_step(name):
    """Where memory is made fresh whenever an episode begins; and `apply` is a first step."""
    network, params = built(name)
    seen, memory = normal(TIME, WORLDS), remembered(network)
    out, kept = jax.jit(network.unroll)(params, seen, BEGINS, memory)
    one = jax.jit(lambda seen, memory: step(network, params, seen, memory))
    fresh = network.fresh(WORLDS)
    for t in range(TIME):
        memory = jax.tree.map(lambda new, old: np.where(BEGINS[t][:, None], new, old), fresh, memory)  # noqa: B023
        said, memory = one(seen[t], memory)
        for a, b in zip(jax.tree.leaves((said, memory)), jax.tree.leaves((out, kept)), strict=True):
            np.testing.assert_allclose(a, b[t], atol=1e-5)
    first = jax.jit(network.apply)(params, seen[2])
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(one(seen[2], fresh)[0]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert all(
        np.abs(x[2] - y).max() > 0.01 for x, y in zip(jax.tree.leaves(kept), jax.tree.leaves(fresh), strict=True)
    )


@pytest.mark.parametrize("name", ["gru", "all"])
def test_what_came_before_a_beginning_leaves_no_trace(name):
    network, params = built(name)
    unroll, seen = jax.jit(network.unroll), normal(TIME, WORLDS)
    plain = unroll(params, seen, BEGINS, remembered(network))
    other = seen.copy()
    other[:4, 0], other[:4, 2] = 1e3, -5.0
    changed = unroll(params, other, BEGINS, jax.tree.map(lambda x: -0.5 * x, remembered(network, 1)))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(changed), strict=True):
        assert same(a[4:, 0], b[4:, 0])
        assert same(a[4:, 2], b[4:, 2])
        assert same(a[:, 1], b[:, 1])
    assert np.all(plain[0].activations["gru"][:4, 2] != changed[0].activations["gru"][:4, 2])
    within = unroll(params, other, np.zeros_like(BEGINS), remembered(network))
    assert np.any(within[0].logits[-1, 2] != plain[0].logits[-1, 2])


def test_gradients_flow_through_time_and_not_across_a_beginning():
    network, params = built("all")

    @jax.jit
    def slopes(t):
        """Of what is said at a step, by what was seen and by what was remembered at first."""
        said = lambda *told: jnp.sum(network.unroll(params, told[0], BEGINS, told[1])[0].logits[t])  # noqa: E731
        return jax.grad(said, (0, 1))(normal(TIME, WORLDS), remembered(network))

    of_seen, of_memory = slopes(5)
    meant = np.array([[0, 1, 0]] * 4 + [[1, 1, 1]] * 2 + [[0, 0, 0]], bool)
    np.testing.assert_array_equal(np.abs(of_seen).max((2, 3, 4)) > 1e-6, meant)
    assert not np.any(np.asarray(of_seen)[~meant])
    assert not np.any(of_memory[""])  # every world begins anew before step 5
    np.testing.assert_array_equal(np.any(slopes(2)[1][""], axis=1), [True, False, True])


# Heads


@pytest.mark.parametrize("name", FORMS)
def test_critics_are_what_does_not_move_the_policy(name):
    """And where the critic is separate, what is not theirs does not move the value."""
    network, params = built(name)
    weights = np.random.default_rng(0).normal(size=(ACTIONS,))

    def moved(field):
        gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(field(network.apply(p, normal(9)))))))(params)
        return {part for part, layer in gradient.items() if any(np.any(x) for x in jax.tree.leaves(layer))}

    of_policy = moved(lambda out: out.logits @ weights)
    assert of_policy == set(params) - set(network.critics)
    of_value = moved(lambda out: out.value)
    assert of_value == (set(network.critics) if network.critics != ("value_head",) else set(params) - {"policy"})
    assert (len(network.critics) > 1) == FORMS[name][0].separate


def test_each_part_of_the_reward_has_a_head_of_its_own():
    network, params = built("gru")
    slopes = jax.jit(jax.jacrev(lambda p: network.apply(p, normal(4)).value.sum(0)))(params)["value_head"]
    np.testing.assert_allclose(slopes["bias"], 4 * np.eye(2), atol=1e-6)
    assert not np.any(np.asarray(slopes["kernel"])[[0, 1], :, [1, 0]])


@pytest.mark.parametrize("dueling", [False, True])
def test_action_values_and_the_best_of_them(dueling):
    """Dueling: the mean of the action values is the state's value, whatever the advantages."""
    head = "dueling" if dueling else "values"
    network = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, Form((6,)), head)
    params, seen = network.init(jax.random.key(0)), normal(9)
    out = network.apply(params, seen)
    top = np.asarray(out.activations["hidden_1"], float)
    said = {name: top @ np.asarray(layer["kernel"], float) for name, layer in params.items() if name != "hidden_1"}
    values = said["action_values"]
    if dueling:
        values = said["state_value"] + values - values.mean(1, keepdims=True)
        np.testing.assert_allclose(np.mean(out.logits, 1), said["state_value"][:, 0], atol=1e-5)
    np.testing.assert_allclose(out.logits, values, atol=1e-5)
    np.testing.assert_allclose(out.value, values.max(1), atol=1e-5)
    assert network.greedy
    assert not NETWORK.greedy


def test_in_half_precision_only_layers_compute():
    """Parameters, outputs and memory are float32, and say nearly what they say in full."""
    (full, params), half = built("all"), built("all", "bfloat16")[0]
    assert same(built("all", "bfloat16")[1], params)
    seen, memory = normal(TIME, WORLDS), remembered(full)
    found, meant = (jax.jit(network.unroll)(params, seen, BEGINS, memory) for network in (half, full))
    assert {x.dtype for x in jax.tree.leaves((found, built("all", "bfloat16")[1]))} == {np.dtype(np.float32)}
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(meant), strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)
        assert np.any(a != b)
