"""Intervals of what has a range: that they stay in it, how often they hold what is true, and against what else.

`python tests/analysis/test_bounded.py` prints these numbers: of intervals of means at a nominal 95 %, how often they hold
the truth in 20,000 studies, and their mean interval score (Gneiting & Raftery 2007: width, and 40 times how far off where
they miss; less is better), in units of that of the t interval cut at the range. `logit`: a t interval of the logit of the
mean (the logarithm, of counts) by the delta method. `score` is `mean_interval`.

                              4 seeds                       6 seeds                      10 seeds
                       t     logit     score       t     logit     score       t     logit     score
    share .5         .95 1   .95 0.91   .95 0.89   .95 1   .95 0.95   .95 0.94   .95 1   .95 0.97   .95 0.96
    share .2         .93 1   .95 0.96   .95 0.92   .93 1   .95 0.93   .95 0.92   .94 1   .95 0.95   .95 0.95
    share .95        .89 1   .94 1.14   .93 1.04   .90 1   .94 0.98   .93 0.95   .91 1   .94 0.94   .93 0.93
    all or nothing   .92 1   .95 0.75   .94 0.74   .94 1   .96 0.79   .96 0.77   .95 1   .97 0.84   .97 0.83
    seldom any       .75 1   .87 0.84   .83 0.83   .79 1   .88 0.85   .86 0.84   .83 1   .90 0.85   .88 0.84
    return           .94 1   .95 0.84   .95 0.81   .94 1   .95 0.89   .95 0.87   .95 1   .96 0.93   .95 0.93
    near ceiling     .90 1   .94 1.05   .94 0.98   .90 1   .94 0.94   .93 0.92   .91 1   .94 0.93   .93 0.92
    count            .94 1   .95 1.09   .95 1.05   .93 1   .95 0.99   .95 0.99   .94 1   .95 0.98   .95 0.98
    skewed count     .88 1   .94 1.33   .93 1.16   .89 1   .93 1.01   .93 0.97   .90 1   .93 0.94   .93 0.93
    rare count       .75 1   .88 1.43   .86 1.12   .78 1   .87 1.05   .86 0.98   .81 1   .88 0.93   .87 0.91
"""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, stdtrit
from scipy.stats import binom, binomtest

from chisel.analysis.bounded import ANY, COUNT, FEWEST, SHARE, Range, difference_interval, mean_interval, share_interval
from chisel.analysis.statistics import t_interval
from tests.analysis.test_coverage import covered

SEEDS = (4, 6, 10)
CEILING = 4.66  # of `helped` in the default study

# What seeds may be like: draws, the range, the true mean.
KINDS = {
    "share .5": (lambda r, size: r.beta(5, 5, size), SHARE, 0.5),
    "share .2": (lambda r, size: r.beta(2, 8, size), SHARE, 0.2),
    "share .95": (lambda r, size: r.beta(19, 1, size), SHARE, 0.95),
    "all or nothing": (lambda r, size: r.beta(0.5, 0.5, size), SHARE, 0.5),
    "seldom any": (lambda r, size: r.beta(0.2, 1.8, size), SHARE, 0.1),
    "return": (lambda r, size: CEILING * r.beta(2, 2, size), Range(0.0, CEILING), CEILING / 2),
    "near ceiling": (lambda r, size: CEILING * r.beta(9, 1, size), Range(0.0, CEILING), CEILING * 0.9),
    "count": (lambda r, size: r.gamma(4, 0.25, size), COUNT, 1.0),
    "skewed count": (lambda r, size: r.exponential(size=size), COUNT, 1.0),
    "rare count": (lambda r, size: r.gamma(0.3, 1 / 0.3, size), COUNT, 1.0),
}


def cut(values, within):
    """The t interval, cut at the range."""
    found = t_interval(values, axis=0)
    return np.maximum(found.low, within.low), np.minimum(found.high, within.high)


def delta(values, within):
    """A t interval of the logit, or the logarithm, of the mean."""
    count, mean, scatter = len(values), values.mean(0), values.std(0, ddof=1)
    error = stdtrit(count - 1, 0.975) * scatter / np.sqrt(count)
    if np.isinf(within.high):
        return mean * np.exp(-error / mean), mean * np.exp(error / mean)
    p, error = mean / within.high, error / within.high
    half = error / (p * (1 - p))
    return within.high * expit(logit(p) - half), within.high * expit(logit(p) + half)


METHODS = {"t": cut, "logit": delta, "score": lambda values, within: mean_interval(values, within, axis=0)[1:]}


def measured(kind, method, seeds, studies=20_000):
    """How often it covers, and its mean interval score."""
    draw, within, truth = KINDS[kind]
    low, high = METHODS[method](draw(np.random.default_rng(seeds), (seeds, studies)), within)
    missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return float(covered(low, high, truth)), float((high - low + 40 * missed).mean())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_covers_no_less_than_the_t_interval(kind, seeds):
    """Nothing is given up for staying in the range, and the more skewed seeds are, the more is won."""
    (t, _), (ours, _) = (measured(kind, method, seeds, 5000) for method in ("t", "score"))
    assert ours > t - 0.01
    assert ours > 0.92 or kind in ("seldom any", "rare count", "near ceiling", "share .95", "skewed count")
    assert ours > 0.82, "and where nearly all seeds have nothing"


