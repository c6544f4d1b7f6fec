import time
from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.stats import mannwhitneyu

from chisel.analysis.resampling import bootstrap_means, hierarchical_bootstrap, max_t
from chisel.analysis.statistics import (
    bootstrap_interval,
    detectable,
    equivalence,
    holm,
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


def test_a_vectorised_bootstrap_has_the_same_limits():
    values = chance((9, 3))
    looped = bootstrap_interval(values, lambda x: x.mean(0), draws=300)
    at_once = bootstrap_interval(values, lambda x: x.mean(1), draws=300, vectorised=True)
    np.testing.assert_allclose(at_once, looped, atol=1e-12)


@pytest.mark.parametrize("vectorised", [False, True])
def test_runs_of_one_task_need_no_axis_of_tasks(vectorised):
    runs = np.append(np.random.default_rng(1).normal(size=9), np.nan)
    one, other = (bootstrap_interval(x, iqm, 300, vectorised=vectorised) for x in (runs, runs[:, None]))
    assert (one.low, one.mean, one.high) == (other.low, other.mean, other.high)
    assert one.low < one.mean < one.high
    with pytest.raises(ValueError, match=r"expected \[runs, tasks\].*found the shape \(2, 2, 2\)"):
        bootstrap_interval(np.zeros((2, 2, 2)), iqm, vectorised=vectorised)


def test_the_bootstrap_of_means_draws_the_same_seeds_for_all():
    """So limits of a + b x are a + b times those of x; and the width is that of the mean of 40."""
    values = chance((40,))
    found = bootstrap_means(np.stack([values, 3 + 2 * values, np.where(values > 1, np.nan, values)], -1), draws=4000)
    np.testing.assert_allclose([x[1] for x in found], [3 + 2 * x[0] for x in found])
    assert (values > 1).any()
    np.testing.assert_allclose([x[2] for x in found], bootstrap_means(values[values <= 1], draws=4000))
    assert float(found.high[0] - found.low[0]) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.1)
    one = bootstrap_means(np.broadcast_to(values[:, None, None], (40, 3, 500)), draws=4000)
    np.testing.assert_allclose(one.low, np.full((3, 500), found.low[0]))  # in more than one block


def test_the_hierarchical_bootstrap_adds_what_both_levels_scatter():
    """The variance of a drawn mean is that of seeds' means over n, and of layouts within seeds over all of them."""
    values = chance((30, 1)) + 2 * chance((30, 8), seed=1)
    means, inside = values.mean(1), values.var(1).mean()
    expected = 2 * 1.96 * np.sqrt(means.var() / 30 + inside / (30 * 8))
    found = hierarchical_bootstrap(values, draws=8000)
    assert float(found.mean) == pytest.approx(values.mean())
    assert float(found.high - found.low) == pytest.approx(expected, rel=0.05)
    flat = bootstrap_means(values.reshape(-1), draws=8000)
    assert float(flat.high - flat.low) < 0.9 * float(found.high - found.low)


def test_any_statistic_of_seeds_and_layouts_can_be_drawn():
    values = chance((12, 5, 3))
    found = hierarchical_bootstrap(values, lambda x: np.median(x.mean(2), axis=1), draws=400)
    np.testing.assert_allclose(found.mean, np.median(values.mean(1), 0))
    assert (found.low < found.mean).all()
    assert (found.mean < found.high).all()


def test_ten_thousand_draws_of_a_whole_study_take_seconds():
    values = chance((16, 100))
    began = time.process_time()
    bootstrap_means(values)
    hierarchical_bootstrap(values)
    bootstrap_interval(values, lambda x: x.mean((1, 2)), vectorised=True)
    assert time.process_time() - began < 5


def test_holm_rejects_as_its_steps_do():
    """By the words of 1979: from the smallest on, until one is above level / how many are left."""
    p = np.random.default_rng(0).uniform(size=8) ** 3
    left, rejected = 8, np.zeros(8, bool)
    for i in np.argsort(p):
        if p[i] > 0.05 / left:
            break
        rejected[i], left = True, left - 1
    assert 0 < rejected.sum() < 8
    np.testing.assert_array_equal(holm(p) <= 0.05, rejected)
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,)


