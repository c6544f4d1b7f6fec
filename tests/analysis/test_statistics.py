import numpy as np
import pytest
from scipy import stats
from scipy.stats import mannwhitneyu

from chisel.analysis.statistics import (
    bootstrap_interval,
    iqm,
    paired_permutation,
    probability_of_improvement,
    smallest_paired_p,
    t_interval,
)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("count", [2, 4, 30])
def test_agrees_with_scipy(level: float, count: int) -> None:
    values = np.random.default_rng(count).normal(3.0, 2.0, (5, count))
    mean, low, high = t_interval(values, level=level)
    expected = stats.t.interval(level, count - 1, values.mean(1), stats.sem(values, axis=1))
    np.testing.assert_allclose(mean, values.mean(1))
    np.testing.assert_allclose([low, high], expected)


def test_covers_the_truth_as_often_as_it_says_with_four_seeds() -> None:
    values = np.random.default_rng(0).normal(1.0, 3.0, (20_000, 4))
    _, low, high = t_interval(values)
    covered = np.mean((low <= 1.0) & (high >= 1.0))
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 20_000))


def test_ignores_what_was_not_measured() -> None:
    whole, holed = [1.0, 4.0, 9.0], [1.0, np.nan, 4.0, 9.0, np.nan]
    np.testing.assert_allclose(t_interval(holed), t_interval(whole))


def test_one_value_has_a_mean_and_no_limits() -> None:
    mean, low, high = t_interval([[2.0]])
    assert mean.tolist() == [2.0]
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("values", [[np.nan, np.nan], np.zeros((3, 0))])
def test_nothing_has_no_mean(values: list[float] | np.ndarray) -> None:
    assert all(np.isnan(x).all() for x in t_interval(values))


def test_any_axis() -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 5))
    for axis in (0, 1, -1):
        moved = t_interval(np.moveaxis(values, axis, -1))
        np.testing.assert_allclose(t_interval(values, axis=axis), moved)


def test_equal_values_leave_no_doubt() -> None:
    assert [float(x) for x in t_interval([2.0, 2.0, 2.0])] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_interval([1.0, 2.0], level=level)


def test_six_seeds_are_the_fewest_for_five_percent() -> None:
    assert [smallest_paired_p(n) < 0.05 for n in (1, 5, 6, 7)] == [False, False, True, True]


def test_smallest_p_is_what_the_permutation_test_gives() -> None:
    differences = np.array([1.0, 2.0, 3.0, 4.0])
    found = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert smallest_paired_p(4) == found


def chance(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).round(3)


def test_the_interquartile_mean_is_of_the_middle_half():
    values = chance((10, 4))
    flat = np.sort(values.reshape(-1))
    assert float(iqm(values)) == pytest.approx(flat[10:30].mean(), abs=1e-12)
    np.testing.assert_allclose(iqm(values, axis=0), np.sort(values, 0)[2:8].mean(0))


def test_probability_of_improvement_counts_pairs():
    ours, theirs = chance((7, 3)), chance((5, 3), seed=1)
    pairs = [(a > b) + 0.5 * (a == b) for t in range(3) for a in ours[:, t] for b in theirs[:, t]]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(pairs))
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)
    u = [mannwhitneyu(ours[:, t], theirs[:, t]).statistic / 35 for t in range(3)]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(u))


def test_the_bootstrap_draws_runs_within_tasks():
    """Tasks that differ by much do not widen the interval; its width is that of the mean."""
    values = chance((40, 3)) + np.array([0.0, 100.0, 200.0])
    found = bootstrap_interval(values, np.mean, draws=4000)
    assert float(found.mean) == pytest.approx(values.mean())
    width = 2 * 1.96 * values.std(0).mean() / np.sqrt(3 * 40)
    assert float(found.high - found.low) == pytest.approx(width, rel=0.1)
    of_tasks = bootstrap_interval(values, lambda x: x.mean(0), draws=400)
    assert of_tasks.low.shape == (3,)


@pytest.mark.parametrize("seeds", [6, 10, 20])
def test_of_comparisons_of_the_same_schedule_one_in_twenty_rejects(seeds):
    """Known-answer test 9. An exact test rejects at most so often; with six pairs p comes in steps of 1/32."""
    chance = np.random.default_rng(seeds)
    found = np.array([paired_permutation(chance.normal(size=seeds), draws=999) for _ in range(1500)])
    rate = (found <= 0.05).mean()
    assert rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1500), f"{rate:.1%} of equal schedules are told apart"
    assert rate > 0.015


def test_a_permutation_test_agrees_with_scipy():
    values = np.array([0.3, -0.1, 0.8, 0.4, 0.2, -0.3, 0.9])
    theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert paired_permutation(values) == pytest.approx(theirs.pvalue)
    assert paired_permutation([1.0] * 6) == smallest_paired_p(6)
    assert paired_permutation(np.ones(40)) == pytest.approx(1 / 20_001)
    with pytest.raises(ValueError, match="one or more"):
        paired_permutation([])