@pytest.mark.parametrize("seeds", SEEDS)
def test_it_was_chosen_for_its_interval_score(seeds):
    """Wider where the t interval misses, but no wider than it pays: on the whole better than the other two."""
    rates = {m: [measured(k, m, seeds, 5000)[1] / measured(k, "t", seeds, 5000)[1] for k in KINDS] for m in METHODS}
    assert np.mean(rates["score"]) < min(np.mean(rates["logit"]), 1.0)
    assert max(rates["score"]) < max(rates["logit"])


@pytest.mark.parametrize("seeds", SEEDS)
def test_in_the_middle_of_a_wide_range_it_is_the_t_interval(seeds):
    values = np.random.default_rng(seeds).normal(0.5, 1e-4, (seeds, 100))
    np.testing.assert_allclose(mean_interval(values, SHARE, axis=0), t_interval(values, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(mean_interval(values, ANY, axis=0), t_interval(values, axis=0))


def test_of_seeds_that_are_all_or_nothing_it_is_wilsons_interval():
    """Values 0 and 1 have the variance n p (1 − p) / (n − 1); the quantile is that of t."""
    for count in (1, 2, 3):
        found = mean_interval([1.0] * count + [0.0] * (4 - count), SHARE)
        t, p = stdtrit(3, 0.975) * np.sqrt(4 / 3), count / 4
        middle, half = (p + t**2 / 8) / (1 + t**2 / 4), t * np.sqrt(p * (1 - p) / 4 + t**2 / 64) / (1 + t**2 / 4)
        np.testing.assert_allclose(found[1:], (middle - half, middle + half))


@given(st.lists(st.sampled_from([0.0, 1e-12, 1e-3, 0.3, 0.5, 1 - 1e-9, 1.0, np.nan]), min_size=1, max_size=8))
def test_it_stays_in_the_range(values):
    known = np.array([v for v in values if v == v])
    told = len(known) >= FEWEST and known.min() < known.max()
    for within, scale in ((SHARE, 1.0), (COUNT, 1e3), (Range(-np.inf, 2.0), 2.0)):
        mean, low, high = mean_interval(np.array(values) * scale, within)
        assert np.isfinite(low) == np.isfinite(high) == told
        if told:
            assert within.low <= low <= mean * (1 + 1e-12)
            assert mean * (1 - 1e-12) <= high <= within.high


def test_a_count_of_which_t_has_a_lower_limit_below_0():
    values = [2.0, 0.1, 0.1, 0.28]  # 0.62, −0.84 to 2.08
    assert t_interval(values).low < 0
    mean, low, high = mean_interval(values, COUNT)
    assert 0 < low < mean == pytest.approx(0.62)
    scatter = np.std(values, ddof=1) * stdtrit(3, 0.975) / 2
    for limit in (low, high):  # both solve (m − μ)² = t² s² μ / (m n)
        assert (mean - limit) ** 2 == pytest.approx(scatter**2 * limit / mean)


def test_beyond_a_ceiling_that_holds_in_expectation():
    for values in ([4.6, 4.7, 4.68], [4.67, 4.7, 4.68]):  # means of 4.66 and 4.683
        mean, low, high = mean_interval(values, Range(0.0, CEILING))
        assert low == t_interval(values).low
        assert high == max(mean, CEILING)


def test_ranges_may_differ_from_mean_to_mean():
    values = np.random.default_rng(0).uniform(0.1, 0.9, (3, 5))
    tops = np.array([1.0, 2.0, np.inf])
    found = mean_interval(values, Range(0.0, tops))
    for i, top in enumerate(tops):
        np.testing.assert_allclose([x[i] for x in found], mean_interval(values[i], Range(0.0, top)))


def test_differences_have_the_t_interval_as_far_as_the_range_goes():
    values = np.random.default_rng(0).normal(0.3, 0.5, (4, 50))
    plain, ours = t_interval(values, axis=0), difference_interval(values, SHARE, axis=0)
    np.testing.assert_array_equal(ours.low, np.maximum(plain.low, -1))
    np.testing.assert_array_equal(ours.high, np.minimum(plain.high, 1))
    assert (plain.high > 1).any(), "the test needs some that would go beyond"
    assert np.isnan(difference_interval([0.1, 0.2]).low)
    assert difference_interval([0.5] * 3, SHARE)[1:] == (0.5, 0.5)


@pytest.mark.parametrize("count", range(5))
def test_shares_of_seeds_are_covered_whatever_the_truth(count):
    low, high = share_interval(count, 4)
    assert (low, high) == pytest.approx(tuple(binomtest(count, 4).proportion_ci(method="exact")))
    assert (low == 0) == (count == 0)
    assert (high == 1) == (count == 4)
    for truth in np.linspace(0.02, 0.98, 25):
        every = np.array([share_interval(k, 4) for k in range(5)])
        holds = (every[:, 0] <= truth) & (truth <= every[:, 1])
        assert binom.pmf(np.arange(5), 4, truth)[holds].sum() >= 0.95


@pytest.mark.parametrize(("count", "of"), [(-1, 4), (5, 4), (0, 0)])
def test_there_is_no_share_of_nothing(count, of):
    with pytest.raises(ValueError, match=f"{count} of {of}"):
        share_interval(count, of)


def main():
    """Prints the table of this file's docstring."""
    for kind in KINDS:
        line = f"    {kind:14}"
        for n in SEEDS:
            found = {m: measured(kind, m, n) for m in METHODS}
            each = (f"{c:.2f}"[1:] + (f" {s / found['t'][1]:.2f}" if m != "t" else " 1") for m, (c, s) in found.items())
            line += "   ".join(["", *each])
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
