"""How often intervals hold what is true: simulated, for every kind of interval of `chisel.analysis`.

`python tests/analysis/test_coverage.py` prints these numbers, measured with numpy 2 at a nominal 95 %. Of means, in 20,000
studies (hierarchical: 2,000), with 4, 6, 10 and 20 seeds; skewed is exponential:

    t             normal  0.949   0.952   0.950   0.950
    t             skewed  0.883   0.888   0.899   0.917
    percentile    normal  0.799   0.859   0.901   0.926
    percentile    skewed  0.748   0.810   0.863   0.899
    hierarchical  normal  0.861   0.883   0.928   0.952
    hierarchical  skewed  0.852   0.891   0.914   0.942

Of shares of two and three factors, in 4,000 studies of each of `WORLDS` (bootstrap and drawn: 2,000): the least and most
over all shares that are present, the least over main effects that are 0, and over totals and Shapley effects that are 0.
`chosen` is `share_intervals`; the others are here to be compared with it. Drawn effects keep their level too, but with four
seeds their interval of the Shapley effect of a factor that does nothing is three times as wide. `alike`: effects of
different sets correlate by 0.7 over seeds.

                            4 seeds              6 seeds             10 seeds             20 seeds
    2 bootstrap        0.80–0.85 0.88 0.84  0.85–0.91 0.94 0.92  0.89–0.95 0.97 0.96  0.92–0.97 0.99 0.98
    2 jackknife        0.90–0.96 0.99 0.99  0.88–0.95 1.00 1.00  0.85–0.94 1.00 1.00  0.85–0.95 1.00 1.00
    2 drawn            0.95–0.96 0.98 0.96  0.95–0.98 0.99 0.98  0.94–0.99 0.99 0.99  0.94–0.99 1.00 1.00
    2 chosen           0.94–0.98 0.94 0.98  0.95–0.97 0.95 0.98  0.94–0.97 0.94 0.98  0.94–0.97 0.95 0.98
    2 fractions        0.97–1.00   -    -   0.96–1.00   -    -   0.96–1.00   -    -   0.95–1.00   -    -
    3 bootstrap        0.79–0.84 0.88 0.78  0.85–0.89 0.94 0.84  0.89–0.94 0.97 0.91  0.93–0.96 0.99 0.95
    3 jackknife        0.90–0.97 0.99 0.99  0.88–0.97 1.00 0.99  0.85–0.95 1.00 1.00  0.85–0.95 1.00 1.00
    3 drawn            0.92–0.96 0.97 0.95  0.95–0.97 0.99 0.98  0.94–0.99 0.99 0.99  0.95–0.99 1.00 0.99
    3 chosen           0.94–0.99 0.94 0.99  0.95–0.99 0.95 0.99  0.94–0.99 0.94 0.99  0.95–0.98 0.95 0.99
    3 fractions        0.97–1.00 0.95 0.99  0.97–1.00 0.95 0.99  0.96–1.00 0.95 0.99  0.95–1.00 0.95 0.99
    3 chosen, skewed   0.88–1.00 0.88 0.98  0.89–1.00 0.88 0.98  0.90–0.99 0.90 0.98  0.91–0.99 0.91 0.98
    3 chosen, alike    0.93–0.98 0.94 0.97  0.93–0.98 0.95 0.98  0.92–0.98 0.94 0.97  0.92–0.99 0.95 0.97
"""

import sys
from itertools import product

import numpy as np
import pytest
from scipy.special import ndtri, stdtr

from chisel.analysis.intervals import fraction_intervals, share_intervals
from chisel.analysis.phases import Shares, contrasts, subsets, weights
from chisel.analysis.resampling import bootstrap_means, hierarchical_bootstrap
from chisel.analysis.statistics import bootstrap_interval, equivalence, t_interval

SEEDS = (4, 6, 10, 20)
LAYOUTS = 5


def noise(chance, shape, skewed=False):
    """Mean 0, variance 1: normal, or exponential (skewness 2)."""
    return chance.exponential(size=shape) - 1 if skewed else chance.normal(size=shape)


