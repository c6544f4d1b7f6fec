"""PPO: advantages against a plain loop, the loss against numpy and finite differences, and what `learn` may do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from chisel.agents.agent import Batch
from chisel.agents.networks import mlp
from chisel.agents.ppo import MEASURES, Samples, Settings, advantages, loss, ppo

STEPS, WORLDS, ACTIONS, SLOTS = 6, 2, 3, 4
SHAPE = (4,)
NETWORK = mlp(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, [6])
SETTINGS = Settings(discount=0.9, trace=0.8, epochs=2, minibatches=2)
AGENT = ppo(NETWORK, SETTINGS)
STATE = AGENT.init(jax.random.key(0))
# A policy head of size 0.01 hardly acts on anything: make it one that does.
STATE = STATE._replace(params=STATE.params | {"policy": jax.tree.map(lambda x: 60 * x, STATE.params["policy"])})
KEY = jax.random.key(1)

learn = jax.jit(AGENT.learn)
estimate = jax.jit(advantages, static_argnums=6)
value_of = jax.jit(lambda seen: NETWORK.apply(STATE.params, seen).value)


# Advantages


def by_hand(rewards, values, last, after, ended, truncated) -> np.ndarray:
    """Generalised advantages, world by world, from the end of the rollout to its start."""
    found = np.zeros_like(rewards, float)
    for w in range(rewards.shape[1]):
        trace, following = 0.0, float(last[w])
        for t in reversed(range(rewards.shape[0])):
            if ended[t, w]:
                trace, following = 0.0, 0.0
            elif truncated[t, w]:
                trace, following = 0.0, float(after[t, w])
            surprise = rewards[t, w] + SETTINGS.discount * following - values[t, w]
            trace = surprise + SETTINGS.discount * SETTINGS.trace * trace
            found[t, w], following = trace, float(values[t, w])
    return found


# Per step and world: 0 goes on, 1 ended, 2 truncated.
ENDINGS = st.lists(st.integers(0, 2), min_size=STEPS * WORLDS, max_size=STEPS * WORLDS)


@settings(max_examples=60, deadline=None)
@given(ENDINGS, st.integers(0, 2**32 - 1))
@example([0] * (STEPS * WORLDS), 0)
@example([2] * (STEPS * WORLDS), 0)
def test_advantages_are_those_of_a_plain_loop(endings, seed):
    how = np.array(endings).reshape(STEPS, WORLDS)
    numbers = np.random.default_rng(seed).normal(size=(3, STEPS, WORLDS)).astype(np.float32)
    rewards, values, after = numbers
    last = numbers[0, 0] * 2
    meant = by_hand(rewards, values, last, after, how == 1, how == 2)
    after = np.where(how == 2, after, 1e6)  # read at truncated steps only
    found = estimate(rewards, values, last, after, how == 1, how == 2, SETTINGS)
    np.testing.assert_allclose(found, meant, atol=1e-4)


def test_where_players_alternate_every_other_reward_counts_against_the_mover():
    """A negative discount is negamax: own rewards less those of the opponent, each from the mover's side."""
    rewards = np.array([[0.0], [1.0], [0.0], [10.0]], np.float32)  # the opponent takes at 1, and wins at 3
    nothing, ended = np.zeros((4, 1), np.float32), np.array([[False], [False], [False], [True]])
    alternating = SETTINGS._replace(discount=-0.9, trace=1.0)
    found = estimate(rewards, nothing, nothing[0], nothing, ended, np.zeros((4, 1), bool), alternating)
    meant = [-0.9 * 1 - 0.9**3 * 10, 1 + 0.9**2 * 10, -0.9 * 10, 10]
    np.testing.assert_allclose(found[:, 0], meant, rtol=1e-5)


@pytest.mark.parametrize("how", ["ended", "truncated"])
def test_nothing_leaks_from_one_episode_into_another(how):
    cut = np.zeros((STEPS, WORLDS), bool)
    cut[2] = True
    nothing = np.zeros((STEPS, WORLDS), bool)
    flags = (cut, nothing) if how == "ended" else (nothing, cut)
    plain = np.ones((STEPS, WORLDS), np.float32)
    wild = plain.copy()
    wild[3:] = 1e4
    quiet, loud = (np.asarray(estimate(x, x, x[-1], plain, *flags, SETTINGS)) for x in (plain, wild))
    assert np.array_equal(quiet[:3], loud[:3])
    assert not np.array_equal(quiet[3:], loud[3:])


