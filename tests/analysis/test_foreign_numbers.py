"""Numbers that statistics are not made for: masked, infinite, huge, equal but for rounding, of another shape."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from chisel.analysis.baseline import below_before, below_random
from chisel.analysis.bounded import COUNT, SHARE, Range, difference_interval, mean_interval
from chisel.analysis.episodes import pooled
from chisel.analysis.onset import half_life, spell
from chisel.analysis.phases import shares
from chisel.analysis.resampling import bootstrap_means, hierarchical_bootstrap, max_t
from chisel.analysis.statistics import (
    bootstrap_interval,
    equivalence,
    holm,
    iqm,
    paired_permutation,
    probability_of_improvement,
    t_interval,
)

VALUES = np.random.default_rng(4).normal(size=(7, 2)) + 0.5
GONE = np.arange(7)[:, None] == [2, 5]


@pytest.mark.parametrize(
    "statistic",
    [
        lambda x: t_interval(x, axis=0),
        lambda x: paired_permutation(x[:, 0]),
        lambda x: holm(1 / (1 + x[:, 0] ** 2)),
        lambda x: equivalence(x, 0.5),
        iqm,
        lambda x: probability_of_improvement(x, VALUES + 0.1),
        lambda x: probability_of_improvement(VALUES + 0.1, x),
        lambda x: bootstrap_interval(x, iqm, draws=50),
        lambda x: bootstrap_means(x, draws=50),
        lambda x: hierarchical_bootstrap(x, draws=50),
        max_t,
        lambda x: mean_interval(x, Range(-9, 9), axis=0),
        lambda x: difference_interval(x, Range(-9, 9), axis=0),
        lambda x: below_random(x[:, 0], 9.0, 0.1, 0.1),
        lambda x: below_before(x[:, 0], VALUES[:, 0] + 1, 0.1),
        lambda x: half_life(np.abs(x[:, 0]), np.arange(7), 0),
        lambda x: pooled(x[:, 0], 1),
        lambda x: shares(np.ma.stack([x, x + VALUES]), 1),
    ],
)
def test_masked_values_are_missing(statistic):
    """They used to count as whatever lay below the mask."""
    masked = np.ma.masked_array(np.where(GONE, 77.0, VALUES), GONE)
    missing = np.ma.masked_array(np.where(GONE, np.nan, VALUES), np.zeros_like(GONE))
    for own, truth in zip(*(np.atleast_1d(np.asarray(statistic(x), object)) for x in (masked, missing)), strict=True):
        np.testing.assert_array_equal(own, truth)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1.0, 1e160, 1e307])
def test_permutation_tests_do_not_depend_on_the_unit(unit):
    differences = np.array([0.1, 0.2, 0.3, 0.1, -0.2, 0.6])
    truth = permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert paired_permutation(differences * unit) == truth
    assert float(max_t(differences[:, None] * unit)[0]) == truth
    both = max_t(np.stack([differences * unit, differences[::-1]], 1))
    np.testing.assert_array_equal(both, max_t(np.stack([differences, differences[::-1]], 1)))


def test_infinite_differences_have_no_p_value():
    with pytest.raises(ValueError, match="differences: expected finite numbers, found 2 infinite ones"):
        paired_permutation([np.inf, -np.inf, 1.0])
    six = np.arange(1.0, 7.0)
    found = max_t(np.stack([six, np.where(six == 2, np.inf, six)], 1))
    np.testing.assert_array_equal(found, [2 / 2**6, np.nan])


@pytest.mark.parametrize("bootstrap", [lambda x: bootstrap_interval(x, iqm, draws=2000), hierarchical_bootstrap])
def test_draws_of_infinite_half_lives_have_limits(bootstrap):
    """NumPy finds NaN between two infinite numbers."""
    found = bootstrap(np.array([[1.0], [2.0], [3.0], [np.inf], [np.inf]]))
    assert found.high == np.inf
    assert found.low >= 1


@pytest.mark.parametrize("bootstrap", [bootstrap_interval, hierarchical_bootstrap])
def test_whole_numbers_of_one_run_have_no_limits(bootstrap):
    """NaN among whole numbers was −2⁶³."""
    found = bootstrap(np.array([[1.0, 2.0]]), lambda x: np.max(x, (-2, -1)).astype(int), draws=10)
    assert int(found.mean) == 2
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("within", [SHARE, COUNT, Range(high=1.0)])
def test_values_that_are_equal_but_for_rounding_have_no_interval(within):
    assert np.isnan(mean_interval([0.1 + 0.2, 0.3, 0.3], within).low)
    assert np.isfinite(mean_interval([0.3 + 1e-9, 0.3, 0.3], within).low)


@pytest.mark.parametrize("returns", [[0.3, 0.3, 0.3], [0.1 + 0.2, 0.3, 0.3]])
def test_seeds_that_are_equal_but_for_rounding_do_not_tell_how_far_they_scatter(returns):
    """They are judged by what random play scatters, and not by an interval of no width."""
    assert not below_random(returns, 0.31, error=0.0, spread=0.1)
    assert not below_before(returns, [0.31, 0.31, 0.31], spread=0.1)


@pytest.mark.parametrize("seeds", range(2, 13))
@pytest.mark.parametrize("margin", [0.1, 0.3, 0.7, 1.1])
def test_what_is_right_on_the_margin_is_not_equivalent(seeds, margin):
    """A mean of equal numbers is not always that number."""
    assert not equivalence([margin] * seeds, margin).equivalent
    assert not equivalence([-margin] * seeds, margin).equivalent
    assert equivalence([margin * 0.999] * seeds, margin).equivalent


def test_a_range_of_which_an_end_is_not_known_gives_no_interval():
    found = mean_interval([[0.1, 0.2, 0.4]] * 2, Range(0.0, [1.0, np.nan]))
    assert np.isfinite([found.low[0], found.high[0]]).all()
    assert np.isnan([found.low[1], found.high[1]]).all()


def test_tasks_may_be_left_out_where_there_is_one():
    assert probability_of_improvement([1, 2, 3], [0, 1, 2]) == pytest.approx(7 / 9)


def test_axes_may_be_numbers_of_numpy():
    np.testing.assert_array_equal(iqm(VALUES, axis=np.int64(0)), iqm(VALUES, axis=0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: paired_permutation(VALUES), r"differences: expected \[pairs\], one or more, found the shape \(7, 2\)"),
        (lambda: holm([0.1, 1.5]), r"p: expected \[tests\] p values from 0 to 1, found \[0.1 1.5\]"),
        (lambda: holm([-0.1]), "p values from 0 to 1"),
        (lambda: holm([[0.1]]), "p values from 0 to 1"),
        (lambda: probability_of_improvement(VALUES, VALUES[:, :1]), r"of the same tasks, found the shapes \(7, 2\) and \(7, 1\)"),
        (lambda: probability_of_improvement(VALUES[None], VALUES[None]), "of the same tasks"),
        (lambda: bootstrap_interval(VALUES[None], iqm), r"found the shape \(1, 7, 2\)"),
        (lambda: bootstrap_interval(VALUES, iqm, draws=0), "draws=0"),
        (lambda: bootstrap_interval(VALUES, iqm, level=95), "level=95: expected a number between 0 and 1"),
        (lambda: bootstrap_means(VALUES, level=95), "level=95: expected a number between 0 and 1"),
        (lambda: hierarchical_bootstrap(VALUES, level=95), "level=95: expected a number between 0 and 1"),
        (lambda: below_random([0.1], 0.3, 0.1, 0.1, level=95), "level=95: expected a number between 0 and 1"),
        (lambda: below_before([0.1], [0.3], 0.1, level=95), "level=95: expected a number between 0 and 1"),
        (lambda: bootstrap_means([]), "no seeds: expected one or more"),
        (lambda: hierarchical_bootstrap(VALUES[:, 0]), r"expected \[seeds, layouts, …\], found the shape \(7,\)"),
        (lambda: below_before([0.1, 0.2, 0.1], [0.4], 0.1), r"of the same seeds, found the shapes \(3,\) and \(1,\)"),
        (lambda: mean_interval(VALUES, Range(1, 0)), "expected a range that begins before it ends"),
        (lambda: difference_interval(VALUES, Range(1, 0)), "expected a range that begins before it ends"),
        (lambda: half_life([4, 1, 2], [0, 2, 1], 0), r"at: expected checkpoints that rise, found \[0. 2. 1.\]"),
        (lambda: half_life([4, 1], [0, 0], 0), "at: expected checkpoints that rise"),
        (lambda: half_life([4, 1], [0, np.nan], 0), "at: expected checkpoints that rise"),
        (lambda: half_life([4, 2, 1], [0, 1], 0), r"values of the shape \(3,\) have, found \(2,\)"),
        (lambda: half_life([], [], 0), "there is none at all"),
        (lambda: half_life([4, 1], [0.1 + 0.2, 1], 0.3), "the nearest is 0.30000000000000004"),
        (lambda: spell([1, 0, 1], [2, 0, 1]), "at: expected checkpoints that rise"),
        (lambda: spell([0, 1], [0, 1, 2]), r"values of the shape \(2,\) have, found \(3,\)"),
        (lambda: spell([np.nan, 0, 1], [0, 1, 2]), "above: expected truth values, found other numbers or NaN"),
        (lambda: spell([0.3, 0.0, 0.01], [0, 1, 2]), "above: expected truth values, found other numbers or NaN"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