def covered(low, high, truth=0.0):
    """How often; to rounding, since what is exactly 0 may be said to be exactly 0."""
    return np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high), axis=-1)


def slack(studies, level=0.95):
    """Four standard errors of a measured coverage."""
    return 4 * np.sqrt(level * (1 - level) / studies)


def of_means(kind, seeds, skewed=False, studies=2000):
    """The measured coverage of an interval of a mean. Layouts scatter about their seed as far as seeds do."""
    chance = np.random.default_rng(seeds)
    if kind == "hierarchical":
        values = noise(chance, (seeds, 1, studies), skewed) + chance.normal(size=(seeds, LAYOUTS, studies))
        return float(covered(*hierarchical_bootstrap(values, draws=500)[1:]))
    values = noise(chance, (seeds, studies), skewed)
    found = t_interval(values, axis=0) if kind == "t" else bootstrap_means(values, draws=2000)
    return float(covered(*found[1:]))


# What factors do, in standard errors of an effect: nothing is ever done by the last one.
WORLDS = {
    "alone": {(0,): 8.0, (1,): 2.0},
    "together": {(0,): 8.0, (1,): 4.0, (0, 1): 4.0},
    "nothing": {},
}


def outcomes(chance, factors, effects, seeds, studies, skewed=False, alike=0.0):
    """[2, …, 2, seeds, studies]: what sets of factors do, different for each seed, and what seeds do to all cells.

    alike: the correlation, over seeds, of what different sets do."""
    x = 2 * np.indices((2,) * factors) - 1
    y = 3 * chance.normal(size=(seeds, studies))
    common = chance.normal(size=(seeds, studies)) if alike else 0.0
    for chosen in subsets(factors):
        own = np.sqrt(1 - alike) * noise(chance, (seeds, studies), skewed) + np.sqrt(alike) * common
        done = effects.get(chosen, 0.0) / np.sqrt(seeds) + own
        y = y + np.prod(x[list(chosen)], 0)[..., None, None] * done
    return y


def truths(factors, effects, seeds):
    """The shares, by their definition."""
    v = {chosen: effect**2 / seeds for chosen, effect in effects.items()}
    each = range(factors)
    return Shares(
        main=np.array([v.get((i,), 0.0) for i in each]),
        total=np.array([sum(part for chosen, part in v.items() if i in chosen) for i in each]),
        shapley=np.array([sum(part / len(chosen) for chosen, part in v.items() if i in chosen) for i in each]),
        variance=np.array([sum(v.values())]),
    )


def of_shares(method, factors, world, seeds, skewed=False, alike=0.0, studies=1000):
    """The measured coverage of every share: main, total, shapley [factors], variance."""
    y = outcomes(np.random.default_rng(seeds), factors, WORLDS[world], seeds, studies, skewed, alike)
    low, high = method(y, factors)
    truth = truths(factors, WORLDS[world], seeds)
    if method is fraction_intervals:
        truth = Shares(*(share / truth.variance for share in truth))
    return Shares(*(np.atleast_1d(covered(a, b, c[..., None])) for a, b, c in zip(low, high, truth, strict=True)))


def each_share(limits):
    """An interval method of one weighted sum → of all shares, as `share_intervals`."""

    def method(y, factors):
        entries = contrasts(y, factors).reshape(2**factors, *y.shape[factors:])
        found = [np.stack([limits(entries, w) for w in np.atleast_2d(weight)]) for weight in weights((2,) * factors)]
        return Shares(*(x[:, 0] for x in found)), Shares(*(np.maximum(x[:, 1], 0) for x in found))

    return method


def estimate(mean, square, seeds, weight):
    """Σ weight (mean² − squared error), of means and mean squares [entries, …] over seeds."""
    return np.tensordot(weight, mean**2 - (square - mean**2) / (seeds - 1), 1)


