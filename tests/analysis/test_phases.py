"""Effects of factors, on learners of which the answer is planted."""

import time
from itertools import product

import numpy as np
import pytest

from chisel.analysis.intervals import fraction_intervals, fractions, share_intervals
from chisel.analysis.phases import (
    Shares,
    coefficients,
    interactions,
    main_effects,
    order_effects,
    shares,
    subsets,
)
from chisel.analysis.statistics import t_interval

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


@pytest.mark.parametrize("of", [shares, share_intervals, fraction_intervals])
@pytest.mark.parametrize(
    ("shape", "said"), [((2, 1, 4), "two levels or more"), ((2, 2), "and then seeds"), ((2, 2, 1), "1 seed")]
)
def test_what_is_no_factorial_is_refused(of, shape, said):
    with pytest.raises(ValueError, match=said):
        of(np.zeros(shape), 2)


@pytest.mark.parametrize("of", [coefficients, interactions])
def test_signs_are_of_two_levels(of):
    with pytest.raises(ValueError, match="two levels and then"):
        of(np.zeros((2, 3, 4)), 2)


def test_signed_effects_count_the_first_level_as_plus():
    """Against their definition, at one seed."""
    y = np.random.default_rng(5).normal(size=(2, 2, 2, 4))
    early, mid, late = main_effects(y, 3)
    np.testing.assert_allclose(early[0], y[0].mean((0, 1)) - y[1].mean((0, 1)))
    np.testing.assert_allclose(late[0], y[:, :, 0].mean((0, 1)) - y[:, :, 1].mean((0, 1)))
    np.testing.assert_allclose([early[0], mid[0], late[0]], -2 * coefficients(y, 3)[:3])
    found = interactions(y, 3)
    assert found.shape == (4, 4)
    pair = y.mean(2)  # early × mid
    np.testing.assert_allclose(found[0], ((pair[0, 0] - pair[1, 0]) - (pair[0, 1] - pair[1, 1])) / 2)
    at_first, at_second = (interactions(y[:, :, k], 2)[0] for k in (0, 1))
    np.testing.assert_allclose(found[3], (at_first - at_second) / 2)


def test_an_additive_learner_has_no_interaction():
    y = learner(np.random.default_rng(6), np.array([0.5, 0.25, -0.125]), noise=0.0)
    assert (interactions(y, 3) == 0).all(), "without noise, exactly: weights are powers of two"
    chance = np.random.default_rng(7)
    inside = []
    for _ in range(300):
        _, low, high = t_interval(interactions(learner(chance, WEIGHTS), 3))
        inside.append((low <= 0) & (high >= 0))
    assert np.mean(inside) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 1200))


@pytest.mark.parametrize("together", [0.0, 0.1])
def test_planted_shares_lie_in_their_intervals(together):
    """300 studies as trailing measures, each with noise of its own; what seeds add to all cells is no error."""
    chance = np.random.default_rng(8)
    weights = np.array([0.315, 0.156, 0.0])
    y = np.stack([learner(chance, weights, noise=0.1, together=together) for _ in range(300)], -1) + chance.normal(
        size=(6, 300)
    )
    truth = weights**2 + np.array([0.5, 0.5, 0]) * together**2
    least = 0.95 - 4 * np.sqrt(0.95 * 0.05 / 300)
    low, high = share_intervals(y, 3)
    inside = (low.shapley <= truth[:, None]) & (truth[:, None] <= high.shapley)
    assert (inside.mean(1) > least).all(), inside.mean(1)
    low, high = fraction_intervals(y, 3)
    part = (truth / truth.sum())[:, None]
    inside = (low.shapley <= part) & (part <= high.shapley)
    assert (inside.mean(1) > least).all(), inside.mean(1)
    assert (low.shapley[0] > high.shapley[2]).mean() > 0.9, "and are narrow enough to tell early from late"


def test_with_one_contrast_limits_are_those_of_t_squared():
    y = np.random.default_rng(9).normal([[0.0], [3.0]], 1.0, (2, 5))
    _, low, high = t_interval(coefficients(y, 1)[0])
    assert low > 0
    found = share_intervals(y, 1)
    np.testing.assert_allclose([x.total[0] for x in found], [low**2, high**2])
    for part in fraction_intervals(y, 1):
        assert part.shapley.tolist() == [1.0]


