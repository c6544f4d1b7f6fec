"""Linear probes, against scikit-learn and against planted features."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from chisel.probing import judging, linear

L2 = 1e-2
ROWS = 512
fit = jax.jit(linear.fit, static_argnums=3)
fit_sparse = jax.jit(linear.fit_sparse, static_argnums=3)
score = jax.jit(linear.score, static_argnums=4)
auc = jax.jit(judging.auc)
r2 = jax.jit(judging.r2)

# What activations can be like. Each makes [ROWS, units] of its units.
KINDS = {
    "independent": lambda rng, units: rng.normal(size=(ROWS, units)),
    "saturated": lambda rng, units: np.tanh(2 * rng.normal(size=(ROWS, units)) @ rng.normal(size=(units, units))),
    "dead": lambda rng, units: rng.normal(size=(ROWS, units)) * (np.arange(units) % 3 > 0) + 0.7,
    "far from zero": lambda rng, units: rng.normal(size=(ROWS, units)) + 50 * rng.normal(size=units),
    "of low rank": lambda rng, units: rng.normal(size=(ROWS, 3)) @ rng.normal(size=(3, units)),
}
LOGISTIC = np.array([True] * 5 + [False] * 7)  # the binary features twice: also by ridge
BINARY = np.array([True] * 10 + [False] * 2)


@functools.cache
def problem(kind: str, units: int, missing: bool = False):
    """Activations, and features from nearly separable over noisy to pure noise; both classes are in every half."""
    rng = np.random.default_rng(units)
    x = KINDS[kind](rng, units).astype(np.float32)
    signal = standard(x, x) @ rng.normal(size=(units, 6)) / np.sqrt(units)
    signal /= signal.std(0)
    noise = rng.normal(size=signal.shape)
    binary = signal[:, :5] + np.array([0, 0.05, 0.5, 3.0, 1e6]) * noise[:, :5] > np.array([0, 1.5, 0.5, 0, 0])
    continuous = np.stack([5 * signal[:, 5] + 3, signal[:, 4] + noise[:, 5]], 1)
    y = np.concatenate([binary, binary, continuous], 1).astype(np.float32)
    if missing:
        y[rng.random(y.shape) < 0.3] = np.nan
    return x, y


def standard(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Standardised by the mean and spread of the fitted rows; units that never change say nothing."""
    centre, spread = by.mean(0, dtype=float), by.std(0, dtype=float)
    return np.where(spread > 1e-6, (x - centre) / np.where(spread > 1e-6, spread, 1), 0.0)


def reference(x: np.ndarray, y: np.ndarray, unseen: np.ndarray, logistic: bool) -> np.ndarray:
    """scikit-learn's readout of unseen rows, fitted on the rows that have a label."""
    labelled = ~np.isnan(y)
    count, z = labelled.sum(), standard(x, x)
    if logistic:
        model = LogisticRegression(C=1 / (count * L2), tol=1e-10, max_iter=1000, solver="newton-cholesky")
        return model.fit(z[labelled], y[labelled]).decision_function(standard(unseen, x))
    return Ridge(alpha=count * L2).fit(z[labelled], y[labelled]).predict(standard(unseen, x))


@pytest.mark.parametrize("units", [5, 64])
@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_reads_and_scores_as_scikit_learn_does(kind, units, missing):
    """Known-answer test 7. Readouts agree to 1e-4 of their spread, scores to 1e-4."""
    x, y = problem(kind, units, missing)
    half = ROWS // 2
    probe = fit(x[:half], y[:half], LOGISTIC, L2)
    found, scores = np.asarray(linear.predict(probe, x[half:])), score(x, y, BINARY, LOGISTIC, L2)
    for i, logistic in enumerate(LOGISTIC):
        meant = reference(x[:half], y[:half, i], x[half:], logistic)
        np.testing.assert_allclose(found[:, i], meant, atol=1e-4 * max(1, meant.std()), err_msg=f"feature {i}")
        labelled = ~np.isnan(y[half:, i])
        truth = y[half:, i][labelled]
        told = roc_auc_score(truth, meant[labelled]) if BINARY[i] else r2_score(truth, meant[labelled])
        # A pair of states that floats cannot rank changes the area under the curve by one in the number of pairs.
        pair = 1 / max(1.0, float(truth.sum() * (1 - truth).sum())) if BINARY[i] else 0
        assert float(scores[i]) == pytest.approx(told, abs=1e-4 + 2 * pair), f"feature {i}"


def test_a_missing_label_is_a_missing_row():
    """But for the standardising, which needs no labels: so with rows in pairs, of which one of each has no label."""
    x, y = problem("independent", 5)
    twice, half = np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0)
    half[::2] = np.nan
    one, other = fit(x, y, LOGISTIC, L2), fit(twice, half, LOGISTIC, L2)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_dead_units_weigh_nothing():
    x, y = problem("dead", 5)
    weights = np.asarray(fit(x, y, LOGISTIC, L2).weights)
    assert not weights[[0, 3]].any()
    assert (np.abs(weights[[1, 2, 4]]).max(1) > 0.01).all()