# The loss


def samples(seed: int = 0, count: int = 12, spread: float = 0.3) -> Samples:
    """Samples whose ratios lie on both sides of the clip, and not near its edges."""
    rng = np.random.default_rng(seed)
    seen, actions = rng.normal(size=(count, *SHAPE)).astype(np.float32), rng.integers(0, ACTIONS, count)
    now = np.asarray(jax.nn.log_softmax(NETWORK.apply(STATE.params, seen).logits))[np.arange(count), actions]
    before = now + rng.choice([-1.5, -0.3, 0.0, 0.3, 1.5], count) * spread
    advantage, returns = rng.normal(size=(2, count))
    return Samples(seen, actions, *(x.astype(np.float32) for x in (before, advantage, returns)))


def test_the_loss_is_what_the_papers_say():
    batch = samples()
    total, told = loss(STATE.params, batch, NETWORK, SETTINGS)
    out = NETWORK.apply(STATE.params, batch.observations)
    logits, rows = np.asarray(out.logits, float), np.arange(len(batch.actions))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    ratio = np.exp(log_p[rows, batch.actions] - batch.log_probs)
    a = (batch.advantages - batch.advantages.mean()) / batch.advantages.std()
    low, high = 1 - SETTINGS.clip, 1 + SETTINGS.clip
    meant = {
        "policy_loss": -np.minimum(ratio * a, np.clip(ratio, low, high) * a).mean(),
        "value_loss": (0.5 * (np.asarray(out.value, float) - batch.returns) ** 2).mean(),
        "entropy": -(np.exp(log_p) * log_p).sum(1).mean(),
        "kl": (ratio - 1 - np.log(ratio)).mean(),
        "clipped": ((ratio < low) | (ratio > high)).mean(),
    }
    assert 0 < meant["clipped"] < 1
    assert {name: float(x) for name, x in told.items()} == pytest.approx(meant, abs=1e-5)
    weighed = meant["policy_loss"] + 0.5 * meant["value_loss"] - 0.01 * meant["entropy"]
    assert float(total) == pytest.approx(weighed, abs=1e-5)


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    batch = samples()
    strong = SETTINGS._replace(entropy=0.5)
    total = jax.jit(lambda params: loss(params, batch, NETWORK, strong)[0])
    check_grads(total, (STATE.params,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


def test_without_advantage_the_policy_stays():
    """Normalising must not make something out of nothing."""
    nothing = samples()._replace(advantages=np.zeros(12, np.float32))
    bare = SETTINGS._replace(entropy=0.0, value_weight=0.0)
    gradient = jax.grad(lambda p, b: loss(p, b, NETWORK, bare)[0])
    assert not any(np.any(x) for x in jax.tree.leaves(gradient(STATE.params, nothing)))
    assert np.any(gradient(STATE.params, samples())["policy"]["kernel"])


# Learning


def batch(seed: int = 0, ended=(), truncated=(), scale: float = 1.0) -> Batch:
    """A rollout with junk in the slots of `finals` that are not used."""
    rng = np.random.default_rng(seed)
    flags = np.zeros((2, STEPS, WORLDS), bool)
    for flag, where in zip(flags, (ended, truncated), strict=True):
        for t, w in where:
            flag[t, w] = True
    return Batch(
        observations=rng.normal(size=(STEPS, WORLDS, *SHAPE)).astype(np.float32),
        actions=rng.integers(0, ACTIONS, (STEPS, WORLDS)).astype(np.int32),
        rewards=(scale * rng.normal(size=(STEPS, WORLDS))).astype(np.float32),
        ended=flags[0],
        truncated=flags[1],
        finals=3 * rng.normal(size=(SLOTS, *SHAPE)).astype(np.float32),
        last=rng.normal(size=(WORLDS, *SHAPE)).astype(np.float32),
    )


def taught(batch: Batch, rate: float = 1e-2, key=KEY):
    return learn(STATE, key, batch, jnp.float32(rate))


def difference(one, other) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


CUTS = [
    [],
    [(3, 1)],
    [(0, 1), (2, 0), (4, 0)],  # fewer than slots; in order of time, not of world
    [(0, 0), (3, 1)],  # the very first step among them
    [(1, 0), (1, 1), (4, 0), (4, 1)],  # as many
    [(5, 0), (5, 1)],  # at the end of the rollout
]


@pytest.mark.parametrize("cuts", CUTS)
def test_a_truncated_step_bootstraps_from_its_own_final_observation(cuts):
    """It learns the same as from an end that pays the discounted value of where the step led: which is how it is meant,
    without any `finals` to be matched.
    """
    given_ = batch(truncated=cuts, ended=[(2, 1)])
    worth = np.asarray(value_of(given_.finals))
    paid = given_.rewards.copy()
    for slot, where in enumerate(sorted(cuts)):
        paid[where] += SETTINGS.discount * worth[slot]
    plain = given_._replace(
        rewards=paid, ended=given_.ended | given_.truncated, truncated=np.zeros_like(given_.truncated)
    )
    found, meant = taught(given_)[0].params, taught(plain)[0].params
    assert difference(found, meant) < 1e-5
    if len(cuts) > 1:  # and the order matters
        swapped = given_._replace(finals=given_.finals[[1, 0, *range(2, SLOTS)]])
        assert difference(taught(swapped)[0].params, meant) > 1e-4


def test_a_rate_of_zero_changes_nothing():
    state, told = taught(batch(), rate=0.0)
    for before, after in zip(jax.tree.leaves(STATE.params), jax.tree.leaves(state.params), strict=True):
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
    assert float(told["kl"]) == pytest.approx(0, abs=1e-6)
    assert float(told["clipped"]) == 0
    assert difference(taught(batch(), rate=1e-3)[0].params, STATE.params) > 1e-4


def test_learning_is_a_function_of_its_key():
    one, same, other = (taught(batch(), key=jax.random.key(i)) for i in (1, 1, 2))
    assert difference(one, same) == 0
    assert difference(one[0].params, other[0].params) > 0


def test_it_reports_what_it_promises():
    told = taught(batch())[1]
    assert AGENT.measures == MEASURES
    assert set(told) == set(MEASURES)
    assert all(x.shape == () and np.isfinite(x) for x in told.values())


@pytest.mark.parametrize(("scale", "clips"), [(100.0, True), (0.01, False)])
def test_the_gradient_is_clipped_by_its_norm(scale, clips):
    """After one step Adam's first moment is a tenth of the gradient that it was given."""
    single = ppo(NETWORK, SETTINGS._replace(epochs=1, minibatches=1, gradient_norm=3.0))
    state, told = jax.jit(single.learn)(STATE, KEY, batch(scale=scale), jnp.float32(1e-3))
    raw = float(told["gradient_norm"])
    assert (raw > 3.0) == clips
    seen = float(optax.tree.norm(optax.tree.get(state.optimiser, "mu"))) / 0.1
    assert seen == pytest.approx(min(raw, 3.0), rel=1e-4)


def test_every_sample_is_used_once_in_an_epoch():
    """With a rate of zero minibatches cannot change each other: their mean value loss is that of the whole rollout."""
    _, told = taught(batch(ended=[(1, 0)]), rate=0.0)
    given_ = batch(ended=[(1, 0)])
    values = np.asarray(value_of(given_.observations))
    found = by_hand(given_.rewards, values, value_of(given_.last), given_.rewards, given_.ended, given_.truncated)
    assert float(told["value_loss"]) == pytest.approx(float((0.5 * found**2).mean()), rel=1e-4)


def test_it_acts_as_its_policy_says():
    """Each action as often as its probability: within four standard errors."""
    seen = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    count = 4000
    actions = np.asarray(AGENT.act(STATE.params, KEY, np.broadcast_to(seen, (count, *SHAPE))))
    chance = np.asarray(jax.nn.softmax(NETWORK.apply(STATE.params, seen).logits))
    shares = np.bincount(actions, minlength=ACTIONS) / count
    assert chance.max() - chance.min() > 0.1
    np.testing.assert_allclose(shares, chance, atol=4 * np.sqrt(0.25 / count))
