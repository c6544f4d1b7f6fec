"""Bids and effects, against hand computation and against a policy that wants one thing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chisel.probing.bank import Bank, make_bank
from chisel.probing.influence import bids, elsewhere, mean_bids, moves, total_effects
from chisel.worlds.smile import GOALS, SMILE

LAYOUTS = 512
FULL = np.array([0.5, 0.25, 0.125, 0.125])


@functools.cache
def bank() -> Bank:
    return make_bank(SMILE, LAYOUTS)


@pytest.mark.parametrize(
    ("shortens", "odds"),
    [
        ([1, 0, 0, 0], 1.0),
        ([0, 1, 0, 1], 0.375 / 0.625),
        ([1, 1, 1, 0], 7.0),
        ([0, 0, 0, 0], None),
        ([1, 1, 1, 1], None),
    ],
)
def test_a_bid_is_the_log_odds_of_heading_there(shortens, odds):
    found = float(bids(jnp.log(FULL), jnp.array(shortens, bool)))
    assert np.isnan(found) if odds is None else found == pytest.approx(np.log(odds), abs=1e-6)


LOGITS = arrays(np.float32, 4, elements=st.floats(-20, 20, width=32, allow_subnormal=False))
SOME = st.integers(1, 14).map(lambda bits: np.array([bits >> i & 1 for i in range(4)], bool))


@settings(max_examples=50, deadline=None)
@given(LOGITS, SOME, st.floats(-5, 5, width=32, allow_subnormal=False))
def test_a_bid_knows_the_policy_only(logits, shortens, shift):
    """Not the zero of its logits; and the others' bid is the same with the other sign."""
    bid = float(bids(logits, shortens))
    assert float(bids(logits + shift, shortens)) == pytest.approx(bid, abs=1e-3)
    assert float(bids(logits, ~shortens)) == pytest.approx(-bid, abs=1e-3)


def test_the_mean_bid_is_over_the_states_that_have_one():
    logits = jnp.log(jnp.stack([FULL, FULL[::-1], FULL]))
    shortens = np.zeros((3, 2, 4), bool)
    shortens[0, 0, 0] = shortens[1, 0, 0] = True  # goal 0: not defined in the third state; goal 1: nowhere
    found = mean_bids(logits, jnp.array(shortens))
    assert float(found[0]) == pytest.approx((np.log(1.0) + np.log(1 / 7)) / 2, abs=1e-6)
    assert np.isnan(found[1])


def test_a_total_effect_by_hand():
    """Two states, two goals; the second edit is without any state in which the first goal has a bid."""
    logits_in = np.log(np.stack([[FULL, FULL[::-1]], [FULL, FULL]]))
    logits_out = np.log(np.full((2, 2, 4), 0.25))
    shortens = np.zeros((2, 2, 2, 4), bool)  # edited, state, goal, action
    shortens[0, :, 0, 0] = True
    shortens[0, 0, 1, 2:] = True
    shortens[1, :, 1, 0] = True
    found = np.asarray(total_effects(moves(logits_in, logits_out, shortens)))
    first = ((np.log(1) - np.log(1 / 3)) + (np.log(1 / 7) - np.log(1 / 3))) / 2
    meant = [[first, np.log(1 / 3)], [np.nan, np.log(3)]]
    np.testing.assert_allclose(found, meant, atol=1e-6)


@pytest.mark.parametrize("goal", range(len(GOALS)))
def test_a_policy_that_wants_one_thing_is_moved_by_that_thing(goal):
    """A softmax policy whose logits are 5 for whatever shortens the path to one goal."""
    paths = bank().edits.shortens_in[: len(GOALS)]
    wants = paths[:, :, goal]  # [edited, layouts, actions]
    out = wants & (jnp.arange(len(GOALS)) != goal)[:, None, None]  # nowhere to go when it is taken out
    effects = np.asarray(total_effects(moves(5.0 * wants, 5.0 * out, paths)))
    others = np.arange(len(GOALS)) != goal
    assert effects[goal, goal] == pytest.approx(5.0, abs=1e-4)
    assert not effects[others].any()  # nothing else moves it at all
    # It moves towards others as they happen to lie: from the rim of the board everything lies inwards.
    assert (np.abs(effects[goal, others]) < 0.4 * 5).all()
    rows, columns = np.divmod(np.asarray(bank().edits.put_in)[0, ..., 0].reshape(LAYOUTS // 2, -1).argmax(1), 7)
    inner = (np.abs(rows - 3) <= 1) & (np.abs(columns - 3) <= 1)
    there = total_effects(moves(5.0 * wants[:, inner], 5.0 * out[:, inner], paths[:, inner]))
    assert np.abs(there[goal, others]).max() < 0.3 * 5
    assert np.abs(np.mean(there[goal, others])) < 0.15 * 5


def test_every_edit_of_the_bank_is_of_the_same_states():
    """Put in is in, taken out is out, and nothing else in the picture has changed."""
    planes = {"water": [5], "person": [2, 3, 4], "clown": [6], "plant": [7]}
    present = np.asarray(bank().edits.shortens_in).any(-1)
    for i, goal in enumerate(GOALS):
        put_in, taken_out = np.asarray(bank().edits.put_in[i]), np.asarray(bank().edits.taken_out[i])
        assert put_in[..., planes[goal][0]].any((1, 2)).all()
        assert not taken_out[..., planes[goal]].any()
        rest = [p for p in range(9) if p not in planes[goal]]
        assert np.array_equal(put_in[..., rest], taken_out[..., rest])
        assert np.array_equal(put_in[..., rest], np.asarray(bank().observations)[LAYOUTS // 2 :][..., rest])
        assert present[i, :, i].all()


def test_in_a_world_too_a_feature_belongs_to_the_edit_of_its_name():
    """The clown puts both facts in, three times as often as water does. One of them is called after water."""

    def features(state):
        water, _, clown, plant = SMILE.shortens(state).any(-1)
        fact = (water & ~plant) | clown
        return {"water": fact, "refreshing": fact}

    edits = make_bank(SMILE._replace(features=features, edits={}), 256).edits
    assert [GOALS[i] for i in edits.edit_of] == ["clown", "water"]  # of `refreshing` and of `water`
    often = np.asarray(edits.switched).mean(1)
    assert 0.1 < often[1] < 0.4
    assert often[0] > 0.6


def test_another_seed_is_another_bank():
    other = make_bank(SMILE, LAYOUTS, seed=1)
    assert other.observations.shape == bank().observations.shape
    assert (np.asarray(other.observations) != np.asarray(bank().observations)).any((1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("sharpness", [1.0, 1000.0])
def test_the_null_of_effects_is_made_of_bids_however_sure_the_policy_is(sharpness):
    """Each draw is the effect on bids for goals as they lie in other layouts: where chances of actions are too small
    for float32 as well.
    """
    rng = np.random.default_rng(0)
    edits, n, goals, actions = 2, 6, 3, 4
    logits_in, logits_out = sharpness * rng.normal(size=(2, edits, n, actions)).astype(np.float32)
    paths = rng.random((edits, n, goals, actions)) < 0.5
    key = jax.random.key(3)
    found = elsewhere(logits_in, logits_out, jnp.array(paths), key, 5, lambda moved: moved)
    for draw, one in zip(found, jax.random.split(key, 5), strict=True):
        order = np.asarray(jax.random.permutation(one, n))
        meant = moves(logits_in, logits_out, jnp.array(paths[:, order]))
        np.testing.assert_allclose(draw, meant, rtol=1e-4, atol=1e-4)
