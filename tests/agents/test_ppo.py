"""PPO: advantages against a plain loop, the loss against numpy and finite differences, and what `learn` may do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from chisel.agents.agent import Batch, Tuning
from chisel.agents.estimates import advantages
from chisel.agents.networks import Form, make_network
from chisel.agents.policy import explored, masked, policy
from chisel.agents.ppo import MEASURES, Samples, Settings, loss, ppo

STEPS, WORLDS, ACTIONS, SLOTS = 6, 2, 3, 4
SHAPE = (4,)
NETWORK = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, Form((6,)))
SETTINGS = Settings(discount=0.9, trace=0.8, epochs=2, minibatches=2)
AGENT = ppo(NETWORK, SETTINGS)
STATE = AGENT.init(jax.random.key(0))
# A policy head of size 0.01 hardly acts on anything: make it one that does.
STATE = STATE._replace(params=STATE.params | {"policy": jax.tree.map(lambda x: 60 * x, STATE.params["policy"])})
KEY = jax.random.key(1)
USUAL = Tuning(1e-2, 0.01)

learn = jax.jit(AGENT.learn)
whole = jax.jit(ppo(NETWORK, SETTINGS._replace(epochs=1, minibatches=1)).learn)
estimate = jax.jit(advantages, static_argnums=(6, 7))
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
    found = estimate(rewards, values, last, after, how == 1, how == 2, SETTINGS.discount, SETTINGS.trace)
    np.testing.assert_allclose(found, meant, atol=1e-4)


def test_where_players_alternate_every_other_reward_counts_against_the_mover():
    """A negative discount is negamax: own rewards less those of the opponent, each from the mover's side."""
    rewards = np.array([[0.0], [1.0], [0.0], [10.0]], np.float32)  # the opponent takes at 1, and wins at 3
    nothing, ended = np.zeros((4, 1), np.float32), np.array([[False], [False], [False], [True]])
    found = estimate(rewards, nothing, nothing[0], nothing, ended, np.zeros((4, 1), bool), -0.9, 1.0)
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
    quiet, loud = (
        np.asarray(estimate(x, x, x[-1], plain, *flags, SETTINGS.discount, SETTINGS.trace)) for x in (plain, wild)
    )
    assert np.array_equal(quiet[:3], loud[:3])
    assert not np.array_equal(quiet[3:], loud[3:])


# The loss


TUNINGS = [USUAL, Tuning(1e-2, 0.5), Tuning(1e-2, 0.5, 0.0), Tuning(1e-2, 0.5, 0.3), Tuning(1e-2, -2.0, 0.9)]


def mixture(logits, exploration) -> np.ndarray:
    """What acts: the policy, but for a share in which any action is as likely."""
    chances = np.exp(np.asarray(logits, float))
    chances /= chances.sum(1, keepdims=True)
    return chances if exploration is None else (1 - exploration) * chances + exploration / ACTIONS


def samples(seed: int = 0, count: int = 12, spread: float = 0.3, exploration=None) -> Samples:
    """Samples whose ratios lie on both sides of the clip, and not near its edges."""
    rng = np.random.default_rng(seed)
    seen, actions = rng.normal(size=(count, *SHAPE)).astype(np.float32), rng.integers(0, ACTIONS, count)
    chances = mixture(NETWORK.apply(STATE.params, seen).logits, exploration)
    now = np.log(chances[np.arange(count), actions])
    before = now + rng.choice([-1.5, -0.3, 0.0, 0.3, 1.5], count) * spread
    advantage, returns = rng.normal(size=(2, count))
    values = np.asarray(NETWORK.apply(STATE.params, seen).value) + rng.choice([-0.5, -0.1, 0.1, 0.5], count)
    return Samples(seen, actions, *(x.astype(np.float32) for x in (before, advantage, values, returns)))


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
def test_the_loss_is_what_the_papers_say(tuning):
    """Ratio and entropy are those of what acts: where there is exploration, of the mixture."""
    batch = samples(exploration=tuning.exploration)
    total, told = loss(STATE.params, batch, NETWORK, SETTINGS, tuning)
    out, rows = NETWORK.apply(STATE.params, batch.observations), np.arange(len(batch.actions))
    log_p = np.log(mixture(out.logits, tuning.exploration))
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
    weighed = meant["policy_loss"] + 0.5 * meant["value_loss"] - tuning.entropy * meant["entropy"]
    assert float(total) == pytest.approx(weighed, abs=1e-5)