def test_estimates_lie_in_their_intervals():
    y = np.random.default_rng(10).normal(size=(2, 3, 2, 4, 200)) * np.geomspace(0.01, 10, 200)
    y[1] += 1
    low, high = share_intervals(y, 3)
    for found, least, most in zip(shares(y, 3), low, high, strict=True):
        assert (least <= found + 1e-9).all(), "to rounding, where noise leaves nothing"
        assert (found <= most + 1e-9).all()
    assert all((x >= 0).all() for x in high)
    for least, most in zip(*fraction_intervals(y, 3), strict=True):
        assert (least >= 0).all()
        assert (least <= most).all()
        assert (most <= 1).all()


def brute_force(y, factors):
    """Sobol's decomposition by its definition, cell by cell: f_S is the mean given S less all that subsets do."""
    cells = list(product(*(range(k) for k in y.shape[:factors])))
    mean = {(): {c: np.mean([y[d] for d in cells]) for c in cells}}
    for chosen in subsets(factors):
        mean[chosen] = {}
        for c in cells:
            same = [y[d] for d in cells if all(d[i] == c[i] for i in chosen)]
            lower = [s for s in mean if set(s) < set(chosen)]
            mean[chosen][c] = np.mean(same) - sum(mean[s][c] for s in lower)
    return {s: np.mean([mean[s][c] ** 2 for c in cells]) for s in subsets(factors)}


@pytest.mark.parametrize("levels", [(3, 3), (3, 2, 4), (2, 2, 2)])
def test_shares_of_any_number_of_levels_are_those_of_sobol(levels):
    y, factors = np.random.default_rng(11).normal(size=levels), len(levels)
    explained = brute_force(y, factors)
    found = shares(np.stack([y, y, y], -1), factors)  # no noise
    for i in range(factors):
        assert found.main[i] == pytest.approx(explained[i,])
        assert found.total[i] == pytest.approx(sum(v for s, v in explained.items() if i in s))
        assert found.shapley[i] == pytest.approx(sum(v / len(s) for s, v in explained.items() if i in s))
    assert float(found.variance) == pytest.approx(y.var())
    np.testing.assert_allclose(sum(fractions(np.stack([y, y], -1), factors).shapley), 1.0)


def test_noise_is_taken_off_with_any_number_of_levels():
    """The mean square of the mean f_S, less the mean of its squared standard error; on average the truth."""
    chance, at = np.random.default_rng(12), np.array([-1.0, 0.0, 1.0])
    truth = at[:, None] * 0.4 + (at[:, None] * at) * 0.3
    y = truth[..., None, None] + 0.5 * chance.normal(size=(3, 3, 4, 4000)) + chance.normal(size=(4, 4000))
    explained = brute_force(truth, 2)
    found = shares(y, 2)
    expected = [explained[0,] + explained[0, 1] / 2, explained[0, 1] / 2]
    error = found.shapley.std(1) / np.sqrt(4000)
    assert (abs(found.shapley.mean(1) - expected) < 4 * error).all()
    low, high = (x.shapley for x in share_intervals(y, 2))
    inside = (low <= np.array(expected)[:, None]) & (np.array(expected)[:, None] <= high)
    assert (inside.mean(1) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 4000)).all(), inside.mean(1)


def test_what_is_missing_of_one_measure_is_missing_of_that_alone():
    whole = np.random.default_rng(13).normal(size=(2, 2, 5, 3))
    holed = whole.copy()
    holed[1, 0, 2, 1] = np.nan
    for of in (
        shares,
        fractions,
        *(lambda y, n, f=f, k=k: f(y, n)[k] for f in (share_intervals, fraction_intervals) for k in (0, 1)),
    ):
        without = of(np.delete(whole, 2, axis=2), 2)  # the seed, with all its cells
        for found, expected, fewer in zip(of(holed, 2), of(whole, 2), without, strict=True):
            np.testing.assert_allclose(found[..., 1], fewer[..., 1])
            np.testing.assert_allclose(found[..., [0, 2]], expected[..., [0, 2]])


