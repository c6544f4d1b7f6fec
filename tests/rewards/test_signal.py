"""From facts to reward: read by an overseer, weighed, and paid."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import chisel.training.member as training
from chisel.rewards.curve import constant
from chisel.rewards.oversight import USUAL, Oversight, read
from chisel.rewards.payment import nothing_owed
from chisel.rewards.payment import pay as pay_out
from chisel.rewards.schedule import InForce, make
from chisel.rewards.signal import earned, reward
from chisel.training.member import Member, Plan, earn
from chisel.training.rollout import at_random, begin, collect
from chisel.worlds.smile import SMILE
from chisel.worlds.world import defaults, names

# Not so small that a product vanishes, of which XLA keeps the sign or not as it pleases.
SMALL = st.floats(-10, 10, width=32).filter(lambda x: x == 0 or abs(x) > 1e-9)
pay = jax.jit(lambda weights, readings: reward(earned(weights, readings)))


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 4, elements=SMALL), arrays(np.float32, (5, 3, 4), elements=SMALL))
def test_it_is_the_weighted_sum(weights, facts):
    found = pay(weights, facts)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, facts.astype(float) @ weights.astype(float), atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 4, elements=SMALL), arrays(np.float32, (5, 3, 4), elements=SMALL), st.integers(0, 3))
def test_a_weight_of_zero_adds_nothing_at_all(weights, facts, which):
    """Whatever the channel does, to the last bit."""
    weights[which] = 0.0
    silent = facts.copy()
    silent[..., which] = 0.0
    assert np.asarray(pay(weights, facts)).tobytes() == np.asarray(pay(weights, silent)).tobytes()


def test_no_channels_pay_nothing():
    assert pay(jnp.zeros(0), jnp.zeros((2, 3, 0))).tolist() == [[0, 0, 0], [0, 0, 0]]


# Read, weighed and paid

CHANNELS, GATES, BUFFER = 4, 2, 3
CHANCE, SIZE = st.floats(0, 1, width=32, allow_subnormal=False), st.floats(0, 3, width=32, allow_subnormal=False)
ERRORS = Oversight(
    CHANCE, CHANCE, CHANCE, st.just(0.0), SIZE, SIZE, SIZE, st.tuples(CHANCE, CHANCE), st.floats(0, 5), CHANCE
)
OVERSIGHT = st.tuples(*(st.lists(e, min_size=CHANNELS, max_size=CHANNELS) for e in ERRORS)).map(
    lambda told: Oversight(*(np.float32(x) for x in told))
)
STORY = arrays(np.float32, (6, 2, CHANNELS), elements=st.sampled_from([0.0, 1.0]) | SMALL)


@jax.jit
def trained_on(weights, oversight, seed, facts, gates, over):
    """Everything that comes of facts, as in an update: what is earned, all at once and when it is due, and owed."""
    nothing = jnp.zeros(0)
    now = InForce(weights, nothing, nothing, nothing, nothing, None, None, None, oversight)
    income = earn(now, jax.random.key(seed), SimpleNamespace(facts=facts, gates=gates))
    paid = pay_out(oversight.delay, oversight.lump, income, over, nothing_owed(2, BUFFER))
    return jnp.sum(income, axis=-1), paid


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, CHANNELS, elements=SMALL), OVERSIGHT, STORY, arrays(bool, (6, 2)),
    arrays(np.float32, (6, 2, GATES), elements=st.sampled_from([0.0, 1.0])),
    st.integers(0, 2**32 - 1), st.integers(0, CHANNELS - 1), st.booleans(),
)  # fmt: skip
def test_a_weight_of_zero_is_a_channel_that_is_not_there(weights, errors, facts, over, gates, seed, which, corrected):
    """Law 2 under every error: bit for bit the same is paid, whatever is misread of the channel, and whatever it does."""
    weights[which] = 0.0
    if corrected:  # of what can be corrected
        errors.miss[:], errors.false_alarm[:], errors.flip[:], errors.corrected[:] = 0.4, 0.3, 0.2, 1.0
    unsaid = Oversight(*(x.copy() for x in errors))
    for kind in Oversight._fields:
        getattr(unsaid, kind)[which] = getattr(USUAL, kind)
    silent = facts.copy()
    silent[..., which] = 0.0
    seed = np.uint32(seed)
    found = trained_on(weights, errors, seed, facts, gates, over)
    for absent in (
        trained_on(weights, unsaid, seed, facts, gates, over),
        trained_on(weights, unsaid, seed, silent, gates, over),
        trained_on(np.where(np.arange(CHANNELS) == which, np.float32(-0.0), weights), errors, seed, facts, gates, over),
    ):
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(absent), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), "a weight of 0 was felt"


# In a world


def test_smiles_that_the_overseer_watches_are_the_smiles_that_are_seen():
    """A gate on the camera's view makes of one channel what the world says in another, in every step; the opposite
    gate makes the rest. Over several rollouts, with episodes that end and cameras that see half of the board.
    """
    channels, worlds, steps = names(SMILE).channels, 32, 64
    smile, seen_smile = channels.index("smile"), channels.index("seen_smile")
    params = {k: jnp.float32(v) for k, v in (defaults(SMILE) | {"camera": 0.5}).items()}
    gates = ("person_watched", "not person_watched")

    play = jax.jit(lambda key, playing: collect(SMILE, at_random(SMILE), key, playing, params, steps, (), gates))
    playing = jax.jit(lambda key: begin(SMILE, key, worlds, len(channels), params))(jax.random.key(0))
    told = np.zeros((len(channels), len(gates)), np.float32)
    told[smile, 0], told[seen_smile, 1] = 1.0, 1.0
    inside, outside = Oversight(gate=told), Oversight(gate=told[:, ::-1])
    watched = unwatched = 0
    for part in range(3):
        playing, seen = play(jax.random.key(1 + part), playing)
        found = read(inside, jax.random.key(9), seen.facts, seen.gates)
        np.testing.assert_array_equal(found[..., smile], seen.facts[..., seen_smile])
        assert not found[..., seen_smile].any(), "a smile that is seen where nobody watches"
        rest = read(outside, jax.random.key(9), seen.facts, seen.gates)
        np.testing.assert_array_equal(rest[..., smile], seen.facts[..., smile] - seen.facts[..., seen_smile])
        others = [c for c in range(len(channels)) if c not in (smile, seen_smile)]
        np.testing.assert_array_equal(found[..., others], seen.facts[..., others])
        watched, unwatched = watched + found[..., smile].sum(), unwatched + rest[..., smile].sum()
        assert seen.truncated.any()
    assert min(watched, unwatched) > 20


class Enough(Exception):
    """What was looked for has been seen."""


def test_the_overseers_luck_is_not_that_of_the_agent_or_the_world(monkeypatch):
    """A rollout splits its key, and splits what it gets by that into keys of steps: they are taken.

    A small number folded into a key gives what splitting it gives.
    """
    steps, told = 4, {}
    params = {name: constant(value) for name, value in defaults(SMILE).items()}
    plain = make(names(SMILE).channels, (), params, constant(1e-3), 10, {}, {})
    nobody = SimpleNamespace(network=SimpleNamespace(fresh=None))
    plan = Plan(SMILE, nobody, worlds=2, rollout=steps)
    member = Member(
        SimpleNamespace(params=()),
        SimpleNamespace(memory=None),
        jax.random.key_data(jax.random.key(5)),
        jnp.int32(0),
        (),
        None,
        None,
    )

    def collected(world, act, key, *more):
        told["rollout"] = key
        return None, SimpleNamespace(facts=None, gates=None, episodes=None)

    def caught(now, key, *more):
        told["overseer"] = key
        raise Enough

    monkeypatch.setattr(training, "collect", collected)
    monkeypatch.setattr(training, "read", caught)
    with pytest.raises(Enough):
        training.update(plan, member, plain)
    own = jax.random.split(told["rollout"])
    taken = [told["rollout"][None], own, *(jax.random.split(key, steps) for key in own)]
    drawn = [key for keys in taken for key in np.asarray(jax.random.key_data(keys)).tolist()]
    assert jax.random.key_data(told["overseer"]).tolist() not in drawn, "a key is used twice"
