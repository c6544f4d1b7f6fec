"""LEACE leaves no linear information, and changes no more than it must."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from chisel.probing.erasure import divergence, erase, leace, random_directions

N, UNITS = 1024, 24


def activations(seed=0):
    """Correlated units, two of which never vary, and one that is twice another."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(N, UNITS)) @ chance.normal(size=(UNITS, UNITS)) / 3
    x[:, 3], x[:, 4], x[:, 5] = 0.0, 7.0, 2 * x[:, 6]
    return x.astype(np.float32)


def labels(x, seed=1):
    chance = np.random.default_rng(seed)
    return (x @ chance.normal(size=UNITS) + chance.normal(size=N) > 4).astype(np.float32)


def dense(x, z):
    """The formula of the paper, in float64 and with an eigendecomposition: x − W⁺ P W (x − mean).

    Columns are standardised first and scaled back: LEACE does not depend on units, but the eigenvalues that count do.
    """
    x, z = np.asarray(x, float), np.asarray(z, float)
    scale = np.where(x.std(0) > 0, x.std(0), 1.0)
    centred, labels = (x - x.mean(0)) / scale, z - z.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    kept = values > 1e-10 * values.max()
    white = vectors[:, kept] / np.sqrt(values[kept]) @ vectors[:, kept].T
    colour = vectors[:, kept] * np.sqrt(values[kept]) @ vectors[:, kept].T
    cross = white @ (centred.T @ labels / len(x))
    basis, sizes, _ = np.linalg.svd(cross, full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes.max()]
    return x - centred @ (colour @ basis @ basis.T @ white).T * scale


def one_column_per_class():
    """Three classes that shift three of eight units."""
    chance = np.random.default_rng(0)
    classes = chance.integers(0, 3, 600)
    return chance.normal(size=(600, 8)) + 2 * np.eye(8)[classes], np.eye(3)[classes]


def repeated_columns():
    x, z = one_column_per_class()
    return x, z[:, [0, 0, 1, 0]]


def fewer_directions_than_units():
    x, z = one_column_per_class()
    return x @ np.random.default_rng(1).normal(size=(8, 24)), z


def units_of_every_size():
    x, z = one_column_per_class()
    return x * np.logspace(-12, 12, 8), z


def tiny():
    x, z = one_column_per_class()
    return x * 1e-25, z * 1e-20


def data_set(load):
    x, classes = load(return_X_y=True)
    return x, np.eye(classes.max() + 1)[classes]


CASES = {
    of.__name__: of
    for of in (one_column_per_class, repeated_columns, fewer_directions_than_units, units_of_every_size, tiny)
} | {load.__name__: partial(data_set, load) for load in (load_digits, load_wine, load_breast_cancer)}


