"""PQN: returns against a loop in plain Python, its loss, and the softmax policy of action values that it learns about."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.agent import Batch, Tuning
from chisel.agents.networks import ACTIVATIONS, Form, make_network
from chisel.agents.policy import (
    FORBIDDEN,
    TEMPERATURE,
    at_temperature,
    learned,
    masked,
    policy,
    softmax_policy,
    step,
)
from chisel.agents.pqn import MEASURES, Samples, Settings, loss, pqn, samples_of
from tests.agents.rollouts import ACTIONS, SHAPE, STEPS, WORLDS, difference, rollout
from tests.bits import same_bits as same

OBSERVED = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
FORMS = {
    "mlp": Form((6,), activation="relu", layer_norm=True),
    "gru": Form((6, 5), recurrent=True, layer_norm=True),
    "gru alone": Form((5,), recurrent=True),
}
KEY, USUAL = jax.random.key(1), Tuning(jnp.float32(1e-2), 0.0, None)
ENDED, TRUNCATED = [(1, 0), (5, 1)], [(2, 1), (4, 0), (0, 1)]
TAU = 0.3


def legal(seen):
    return (seen[:ACTIONS] > 0) | (jnp.arange(ACTIONS) == 1)


@cache
def built(form: str = "mlp", fenced: bool = False):
    """A network of action values that differ by more than a temperature, its softmax policy, and parameters."""
    values = make_network(OBSERVED, ACTIONS, FORMS[form], "values")
    values = masked(values, legal, OBSERVED) if fenced else values
    soft = softmax_policy(values)
    params = jax.jit(values.init)(KEY)
    params["action_values"] = jax.tree.map(lambda x: 100 * x, params["action_values"])
    return values, soft, at_temperature(params, TAU)


def softmax(x: np.ndarray) -> np.ndarray:
    chances = np.exp(x - x.max())
    return chances / chances.sum()


def worth(q: np.ndarray, temperature: float | None) -> float:
    """Of a state, what it is to follow the policy: a mean over actions, or the best of them."""
    return float(q.max() if temperature is None else softmax(q / temperature) @ q)


# Returns


def values_after(form: str, batch: Batch, fenced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Action values in each state of a rollout, and of what each step led to, one look after another."""
    values, _, params = built(form, fenced)
    fresh, cuts = values.fresh(1), np.argwhere(batch.truncated).tolist()
    here, there = np.zeros((2, STEPS, WORLDS, ACTIONS))
    look = jax.jit(lambda seen, memory: step(values, params, seen, memory))
    for w in range(WORLDS):
        memory = jax.tree.map(lambda x, w=w: x[w : w + 1], batch.memory)
        for t in range(STEPS):
            out, memory = look(batch.observations[t, w][None], memory)
            here[t, w] = out.logits[0]
            if batch.truncated[t, w]:
                there[t, w] = look(batch.finals[cuts.index([t, w])][None], memory)[0].logits[0]
            memory = fresh if batch.ended[t, w] or batch.truncated[t, w] else memory
        there[-1, w] = look(batch.last[w][None], memory)[0].logits[0] if not batch.truncated[-1, w] else there[-1, w]
    return here, there


@pytest.mark.parametrize("temperature", [None, TAU])
@pytest.mark.parametrize(("form", "fenced"), [("mlp", False), ("mlp", True), ("gru", False), ("gru alone", False)])
@pytest.mark.parametrize(("discount", "trace"), [(0.9, 0.7), (0.9, 0.0), (-0.8, 1.0)])
def test_returns_are_those_of_a_loop(temperature, form, fenced, discount, trace):
    """Nothing follows an end; a truncated step leads to its own final state, and never to the next episode."""
    values, soft, params = built(form, fenced)
    batch = rollout(3, ENDED, TRUNCATED, network=values)
    here, there = values_after(form, batch, fenced)
    meant = np.zeros((STEPS, WORLDS))
    for w in range(WORLDS):
        for t in reversed(range(STEPS)):
            if batch.ended[t, w]:
                following = 0.0
            elif batch.truncated[t, w] or t == STEPS - 1:
                following = worth(there[t, w], temperature)
            else:
                following = (1 - trace) * worth(here[t + 1, w], temperature) + trace * meant[t + 1, w]
            meant[t, w] = batch.rewards[t, w] + discount * following
    acting = values if temperature is None else soft
    samples, entropy = samples_of(acting, params, batch, Settings(discount, trace))
    np.testing.assert_allclose(samples.returns, meant, rtol=1e-4, atol=1e-4)
    chances = np.array([[softmax(q / TAU) for q in row] for row in here])
    spread = -np.sum(np.where(chances > 0, chances * np.log(np.maximum(chances, 1e-30)), 0), -1).mean()
    assert float(entropy) == pytest.approx(0.0 if temperature is None else spread, abs=1e-5)


