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
LIMIT = 3  # the time limit of an episode, so that a world is cut off twice in a rollout at most
SLOTS = WORLDS * 2
SEEN = jax.ShapeDtypeStruct((2,), jnp.float32)
put = jax.jit(store)


@cache
def sampler(hop: int):
    return jax.jit(lambda replay, key: sample(replay, key, COUNT, hop, DISCOUNT, SEEN))


def rollout(number: int, how: np.ndarray) -> Batch:
    """The rollout of that number; every observation is a number of its own, as is every reward.

    Args:
        how: [time, worlds] 0 goes on, 1 ended, 2 truncated. What a truncated step led to is its observation plus 0.5.
    """
    at = (number * STEPS + np.arange(STEPS))[:, None] * 10.0 + np.arange(WORLDS)
    nothing = np.full((1, 1), np.nan, np.float32)  # what a replay has no use for
    seen = np.stack([at, -at], -1).astype(np.float32)
    finals = np.full((SLOTS, 2), np.nan, np.float32)  # in slots that are not used, what must not be read
    cut = at[how == 2] + 0.5
    finals[: len(cut)] = np.stack([cut, -cut], -1)
    return Batch(
        seen, (at % 3).astype(np.int32), np.float32(np.sqrt(at)), nothing, nothing, how == 1, how == 2, finals, nothing
    )


def played(rollouts: int, seed: int):
    """A replay after some rollouts, and the same as a plain list of steps [(what was seen, …)] for each world.

    Episodes end by chance, or are cut off when they are `LIMIT` steps old. They begin at any age.
    """
    rng = np.random.default_rng(seed)
    replay, told = empty(SEEN, ROWS, WORLDS, LIMIT), [[] for _ in range(WORLDS)]
    age = rng.integers(0, LIMIT, WORLDS)
    for number in range(rollouts):
        how = np.zeros((STEPS, WORLDS), int)
        for t in range(STEPS):
            age += 1
            how[t] = np.where(rng.random(WORLDS) < 0.2, 1, np.where(age == LIMIT, 2, 0))
            age[how[t] > 0] = 0
        batch = rollout(number, how)
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
    """All hops that there are: what was seen first -> (action, rewards, discount, what was seen last)."""
    found = {}
    for steps in told:
        for start in range(len(steps) - hop):
            total, discount, at = 0.0, 1.0, start
            for _ in range(hop):
                seen, _, reward, ended, truncated = steps[at]
                total, discount, at = total + discount * reward, discount * DISCOUNT, at + 1
                last = seen + 0.5 if truncated else steps[at][0]
                discount *= not ended
                if ended or truncated:
                    break
            found[float(steps[start][0])] = int(steps[start][1]), total, discount, float(last)
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
    actions, rewards, discounts, after = map(np.array, zip(*(meant[x] for x in seen), strict=True))
    np.testing.assert_array_equal(hops.actions, actions)
    np.testing.assert_allclose(hops.rewards, rewards, rtol=1e-5)
    np.testing.assert_allclose(hops.discounts, discounts)
    matters = discounts > 0  # what comes after an end is not meant
    np.testing.assert_array_equal(hops.after[matters], np.stack([after, -after], -1)[matters])


def test_a_ring_of_three_rollouts_holds_the_last_three():
    replay, told = played(5, 0)
    rows = (int(replay.at) + np.arange(ROWS)) % ROWS
    for w, steps in enumerate(told):
        held = replay.observations[..., 0], *replay[1:4], np.asarray(replay.final) >= 0
        for field, meant in zip(held, zip(*steps, strict=True), strict=True):
            np.testing.assert_array_equal(np.asarray(field)[rows, w], meant)


def test_observations_after_truncated_steps_take_no_more_room_than_the_time_limit_needs():
    """A world is cut off once in `limit` steps at most, however short rollouts are."""
    for limit, slots in ((3, 4), (5, 3), (12, 1), (1000, 1)):
        assert empty(SEEN, ROWS, WORLDS, limit).finals.shape == (WORLDS * slots, 2)


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


