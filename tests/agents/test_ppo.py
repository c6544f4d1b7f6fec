"""PPO: the loss against numpy and finite differences, what `learn` may do, orders, memory, and parts of the reward."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from chisel.agents.agent import Batch, Tuning
from chisel.agents.estimates import MOST_BITS, descend, descent, judge, shuffled
from chisel.agents.networks import Form, make_network
from chisel.agents.policy import explored
from chisel.agents.ppo import (
    MEASURES,
    LearnerState,
    Samples,
    Settings,
    loss,
    ppo,
    samples_of,
    value_loss,
)
from tests.agents.rollouts import ACTIONS, SHAPE, SLOTS, WORLDS, by_hand, difference, rollout
from tests.bits import same_bits as same

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
value_of = jax.jit(lambda seen: NETWORK.apply(STATE.params, seen).value)


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


total = jax.jit(lambda params, batch, tuning: loss(params, batch, NETWORK, SETTINGS, tuning)[0])


@pytest.mark.parametrize("tuning", TUNINGS[1:], ids=str)
def test_the_gradient_of_the_loss_is_that_of_finite_differences(tuning):
    batch, tuning = samples(exploration=tuning.exploration), jax.tree.map(jnp.float32, tuning)
    check_grads(
        lambda p: total(p, batch, tuning), (STATE.params,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2
    )


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
    gradient = jax.jit(jax.grad(lambda p, b: loss(p, b, NETWORK, bare, Tuning(0.0, 0.0))[0]))
    assert not any(np.any(x) for x in jax.tree.leaves(gradient(STATE.params, nothing)))
    many = samples(count=512)._replace(advantages=np.full(512, 5.3, np.float32))  # all alike, but for their mean
    assert not any(np.any(x) for x in jax.tree.leaves(gradient(STATE.params, many)))
    assert np.any(gradient(STATE.params, samples())["policy"]["kernel"])


@pytest.mark.parametrize("parts", [None, 3])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_loss_of_values_that_moved_too_far_is_the_worse_one(clip, parts):
    """Errors of parts are added up, each clipped on its own."""
    rng, shape = np.random.default_rng(0), (40, *([parts] if parts else []))
    before, now, returns = rng.normal(size=(3, *shape)).astype(np.float32)
    given_ = samples(count=40)._replace(values=before, returns=returns)
    error = (now - returns) ** 2
    if clip:
        error = np.maximum(error, (np.clip(now, before - clip, before + clip) - returns) ** 2)
        assert 0 < np.mean(error > (now - returns) ** 2) < 1
    found = float(value_loss(jnp.array(now), given_, clip))
    assert found == pytest.approx(0.5 * error.sum() / 40, rel=1e-5)


# Learning


def taught(batch: Batch, rate: float = 1e-2, key=KEY, entropy: float = 0.01, exploration: float | None = None):
    numbers = (None if x is None else jnp.float32(x) for x in (rate, entropy, exploration))
    return learn(STATE, key, batch, Tuning(*numbers))


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
    given_ = rollout(truncated=cuts, ended=[(2, 1)])
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
    state, told = taught(rollout(), rate=0.0)
    assert same(STATE.params, state.params)
    assert float(told["kl"]) == pytest.approx(0, abs=1e-6)
    assert float(told["clipped"]) == 0
    assert difference(taught(rollout(), rate=1e-3)[0].params, STATE.params) > 1e-4


def test_learning_is_a_function_of_its_key():
    one, again, other = (taught(rollout(), key=jax.random.key(i)) for i in (1, 1, 2))
    assert difference(one, again) == 0
    assert difference(one[0].params, other[0].params) > 0


def test_it_reports_what_it_promises():
    told = taught(rollout())[1]
    assert AGENT.measures == MEASURES
    assert set(told) == set(MEASURES)
    assert all(x.shape == () and np.isfinite(x) for x in told.values())


def test_the_gradient_is_clipped_by_its_norm():
    """After one step Adam's first moment is a tenth of the gradient that it was given."""
    single = jax.jit(ppo(NETWORK, SETTINGS._replace(epochs=1, minibatches=1, gradient_norm=3.0)).learn)
    for scale, clips in ((100.0, True), (0.01, False)):
        state, told = single(STATE, KEY, rollout(scale=scale), USUAL)
        raw = float(told["gradient_norm"])
        assert (raw > 3.0) == clips
        seen = float(optax.tree.norm(optax.tree.get(state.optimiser, "mu"))) / 0.1
        assert seen == pytest.approx(min(raw, 3.0), rel=1e-4)


