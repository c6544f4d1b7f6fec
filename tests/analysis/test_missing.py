"""One rule for missing runs (`chisel.analysis.missing`), held to by every public statistic."""

import inspect
from functools import partial

import numpy as np
import pytest

from chisel.analysis import bounded, intervals, onset, paths, phases, resampling, statistics
from chisel.analysis.bounded import SHARE, difference_interval, mean_interval
from chisel.analysis.onset import half_life
from chisel.analysis.paths import distances, divergence, matched
from chisel.analysis.resampling import bootstrap_means, hierarchical_bootstrap, max_t
from chisel.analysis.statistics import (
    bootstrap_interval,
    equivalence,
    iqm,
    paired_permutation,
    probability_of_improvement,
    t_interval,
)

OTHERS = np.random.default_rng(9).normal(size=(5, 3))
SEEDS = np.arange(8)


def crossed(values):
    """Runs × measures as two factors of two levels, each cell another mixture of measures."""
    cells = np.array([[[1.0, 0.2, 0.0], [0.3, 1.0, 0.1]], [[0.0, 0.4, 1.0], [0.7, 0.7, 0.7]]])
    return np.einsum("abm,rm->abrm", cells, values) + np.array([[5.0, 0.0], [2.0, -1.0]])[:, :, None, None]


def told_apart(values):
    """What `divergence` tells of two schedules with these runs."""
    policies = np.exp(np.concatenate([values, values[:, ::-1]]))[:, None]
    policies /= policies.sum(-1, keepdims=True)
    seeds = len(values)
    return divergence(distances(policies), np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2))


# Every statistic of [runs, measures], runs first, that gives one result for all of them.
OF_RUNS = {
    "t_interval": partial(t_interval, axis=0),
    "mean_interval": partial(mean_interval, axis=0),
    "mean_interval of shares": lambda x: mean_interval(1 / (1 + np.exp(-x)), SHARE, axis=0),
    "difference_interval": partial(difference_interval, axis=0),
    "paired_permutation": lambda x: paired_permutation(x[:, 0]),
    "equivalence": partial(equivalence, margin=0.5),
    "iqm": iqm,
    "iqm of each": partial(iqm, axis=0),
    "probability_of_improvement": lambda x: probability_of_improvement(x, OTHERS),
    "probability_of_improvement of others": lambda x: probability_of_improvement(OTHERS, x),
    "bootstrap_interval": partial(bootstrap_interval, statistic=iqm, draws=200),
    "bootstrap_interval, vectorised": partial(bootstrap_interval, statistic=iqm, draws=200, vectorised=True),
    "bootstrap_means": partial(bootstrap_means, draws=200),
    "hierarchical_bootstrap": partial(hierarchical_bootstrap, draws=200),
    "max_t": max_t,
    "shares": lambda x: phases.shares(crossed(x), 2),
    "fractions": lambda x: intervals.fractions(crossed(x), 2),
    "share_intervals": lambda x: intervals.share_intervals(crossed(x), 2),
    "fraction_intervals": lambda x: intervals.fraction_intervals(crossed(x), 2),
    "divergence": told_apart,
    "matched": lambda x: matched(x[None]).target,
}

# Those that give a result for each run, or each test: NaN there, and elsewhere what it would be.
OF_EACH = {
    "holm": lambda x: statistics.holm(np.exp(-np.abs(x[:, 0]))),
    "contrasts": lambda x: np.moveaxis(phases.contrasts(crossed(x), 2), 2, 0),
    "coefficients": lambda x: np.moveaxis(phases.coefficients(crossed(x), 2), 1, 0),
    "main_effects": lambda x: np.moveaxis(phases.main_effects(crossed(x), 2)[0], 1, 0),
    "interactions": lambda x: np.moveaxis(phases.interactions(crossed(x), 2), 1, 0),
    "order_effects": lambda x: np.moveaxis(phases.order_effects(crossed(x), 2), 1, 0),
    "half_life": lambda x: half_life(np.abs(x), [0, 1, 2], 0),
    "spell": lambda x: onset.spell(np.where(np.isnan(x), False, x > 0), [0, 1, 2]).onset,
}

# Of numbers that are no runs: counts, levels, policies of one member, points on a line.
NOT_OF_RUNS = {
    "smallest_paired_p", "signs", "detectable", "subsets", "weights", "js_distance", "distances", "excess", "barrier",
    "share_interval",
}  # fmt: skip


def runs(count=8):
    return np.random.default_rng(3).normal(0.4, 1.0, (count, 3))


def flat(found):
    if isinstance(found, tuple | list):
        return np.concatenate([flat(x) for x in found]) if found else np.zeros(0)
    return np.asarray(found, float).reshape(-1)