@pytest.mark.parametrize("tuning", TUNINGS[1:], ids=str)
def test_the_gradient_of_the_loss_is_that_of_finite_differences(tuning):
    batch = samples(exploration=tuning.exploration)
    total = jax.jit(lambda params: loss(params, batch, NETWORK, SETTINGS, tuning)[0])
    check_grads(total, (STATE.params,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


def test_the_weight_of_entropy_moves_the_gradient_in_proportion():
    """And as data: one function, compiled once, for all weights."""
    batch, traces = samples(exploration=0.3), []

    @jax.jit
    def gradient(weight):
        traces.append(weight)
        return jax.grad(lambda p: loss(p, batch, NETWORK, SETTINGS, Tuning(0.0, weight, 0.3))[0])(STATE.params)

    none, one, three = (gradient(jnp.float32(w)) for w in (0.0, 1.0, 3.0))
    assert difference(one["policy"], none["policy"]) > 1e-3
    for a, b, c in zip(*map(jax.tree.leaves, (none, one, three)), strict=True):
        np.testing.assert_allclose(c - a, 3 * (b - a), atol=1e-5)
    assert len(traces) == 1


def test_where_all_is_chance_the_policy_learns_nothing():
    """With exploration 1 actions say nothing of the policy: only the value head and what is below it learn."""
    blind = samples(exploration=1.0)
    gradient = jax.jit(jax.grad(lambda p, e: loss(p, blind, NETWORK, SETTINGS, Tuning(0.0, 0.5, e))[0]))
    assert not any(np.any(x) for x in jax.tree.leaves(gradient(STATE.params, 1.0)["policy"]))
    assert np.any(gradient(STATE.params, 1.0)["value_head"]["kernel"])
    assert np.any(gradient(STATE.params, 0.5)["policy"]["kernel"])


def test_without_advantage_the_policy_stays():
    """Normalising must not make something out of nothing."""
    nothing = samples()._replace(advantages=np.zeros(12, np.float32))
    bare = SETTINGS._replace(value_weight=0.0)
    gradient = jax.grad(lambda p, b: loss(p, b, NETWORK, bare, Tuning(0.0, 0.0))[0])
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
        readings=np.zeros((STEPS, WORLDS, 1), np.float32),
        weights=np.ones(1, np.float32),
        ended=flags[0],
        truncated=flags[1],
        finals=3 * rng.normal(size=(SLOTS, *SHAPE)).astype(np.float32),
        last=rng.normal(size=(WORLDS, *SHAPE)).astype(np.float32),
    )


def taught(batch: Batch, rate: float = 1e-2, key=KEY, entropy: float = 0.01, exploration: float | None = None):
    numbers = (None if x is None else jnp.float32(x) for x in (rate, entropy, exploration))
    return learn(STATE, key, batch, Tuning(*numbers))


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
    state, told = jax.jit(single.learn)(STATE, KEY, batch(scale=scale), USUAL)
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
    actions = np.asarray(acts(NETWORK, np.broadcast_to(seen, (count, *SHAPE))))
    chance = np.asarray(jax.nn.softmax(NETWORK.apply(STATE.params, seen).logits))
    shares = np.bincount(actions, minlength=ACTIONS) / count
    assert chance.max() - chance.min() > 0.1
    np.testing.assert_allclose(shares, chance, atol=4 * np.sqrt(0.25 / count))


# Exploration


def acts(network, seen, exploration=None):
    actor = policy(network, STATE.params, exploration)
    return actor.act(actor.luck(KEY, len(seen)), seen, None)[0]


@pytest.mark.parametrize("exploration", [0.0, 0.4, 1.0])
def test_it_explores_as_often_as_it_is_told_and_breaks_no_rule(exploration):
    """The middle action is forbidden; what is left is the policy, mixed with an even choice of the other two."""
    legal = jnp.arange(ACTIONS) != 1
    fenced = masked(NETWORK, lambda seen: legal, jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    seen, count = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32), 4000
    many = np.broadcast_to(seen, (count, *SHAPE))
    actions = np.asarray(acts(fenced, many, exploration))
    policy = np.asarray(jax.nn.softmax(fenced.apply(STATE.params, seen).logits))
    meant = (1 - exploration) * policy + exploration * np.array([0.5, 0, 0.5])
    assert abs(policy[0] - policy[2]) > 0.2
    assert (actions != 1).all()
    np.testing.assert_allclose(np.bincount(actions, minlength=ACTIONS) / count, meant, atol=4 * np.sqrt(0.25 / count))


@pytest.mark.parametrize("exploration", [None, 0.0, 1e-30, 0.3, 1.0])
def test_before_the_first_step_the_ratio_is_one(exploration):
    """What acted is what is learned about: with one minibatch and one epoch nothing has moved yet."""
    tuning = Tuning(jnp.float32(1e-2), jnp.float32(0.1), None if exploration is None else jnp.float32(exploration))
    state, told = whole(STATE, KEY, batch(ended=[(2, 1)]), tuning)
    assert float(told["kl"]) == pytest.approx(0, abs=1e-10)
    assert float(told["clipped"]) == 0
    assert float(told["policy_loss"]) == pytest.approx(0, abs=1e-6)  # advantages are normal, and every ratio is 1
    assert difference(state.params, STATE.params) > 1e-4


def test_the_entropy_that_is_told_is_that_of_what_acts():
    given_ = batch()
    chances = mixture(NETWORK.apply(STATE.params, given_.observations.reshape(-1, *SHAPE)).logits, 0.3)
    told = taught(given_, rate=0.0, exploration=0.3)[1]
    assert float(told["entropy"]) == pytest.approx(-(chances * np.log(chances)).sum(1).mean(), rel=1e-5)
    even = taught(given_, rate=0.0, exploration=1.0)[1]
    assert float(even["entropy"]) == pytest.approx(np.log(ACTIONS), rel=1e-6)


def test_more_weight_of_entropy_leaves_more_entropy():
    def entropy(weight):
        params = taught(batch(), rate=3e-2, entropy=weight)[0].params
        log_p = jax.nn.log_softmax(NETWORK.apply(params, batch().observations).logits)
        return float(-jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, -1)))

    assert entropy(-1.0) < entropy(0.0) - 0.01 < entropy(1.0) - 0.02


def test_learning_is_finite_where_a_policy_is_sure():
    """Logits so far apart that softmax knows only 0 and 1."""
    sure = STATE._replace(params=STATE.params | {"policy": jax.tree.map(lambda x: 300 * x, STATE.params["policy"])})
    assert np.ptp(np.asarray(explored(NETWORK.apply(sure.params, batch().observations).logits, None))) > 200
    for exploration in (0.0, 1e-30, 1e-3, 1.0):
        done = learn(sure, KEY, batch(), Tuning(jnp.float32(1e-2), jnp.float32(0.1), jnp.float32(exploration)))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(done)), exploration