def test_every_sample_is_used_once_in_an_epoch():
    """With a rate of zero minibatches cannot change each other: their mean value loss is that of the whole rollout."""
    _, told = taught(rollout(ended=[(1, 0)]), rate=0.0)
    given_ = rollout(ended=[(1, 0)])
    values = np.asarray(value_of(given_.observations))
    found = by_hand(
        given_.rewards,
        values,
        value_of(given_.last),
        given_.rewards,
        given_.ended,
        given_.truncated,
        SETTINGS.discount,
        SETTINGS.trace,
    )
    assert float(told["value_loss"]) == pytest.approx(float((0.5 * found**2).mean()), rel=1e-4)


# Exploration


@pytest.mark.parametrize("exploration", [None, 0.0, 1e-30, 0.3, 1.0])
def test_before_the_first_step_the_ratio_is_one(exploration):
    """What acted is what is learned about: with one minibatch and one epoch nothing has moved yet."""
    tuning = Tuning(jnp.float32(1e-2), jnp.float32(0.1), None if exploration is None else jnp.float32(exploration))
    state, told = whole(STATE, KEY, rollout(ended=[(2, 1)]), tuning)
    assert float(told["kl"]) == pytest.approx(0, abs=1e-10)
    assert float(told["clipped"]) == 0
    assert float(told["policy_loss"]) == pytest.approx(0, abs=1e-6)  # advantages are normal, and every ratio is 1
    assert difference(state.params, STATE.params) > 1e-4


def test_the_entropy_that_is_told_is_that_of_what_acts():
    given_ = rollout()
    chances = mixture(NETWORK.apply(STATE.params, given_.observations.reshape(-1, *SHAPE)).logits, 0.3)
    told = taught(given_, rate=0.0, exploration=0.3)[1]
    assert float(told["entropy"]) == pytest.approx(-(chances * np.log(chances)).sum(1).mean(), rel=1e-5)
    even = taught(given_, rate=0.0, exploration=1.0)[1]
    assert float(even["entropy"]) == pytest.approx(np.log(ACTIONS), rel=1e-6)


def test_more_weight_of_entropy_leaves_more_entropy():
    def entropy(weight):
        params = taught(rollout(), rate=3e-2, entropy=weight)[0].params
        log_p = jax.nn.log_softmax(NETWORK.apply(params, rollout().observations).logits)
        return float(-jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, -1)))

    assert entropy(-1.0) < entropy(0.0) - 0.01 < entropy(1.0) - 0.02


def test_learning_is_finite_where_a_policy_is_sure():
    """Logits so far apart that softmax knows only 0 and 1."""
    sure = STATE._replace(params=STATE.params | {"policy": jax.tree.map(lambda x: 300 * x, STATE.params["policy"])})
    assert np.ptp(np.asarray(explored(NETWORK.apply(sure.params, rollout().observations).logits, None))) > 200
    for exploration in (0.0, 1e-30, 1e-3, 1.0):
        done = learn(sure, KEY, rollout(), Tuning(jnp.float32(1e-2), jnp.float32(0.1), jnp.float32(exploration)))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(done)), exploration


# Orders


@pytest.mark.parametrize("count", [1, 2, 6, 2**MOST_BITS - 1, 2**MOST_BITS, 2**MOST_BITS + 1])
def test_an_order_holds_every_number_once(count):
    """Also where so many are to be put in order that another way is taken."""
    order = jax.jit(shuffled, static_argnums=1)
    one, again, other = (np.asarray(order(jax.random.key(k), count)) for k in (0, 0, 1))
    np.testing.assert_array_equal(np.sort(one), np.arange(count))
    assert one.dtype == np.int32
    assert same(one, again)
    assert same(one, other) == (count <= 2)
    if count > 2**MOST_BITS:  # or lower numbers would come first too often
        assert same(one, jax.random.permutation(jax.random.key(0), count))


def test_all_orders_are_as_likely():
    """Of 4! orders each within five standard errors, and so all by chi-square."""
    count, keys = 4, 12_000
    orders = np.asarray(jax.jit(jax.vmap(lambda k: shuffled(k, count)))(jax.random.split(KEY, keys)))
    often = np.unique(orders @ count ** np.arange(count), return_counts=True)[1]
    assert len(often) == 24
    mean = keys / 24
    assert np.abs(often - mean).max() < 5 * np.sqrt(mean * (1 - 1 / 24))
    assert abs(((often - mean) ** 2 / mean).sum() - 23) < 5 * np.sqrt(2 * 23)


def test_many_numbers_are_spread_as_evenly():
    """Number and place are unrelated, within five standard errors; in both ways of putting in order."""
    for count in (2**MOST_BITS, 2**MOST_BITS + 1):
        order = np.asarray(shuffled(KEY, count))
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 5 / np.sqrt(count)
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / np.sqrt(count)


