"""Training with every transform of the reward at once: the same bits however it is cut, and accounts that add up."""

import jax
import numpy as np
import pytest

from chisel.training.member import LUCK
from chisel.worlds.world import names
from tests.bits import assert_same_bits, differ
from tests.training.overseen import overseen
from tests.training.trainer import Trainer

STEPS = 4 * 8  # of an update
CHANNELS = names(overseen()[0].world).channels
CLOWN, COMFORT, HELPED, SMILE = (CHANNELS.index(name) for name in ("clown", "comfort", "helped", "smile"))


@pytest.fixture(scope="module")
def everything():
    return Trainer(overseen()[0])


@pytest.fixture(scope="module")
def schedules():
    return overseen()[1]


def test_all_of_it_is_at_work(everything, schedules):
    """Or else what follows would say nothing."""
    plan = overseen()[0]
    assert (plan.shaped, plan.gates) == (("near_person", "near_water"), ("person_watched", "not carrying"))
    assert plan.delay == 11 > plan.rollout
    oversight = schedules["all"].oversight
    assert all(kind is not None for kind in oversight)
    member, metrics = everything.train(schedules["all"], 5)
    assert metrics.at.tolist() != [0, 1, 2, 3, 4]  # an achievement has moved the clock
    assert member.standing.at > member.clock
    assert everything.train(schedules["all"], 1)[0].owed.soon[:, plan.rollout :].any()  # due after the next rollout
    assert member.owed.later.any()
    assert member.promised.any()
    assert metrics.guidance.any()


@pytest.mark.parametrize("name", ["all", "at once"])
def test_five_updates_are_two_and_three(everything, schedules, name):
    """Also where accounts, promises and standings go from one call to the next."""
    whole = everything.train(schedules[name], 5)
    assert_same_bits(everything.train(schedules[name], 2, 3), whole)
    assert_same_bits(everything.train(schedules[name], 1, 1, 0, 1, 2), whole)


def test_it_is_traced_once_for_all_schedules_of_a_study(everything, schedules):
    """And when a member goes on under another one."""
    for schedule in schedules.values():
        everything.train(schedule, 1, 2)
    member = everything.train(schedules["bare"], 1)[0]
    everything.train(schedules["all"], 2, member=member)
    assert everything.traces == 1


def test_what_weighs_nothing_trains_the_same_as_what_is_not_named_under_all_errors(everything, schedules):
    """Law 2: the member, its accounts and all that it reports."""
    bare = everything.train(schedules["all"], 6)
    assert (bare[1].totals[:, CLOWN] > 0).any()  # the clown was met
    assert_same_bits(everything.train(schedules["all, and nothing"], 6), bare)
    assert differ(everything.train(schedules["at once"], 6)[0].agent, bare[0].agent)


def test_the_luck_of_overseers_is_not_that_of_anybody_else(everything, schedules):
    """What is read of a channel that weighs nothing changes no bit, in the same study or in one without overseers; and
    in the first update, where all agents are alike, all that do not explore play alike, whatever is read.
    """
    bare = everything.train(schedules["bare"], 5)
    assert_same_bits(everything.train(schedules["bare, and nothing"], 5), bare)
    plain, read = (overseen(name) for name in ("bare", "bare, and nothing"))
    without, beside = (Trainer(p).train(s[n], 5) for (p, s), n in ((plain, "bare"), (read, "bare, and nothing")))
    assert read[0].delay == 7
    assert_same_bits(beside[0]._replace(owed=None), without[0])
    for name in ("totals", "episodes", "steps", "at"):
        assert_same_bits(getattr(beside[1], name), getattr(without[1], name))
    for found, meant in zip(beside[1], without[1], strict=True):  # means may be taken in another order
        np.testing.assert_allclose(found, meant, rtol=1e-5, atol=1e-7)
    one, other = (everything.train(schedules[name], 1) for name in ("bare", "at once"))
    assert_same_bits(one[0].playing, other[0].playing)
    assert differ(one[1].paid, other[1].paid)


def test_what_is_earned_is_what_is_paid_where_nothing_is_delayed(everything, schedules):
    metrics = everything.train(schedules["at once"], 8)[1]
    np.testing.assert_allclose(metrics.earned.sum(1) + metrics.guidance, metrics.paid, atol=1e-6)
    assert np.abs(metrics.guidance).min() > 0
    bare = everything.train(schedules["bare"], 8)[1]
    np.testing.assert_allclose(bare.earned.sum(1), bare.paid, atol=1e-7)
    assert not bare.guidance.any()
    assert not np.delete(bare.earned, [COMFORT, HELPED], axis=1).any()
    assert bare.paid.any()


@pytest.mark.parametrize("name", ["all", "bare"])
def test_nothing_is_lost_and_nothing_made_by_delay(everything, schedules, name):
    """What was earned is what was paid and what is still owed, after every update."""
    member, earned, paid, owing = None, 0.0, 0.0, []
    for _ in range(12):
        member, metrics = everything.train(schedules[name], 1, member=member)
        earned += float(metrics.earned.sum()) * STEPS
        paid += float(metrics.paid.sum() - metrics.guidance.sum()) * STEPS
        owed = float(sum(x.sum() for x in member.owed))
        assert paid + owed == pytest.approx(earned, abs=1e-4)
        owing.append(owed)
    assert (np.abs(owing).max() > 0.1) == (name == "all")
    assert abs(earned) > 1


def test_another_seed_has_other_luck(everything, schedules):
    one, other = (
        everything.train(schedules["at once"], 1, key=jax.random.key_data(jax.random.key(i)))[1] for i in (7, 8)
    )
    assert differ(one.earned[:, SMILE], other.earned[:, SMILE])


def test_the_luck_of_overseers_comes_from_a_key_that_nobody_else_has():
    """Folding a small number into a key gives what splitting it gives, and acting splits this one."""
    key = jax.random.key(3)
    own = jax.random.key_data(jax.random.fold_in(key, LUCK))
    for parts in (2, 3, 256):
        assert not (jax.random.key_data(jax.random.split(key, parts)) == own).all(-1).any()
