"""Whether agents end below a baseline: how often that is said where it is not so, and where it is."""

import numpy as np
import pytest

from chisel.analysis.baseline import below_before, below_random
from chisel.analysis.bounded import COUNT, SHARE

RANDOM, ERROR, SPREAD = 0.31, 0.01, 0.03


def rate(mean: float, scatter: float, seeds: int, studies: int = 1500) -> float:
    """How often agents of this mean return are said to be below; random play is measured with its error."""
    chance = np.random.default_rng(seeds)
    returns = np.maximum(chance.normal(mean, scatter, (studies, seeds)), 0)
    random = chance.normal(RANDOM, ERROR, studies)
    return float(np.mean([below_random(r, b, ERROR, SPREAD, COUNT) for r, b in zip(returns, random, strict=True)]))


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 10])
def test_agents_like_random_play_are_seldom_said_to_be_below(seeds):
    """A one-sided error of 2.5 %, and of two seeds both must be wrong; four standard errors of slack."""
    assert rate(RANDOM, SPREAD, seeds) < 0.025 + 4 * np.sqrt(0.025 * 0.975 / 1500)


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 10])
def test_agents_far_below_are_found(seeds):
    assert rate(0.08, SPREAD / 2, seeds) > 0.95


def test_seeds_that_scatter_prove_nothing():
    assert not below_random([0.0, 0.9, 0.0, 0.1], RANDOM, ERROR, SPREAD, COUNT)
    assert below_random([0.0, 0.1, 0.0, 0.1], RANDOM, ERROR, SPREAD, COUNT)


def test_seeds_that_are_all_alike_are_told_from_the_chance_of_an_evaluation():
    """An agent that is stuck in every level has 0 in all seeds."""
    assert below_random([0.0] * 4, RANDOM, ERROR, SPREAD, COUNT)
    assert not below_random([0.29] * 4, RANDOM, ERROR, SPREAD, COUNT)


def test_an_error_of_random_play_counts():
    returns = [0.20, 0.21, 0.19, 0.20]
    assert below_random(returns, RANDOM, 0.01, SPREAD, COUNT)
    assert not below_random(returns, RANDOM, 0.08, SPREAD, COUNT)


def test_what_was_not_measured_says_nothing():
    nan = float("nan")
    assert not below_random([nan, nan, nan], RANDOM, ERROR, SPREAD)
    assert not below_random([0.0, 0.0, 0.0], nan, nan, nan)
    assert not below_before([nan, 0.1], [0.5, nan], SPREAD)
    assert below_random([nan, 0.0, 0.01, 0.0, 0.01], RANDOM, ERROR, SPREAD)


def test_the_untrained_self_is_compared_seed_by_seed():
    """Seeds differ by more than training changed, and each has lost the same."""
    before = np.array([0.2, 0.5, 0.8, 0.35])
    assert below_before(before - [0.1, 0.12, 0.09, 0.11], before, SPREAD, SHARE)
    assert not below_before(before[::-1], before, SPREAD, SHARE)
    assert not below_before(before + 0.1, before, SPREAD, SHARE)
    assert below_before([0.1, 0.1], [0.4, 0.3], SPREAD)
    assert not below_before([0.1, 0.3], [0.4, 0.3], SPREAD), "of two seeds both must have lost"