# Memory

RECURRENT = make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, Form((6, 5), recurrent=True))
REMEMBERS = jax.jit(ppo(RECURRENT, SETTINGS).init)(jax.random.key(0))
CUT = {"ended": [(1, 0)], "truncated": [(0, 1), (3, 0), (3, 1)]}


def of_worlds(batch: Batch, worlds: list[int]) -> Batch:
    """The stretches of some worlds, in that order, with the finals that are theirs."""
    slots = np.full(batch.truncated.shape, -1)
    slots[batch.truncated] = np.arange(batch.truncated.sum())
    chosen = jax.tree.map(lambda x: x[:, worlds], batch._replace(weights=None, finals=None, last=None, memory=None))
    finals = [slot for slot in slots[:, worlds].reshape(-1) if slot >= 0]
    return chosen._replace(
        weights=batch.weights,
        finals=batch.finals[finals + [SLOTS - 1] * (SLOTS - len(finals))],
        last=batch.last[worlds],
        memory=jax.tree.map(lambda x: x[worlds], batch.memory),
    )


def test_worlds_are_learned_from_alike():
    """In another order they teach the same, up to rounding; but not if what was remembered stays where it was."""
    one = jax.jit(ppo(RECURRENT, SETTINGS._replace(minibatches=1)).learn)
    given_ = rollout(network=RECURRENT, **CUT)
    turned = of_worlds(given_, [1, 0])
    meant, found = (one(REMEMBERS, KEY, batch, USUAL)[0].params for batch in (given_, turned))
    assert difference(found, meant) < 1e-5
    assert difference(one(REMEMBERS, KEY, turned._replace(memory=given_.memory), USUAL)[0].params, meant) > 1e-4


def test_a_minibatch_of_a_network_with_memory_is_whole_worlds():
    """Two minibatches of two worlds are two steps, one for each world, on what the first parameters made of it."""
    given_ = rollout(network=RECURRENT, **CUT)
    optimiser = descent(RECURRENT, SETTINGS.gradient_norm, apart=False)

    @jax.jit
    def taught_by(state, batch):
        judged = judge(RECURRENT, REMEMBERS.params, batch)
        samples = samples_of(judged, batch, SETTINGS, USUAL)._replace(begins=judged.begins, memory=batch.memory)
        gradient = jax.grad(lambda p: loss(p, samples, RECURRENT, SETTINGS, USUAL)[0])(state.params)
        return LearnerState(*descend(optimiser, gradient, state.optimiser, state.params, USUAL.learning_rate)[:2])

    one = jax.jit(ppo(RECURRENT, SETTINGS._replace(epochs=1)).learn)
    worlds = [of_worlds(given_, [world]) for world in range(WORLDS)]
    meant = [taught_by(taught_by(REMEMBERS, worlds[a]), worlds[b]).params for a, b in ((0, 1), (1, 0))]
    assert difference(*meant) > 1e-4
    nearest = set()
    for key in jax.random.split(KEY, 8):
        found = one(REMEMBERS, key, given_, USUAL)[0].params
        apart = [difference(found, params) for params in meant]
        assert min(apart) < 1e-5
        nearest.add(int(np.argmin(apart)))
    assert nearest == {0, 1}


# Parts of the reward


def test_after_a_switch_of_weights_the_critic_has_nothing_to_learn_anew():
    """Where heads tell the parts apart. One head for all has."""
    told = {}
    for parts in (None, 3):
        form = Form((6,), separate=True, parts=parts)
        agent = ppo(make_network(jax.ShapeDtypeStruct(SHAPE, jnp.float32), ACTIONS, form), SETTINGS)
        state, one = jax.jit(agent.init)(KEY), jax.jit(agent.learn)
        given_ = rollout(parts=3, ended=[(2, 0)], truncated=[(1, 1)])
        other = -2 * given_.weights[::-1]
        switched = given_._replace(weights=other, rewards=given_.readings @ other)
        done = [one(state, KEY, batch, Tuning(1e-2, 0.0)) for batch in (given_, switched)]
        told[parts] = [float(measured["value_loss"]) for _, measured in done]
        policies, critics = (
            [{k: v for k, v in s.params.items() if (k in agent.network.critics) == mine} for s, _ in done]
            for mine in (False, True)
        )
        assert difference(*policies) > 1e-3
        assert (difference(*critics) < 1e-6) == (parts is not None)
    assert told[3][0] == pytest.approx(told[3][1], rel=1e-6)
    assert told[None][0] != pytest.approx(told[None][1], rel=0.1)