def test_no_public_statistic_is_forgotten():
    modules = (statistics, resampling, bounded, intervals, phases, onset, paths)
    public = {
        name
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    told = {name.split(",")[0].split(" of ")[0] for name in (*OF_RUNS, *OF_EACH)}
    assert public == told | NOT_OF_RUNS


@pytest.mark.parametrize("lost", [[3], [0, 7]])
@pytest.mark.parametrize("name", OF_RUNS)
def test_a_run_that_was_not_measured_is_as_if_it_had_not_been_asked_for(name, lost):
    whole = runs()
    holed = whole.copy()
    holed[lost] = np.nan
    expected = flat(OF_RUNS[name](np.delete(whole, lost, axis=0)))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(flat(OF_RUNS[name](holed)), expected, rtol=1e-9, atol=1e-12)
    assert not np.allclose(expected, flat(OF_RUNS[name](whole))), "the runs that are left out make no difference here"


@pytest.mark.parametrize("name", OF_EACH)
def test_what_is_given_for_each_run_is_missing_there_and_nowhere_else(name):
    whole = runs()
    holed = whole.copy()
    holed[3] = np.nan
    expected, found = OF_EACH[name](np.delete(whole, 3, axis=0)), OF_EACH[name](holed)
    assert np.isnan(found[3]).all()
    np.testing.assert_allclose(np.delete(found, 3, axis=0), expected)


@pytest.mark.parametrize("name", ["t_interval", "equivalence", "iqm of each", "bootstrap_means"])
def test_what_is_missing_of_one_measure_is_missing_of_that_alone(name):
    """Of factorials: tests/analysis/test_phases.py."""
    whole = runs()
    holed = whole.copy()
    holed[3, 1] = np.nan
    of = OF_RUNS[name]
    found, complete, without = (flat(of(x)).reshape(-1, 3) for x in (holed, whole, np.delete(whole, 3, axis=0)))
    np.testing.assert_allclose(found[:, [0, 2]], complete[:, [0, 2]], rtol=1e-9)
    np.testing.assert_allclose(found[:, 1], without[:, 1], rtol=1e-9)


@pytest.mark.parametrize("name", OF_RUNS)
def test_where_nothing_was_measured_nothing_is_said(name):
    if name == "matched":
        with pytest.raises(ValueError, match="no return is known"):
            OF_RUNS[name](np.full((4, 3), np.nan))
        return
    found = OF_RUNS[name](np.full((4, 3), np.nan))
    if name == "equivalence":
        assert not found.equivalent.any()
        found = found[:3]
    if name == "divergence":
        found, rearrangements = found[:-1], found[-1]
        assert rearrangements == 0
    assert np.isnan(flat(found)).all()


LIMITS = {
    "t_interval", "equivalence", "bootstrap_interval", "bootstrap_interval, vectorised", "bootstrap_means",
    "hierarchical_bootstrap", "mean_interval", "mean_interval of shares", "difference_interval",
}  # fmt: skip


@pytest.mark.parametrize("lost", [0, 1, 3])
@pytest.mark.parametrize("name", sorted(LIMITS))
def test_one_run_has_a_mean_and_no_interval(name, lost):
    """Also where others were asked for and not measured."""
    one = np.concatenate([np.full((1, 3), 2.0), np.full((lost, 3), np.nan)])
    if name == "equivalence" and not lost:
        return  # one pair alone is refused, as ever
    found = OF_RUNS[name](one)
    assert np.isnan(flat([found.low, found.high])).all()
    if name not in ("equivalence", "mean_interval of shares"):
        assert (np.asarray(found.mean) == 2).all()


@pytest.mark.parametrize("of", ["shares", "share_intervals", "fraction_intervals", "divergence"])
def test_what_two_seeds_tell_is_not_told_where_all_but_one_are_missing(of):
    values = runs()
    values[1:] = np.nan
    found = OF_RUNS[of](values)
    assert np.isnan(flat(found[:-1] if of == "divergence" else found)).all()


def test_the_values_of_the_rule():
    """Worked out by hand."""
    assert float(iqm([1.0, 2.0, 3.0, np.nan])) == 2.0  # of three, none is cut off
    assert probability_of_improvement([[1.0], [2.0], [np.nan]], [[1.0], [0.0]]) == 0.875
    assert probability_of_improvement([[1.0], [0.0]], [[1.0], [2.0], [np.nan]]) == 0.125
    assert max_t([[1.0], [np.nan]]).tolist() == [1.0]
    holed = [[1.0, 2.0], [3.0, np.nan], [5.0, np.nan]]
    assert bootstrap_means(holed, draws=50).mean.tolist() == [3.0, 2.0]
    assert float(hierarchical_bootstrap(holed, draws=50).mean) == pytest.approx((1.5 + 3 + 5) / 3)
    found = bootstrap_interval(holed, np.nanmean, draws=50)
    assert float(found.low) <= float(found.mean) == 2.75 <= float(found.high)


def test_layouts_and_tasks_that_some_runs_lack_widen_nothing_but_their_own():
    """Drawn again as many as there are: with half of the layouts of every seed lost, those of that half alone."""
    values = np.random.default_rng(5).normal(size=(12, 6))
    half = values[:, ::2]
    holed = np.where(np.arange(6) % 2, np.nan, values)
    one, other = (hierarchical_bootstrap(x, draws=20_000) for x in (half, holed))
    np.testing.assert_allclose(flat(one), flat(other), atol=0.02 * float(one.high - one.low))
    tasks = np.concatenate([np.where(np.arange(12)[:, None] % 2, np.nan, values[:, :1]), values[:, 1:2]], 1)
    found = bootstrap_interval(tasks, partial(np.nanmean, axis=0), draws=20_000)
    alone = bootstrap_interval(values[::2, :1], partial(np.nanmean, axis=0), draws=20_000)
    np.testing.assert_allclose(found.low[0], alone.low[0], atol=0.05)
    np.testing.assert_allclose(found.high[0], alone.high[0], atol=0.05)