def test_max_t_compares_with_the_largest_t_anywhere():
    """Spelt out, with t values and all 2^6 ways."""
    values = chance((6, 4)) + np.array([1.5, 0.0, 0.5, 0.0])

    def t(x):
        return np.abs(x.mean(0)) / (x.std(0, ddof=1) / np.sqrt(6))

    worst = np.array([t(values * np.array(way)[:, None]).max() for way in product((-1, 1), repeat=6)])
    np.testing.assert_allclose(max_t(values), [(worst >= own - 1e-9).mean() for own in t(values)])
    np.testing.assert_array_equal(max_t(values.reshape(6, 2, 2)), max_t(values).reshape(2, 2))
    assert max_t(values[:, :1])[0] == paired_permutation(values[:, 0])
    np.testing.assert_array_equal(max_t(np.c_[values, np.zeros(6), np.full(6, np.nan)]), [*max_t(values), 1, np.nan])
    with pytest.raises(ValueError, match="one or more"):
        max_t(np.zeros((0, 3)))


def test_more_tests_than_fit_at_once_are_the_same_tests():
    values = chance((14, 600))
    assert max_t(values)[:300].min() >= max_t(values[:, :300]).min()
    assert max_t(np.repeat(values[:, :2], 300, 1)).tolist() == pytest.approx(
        np.repeat(max_t(values[:, :2]), 300).tolist()
    )


@pytest.mark.parametrize("seeds", [6, 10, 20])
def test_of_families_of_comparisons_one_in_twenty_rejects_anything(seeds):
    """Measures that hang together, no schedule different: each alone at 5 % would reject far more often."""
    chance = np.random.default_rng(seeds)
    studies = chance.normal(size=(600, seeds, 1)) + chance.normal(size=(600, seeds, 10))
    found = np.array([max_t(study, draws=499).min() for study in studies])
    rate = (found <= 0.05).mean()
    assert 0.01 < rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600), f"in {rate:.1%} of families something is told apart"
    alone = np.mean([(stats.ttest_1samp(study, 0).pvalue <= 0.05).any() for study in studies])
    assert alone > 0.15


def test_two_one_sided_tests_agree_with_scipy():
    values = chance((12, 3)) * 0.4 + np.array([0.0, 0.6, -0.9])
    found = equivalence(values, margin=0.5)
    below = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
    above = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
    np.testing.assert_allclose(found.p, np.maximum(below, above))
    np.testing.assert_allclose([found.low, found.high], t_interval(values, axis=0, level=0.9)[1:])
    inside = (found.low > -0.5) & (found.high < 0.5)
    np.testing.assert_array_equal(found.equivalent, inside)
    assert found.equivalent.tolist() == [True, False, False]


def test_differences_without_scatter_are_within_the_margin_or_not():
    assert equivalence([[0.2, 0.5, 0.7, np.nan]] * 3, 0.5).equivalent.tolist() == [True, False, False, False]
    assert equivalence([[0.2, 0.5, 0.7]] * 3, 0.5).p.round(12).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("given", "said"), [(([1.0], 1.0), "1 pair"), (([1.0, 2.0], 0.0), "margin"), (([1.0, 2.0], 1.0, 0.5), "level")]
)
def test_equivalence_needs_pairs_and_a_margin(given, said):
    with pytest.raises(ValueError, match=said):
        equivalence(*given)


@pytest.mark.parametrize("seeds", [2, 4, 6, 10, 20])
def test_a_detectable_difference_is_found_as_often_as_it_says(seeds):
    values = np.random.default_rng(seeds).normal(detectable(seeds), 1.0, (seeds, 20_000))
    power = (stats.ttest_1samp(values, 0).pvalue <= 0.05).mean()
    assert power == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 20_000))


def test_what_more_seeds_detect():
    """Cohen's medium difference, 0.5, asks for 34 pairs: the usual answer (G*Power, statsmodels: 33.4)."""
    assert detectable(34) < 0.5 < detectable(33)
    assert detectable(6, power=0.9) > detectable(6) > detectable(6, level=0.1) > detectable(7, level=0.1)
    assert detectable(1) == np.inf
    with pytest.raises(ValueError, match="power"):
        detectable(4, power=0.01)