def test_where_nothing_differs_fractions_can_be_anything():
    y = np.full((2, 2, 3), 7.0)
    assert all(not x.any() for found in share_intervals(y, 2) for x in found)
    assert all(np.isnan(x).all() for x in fractions(y, 2))
    low, high = fraction_intervals(y, 2)
    assert isinstance(low, Shares)
    assert not any(x.any() for x in low)
    assert all((x == 1).all() for x in high)


def test_intervals_of_a_whole_study_take_no_time():
    y = np.random.default_rng(14).normal(size=(2, 2, 2, 6, 200))
    began = time.process_time()
    share_intervals(y, 3)
    fraction_intervals(y, 3)
    assert time.process_time() - began < 3


def trained(start, losses, steps=30, rate=0.1):
    """Gradient descent on 0.5 (w − t)ᵀ A (w − t), on one (A, t) after another; then a washout common to all: a last one."""
    w = np.array(start, float)
    for curvature, optimum in [*losses, (np.diag([0.1, 0.2]), np.zeros(2))]:
        for _ in range(steps):
            w -= rate * curvature @ (w - optimum)
    return w


def crossed(first, second):
    """[signal in phase 1, signal in phase 2, seeds, weights]: both losses in both phases, from the starts of six seeds."""
    starts = np.random.default_rng(15).normal(size=(6, 2))
    losses = first, second
    return np.array([[[trained(w, (losses[a], losses[b])) for w in starts] for b in (0, 1)] for a in (0, 1)])


FLAT, STEEP = np.diag([1.0, 0.3]), np.diag([0.2, 0.8])
TURNED = np.array([[0.6, 0.4], [0.4, 0.6]])  # as FLAT, but along other directions
HERE, THERE = np.array([1.0, -1.0]), np.array([-0.5, 2.0])


@pytest.mark.parametrize(
    ("first", "second"),
    [((FLAT, HERE), (STEEP, HERE)), ((np.diag([1.0, 0.0]), HERE), (np.diag([0.0, 0.8]), THERE))],
    ids=["one optimum, same directions of curvature", "losses of different weights"],
)
def test_steps_that_commute_have_no_order(first, second):
    """A phase moves w to t + M (w − t), M = (1 − rate A)^steps. Two such maps commute if the M do and moreover
    (1 − M_A)(1 − M_B)(t_B − t_A) = 0: if they share the optimum, or each moves only what the other leaves alone."""
    found = order_effects(crossed(first, second), 2)
    assert abs(found).max() < 1e-13
    effect = main_effects(crossed(first, second), 2)[0]
    assert abs(effect).max() > 0.01, "though the losses differ"


def test_optima_that_differ_have_an_order_and_the_last_wins():
    """By the formula above, even where the curvatures commute, and the same for every start."""
    found = order_effects(crossed((FLAT, HERE), (STEEP, THERE)), 2)[0]
    left = [np.diag((1 - 0.1 * np.diag(a)) ** 30) for a in (FLAT, STEEP, np.diag([0.1, 0.2]))]
    expected = left[2] @ (np.eye(2) - left[0]) @ (np.eye(2) - left[1]) @ (THERE - HERE)
    np.testing.assert_allclose(found, np.broadcast_to(expected, (6, 2)), atol=1e-12)
    assert (np.sign(expected) == np.sign(THERE - HERE)).all()


def test_curvatures_that_do_not_commute_have_an_order_though_the_optimum_is_one():
    found = order_effects(crossed((FLAT, HERE), (TURNED, HERE)), 2)[0]
    assert abs(found).max() > 1e-3
    assert found.std(0).min() > 1e-4, "and it depends on the start"


def test_order_effects_of_pairs():
    y = np.random.default_rng(16).normal(size=(3, 3, 3, 4, 2))
    found = order_effects(y, 3)
    assert found.shape == (3, 4, 2)
    np.testing.assert_allclose(found[1], (y[0, :, 1] - y[1, :, 0]).mean(0))
    additive = learner(np.random.default_rng(17), [0.5, 0.25, 0.5], noise=0.0)
    assert order_effects(additive, 3)[:, 0].tolist() == [-0.5, 0.0, 0.5], (
        "2 (w_j − w_i): at i the first level, at j the second"
    )
    assert order_effects(y[0, 0], 1).shape == (0, 4, 2)