def percentile(entries, weight, draws=1000):
    """Limits of studies with seeds drawn again."""
    seeds = entries.shape[1]
    counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    return np.quantile(estimate(counts @ entries, counts @ entries**2, seeds, weight), [0.025, 0.975], axis=0)


def jackknife(entries, weight):
    """A t interval over pseudo-values."""
    seeds = entries.shape[1]
    total, squares = entries.sum(1, keepdims=True), (entries**2).sum(1, keepdims=True)
    without = estimate((total - entries) / (seeds - 1), (squares - entries**2) / (seeds - 1), seeds - 1, weight)
    whole = estimate(total[:, 0] / seeds, squares[:, 0] / seeds, seeds, weight)
    half = t_interval(seeds * whole - (seeds - 1) * without, axis=0)
    return np.stack([whole - (half.mean - half.low), whole + (half.high - half.mean)])


def confidence(entries, weight, draws=1000):
    """Effects drawn from a t distribution about what was found, with the seeds' covariance; twice the noise taken off."""
    chance, seeds = np.random.default_rng(0), entries.shape[1]
    mean = entries.mean(1)
    scale = np.sqrt(chance.chisquare(seeds - 1, (draws, 1)) / (seeds - 1) * seeds * (seeds - 1))
    about = mean[:, None] + (chance.normal(size=(draws, seeds)) / scale) @ (entries - mean[:, None])
    shares = np.tensordot(weight, about**2 - 2 * entries.var(1, ddof=1)[:, None] / seeds, 1)
    return np.quantile(shares, [0.025, 0.975], axis=0)


METHODS = {
    "bootstrap": each_share(percentile),
    "jackknife": each_share(jackknife),
    "drawn": each_share(confidence),
    "chosen": share_intervals,
    "fractions": fraction_intervals,
}


def apart(found, factors, world):
    """Coverages of what is present, and of main effects and of sums that are 0: one array each."""
    truth = truths(factors, WORLDS[world], 1)
    there = np.concatenate([f[t > 0] for f, t in zip(found, truth, strict=True)])
    sums = np.concatenate([f[t == 0] for f, t in zip(found[1:3], truth[1:3], strict=True)])
    return there, found.main[truth.main == 0], sums


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_t_interval_covers_as_it_says(seeds):
    assert of_means("t", seeds, studies=20_000) == pytest.approx(0.95, abs=slack(20_000))
    assert 0.85 < of_means("t", seeds, skewed=True) < 0.94, "skewed values are covered less, few of them most"


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_percentile_bootstrap_covers_less_with_few_seeds(seeds):
    """It takes √((n − 1) / n) of the standard error, and the limit of a normal distribution for that of t."""
    expected = 2 * stdtr(seeds - 1, ndtri(0.975) * np.sqrt(1 - 1 / seeds)) - 1
    assert of_means("percentile", seeds, studies=5000) == pytest.approx(expected, abs=0.02)
    assert expected < 0.95 - 0.4 / seeds


def test_a_stratified_bootstrap_covers_less_too():
    chance = np.random.default_rng(0)
    studies = [
        bootstrap_interval(chance.normal(size=(4, 1)), lambda x: x.mean(1), 300, vectorised=True) for _ in range(1000)
    ]
    low, high = np.array([(x.low[0], x.high[0]) for x in studies]).T
    assert 0.75 < covered(low, high) < 0.86


@pytest.mark.parametrize("seeds", SEEDS)
def test_drawing_layouts_within_seeds_makes_up_for_some_of_that(seeds):
    """What layouts add to the error is counted once too often, and the fewer seeds, the less that is enough."""
    assert of_means("percentile", seeds) < of_means("hierarchical", seeds, studies=1000) < 0.95 + slack(1000)


@pytest.mark.parametrize("seeds", SEEDS)
def test_what_is_on_the_margin_is_called_equivalent_as_often_as_the_level_says(seeds):
    values = np.random.default_rng(seeds).normal(1.0, 0.2, (seeds, 20_000))
    assert float(equivalence(values, margin=1.0).equivalent.mean()) == pytest.approx(0.05, abs=slack(20_000, 0.05))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("factors", [2, 3])