# Learning


def test_the_loss_is_of_what_was_done_and_so_is_its_gradient():
    values, _, params = built()
    batch = rollout(1)
    samples = Samples(batch.observations, batch.actions, batch.rewards)
    q = np.asarray(values.apply(params, batch.observations).logits, float)
    done = np.take_along_axis(q, batch.actions[..., None], -1)[..., 0]
    (error, value), gradient = jax.value_and_grad(loss, has_aux=True)(learned(params), samples, values)
    assert float(error) == pytest.approx(0.5 * np.mean((done - batch.rewards) ** 2), rel=1e-5)
    assert float(value) == pytest.approx(done.mean(), rel=1e-5)
    slope = np.zeros(ACTIONS)
    np.add.at(slope, batch.actions.ravel(), (done - batch.rewards).ravel() / done.size)
    np.testing.assert_allclose(gradient["action_values"]["bias"], slope, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_everything_but_the_temperature(form):
    values, soft, _ = built(form)
    agent = pqn(soft, Settings(epochs=2, minibatches=2))
    state = agent.init(KEY)
    batch, learn = rollout(2, ENDED, TRUNCATED, network=values), jax.jit(agent.learn)
    after, measured = learn(state, KEY, batch, USUAL)
    assert float(after.params[TEMPERATURE]) == float(state.params[TEMPERATURE]) == 1
    assert all(difference(after.params[name], state.params[name]) > 0 for name in learned(state.params))
    assert set(measured) == set(MEASURES)
    assert np.isfinite([*measured.values()]).all()
    still, _ = learn(state, KEY, batch, USUAL._replace(learning_rate=jnp.float32(0)))
    assert same(still.params, state.params)
    again, _ = learn(state, KEY, batch, USUAL)
    assert same(again, after)


def chain(state: int, action: int) -> tuple[float, int, bool]:
    """To the right is the end, where much is paid; whoever stays at the left wall is paid a little, for ever."""
    if action == 1:
        return (1.0, 0, True) if state == 3 else (0.0, state + 1, False)
    return (0.3, 0, False) if state == 0 else (0.0, state - 1, False)


@pytest.mark.parametrize("temperature", [None, 0.2])
def test_it_learns_the_exact_values_of_the_policy_that_acts(temperature):
    """From random play, at λ = 0, although episodes are cut off after three steps; with a number for every action."""
    exact = np.zeros((4, 2))
    for _ in range(300):
        for s, a in np.ndindex(exact.shape):
            reward, following, ended = chain(s, a)
            exact[s, a] = reward + (0 if ended else 0.8 * worth(exact[following], temperature))
    steps, worlds, rng = 32, 8, np.random.default_rng(0)
    values = make_network(jax.ShapeDtypeStruct((4,), jnp.float32), 2, Form(()), "values")
    network = values if temperature is None else softmax_policy(values)
    agent = pqn(network, Settings(0.8, 0.0, epochs=4, minibatches=2))
    learn, state, one_hot = jax.jit(agent.learn), agent.init(KEY), np.eye(4, dtype=np.float32)
    state = state._replace(params=at_temperature(state.params, temperature))
    at, age = np.zeros(worlds, int), np.zeros(worlds, int)
    for update in range(80):
        told = {name: np.zeros((steps, worlds)) for name in ("seen", "actions", "rewards", "ended", "truncated")}
        led_to = []
        for t, w in np.ndindex(steps, worlds):
            action = rng.integers(2)
            reward, following, ended = chain(at[w], action)
            truncated = not ended and age[w] == 2
            led_to += [following] if truncated else []
            for name, x in zip(told, (at[w], action, reward, ended, truncated), strict=True):
                told[name][t, w] = x
            over = ended or truncated
            at[w], age[w] = (rng.integers(4), 0) if over else (following, age[w] + 1)
        finals = np.zeros((worlds * -(-steps // 3), 4), np.float32)
        finals[: len(led_to)] = one_hot[led_to]
        seen, nothing = one_hot[told["seen"].astype(int)], np.zeros((1, 1), np.float32)
        paid, over = told["rewards"].astype(np.float32), (told["ended"] > 0, told["truncated"] > 0)
        batch = Batch(seen, told["actions"].astype(np.int32), paid, nothing, nothing, *over, finals, one_hot[at])
        rate = jnp.float32(0.05 if update < 60 else 0.005)
        state, _ = learn(state, jax.random.key(update), batch, Tuning(rate, 0.0, None))
    np.testing.assert_allclose(values.apply(learned(state.params), one_hot).logits, exact, atol=0.03)


# The softmax policy


def test_near_zero_the_temperature_makes_it_greedy():
    """In what it does, whatever the luck, and in what it expects."""
    values, soft, params = built()
    seen = np.random.default_rng(0).normal(size=(50, *SHAPE)).astype(np.float32)
    cold = at_temperature(params, 1e-5)
    q = np.asarray(values.apply(learned(params), seen).logits)
    for key in range(3):
        acting = [policy(n, p) for n, p in ((values, learned(params)), (soft, cold))]
        done = [a.act(a.luck(jax.random.key(key), 50), seen, None)[0] for a in acting]
        np.testing.assert_array_equal(done[0], q.argmax(1))
        np.testing.assert_array_equal(done[1], q.argmax(1))
    np.testing.assert_allclose(soft.apply(cold, seen).value, q.max(1), rtol=1e-5)


@pytest.mark.parametrize("form", ["mlp", "gru"])
def test_it_acts_as_often_as_the_softmax_says(form):
    """Explored, too; and never as is forbidden."""
    values, soft, params = built(form, fenced=True)
    seen = np.tile(np.array([1, 0.5, -1, 0.3], np.float32), (8000, 1))
    q = np.asarray(step(values, learned(params), seen[:1], values.fresh(1))[0].logits[0])
    assert q[2] == FORBIDDEN
    for exploration in (None, 0.5):
        actor = policy(soft, params, exploration)
        done, _ = actor.act(actor.luck(KEY, 8000), seen, actor.fresh(8000))
        share = 0.5 if exploration else 0.0
        meant = (1 - share) * softmax(q / TAU) + share * np.array([0.5, 0.5, 0.0])
        np.testing.assert_allclose(np.bincount(done, minlength=ACTIONS) / 8000, meant, atol=0.025)


# Networks


@pytest.mark.parametrize("kind", ["mlp", "conv", "gru"])
def test_normalised_layers_have_no_offset_and_no_scale(kind):
    """Of a layer's sums, by hand; so that its kernel may be ten times as large and the network says the same."""
    form = Form((8, 5), (3,) if kind == "conv" else (), kind == "gru", activation="elu", layer_norm=True)
    seen = np.random.default_rng(0).normal(size=(20, 4, 4, 2) if kind == "conv" else (20, 6)).astype(np.float32)
    network = make_network(jax.ShapeDtypeStruct(seen.shape[1:], jnp.float32), 3, form)
    params = network.init(KEY)
    found = network.apply(params, seen)
    first = "conv_1" if kind == "conv" else "hidden_1"
    if kind != "conv":
        assert not params[first]["bias"].any()
        sums = seen @ np.asarray(params[first]["kernel"])
        norm = (sums - sums.mean(1, keepdims=True)) / np.sqrt(sums.var(1, keepdims=True) + 1e-6)
        np.testing.assert_allclose(found.activations[first], ACTIVATIONS["elu"](norm), atol=1e-4)
    scaled = params | {first: params[first] | {"kernel": 10 * params[first]["kernel"]}}
    np.testing.assert_allclose(network.apply(scaled, seen).logits, found.logits, atol=1e-4)
    plain = make_network(jax.ShapeDtypeStruct(seen.shape[1:], jnp.float32), 3, form._replace(layer_norm=False))
    assert difference(plain.apply(scaled, seen).logits, plain.apply(params, seen).logits) > 1e-3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("swish", lambda x: x / (1 + np.exp(-x))),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x)),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        ("softplus", lambda x: np.log1p(np.exp(x))),
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        ("mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ],
)
def test_activations_are_what_they_are_called(name, meant):
    form = Form((8,), activation=name)
    network = make_network(jax.ShapeDtypeStruct((4,), jnp.float32), 2, form)
    params, seen = network.init(KEY), np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    sums = np.asarray(seen @ params["hidden_1"]["kernel"] + params["hidden_1"]["bias"], float)
    np.testing.assert_allclose(network.apply(params, seen).activations["hidden_1"], meant(sums), atol=1e-5)