@pytest.mark.parametrize("case", CASES)
def test_dependent_columns_and_units_of_any_size_change_no_more_than_they_must(case):
    """All differences in standard deviations of their unit. concept-erasure gives the same: benchmarks/agreement.py."""
    x, z = CASES[case]()
    scale = np.where(x.std(0) > 0, x.std(0), 1.0)
    ours = np.asarray(jax.jit(lambda x, z: erase(leace(x, z), x))(jnp.float32(x), jnp.float32(z)), float)
    theirs = dense(x, z)
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)
    left = ((ours - ours.mean(0)) / scale).T @ (z - z.mean(0)) / z.std(0) / len(z)
    assert np.abs(left).max() < 1e-6, f"correlation left: {np.abs(left).max():.2g}"
    moved = (((ours - x) / scale) ** 2).mean()
    assert moved == pytest.approx((((theirs - x) / scale) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize("case", ["one_column_per_class", "load_wine"])
def test_a_probe_of_classes_fitted_again_is_at_chance(case):
    """A linear probe can do no better than say how frequent classes are (theorem 3.1 of the paper): its mean loss is
    the entropy of the classes."""
    x, z = CASES[case]()
    classes, share = z.argmax(1), z.mean(0)
    scale = x.std(0)
    erased = np.asarray(erase(leace(jnp.float32(x), jnp.float32(z)), x), float)
    probe = LogisticRegression(C=1e3, max_iter=5000).fit(erased / scale, classes)
    loss = log_loss(classes, probe.predict_proba(erased / scale))
    assert loss == pytest.approx(-(share * np.log(share)).sum(), abs=1e-4)


@pytest.mark.parametrize("size", [1e-30, 1e-7, 1.0, 1e20])
def test_random_directions_do_not_depend_on_the_unit_of_activations(size):
    x = activations()
    drawn = random_directions(jax.random.key(0), jnp.asarray(x * np.float32(size)), 5)
    np.testing.assert_allclose(drawn, random_directions(jax.random.key(0), jnp.asarray(x), 5), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_closed_form_of_its_authors(classes):
    x = activations()
    z = np.stack([labels(x, seed) for seed in range(1, classes)], 1)
    ours = erase(leace(jnp.asarray(x), jnp.asarray(z)), x)
    np.testing.assert_allclose(ours, dense(x, z), atol=1e-4 * np.abs(x).max())


def test_nothing_linear_is_left():
    x = activations()
    z = labels(x)
    erased = np.asarray(erase(leace(jnp.asarray(x), jnp.asarray(z[:, None])), x), float)
    covariance = (erased - erased.mean(0)).T @ (z - z.mean()) / N
    assert np.abs(covariance).max() < 1e-6 * np.abs(x).max(), f"covariance left: {np.abs(covariance).max():.2g}"
    probe = LogisticRegression(C=1e4, max_iter=2000).fit(erased, z)
    again = roc_auc_score(z, probe.decision_function(erased))
    assert again < 0.51, f"a probe fitted again reads it with AUC {again:.3f}"
    assert roc_auc_score(z, LogisticRegression(max_iter=2000).fit(x, z).decision_function(x)) > 0.8  # as before


def test_units_of_very_different_size_leave_nothing_either():
    x = activations() * np.logspace(-3, 2, UNITS).astype(np.float32)
    z = labels(activations())
    erased = np.asarray(erase(leace(jnp.asarray(x), jnp.asarray(z[:, None])), x), float)
    scale = x.std(0) + 1e-12
    correlation = ((erased - erased.mean(0)) / scale).T @ (z - z.mean()) / N
    assert np.abs(correlation).max() < 1e-5


def test_what_is_not_there_is_erased_by_changing_nothing():
    x = jnp.asarray(activations())
    for z in (jnp.ones((N, 1)), jnp.full((N, 1), jnp.nan)):
        np.testing.assert_array_equal(erase(leace(x, z), x), x)


def test_rows_without_a_label_do_not_count():
    x, z = activations(), labels(activations())
    z[N // 2 :] = np.nan
    half = leace(jnp.asarray(x[: N // 2]), jnp.asarray(z[: N // 2, None]))
    for mine, theirs in zip(leace(jnp.asarray(x), jnp.asarray(z[:, None])), half, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)


def test_random_directions_point_anywhere_among_the_units_that_vary():
    x = activations()
    found = np.asarray(random_directions(jax.random.key(0), jnp.asarray(x), 400))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found[:, [3, 4]]).max() < 1e-4, "a direction in which the layer never moves was drawn"
    assert np.linalg.matrix_rank(found, tol=1e-3) == UNITS - 2


def test_divergence_of_policies():
    chance = np.random.default_rng(0)
    one, other = chance.normal(size=(2, 5, 4))
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (one, other))
    np.testing.assert_allclose(divergence(jnp.asarray(one), jnp.asarray(other)), (p * np.log(p / q)).sum(-1), rtol=1e-5)
    assert float(divergence(jnp.asarray(one), jnp.asarray(one)).max()) == 0


def test_the_centre_of_many_rows_far_from_0_is_their_mean():
    """One sum in single precision is off by several times its rounding."""
    x = (1e5 + np.random.default_rng(0).normal(size=(100_000, 3))).astype(np.float32)
    centre = np.asarray(leace(jnp.asarray(x), jnp.asarray(x[:, :1] > 1e5, jnp.float32)).centre, np.float64)
    np.testing.assert_allclose(centre, x.mean(0, dtype=np.float64), atol=0.51 * np.spacing(np.float32(1e5)), rtol=0)
