"""REINFORCE and A2C: returns against a plain loop, the loss against numpy, and the gradient against the exact one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

from chisel.agents import ppo
from chisel.agents.agent import Batch, Tuning
from chisel.agents.estimates import credit, judge
from chisel.agents.networks import Form, make_network
from chisel.agents.policy_gradient import (
    A2C_MEASURES,
    REINFORCE_MEASURES,
    A2CSettings,
    ReinforceSettings,
    a2c,
    loss,
    reinforce,
    returns_to_go,
)
from tests.agents.rollouts import ACTIONS, SHAPE, STEPS, WORLDS, by_hand, difference, rollout
from tests.bits import same_bits as same

NETWORK = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, Form((6,)))
PARAMS = jax.jit(NETWORK.init)(jax.random.key(0))
# A policy head of size 0.01 hardly acts on anything: make it one that does.
PARAMS = PARAMS | {"policy": jax.tree.map(lambda x: 60 * x, PARAMS["policy"])}
KEY, DISCOUNT = jax.random.key(1), 0.9
BASELINES = ["none", "mean", "value"]
AGENTS = {name: reinforce(NETWORK, ReinforceSettings(DISCOUNT, name, gradient_norm=1e6)) for name in BASELINES}
AGENTS["a2c"] = a2c(NETWORK, A2CSettings(DISCOUNT, 0.8, gradient_norm=1e6))
LEARN = {name: jax.jit(agent.learn) for name, agent in AGENTS.items()}
value_of = jax.jit(lambda seen: NETWORK.apply(PARAMS, seen).value)

# Episode ends at both worlds; what world 0 does after its third step, and world 1 after its fifth, has no end in sight.
ENDS = {"ended": [(2, 0), (0, 1)], "truncated": [(4, 1)]}
USED = np.array([[True, True]] * 3 + [[False, True]] * 2 + [[False, False]])


def taught(name: str, batch: Batch, rate: float = 1e-2, entropy: float = 0.0, exploration: float | None = None):
    numbers = (None if x is None else jnp.float32(x) for x in (rate, entropy, exploration))
    agent = AGENTS[name]
    return LEARN[name](agent.init(KEY)._replace(params=PARAMS), KEY, batch, Tuning(*numbers))


def gradient_of(state):
    """The gradient of the first step, by the names of parameters: ten times Adam's first moment."""
    return ravel_pytree(PARAMS)[1](10 * jnp.ravel(ravel_pytree(optax.tree.get(state.optimiser, "mu"))[0]))


# Returns


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=STEPS * WORLDS, max_size=STEPS * WORLDS), st.integers(0, 2**32 - 1))
@example([False] * (STEPS * WORLDS), 0)
def test_returns_are_those_of_a_plain_loop(over, seed):
    over, rewards = np.array(over).reshape(STEPS, WORLDS), np.random.default_rng(seed).normal(size=(STEPS, WORLDS))
    found, whole = returns(rewards.astype(np.float32), over)
    for t, w in np.ndindex(STEPS, WORLDS):
        ends = [s for s in range(t, STEPS) if over[s, w]]
        stop = ends[0] if ends else STEPS - 1
        meant = sum(DISCOUNT ** (s - t) * rewards[s, w] for s in range(t, stop + 1))
        assert bool(whole[t, w]) == bool(ends)
        assert float(found[t, w]) == pytest.approx(meant, abs=1e-5)


returns = jax.jit(lambda rewards, over: returns_to_go(rewards, over, DISCOUNT))


# The loss

TUNINGS = [Tuning(1e-2, 0.0), Tuning(1e-2, 0.5, 0.0), Tuning(1e-2, 0.5, 0.3)]


def samples(seed: int = 0) -> ppo.Samples:
    given_, (advantage, worth) = (
        rollout(seed),
        np.random.default_rng(seed).normal(size=(2, STEPS, WORLDS)).astype(np.float32),
    )
    nothing = np.full((STEPS, WORLDS), np.nan, np.float32)  # a plain policy gradient needs no ratio
    return ppo.Samples(given_.observations, given_.actions, nothing, advantage * USED, nothing, worth)


