"""When what was earned is paid, against an account kept in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chisel.rewards.payment import Owed, nothing_owed, pay

STEPS, WORLDS, CHANNELS = 6, 2, 3
BUFFER = 4  # the longest delay that there is room for
NUMBERS = st.floats(-10, 10, width=32, allow_subnormal=False).map(lambda x: x + 0.0)
pays = jax.jit(pay)


def by_hand(parts) -> tuple[np.ndarray, float]:
    """What is paid, [time, worlds], over all rollouts, and what is owed after them.

    Args:
        parts: per rollout (delay, lump, earned, over).
    """
    paid, owed = [], 0.0
    debts = [[] for _ in range(WORLDS)]  # per world [step in which it is due, amount]; None: when the episode ends
    for delay, lump, earned, over in parts:
        for step in range(STEPS):
            now = len(paid)
            paid.append([0.0] * WORLDS)
            for world, debt in enumerate(debts):
                for channel, amount in enumerate(earned[step, world].tolist()):
                    held = 0.0 if lump is None else amount * float(lump[channel])
                    steps = 0 if delay is None else min(round(float(delay[channel])), BUFFER)
                    debt += [(now + steps, amount - held), (None, held)]
                due = [d for d in debt if over[step, world] or d[0] == now]
                paid[-1][world] = sum(amount for _, amount in due)
                debts[world] = [d for d in debt if d not in due]
    owed = sum(amount for debt in debts for _, amount in debt)
    return np.array(paid), owed


def by_chisel(parts) -> tuple[np.ndarray, Owed]:
    owed, paid = nothing_owed(WORLDS, BUFFER), []
    for delay, lump, earned, over in parts:
        some, owed = pays(delay, lump, earned, over, owed)
        paid.append(np.asarray(some))
    return np.concatenate(paid), owed


def floats(elements) -> st.SearchStrategy:
    return arrays(np.float32, CHANNELS, elements=elements)


WHOLE = arrays(np.float32, (STEPS, WORLDS, CHANNELS), elements=st.integers(-8, 8))
OVER = arrays(bool, (STEPS, WORLDS), elements=st.sampled_from([False, False, False, True]))
DELAYS = floats(st.integers(0, 9) | st.sampled_from([0.4, 0.5, 1.5, 2.6]))
ROLLOUT = st.tuples(st.none() | DELAYS, st.none() | floats(st.sampled_from([0.0, 0.25, 0.5, 1.0])), WHOLE, OVER)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROLLOUT, min_size=1, max_size=4))
def test_each_fact_is_paid_when_it_is_due_or_its_episode_ends(parts):
    """Of whole numbers and quarters exactly; also where delays and shares change from rollout to rollout."""
    (found, owed), (meant, left) = by_chisel(parts), by_hand(parts)
    np.testing.assert_array_equal(found, meant, "paid at another time, or another amount")
    total = np.sum(owed.soon) + np.sum(owed.later)
    assert total == left, "the account holds what was paid, or lacks what was not"
    assert np.sum(found) + total == sum(np.sum(earned) for _, _, earned, _ in parts), "something was lost"
    ended = parts[-1][3][-1]
    assert not np.asarray(owed.soon)[ended].any(), "something is owed after the end"
    assert not np.asarray(owed.later)[ended].any(), "a lump is owed after the end"


def one(delay: float | None, lump: float | None, over: dict[int, bool], steps: int = 8) -> tuple[list[float], Owed]:
    """What is paid for a single fact of 1 in step 2, in a world of its own with room for 4 steps of delay."""
    earned, ends = np.zeros((steps, 1, 1), np.float32), np.zeros((steps, 1), bool)
    earned[2] = 1
    for step in over:
        ends[step] = True
    paid, owed = pay(
        *(None if x is None else jnp.float32([x]) for x in (delay, lump)), earned, ends, nothing_owed(1, 4)
    )
    return np.asarray(paid)[:, 0].tolist(), owed


def at(**shares) -> list[float]:
    """Eight payments: at(s5=1) is a 1 in step 5."""
    return [float(shares.get(f"s{i}", 0)) for i in range(8)]


@pytest.mark.parametrize(
    ("delay", "lump", "over", "meant"),
    [
        (None, None, (), at(s2=1)),
        (0, 0, (), at(s2=1)),
        (1, None, (), at(s3=1)),
        (3, None, (), at(s5=1)),
        (3, None, (2,), at(s2=1)),  # in the episode's last step
        (3, None, (4,), at(s4=1)),
        (3, None, (5,), at(s5=1)),  # due in the last step: paid once
        (3, None, (1, 6), at(s5=1)),  # the end of the episode before is not its own
        (9, None, (), at(s6=1)),  # no room for more than 4
        (0.5, None, (), at(s2=1)),  # half a step is rounded to the even number
        (1.5, None, (), at(s4=1)),
        (None, 1, (7,), at(s7=1)),
        (None, 1, (2, 7), at(s2=1)),
        (None, 0.25, (6,), at(s2=0.75, s6=0.25)),
        (3, 0.25, (6,), at(s5=0.75, s6=0.25)),
        (3, 0.25, (4,), at(s4=1)),
    ],
)  # fmt: skip
def test_a_single_fact(delay, lump, over, meant):
    paid, owed = one(delay, lump, dict.fromkeys(over, True))
    assert paid == meant
    assert not np.any(owed.soon)
    assert not np.any(owed.later)


def test_what_is_not_yet_due_is_owed():
    paid, owed = one(4, 0.5, {}, steps=4)
    assert paid == [0, 0, 0, 0]
    assert owed.soon.tolist() == [[0, 0, 0.5, 0]]  # earned in step 2 of 4: the third slot is three steps after the last
    assert owed.later.tolist() == [0.5]


def test_a_lump_needs_no_room_for_delays():
    """As in a study with lumps and without delays."""
    earned, over = np.ones((3, 1, 1), np.float32), np.array([[False], [True], [False]])
    paid, owed = pay(None, jnp.float32([0.5]), earned, over, nothing_owed(1, 0))
    assert paid.ravel().tolist() == [0.5, 1.5, 0.5]
    assert (owed.soon.shape, owed.later.tolist()) == ((1, 0), [0.5])


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (STEPS, WORLDS, CHANNELS), elements=NUMBERS), OVER, st.sampled_from([None, 0.0]))
def test_without_delay_and_lump_all_is_paid_at_once(earned, over, nothing):
    """Whether a study says nothing of them, or says 0: the sum over channels, to the last bit."""
    zero = None if nothing is None else np.zeros(CHANNELS, np.float32)
    paid, owed = pays(zero, zero, earned, over, nothing_owed(WORLDS, BUFFER))
    assert np.asarray(paid).tobytes() == np.asarray(jnp.sum(earned, -1)).tobytes()
    assert not np.any(owed.soon)
    assert not np.any(owed.later)


@settings(max_examples=40, deadline=None)
@given(DELAYS, floats(st.sampled_from([0.0, 0.5, 1.0])), WHOLE, OVER, st.integers(0, WORLDS - 1))
def test_worlds_have_accounts_of_their_own(delay, lump, earned, over, which):
    both, owed = pays(delay, lump, earned, over, nothing_owed(WORLDS, BUFFER))
    other = earned.copy()
    other[:, 1 - which] = 7
    ends = over.copy()
    ends[:, 1 - which] ^= True
    found, left = pays(delay, lump, other, ends, nothing_owed(WORLDS, BUFFER))
    np.testing.assert_array_equal(found[:, which], both[:, which])
    for a, b in zip(left, owed, strict=True):
        np.testing.assert_array_equal(a[which], b[which])
