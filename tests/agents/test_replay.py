"""The replay against a plain list: a ring of what happened, and hops through it."""

from collections import defaultdict
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.agents.agent import Batch
from chisel.agents.replay import empty, sample, store

STEPS, WORLDS, ROWS, COUNT, DISCOUNT = 4, 2, 12, 3000, 0.5
put = jax.jit(store)


@cache
def sampler(hop: int):
    return jax.jit(lambda replay, key: sample(replay, key, COUNT, hop, DISCOUNT))


def rollout(number: int, how: np.ndarray) -> Batch:
    """The rollout of that number; every observation is a number of its own, as is every reward.

    Args:
        how: [time, worlds] 0 goes on, 1 ended, 2 truncated.
    """
    at = (number * STEPS + np.arange(STEPS))[:, None] * 10.0 + np.arange(WORLDS)
    nothing = np.full((1, 1), np.nan, np.float32)  # what a replay has no use for
    seen = np.stack([at, -at], -1).astype(np.float32)
    return Batch(
        seen, (at % 3).astype(np.int32), np.float32(np.sqrt(at)), nothing, nothing, how == 1, how == 2, nothing, nothing
    )


def played(rollouts: int, seed: int):
    """A replay after some rollouts, and the same as a plain list of steps [(what was seen, …)] for each world."""
    rng = np.random.default_rng(seed)
    replay, told = empty(jax.ShapeDtypeStruct((2,), jnp.float32), ROWS, WORLDS), [[] for _ in range(WORLDS)]
    for number in range(rollouts):
        batch = rollout(number, rng.choice(3, (STEPS, WORLDS), p=[0.6, 0.2, 0.2]))
        replay = put(replay, batch)
        for w in range(WORLDS):
            fields = (
                batch.observations[:, w, 0],
                batch.actions[:, w],
                batch.rewards[:, w],
                batch.ended[:, w],
                batch.truncated[:, w],
            )
            told[w] = (told[w] + list(zip(*fields, strict=True)))[-ROWS:]
    return replay, told


def hops_of(told: list, hop: int) -> dict:
    """All hops that there are: what was seen first -> (action, rewards, discount, what was seen last, known)."""
    found = {}
    for steps in told:
        for start in range(len(steps) - hop):
            total, discount, at = 0.0, 1.0, start
            for _ in range(hop):
                _, _, reward, ended, truncated = steps[at]
                if truncated:  # its outcome is not in the replay
                    break
                total, discount, at = total + discount * reward, discount * DISCOUNT, at + 1
                if ended:
                    discount = 0.0
                    break
            found[float(steps[start][0])] = int(steps[start][1]), total, discount, float(steps[at][0]), at > start
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
@example(3, 3, 0)  # just full
@example(4, 1, 1)  # the oldest are overwritten
def test_hops_are_those_of_a_plain_list_and_all_of_them_occur(rollouts, hop, seed):
    """Nothing is read that was overwritten, or not written yet, or lies beyond the newest step."""
    replay, told = played(rollouts, seed)
    assert int(replay.filled) == len(told[0])
    assert int(replay.at) == rollouts * STEPS % ROWS
    meant = hops_of(told, hop)
    hops = jax.device_get(sampler(hop)(replay, jax.random.key(seed)))
    seen = hops.before[:, 0].tolist()
    assert set(seen) == set(meant)
    actions, rewards, discounts, after, known = map(np.array, zip(*(meant[x] for x in seen), strict=True))
    np.testing.assert_array_equal(hops.actions, actions)
    np.testing.assert_allclose(hops.rewards, rewards, rtol=1e-5)
    np.testing.assert_array_equal(hops.known, known)
    np.testing.assert_allclose(hops.discounts[known], discounts[known])
    matters = known & (discounts > 0)  # what comes after an end is not meant
    np.testing.assert_array_equal(hops.after[matters], np.stack([after, -after], -1)[matters])
    assert np.all(hops.discounts[known & (discounts == 0)] == 0)


def test_a_ring_of_three_rollouts_holds_the_last_three():
    replay, told = played(5, 0)
    rows = (int(replay.at) + np.arange(ROWS)) % ROWS
    for w, steps in enumerate(told):
        for field, meant in zip((replay.observations[..., 0], *replay[1:5]), zip(*steps, strict=True), strict=True):
            np.testing.assert_array_equal(np.asarray(field)[rows, w], meant)


@pytest.mark.parametrize("rollouts", [2, 4])
def test_every_hop_is_as_likely(rollouts):
    """Within five standard errors, whether or not the ring is full."""
    replay, told = played(rollouts, 1)
    often: dict[float, int] = defaultdict(int)
    for key in range(5):
        for seen in np.asarray(sampler(3)(replay, jax.random.key(key)).before)[:, 0].tolist():
            often[seen] += 1
    meant = len(hops_of(told, 3))
    assert meant == len(often) == WORLDS * (min(rollouts * STEPS, ROWS) - 3)
    mean = 5 * COUNT / meant
    assert np.abs(np.array([*often.values()]) - mean).max() < 5 * np.sqrt(mean * (1 - 1 / meant))


def test_hops_stop_at_ends_and_before_cuts():
    """World 0 ends at its second step; world 1 is cut off there, so that only its first step is known."""
    how = np.zeros((STEPS, WORLDS), int)
    how[1] = 1, 2
    batch = rollout(0, how)._replace(rewards=np.ones((STEPS, WORLDS), np.float32))
    replay = put(empty(jax.ShapeDtypeStruct((2,), jnp.float32), STEPS, WORLDS), batch)
    hops = jax.device_get(sampler(3)(replay, jax.random.key(0)))
    worlds = hops.before[:, 0] % 10
    assert set(hops.before[:, 0].tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(hops.rewards, np.where(worlds == 0, 1 + DISCOUNT, 1))
    np.testing.assert_allclose(hops.discounts, np.where(worlds == 0, 0, DISCOUNT))
    np.testing.assert_array_equal(hops.after[worlds == 1, 0], 11)  # where it was when it was cut off
    assert hops.known.all()
    single = jax.device_get(sampler(1)(replay, jax.random.key(0)))
    np.testing.assert_array_equal(single.known, single.before[:, 0] != 11)


def test_a_rollout_must_fit_the_ring():
    with pytest.raises(AssertionError):
        store(empty(jax.ShapeDtypeStruct((2,), jnp.float32), STEPS + 1, WORLDS), rollout(0, np.zeros((STEPS, WORLDS))))


def test_a_replay_keeps_the_kind_of_what_is_seen():
    replay = empty(jax.ShapeDtypeStruct((2,), jnp.bool_), ROWS, WORLDS)
    batch = rollout(0, np.zeros((STEPS, WORLDS)))
    batch = batch._replace(observations=batch.observations > 0)
    kept = put(replay, batch)
    assert kept.observations.dtype == bool
    np.testing.assert_array_equal(kept.observations[:STEPS], batch.observations)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), kept) == jax.tree.map(lambda x: (x.shape, x.dtype), replay)
