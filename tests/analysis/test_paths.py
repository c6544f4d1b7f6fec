"""Distances between policies, matched returns, schedules against seeds, barriers: against others' code and brute force."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from chisel.analysis import paths
from chisel.analysis.paths import barrier, distances, divergence, excess, js_distance, matched


def drawn(*shape, seed=0, holes=False):
    p = np.random.default_rng(seed).dirichlet(np.ones(shape[-1]) / 2, shape[:-1])
    if holes:
        p[..., 0] = 0
        p /= p.sum(-1, keepdims=True)
    return p


@pytest.mark.parametrize("holes", [False, True])
def test_distances_are_those_of_scipy(holes):
    p, q = drawn(50, 4, seed=1, holes=holes), drawn(50, 4, seed=2)
    np.testing.assert_allclose(js_distance(p, q), jensenshannon(p, q, base=2, axis=-1), atol=1e-7)


def test_a_distance_is_a_metric_between_0_and_1():
    p, q, r = (drawn(500, 3, seed=s) for s in range(3))
    assert (js_distance(p, q) <= js_distance(p, r) + js_distance(r, q) + 1e-12).all()
    assert ((js_distance(p, q) > 0) & (js_distance(p, q) <= 1)).all()
    assert (js_distance(p, p) == 0).all(), "equal policies must be no distance apart, not nearly none"


@pytest.mark.parametrize("block", [1, 100, 2**21])
def test_distances_of_members_do_not_depend_on_blocks(block, monkeypatch):
    monkeypatch.setattr(paths, "BLOCK", block)
    policies = drawn(7, 11, 3)
    expected = [[js_distance(p, q).mean() for q in policies] for p in policies]
    np.testing.assert_allclose(distances(policies), expected, atol=1e-12)


def test_who_has_diverged_is_no_known_distance_from_anybody():
    policies = drawn(3, 5, 2)
    policies[1, 2] = np.nan
    found = distances(policies)
    assert np.isnan(found[1, [0, 2]]).all()
    assert not np.isnan(found[[0, 0, 2], [0, 2, 0]]).any()


def test_members_are_matched_where_they_come_nearest():
    returns = np.array([[[0.0, 1.0, 2.0, 4.0], [0.0, 3.0, 1.5, 5.0]], [[0.0, 0.5, 1.0, 2.0], [0.0, 1.0, 2.0, 2.4]]])
    found = matched(returns)
    assert found.target == 2.2, "the worse schedule's best mean"
    assert found.at.tolist() == [[2, 2], [3, 3]]
    np.testing.assert_array_equal(found.achieved, [[2.0, 1.5], [2.0, 2.4]])
    assert found.spread == pytest.approx(0.9)
    assert matched(returns, target=9.0).at.tolist() == [[3, 3], [3, 3]]


def test_of_equally_near_checkpoints_the_latest():
    assert matched([[[0.0, 2.0, 1.0, 3.0, 2.0, 0.0]]], target=2.0).at.tolist() == [[4]]


def test_what_is_not_known_is_not_matched():
    returns = np.array([[[1.0, np.nan, 3.0], [np.nan] * 3], [[0.0, 1.0, np.nan], [0.0, 2.0, np.nan]]])
    found = matched(returns)
    assert found.target == 1.5
    assert found.at.tolist() == [[0, -1], [1, 1]]
    assert np.isnan(found.achieved[0, 1])
    assert found.spread == 1.0
    with pytest.raises(ValueError, match=r"schedules \[1\]"):
        matched([[[1.0]], [[np.nan]]])


def labels(schedules, seeds):
    return np.repeat(np.arange(schedules), seeds), np.tile(np.arange(seeds), schedules)


def anyhow(members, seed=0):
    far = np.random.default_rng(seed).random((members, members))
    return far + far.T


def by_hand(far, schedule, seed):
    """Between and within, one pair after another."""
    rows = [(i, j) for i, j in combinations(range(len(far)), 2) if seed[i] != seed[j]]
    between = np.mean([far[i, j] for i, j in rows if schedule[i] != schedule[j]])
    return between, np.mean([far[i, j] for i, j in rows if schedule[i] == schedule[j]])


@pytest.mark.parametrize(("schedules", "seeds"), [(2, 4), (3, 3)])
def test_schedules_against_seeds_one_by_one(schedules, seeds):
    """The means; p, from every rearrangement of every seed; and the interval, from leaving out each seed."""
    far, (schedule, seed) = anyhow(schedules * seeds), labels(schedules, seeds)
    order = np.random.default_rng(1).permutation(len(far))
    found = divergence(far[np.ix_(order, order)], schedule[order], seed[order])
    np.testing.assert_allclose((found.between, found.within), by_hand(far, schedule, seed))
    assert found.difference == found.between - found.within
    every = []
    for ways in product(permutations(range(schedules)), repeat=seeds):
        every.append(np.subtract(*by_hand(far, np.array(ways).T.ravel(), seed)))
    assert found.p == pytest.approx(np.mean(np.array(every) >= found.difference - 1e-12))
    assert 1 / found.rearrangements <= found.p < 1
    left = [by_hand(far[np.ix_(k, k)], schedule[k], seed[k]) for k in (np.flatnonzero(seed != s) for s in range(seeds))]
    spread = np.var([np.subtract(*x) for x in left]) * (seeds - 1)
    half = {3: 4.302653, 4: 3.182446}[seeds] * np.sqrt(spread)  # Student's t, 97.5 %
    meant = np.clip((found.difference - half, found.difference + half), -1, 1)  # of distances, which are shares
    np.testing.assert_allclose((found.low, found.high), meant, rtol=1e-6)


def test_members_of_one_seed_are_never_compared():
    far, (schedule, seed) = anyhow(12), labels(3, 4)
    other = np.where(seed[:, None] == seed, 77.0, far)
    assert divergence(other, schedule, seed) == divergence(far, schedule, seed)


def test_draws_come_near_the_exact_test_and_never_to_0():
    far, (schedule, seed) = anyhow(20, seed=3), labels(2, 10)
    exact, drawn_ = divergence(far, schedule, seed), divergence(far, schedule, seed, draws=500)
    assert (exact.rearrangements, drawn_.rearrangements) == (512, 501)
    assert drawn_.p == pytest.approx(exact.p, abs=0.1)
    apart = np.where(schedule[:, None] != schedule, 1.0, 0.5)
    assert divergence(apart, schedule, seed, draws=99).p == pytest.approx(0.01, abs=0.011)
    assert divergence(apart, schedule, seed, draws=99).p >= 0.01


def test_schedules_that_leave_the_same_agents_do_not_diverge():
    schedule, seed = labels(2, 4)
    far = np.tile(anyhow(4), (2, 2))
    found = divergence(far, schedule, seed)
    assert (found.difference, found.low, found.high, found.p) == (
        pytest.approx(0),
        pytest.approx(0),
        pytest.approx(0),
        1,
    )


def test_a_seed_of_which_a_member_is_lost_is_left_out():
    far, (schedule, seed) = anyhow(8), labels(2, 4)
    holed = far.copy()
    holed[5], holed[:, 5] = np.nan, np.nan
    kept = seed != 1
    assert divergence(holed, schedule, seed) == divergence(far[np.ix_(kept, kept)], schedule[kept], seed[kept])


def test_two_seeds_have_a_difference_and_no_interval():
    found = divergence(anyhow(4), *labels(2, 2))
    assert np.isnan([found.low, found.high]).all()
    assert not np.isnan(found.difference)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"1 schedule\(s\) and 3 seed\(s\)"):
        divergence(anyhow(3), [0, 0, 0], [0, 1, 2])
    with pytest.raises(ValueError, match=r"2 schedule\(s\) and 1 seed\(s\)"):
        divergence(anyhow(2), [0, 1], [0, 0])
    with pytest.raises(ValueError, match="every seed once under every schedule"):
        divergence(anyhow(3), [0, 0, 1], [0, 1, 0])
    with pytest.raises(ValueError, match="every seed once under every schedule"):
        divergence(anyhow(4), [0, 0, 1, 1], [0, 1, 0, 0])


def agents(chance, schedules, seeds, effect, states=12, actions=3):
    """Policies that seeds and chance set apart, in a few directions; and schedules, if there is an effect."""
    fixed = np.random.default_rng(99)
    directions, planted = fixed.normal(size=(4, states, actions)), fixed.normal(size=(schedules, states, actions))
    z = chance.normal(size=(1, seeds, 4)) + 0.5 * chance.normal(size=(schedules, seeds, 4))
    logits = np.einsum("ksl,lxa->ksxa", z, directions) / 2 + effect * planted[:, None]
    return softmax(logits, -1).reshape(-1, states, actions)


def tried(schedules, seeds, effect, times, **settings):
    chance, (schedule, seed) = np.random.default_rng(7), labels(schedules, seeds)
    return [
        divergence(distances(agents(chance, schedules, seeds, effect)), schedule, seed, **settings)
        for _ in range(times)
    ]


@pytest.mark.parametrize(
    ("schedules", "seeds", "draws", "expected"), [(3, 5, 20_000, 64 / 1296), (2, 6, 20_000, 1 / 32), (4, 5, 99, 0.05)]
)
def test_where_schedules_do_nothing_five_percent_of_tests_reject(schedules, seeds, draws, expected):
    """Exact tests reject as often as the number of their rearrangements lets them, which is at most 5 %."""
    times = 1000
    rejected = np.mean([found.p <= 0.05 for found in tried(schedules, seeds, 0.0, times, draws=draws)])
    assert rejected == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / times))


def test_a_planted_difference_is_found():
    found = tried(2, 6, 0.7, 100)
    assert np.mean([x.p <= 0.05 for x in found]) > 0.95
    assert np.mean([x.low > 0 for x in found]) > 0.95
    weak = np.mean([x.difference for x in tried(2, 6, 0.2, 100)])
    assert weak < np.mean([x.difference for x in found])


@pytest.mark.parametrize("effect", [0.3, 1.0])
@pytest.mark.parametrize("seeds", [4, 8])
def test_the_interval_covers_the_truth_at_least_about_as_often_as_it_says(effect, seeds):
    times = 600
    truth = tried(2, 300, effect, 3, draws=1)
    middle = np.mean([x.difference for x in truth])
    found = tried(2, seeds, effect, times, draws=1)
    covered = np.mean([x.low <= middle <= x.high for x in found])
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / times) <= covered < 1


def test_barriers_stand_on_the_line_between_the_ends():
    t = np.linspace(0, 1, 11)
    bump = 2 * t + 7 - 3 * t * (1 - t)
    values = np.stack([bump, 2 * t + 7, 2 * t + 7 + 3 * t * (1 - t)], -1)
    np.testing.assert_allclose(barrier(values), [0, 0, 0.75], atol=1e-12)
    np.testing.assert_allclose(barrier(values, both_ways=True), [0.75, 0, 0.75], atol=1e-12)
    np.testing.assert_allclose(excess(values)[5], [-0.75, 0, 0.75], atol=1e-12)


def test_barriers_are_never_below_0_and_0_between_equals():
    values = np.random.default_rng(0).normal(size=(11, 300))
    assert (barrier(values) >= 0).all()
    assert (barrier(values) <= barrier(values, both_ways=True)).all()
    np.testing.assert_array_equal(excess(values)[[0, -1]], 0)
    flat = np.repeat(values[:1], 11, 0)
    assert (barrier(flat, both_ways=True) == 0).all()
    assert np.isnan(barrier([0.0, np.nan, 1.0]))