total = jax.jit(lambda params, batch, tuning: loss(params, batch, USED.astype(np.float32), NETWORK, 0.7, tuning))


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_the_loss_is_what_the_papers_say(tuning):
    """A mean over the steps that are used. The entropy is that of what acts, wherever it acts."""
    batch, out = samples(), NETWORK.apply(PARAMS, samples().observations)
    chances = np.exp(np.asarray(out.logits, float))
    chances /= chances.sum(-1, keepdims=True)
    chances = (1 - (tuning.exploration or 0)) * chances + (tuning.exploration or 0) / ACTIONS
    log_p = np.log(np.take_along_axis(chances, batch.actions[..., None], -1)[..., 0])
    meant = {
        "policy_loss": -(log_p * batch.advantages)[USED].mean(),
        "value_loss": (0.5 * (np.asarray(out.value, float) - batch.returns) ** 2)[USED].mean(),
        "entropy": -(chances * np.log(chances)).sum(-1).mean(),
    }
    found, told = total(PARAMS, batch, tuning)
    assert {name: float(x) for name, x in told.items()} == pytest.approx(meant, abs=1e-5)
    weighed = meant["policy_loss"] + 0.7 * meant["value_loss"] - tuning.entropy * meant["entropy"]
    assert float(found) == pytest.approx(weighed, abs=1e-5)


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_the_gradient_of_the_loss_is_that_of_finite_differences(tuning):
    tuning = jax.tree.map(jnp.float32, tuning)
    told = lambda params: total(params, samples(), tuning)[0]  # noqa: E731
    check_grads(told, (PARAMS,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


# Learning


@pytest.mark.parametrize("name", AGENTS)
def test_without_advantage_the_policy_stays(name):
    """Where all that is done is worth what was expected; what is learned of values does not move the policy's head."""
    over = np.ones((STEPS, WORLDS), bool)
    given_ = rollout()
    expected = {"none": 0 * given_.rewards, "mean": 0 * given_.rewards + 3}.get(name, value_of(given_.observations))
    state, told = taught(name, given_._replace(ended=over, rewards=np.asarray(expected)))
    for layer, moved in gradient_of(state).items():
        np.testing.assert_allclose(moved["kernel"], 0, atol=1e-6, err_msg=layer)
    assert float(told["policy_loss"]) == pytest.approx(0, abs=1e-6)
    moved = taught(name, given_._replace(ended=over))[0]
    assert np.abs(gradient_of(moved)["policy"]["kernel"]).max() > 1e-2


@pytest.mark.parametrize("name", AGENTS)
def test_it_reports_what_it_promises(name):
    told = taught(name, rollout(**ENDS))[1]
    assert AGENTS[name].measures == (A2C_MEASURES if name == "a2c" else REINFORCE_MEASURES)
    assert set(told) == set(AGENTS[name].measures)
    assert all(x.shape == () and np.isfinite(x) for x in told.values())
    if name != "a2c":
        assert float(told["used"]) == pytest.approx(USED.mean())


@pytest.mark.parametrize("name", AGENTS)
def test_it_learns_alike_from_the_same_at_a_rate_and_nothing_at_none(name):
    one, same_, still = (taught(name, rollout(**ENDS), rate)[0] for rate in (1e-2, 1e-2, 0.0))
    assert same(one, same_)
    assert same(still.params, PARAMS)
    assert difference(one.params, PARAMS) > 1e-3


@pytest.mark.parametrize("name", BASELINES)
def test_steps_whose_end_is_not_seen_do_not_matter_at_all(name):
    """Bit for bit: neither what was paid nor what was done there. Of what was done before an end, both matter."""
    given_ = rollout(**ENDS)

    def learned(where):
        rewards, actions = given_.rewards.copy(), given_.actions.copy()
        rewards[where] += 100
        actions[where] = (actions[where] + 1) % ACTIONS
        return taught(name, given_._replace(rewards=rewards, actions=actions), entropy=0.1)

    plain = taught(name, given_, entropy=0.1)
    assert same(learned(~USED), plain)
    for t, w in [(0, 0), (2, 0), (4, 1)]:
        assert not same(learned((t, w))[0].params, plain[0].params)
    # Nor do finals and the last observation: REINFORCE bootstraps from nothing.
    assert same(taught(name, given_._replace(finals=given_.finals + 1, last=given_.last + 1), entropy=0.1), plain)


@pytest.mark.parametrize("name", BASELINES)
def test_where_no_end_is_seen_nothing_is_learned(name):
    state, told = taught(name, rollout())
    assert same(state.params, PARAMS)
    assert float(told["used"]) == 0
    assert all(np.isfinite(x) for x in told.values())


@pytest.mark.parametrize("name", BASELINES)
def test_a_step_is_worth_what_follows_less_the_baseline(name):
    given_ = rollout(**ENDS)
    worth = np.asarray(returns(given_.rewards, given_.ended | given_.truncated)[0])
    out = NETWORK.apply(PARAMS, given_.observations)
    log_p = np.take_along_axis(np.asarray(jax.nn.log_softmax(out.logits)), given_.actions[..., None], -1)[..., 0]
    baseline = {"none": 0.0, "mean": worth[USED].mean(), "value": np.asarray(out.value)}[name]
    told = taught(name, given_)[1]
    assert float(told["policy_loss"]) == pytest.approx(-(log_p * (worth - baseline))[USED].mean(), rel=1e-4)
    value_head = gradient_of(taught(name, given_)[0])["value_head"]["kernel"]
    assert np.any(value_head) == (name == "value")  # without a learned baseline no critic learns


@pytest.mark.parametrize("number", [5.3, -0.1, 1 / 3, 0.7, 1e6])
def test_where_all_steps_are_worth_the_same_none_is_worth_more_than_the_mean(number):
    """To the last bit: Adam would make a step of whatever rounding leaves."""
    given_ = rollout(ended=[(t, w) for t in range(STEPS) for w in range(WORLDS)])
    assert same(taught("mean", given_._replace(rewards=np.full_like(given_.rewards, number)))[0].params, PARAMS)


def test_a2c_weighs_by_generalised_advantages_as_they_are():
    """Not normalised; a truncated step bootstraps from where it led to."""
    given_ = rollout(**ENDS)
    out = NETWORK.apply(PARAMS, given_.observations)
    after = np.zeros((STEPS, WORLDS))
    after[4, 1] = value_of(given_.finals)[0]
    values, last = np.asarray(out.value), value_of(given_.last)
    advantage = by_hand(given_.rewards, values, last, after, given_.ended, given_.truncated, DISCOUNT, 0.8)
    log_p = np.take_along_axis(np.asarray(jax.nn.log_softmax(out.logits)), given_.actions[..., None], -1)[..., 0]
    told = taught("a2c", given_)[1]
    assert float(told["policy_loss"]) == pytest.approx(-(log_p * advantage).mean(), rel=1e-4)
    assert float(told["value_loss"]) == pytest.approx((0.5 * advantage**2).mean(), rel=1e-4)


@pytest.mark.parametrize("exploration", [None, 0.3])
def test_a2c_is_ppo_with_one_epoch_of_one_minibatch(exploration):
    """Where advantages are normal already, as PPO makes them."""
    advantage = np.random.default_rng(0).normal(size=(STEPS, WORLDS))
    advantage = (advantage - advantage.mean()) / advantage.std()
    given_ = rollout(ended=list(np.ndindex(STEPS, WORLDS)))
    given_ = given_._replace(rewards=(value_of(given_.observations) + advantage).astype(np.float32))
    other = ppo.ppo(NETWORK, ppo.Settings(DISCOUNT, 0.8, clip=1e6, gradient_norm=0.5, epochs=1, minibatches=1))
    one = a2c(NETWORK, A2CSettings(DISCOUNT, 0.8))
    start = ppo.LearnerState(PARAMS, one.init(KEY).optimiser)
    tuning = Tuning(jnp.float32(1e-2), jnp.float32(0.1), None if exploration is None else jnp.float32(exploration))
    (found, told), (meant, known) = (jax.jit(agent.learn)(start, KEY, given_, tuning) for agent in (one, other))
    assert difference(gradient_of(found), gradient_of(meant)) < 1e-5
    assert difference(found.params, meant.params) < 1e-4
    for name in ("value_loss", "entropy", "gradient_norm"):
        assert float(told[name]) == pytest.approx(float(known[name]), rel=1e-4)
    assert float(told["gradient_norm"]) > 0.5  # and so it was clipped


@pytest.mark.parametrize("name", AGENTS)
def test_in_the_mean_the_gradient_is_that_of_what_is_strived_for(name):
    """On a bandit of two arms, all of whose gradient is known: within five standard errors of many rollouts.

    Nothing subtracted, or a value that does not know what was done, does not change the mean. The mean over the rollout
    holds a step's own return, and so the gradient is smaller by one in the number of steps, and points the same way.
    """
    arms, many, steps, worlds = np.array([1.0, -0.5]), 3000, 4, 2
    network = make_network(jax.ShapeDtypeStruct((1,), jnp.float32), 2, Form(()))
    params = {"policy": {"kernel": jnp.array([[0.4, -0.4]]), "bias": jnp.zeros(2)}}
    params["value_head"] = {"kernel": jnp.array([[0.3]]), "bias": jnp.zeros(1)}
    chances = jax.nn.softmax(jnp.array([0.4, -0.4]))
    kind = (
        a2c(network, A2CSettings(DISCOUNT, gradient_norm=1e6))
        if name == "a2c"
        else reinforce(network, ReinforceSettings(DISCOUNT, name, gradient_norm=1e6))
    )
    start = kind.init(KEY)._replace(params=params)
    rng = np.random.default_rng(0)
    actions = rng.choice(2, size=(many, steps, worlds), p=np.asarray(chances, float) / float(sum(chances)))
    rewards = (arms[actions] + rng.normal(size=actions.shape)).astype(np.float32)
    seen, over, nothing = (
        np.ones((steps, worlds, 1), np.float32),
        np.ones((steps, worlds), bool),
        np.ones((1, 1), np.float32),
    )

    @jax.jit
    @jax.vmap
    def gradients(actions, rewards):
        batch = Batch(seen, actions, rewards, rewards[..., None], nothing[0], over, ~over, nothing, seen[0])
        state, _ = kind.learn(start, KEY, batch, Tuning(0.0, 0.0))
        return ravel_pytree(params)[1](10 * optax.tree.get(state.optimiser, "mu"))["policy"]["bias"]

    found = np.asarray(gradients(actions, rewards), float)
    exact = -np.asarray(jax.grad(lambda bias: jax.nn.softmax(jnp.array([0.4, -0.4]) + bias) @ arms)(jnp.zeros(2)))
    exact *= 1 - 1 / (steps * worlds) if name == "mean" else 1
    error = found.std(0) / np.sqrt(many)
    assert (error < 0.1 * np.abs(exact)).all()
    assert (np.abs(found.mean(0) - exact) < 5 * error).all(), (found.mean(0), exact, error)


def test_with_memory_and_parts_a2c_learns_from_stretches():
    """All of both trunks learns; what is learned about is what was said with what was remembered then."""
    network = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, Form((6, 5), (), True, True, 3))
    agent = a2c(network, A2CSettings(DISCOUNT, 0.8))
    state, one = jax.jit(agent.init)(KEY), jax.jit(agent.learn)
    given_ = rollout(parts=3, network=network, **ENDS)
    done, told = one(state, KEY, given_, Tuning(1e-2, 0.0))
    moved = {name for name, layer in done.params.items() if difference(layer, state.params[name]) > 1e-4}
    assert moved == set(state.params)
    judged = jax.jit(lambda params: judge(network, params, given_))(state.params)
    advantage, returns = map(np.asarray, credit(judged, given_, DISCOUNT, 0.8))
    log_p = np.take_along_axis(np.asarray(jax.nn.log_softmax(judged.out.logits)), given_.actions[..., None], -1)[..., 0]
    assert float(told["policy_loss"]) == pytest.approx(-(log_p * advantage).mean(), rel=1e-4)
    error = (0.5 * (np.asarray(judged.out.value) - returns) ** 2).sum(-1).mean()
    assert float(told["value_loss"]) == pytest.approx(error, rel=1e-4)