def test_hops_stop_at_ends_and_after_cuts():
    """World 0 ends at its second step; world 1 is cut off there, and what that step was paid counts."""
    how = np.zeros((STEPS, WORLDS), int)
    how[1] = 1, 2
    batch = rollout(0, how)._replace(rewards=np.ones((STEPS, WORLDS), np.float32))
    replay = put(empty(SEEN, STEPS, WORLDS, LIMIT), batch)
    hops = jax.device_get(sampler(3)(replay, jax.random.key(0)))
    worlds = hops.before[:, 0] % 10
    assert set(hops.before[:, 0].tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(hops.rewards, 1 + DISCOUNT)
    np.testing.assert_allclose(hops.discounts, np.where(worlds == 0, 0, DISCOUNT**2))
    np.testing.assert_array_equal(hops.after[worlds == 1, 0], 11.5)  # the state that the cut step led to
    single = jax.device_get(sampler(1)(replay, jax.random.key(0)))
    cut = single.before[:, 0] == 11
    assert cut.any()
    np.testing.assert_array_equal(single.rewards, 1)
    np.testing.assert_array_equal(single.after[cut, 0], 11.5)
    np.testing.assert_array_equal(single.discounts[cut], DISCOUNT)


def test_a_rollout_must_fit_the_ring():
    with pytest.raises(AssertionError):
        store(empty(SEEN, STEPS + 1, WORLDS, LIMIT), rollout(0, np.zeros((STEPS, WORLDS))))
    with pytest.raises(AssertionError):  # as must what its truncated steps led to
        store(empty(SEEN, STEPS, WORLDS, STEPS), rollout(0, np.zeros((STEPS, WORLDS))))


@pytest.mark.parametrize("shape", [(2,), (7, 7, 9), (8,)])
def test_truth_values_are_kept_as_bits_and_come_back_as_they_were(shape):
    """In an eighth of the room; what a truncated step led to as well."""
    seen = jax.ShapeDtypeStruct(shape, jnp.bool_)
    replay = empty(seen, ROWS, WORLDS, LIMIT)
    assert replay.observations.shape == (ROWS, WORLDS, -(-seen.size // 8))
    assert replay.observations.dtype == replay.finals.dtype == jnp.uint8
    rng, how = np.random.default_rng(0), np.zeros((STEPS, WORLDS), int)
    how[1, 0] = 2
    observations, finals = (rng.random((n, *shape)) < 0.5 for n in (STEPS * WORLDS, SLOTS))
    observations = observations.reshape(STEPS, WORLDS, *shape)
    kept = put(replay, rollout(0, how)._replace(observations=observations, finals=finals))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), kept) == jax.tree.map(lambda x: (x.shape, x.dtype), replay)
    hops = jax.device_get(sample(kept, jax.random.key(0), COUNT, 1, DISCOUNT, seen))
    meant = {
        (observations[t, w].tobytes(), (finals[0] if how[t, w] else observations[t + 1, w]).tobytes())
        for t in range(STEPS - 1)
        for w in range(WORLDS)
    }
    assert hops.before.dtype == hops.after.dtype == bool
    assert {(a.tobytes(), b.tobytes()) for a, b in zip(hops.before, hops.after, strict=True)} == meant


def test_slots_that_a_rollout_does_not_need_keep_what_they_held():
    """A ring that is full: of the third rollout one step is cut off, and what the second left stays readable."""
    replay = empty(SEEN, ROWS, WORLDS, LIMIT)
    cut = np.zeros((STEPS, WORLDS), int)
    cut[2] = 2
    one = np.zeros((STEPS, WORLDS), int)
    one[3, 1] = 2
    for number in range(len(replay.finals) // WORLDS):
        replay = put(replay, rollout(number, cut))
    held = np.asarray(replay.finals)
    assert np.isfinite(held).all()
    assert int(replay.final_at) == 0
    after = put(replay, rollout(9, one))
    np.testing.assert_array_equal(after.finals[1:], held[1:])
    assert float(after.finals[0, 0]) == rollout(9, one).observations[3, 1, 0] + 0.5