def test_shares_are_covered_as_often_as_it_says(factors, seeds, world):
    there, main, sums = apart(of_shares(share_intervals, factors, world, seeds, studies=2000), factors, world)
    assert (there > 0.95 - slack(2000)).all(), there
    assert (abs(main - 0.95) < slack(2000)).all(), main
    assert (sums > 0.95).all(), "of what does nothing, 0 lies inside"


@pytest.mark.parametrize("seeds", [4, 6])
def test_usual_methods_fall_short_with_few_seeds(seeds):
    """Why neither was chosen: what each covers where it covers least."""

    def worst(name):
        return float(min(x.min() for x in of_shares(METHODS[name], 2, "alone", seeds, studies=500)))

    assert worst("bootstrap") < 0.88
    assert worst("jackknife") < 0.92
    assert worst("chosen") > 0.95 - slack(500)


def test_effects_drawn_about_what_was_found_leave_more_open():
    """Why it was not chosen: as much covered, by intervals that are wider, most where there is nothing."""
    y = outcomes(np.random.default_rng(0), 3, WORLDS["together"], 4, 300)

    def width(method):
        low, high = (x.shapley for x in method(y, 3))
        return np.median(high - np.maximum(low, 0), axis=-1)

    ours, theirs = width(share_intervals), width(METHODS["drawn"])
    assert ours[0] < 1.1 * theirs[0]
    assert ours[2] < 0.5 * theirs[2]


@pytest.mark.parametrize("seeds", SEEDS)
def test_shares_of_skewed_effects_are_covered_less_but_sums_of_nothing_are_not(seeds):
    there, _, sums = apart(of_shares(share_intervals, 3, "together", seeds, skewed=True), 3, "together")
    assert 0.83 < there.min() < 0.93
    assert (sums > 0.95).all()


@pytest.mark.parametrize("seeds", SEEDS)
def test_shares_of_effects_that_hang_together_are_covered_a_little_less(seeds):
    """Of sets' effects that correlate by 0.7 over seeds."""
    there, main, sums = apart(of_shares(share_intervals, 3, "together", seeds, alike=0.7, studies=4000), 3, "together")
    assert 0.90 < there.min() < 0.95
    assert (abs(main - 0.95) < slack(4000)).all()
    assert (sums > 0.95).all()


@pytest.mark.parametrize("world", ["alone", "together"])
@pytest.mark.parametrize("seeds", SEEDS)
def test_fractions_are_covered_at_least_as_often(seeds, world):
    there, main, sums = apart(of_shares(fraction_intervals, 3, world, seeds), 3, world)
    assert min(there.min(), main.min()) > 0.95 - slack(1000)
    assert (sums > 0.95).all()


def main():
    """Prints the tables of this file's docstring."""
    for kind in ("t", "percentile", "hierarchical"):
        for skewed in (False, True):
            rates = "   ".join(f"{of_means(kind, n, skewed, 2000 if kind[0] == 'h' else 20_000):.3f}" for n in SEEDS)
            sys.stdout.write(f"{kind:13} {'skewed' if skewed else 'normal'}  {rates}\n")
    odd = (3, "chosen", True, 0.0), (3, "chosen", False, 0.7)
    for factors, name, skewed, alike in [*product((2, 3), METHODS, (False,), (0.0,)), *odd]:
        line = f"{factors} {name + ', skewed' * skewed + ', alike' * (alike > 0):15}"
        for n in SEEDS:
            worlds = [w for w in WORLDS if w != "nothing" or name != "fractions"]
            studies = 2000 if name in ("bootstrap", "drawn") else 4000
            found = [apart(of_shares(METHODS[name], factors, w, n, skewed, alike, studies), factors, w) for w in worlds]
            there, main, sums = (np.concatenate(x) for x in zip(*found, strict=True))
            nothing = " ".join(f"{x.min():.2f}" if x.size else "  - " for x in (main, sums))
            line += f"  {there.min():.2f}–{there.max():.2f} {nothing}"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