@pytest.mark.parametrize("label", [0.0, 1.0, np.nan])
def test_one_class_or_none_gives_no_score_and_no_nonsense(label):
    x, y = problem("independent", 5)
    y = np.full_like(y, label)
    assert np.isnan(score(x, y, BINARY, LOGISTIC, L2)).all()
    assert all(np.isfinite(part).all() for part in fit(x, y, LOGISTIC, L2))


@pytest.mark.parametrize("count", [10, 300])
def test_rows_that_are_not_there_are_as_if_not_given(count):
    x, y = problem("far from zero", 5, True)
    x[count:] = 9 * x[count:] - 7
    there = np.arange(len(x)) < count
    masked, cut = (
        np.asarray(linear.predict(fit(*given), x))
        for given in ((x, y, LOGISTIC, L2, there), (x[:count], y[:count], LOGISTIC, L2))
    )
    # One class alone has no best intercept.
    finite = [len(set(labels[~np.isnan(labels)])) > 1 for labels in y[:count].T]
    assert sum(finite) > 6
    spread = np.maximum(1, np.std(cut[:count], 0))[finite]
    np.testing.assert_allclose(masked[:count][:, finite] / spread, cut[:count][:, finite] / spread, atol=1e-4)


def test_features_do_not_touch_each_other():
    """Each is fitted as if it were alone, whatever stands in the other columns."""
    x, y = problem("saturated", 5)
    shaken = y.copy()
    shaken[:, 1:] = np.random.default_rng(0).permutation(shaken[:, 1:])
    one, other = (fit(x, labels, LOGISTIC, L2).weights[:, 0] for labels in (y, shaken))
    np.testing.assert_allclose(one, other, atol=1e-5)


# Scores

FEW = st.integers(0, 4).map(float)  # few values, so that there are ties
MANY = st.integers(0, 99).map(float)  # so that hardly more than two tie
NUMBERS = st.floats(-9, 9, width=32, allow_subnormal=False)
MARKS = st.sampled_from([0.0, 1.0, np.nan])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.one_of(FEW, MANY), MARKS), min_size=20, max_size=20))
def test_auc_is_scikit_learns_with_ties(pairs):
    out, y = np.array(pairs, np.float32).T
    known = ~np.isnan(y)
    assume(len(np.unique(y[known])) == 2)
    assert float(auc(out, y)) == pytest.approx(roc_auc_score(y[known], out[known]), abs=1e-6)


@pytest.mark.parametrize("rows", [judging.PLACES, judging.PLACES + 1])
@pytest.mark.parametrize("rare", ["neither", "positives", "negatives"])
def test_auc_counts_right_over_many_rows(rows, rare):
    chance = np.random.default_rng(0)
    out = chance.normal(size=rows).astype(np.float32)
    y = out + chance.normal(size=rows) > {"neither": 0, "positives": 4.5, "negatives": -4.5}[rare]
    assert float(auc(out, y.astype(np.float32))) == pytest.approx(roc_auc_score(y, out), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, FEW, st.booleans()), min_size=20, max_size=20))
@example([(1.0, 2.0, True)] * 20)
def test_r2_is_scikit_learns(rows):
    out, y, known = np.array(rows, np.float32).T
    y = np.where(known > 0, y, np.nan).astype(np.float32)
    truth = y[known > 0]
    found = float(r2(out, y))
    if len(np.unique(truth)) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(r2_score(truth, out[known > 0]), rel=1e-4, abs=1e-4)


# Planted features

PLANTED, NOISE, UNITS, STATES = 6, 26, 24, 1024


@functools.cache
def planted():
    """Activations in which the first features lie along random directions, among noise; [STATES, UNITS] and labels."""
    rng = np.random.default_rng(1)
    y = (rng.random((STATES, PLANTED + NOISE)) < 0.5).astype(np.float32)
    y[:, PLANTED - 1] = rng.normal(size=STATES)  # the last planted one is a number, and so is the last of noise
    y[:, -1] = rng.normal(size=STATES)
    x = y[:, :PLANTED] @ rng.normal(size=(PLANTED, UNITS)) + 0.3 * rng.normal(size=(STATES, UNITS))
    binary = np.ones(PLANTED + NOISE, bool)
    binary[[PLANTED - 1, -1]] = False
    return x.astype(np.float32), y, binary


def chance(labels: np.ndarray) -> np.ndarray:
    """The standard error of the area under the curve where there is nothing to be found (Mann & Whitney)."""
    ones = (labels > 0.5).sum(0)
    zeros = len(labels) - ones
    return np.sqrt((ones + zeros + 1) / (12 * ones * zeros))


