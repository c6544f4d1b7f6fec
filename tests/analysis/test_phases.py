"""Effects of factors, on learners of which the answer is planted."""

from itertools import product

import numpy as np
import pytest

from chisel.analysis.phases import coefficients, shares, subsets

WEIGHTS = np.array([0.315, 0.156, 0.136])  # early, mid, late


def learner(chance, weights, seeds=6, noise=0.05, together=0.0):
    """A simulated learner: each phase with a good signal adds its weight; early and mid also act together."""
    y = np.empty((2, 2, 2, seeds))
    for cell in product((0, 1), repeat=3):
        x = 2 * np.array(cell) - 1
        y[cell] = x @ weights + together * x[0] * x[1] + noise * chance.normal(size=seeds)
    return y


def test_planted_weights_of_phases_are_recovered():
    """Known-answer test 8. In the mean over many studies, of an estimate that takes noise for noise."""
    chance = np.random.default_rng(0)
    found = np.array([shares(learner(chance, WEIGHTS), 3).shapley for _ in range(400)])
    error = found.std(0) / np.sqrt(len(found))
    assert (error < 3e-4).all()
    assert (abs(found.mean(0) - WEIGHTS**2) < 4 * error).all(), f"{found.mean(0)} for {WEIGHTS**2}"


def test_phases_that_do_nothing_get_nothing():
    chance = np.random.default_rng(1)
    studies = [shares(learner(chance, [0.3, 0.0, 0.0]), 3) for _ in range(400)]
    shapley = np.array([s.shapley for s in studies])
    assert abs(shapley[:, 1:].mean(0)).max() < 1e-4, "what is left of noise is taken for an effect"
    error = shapley[:, 1:].std(0) / np.sqrt(len(studies))
    assert (abs(shapley[:, 1:].mean(0)) < 4 * error).all()


def test_what_acts_together_is_shared():
    chance = np.random.default_rng(2)
    found = shares(learner(chance, WEIGHTS, noise=1e-6, together=0.2), 3)
    np.testing.assert_allclose(found.main, WEIGHTS**2, atol=1e-6)
    np.testing.assert_allclose(found.total, WEIGHTS**2 + [0.04, 0.04, 0], atol=1e-6)
    np.testing.assert_allclose(found.shapley, WEIGHTS**2 + [0.02, 0.02, 0], atol=1e-6)
    assert float(found.shapley.sum()) == pytest.approx(float(found.variance))


def test_the_variance_is_that_between_cells():
    y = np.random.default_rng(3).normal(size=(2, 2, 2, 1)).repeat(3, -1)  # no noise
    assert float(shares(y, 3).variance) == pytest.approx(float(y[..., 0].var()))


def test_coefficients_are_half_the_change():
    y = np.random.default_rng(4).normal(size=(2, 2, 5))
    found = coefficients(y, 2)
    assert subsets(2) == [(0,), (1,), (0, 1)]
    np.testing.assert_allclose(found[0], (y[1] - y[0]).mean(0) / 2)
    np.testing.assert_allclose(found[1], (y[:, 1] - y[:, 0]).mean(0) / 2)
    np.testing.assert_allclose(found[2], (y[1, 1] - y[1, 0] - y[0, 1] + y[0, 0]) / 4)


@pytest.mark.parametrize(("shape", "said"), [((2, 3, 4), "two levels"), ((2, 2, 1), "fewer than two")])
def test_what_is_no_factorial_is_refused(shape, said):
    with pytest.raises(ValueError, match=said):
        shares(np.zeros(shape), 2)
