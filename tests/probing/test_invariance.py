"""Readings do not depend on the order of rows, nor on the scale or offset of activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.probing import controls, judging, linear
from chisel.probing.decoding import Label, judged

ROWS, L2 = 600, 1e-2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5)).astype(np.float32)
Y = np.stack([X[:, 0] > 0, X[:, 1] + 0.1 * RNG.normal(size=ROWS)], 1).astype(np.float32)
BINARY = np.array([True, False])

fit = jax.jit(linear.fit, static_argnames="l2")
score = jax.jit(linear.score, static_argnames="l2")
length = jax.jit(controls.description_length, static_argnames="l2")


@pytest.mark.parametrize("by", [0, 1])
def test_description_length_does_not_depend_on_the_order_of_rows(by):
    """Sorted by label, blocks of one class alone used to be told: 3.6 bits where .275 are enough."""
    drawn = np.asarray(length(X, Y, BINARY, l2=L2))
    order = np.argsort(Y[:, by], kind="stable")
    told = np.asarray(length(X[order], Y[order], BINARY, l2=L2))
    assert drawn[0] == pytest.approx(0.275, abs=0.1)  # bits a label: 1 for each of the first, hardly any for the last
    np.testing.assert_allclose(told, drawn, atol=0.15)


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e7, 1e20, 1e30])
def test_scores_do_not_depend_on_the_scale_of_activations(scale):
    """In single precision; an offset loses digits, and is taken off before (`chisel.probing.rows`)."""
    meant = np.asarray(score(X, Y, BINARY, BINARY, l2=L2))
    assert meant[0] > 0.99
    assert meant[1] > 0.98
    np.testing.assert_allclose(score(X * np.float32(scale), Y, BINARY, BINARY, l2=L2), meant, atol=1e-4)


def test_each_column_has_a_scale_of_its_own():
    scales = np.float32([1e-20, 1e-3, 1.0, 1e5, 1e25])
    meant = np.asarray(score(X, Y, BINARY, BINARY, l2=L2))
    np.testing.assert_allclose(score(X * scales, Y, BINARY, BINARY, l2=L2), meant, atol=1e-4)


@pytest.mark.parametrize("offset", [3.0, 1e4, -1e6])
def test_a_constant_column_counts_for_nothing_however_large(offset):
    """Its mean in single precision is not exactly the constant; what is left over is no feature."""
    wide = np.concatenate([X, np.full((ROWS, 1), offset, np.float32)], 1)
    probe = fit(wide, Y, BINARY, l2=L2)
    assert not np.asarray(probe.scale)[-1]
    np.testing.assert_allclose(linear.predict(probe, wide), linear.predict(fit(X, Y, BINARY, l2=L2), X), atol=1e-4)


def test_a_readout_that_is_not_a_number_has_no_area_no_variance_and_no_class():
    """It used to rank highest: one NaN among positives made the area larger."""
    out, y = X[:, :1].T.copy(), Y[:, 0][None]
    out[0, int(np.argmax(y))] = np.nan
    assert np.isnan(judging.auc(out, y))
    assert np.isnan(judging.r2(out[0], Y[:, 1]))
    assert np.isnan(judging.macro_f1(np.stack([out[0], -out[0]], 1), np.stack([y[0], 1 - y[0]], 1)))
    unknown = y.copy()
    unknown[0, int(np.argmax(y))] = np.nan
    assert np.isfinite(judging.auc(out, unknown)), "that of a row without a label is not judged"


@pytest.mark.parametrize("dimensions", [1, 2, 7])
def test_control_tasks_have_several_types_and_both_classes_whatever_the_dimensions(dimensions):
    """Inputs of one dimension fell into two types at most, and a class was often empty."""
    inputs = RNG.normal(size=(2000, dimensions)).astype(np.float32)
    for seed in range(8):
        keys = jax.random.split(jax.random.key(seed))
        kinds = np.asarray(controls.types(keys[0], inputs))
        assert len(set(kinds)) >= controls.CUTS
        counts = np.bincount(kinds)
        assert (np.diff(counts[counts > 0]) <= 0).all(), "numbered from the most frequent on"
        y = np.stack([inputs[:, 0] > 0, inputs[:, 0]], 1).astype(np.float32)
        control = np.asarray(controls.control_labels(keys[1], kinds, y, BINARY))
        assert set(control[:1000, 0]) == set(control[1000:, 0]) == {0.0, 1.0}


def test_types_do_not_depend_on_the_scale_of_inputs():
    key, inputs = jax.random.key(3), RNG.normal(size=(500, 3)).astype(np.float32)
    one = np.asarray(controls.types(key, inputs))
    np.testing.assert_array_equal(controls.types(key, inputs * np.float32(2.0**80)), one)
    np.testing.assert_array_equal(controls.types(key, inputs * np.float32(2.0**-80)), one)


def test_labels_of_one_kind_are_judged_together_as_each_alone():
    rng = np.random.default_rng(1)
    kinds = ["binary", "categorical", "continuous", "binary", "categorical", "categorical", "continuous"]
    widths = [1, 3, 1, 1, 2, 3, 1]
    ends = np.cumsum(widths).tolist()
    labels = tuple(Label(f"l{i}", e - w, e, k) for i, (k, w, e) in enumerate(zip(kinds, widths, ends, strict=True)))
    out = jnp.asarray(rng.normal(size=(50, ends[-1])), jnp.float32)
    truth = np.array(rng.normal(size=(50, ends[-1])), np.float32)
    for label in labels:
        if label.kind == "binary":
            truth[:, label.first] = truth[:, label.first] > 0
        elif label.kind == "categorical":
            classes = rng.integers(0, label.end - label.first, 50)
            truth[:, label.first : label.end] = np.eye(label.end - label.first)[classes]
    found = np.asarray(judged(out, truth, labels))
    for i, label in enumerate(labels):
        ours, theirs = out[:, label.first : label.end], truth[:, label.first : label.end]
        alone = {
            "binary": lambda a, b: judging.auc(a[:, 0], b[:, 0]),
            "categorical": judging.macro_f1,
            "continuous": lambda a, b: judging.r2(a[:, 0], b[:, 0]),
        }[label.kind](ours, theirs)
        assert found[i] == pytest.approx(float(alone), abs=1e-6)