def test_planted_features_are_found_and_nothing_else():
    """Law 5."""
    x, y, binary = planted()
    found = np.asarray(score(x, y, binary, binary, L2))
    assert (found[:PLANTED] > 0.9).all()
    noise = found[PLANTED:-1]
    error = chance(y[STATES // 2 :, PLANTED:-1])
    assert (np.abs(noise - 0.5) < 4 * error).all()
    assert (np.abs(noise - 0.5) > 1.96 * error).mean() <= 0.2
    assert abs(noise.mean() - 0.5) < 4 * error.mean() / np.sqrt(len(noise))
    assert found[-1] < 0.05  # R²


def test_shuffled_labels_are_at_chance():
    x, y, binary = planted()
    shuffled = y[np.random.default_rng(2).permutation(STATES)]
    found = np.asarray(score(x, shuffled, binary, binary, L2))
    assert (np.abs(found[binary] - 0.5) < 4 * chance(shuffled[STATES // 2 :][:, binary])).all()
    assert (found[~binary] < 0.05).all()


def test_what_is_scored_was_not_fitted():
    """More units than rows: on the fitted half anything would be found."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(96, 64)).astype(np.float32), (rng.random((96, 12)) < 0.5).astype(np.float32)
    binary = np.ones(12, bool)
    assert abs(np.asarray(score(x, y, binary, binary, L2)).mean() - 0.5) < 4 * 0.084 / np.sqrt(12)
    seen = np.asarray(score(np.tile(x[:48], (2, 1)), np.tile(y[:48], (2, 1)), binary, binary, L2))
    assert (seen > 0.95).all()


def test_mapped_over_layers_it_is_the_same_as_one_after_another():
    x, y, binary = planted()
    layers = np.stack([x, np.tanh(x), x[::-1]])
    together = jax.jit(jax.vmap(lambda h: linear.score(h, y, binary, binary, L2)))(layers)
    for i, layer in enumerate(layers):
        np.testing.assert_allclose(together[i], score(layer, y, binary, binary, L2), atol=1e-4)


# A penalty on absolute weights


@pytest.mark.parametrize("kind", ["independent", "saturated", "dead"])
def test_sparse_probes_are_those_of_scikit_learn(kind):
    """Readouts to 1e-3 of their spread; and the same weights are zero."""
    x, y = problem(kind, 24)
    l1 = 0.02
    for i in (1, 2, 11):
        z = standard(x, x)
        if LOGISTIC[i]:
            model = LogisticRegression(C=1 / (ROWS * l1), l1_ratio=1, solver="saga", tol=1e-7, max_iter=20_000)
            meant = model.fit(z, y[:, i]).decision_function(z)
        else:
            model = Lasso(alpha=l1, tol=1e-9, max_iter=20_000)
            meant = model.fit(z, y[:, i]).predict(z)
        probe = fit_sparse(x, y[:, i : i + 1], LOGISTIC[i : i + 1], l1)
        found = np.asarray(linear.predict(probe, x))[:, 0]
        np.testing.assert_allclose(found, meant, atol=1e-3 * max(1, meant.std()), err_msg=f"feature {i}")
        ours, theirs = np.asarray(probe.weights)[:, 0], model.coef_.reshape(-1)
        assert ((np.abs(ours) > 1e-3) == (np.abs(theirs) > 1e-3)).mean() > 0.95
        assert (np.abs(ours) < 1e-3).any(), "a penalty on absolute weights leaves none at zero"


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 300)
    out = rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[kinds]
    out[:, 4] -= 10  # neither there nor believed in
    meant = f1_score(kinds, out.argmax(1), average="macro")
    assert float(judging.macro_f1(out, np.eye(5)[kinds])) == pytest.approx(meant, abs=1e-6)


def test_macro_f1_counts_a_class_that_is_believed_in_and_never_there():
    """Its F1 is 0, as scikit-learn has it."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 300)
    out = rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[kinds]
    assert (out.argmax(1) == 4).any()
    meant = f1_score(kinds, out.argmax(1), average="macro")
    assert float(judging.macro_f1(out, np.eye(5)[kinds])) == pytest.approx(meant, abs=1e-6)


def test_readouts_that_are_not_numbers_give_no_score_where_they_count():
    rng = np.random.default_rng(1)
    out, y = rng.normal(size=40), (rng.random(40) < 0.5).astype(float)
    y[3] = np.nan
    for row, lost in ((3, False), (4, True)):
        broken = np.where(np.arange(40) == row, np.nan, out)
        assert np.isnan(auc(broken, y)) == lost
        # Of classes, beside one that is never believed in.
        classes = np.stack([broken, -broken, np.full(40, -9.0)], 1)
        truth = np.stack([y, 1 - y, 0 * y], 1)
        assert np.isnan(judging.macro_f1(classes, truth)) == lost
