"""Control tasks and description length."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from chisel.probing import linear
from chisel.probing.controls import CUTS, SHARES, control_labels, description_length, types

N = 1024
BOTH = jnp.array([True, False])


def inputs(seed=0, width=12):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, width)), jnp.float32)


def test_types_recur_and_are_of_the_input():
    x = inputs()
    kinds = np.asarray(types(jax.random.key(0), x))
    assert np.array_equal(kinds, types(jax.random.key(0), x * 3 + 1)), "the unit of an input counts"
    counts = np.bincount(kinds, minlength=2**CUTS)
    first, second = (set(kinds[:512]), set(kinds[512:]))
    assert len(counts) == 2**CUTS
    assert len(first & second) >= 2**CUTS - 2, "types of test inputs do not occur among those fitted"


def test_a_type_has_one_label_and_a_feature_its_share():
    x = inputs()
    kinds = types(jax.random.key(0), x)
    y = jnp.stack([(x[:, 0] > 1.0).astype(jnp.float32), x[:, 1].at[:7].set(jnp.nan)], 1)
    labels = np.asarray(control_labels(jax.random.key(1), kinds, y, BOTH))
    assert np.isnan(labels[:7, 1]).all()
    for kind in range(2**CUTS):
        own = labels[7:][np.asarray(kinds)[7:] == kind]
        assert len(np.unique(own[:, 0])) <= 1, "a type has two labels"
        assert len(np.unique(own[:, 1])) <= 1, "a type has two labels"
    assert set(np.unique(labels[:, 0])) == {0.0, 1.0}
    shares = [float(control_labels(jax.random.key(i), kinds, y, BOTH)[:, 0].mean()) for i in range(60)]
    assert np.mean(shares) == pytest.approx(float(y[:, 0].mean()), abs=0.06)


def test_a_control_task_is_learned_by_what_can_learn_anything():
    """From the types themselves, perfectly; from what says nothing of the input, not at all."""
    x = inputs()
    kinds = types(jax.random.key(0), x)
    y = control_labels(jax.random.key(1), kinds, (x[:, :1] > 0).astype(jnp.float32), jnp.array([True]))
    logistic = jnp.array([True])
    assert float(linear.score(jax.nn.one_hot(kinds, 2**CUTS), y, logistic, logistic, 1e-3)[0]) > 0.999
    assert float(linear.score(inputs(9), y, logistic, logistic, 1e-3)[0]) < 0.6


def test_online_code_is_that_of_a_plain_loop():
    """Block after block with scikit-learn's probe."""
    drawn, l2 = np.asarray(inputs(2)), 1e-2
    x = drawn[np.asarray(jax.random.permutation(jax.random.key(0xDE5C), N))]  # rows are told in an order of their own
    y = (x[:, 0] + 0.5 * x[:, 1] > 0.3).astype(np.float32)
    edges = [max(2, round(s * N)) for s in SHARES]
    assert len(set(y[: edges[0]])) == 2
    bits = float(edges[0])
    for start, end in pairwise(edges):
        centre, scale = x[:start].mean(0), x[:start].std(0)
        probe = LogisticRegression(C=1 / (start * l2), tol=1e-10, max_iter=5000).fit(
            (x[:start] - centre) / scale, y[:start]
        )
        p = probe.predict_proba((x[start:end] - centre) / scale)[:, 1]
        bits -= np.log2(np.where(y[start:end] > 0.5, p, 1 - p)).sum()
    labels = (drawn[:, 0] + 0.5 * drawn[:, 1] > 0.3).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        found = float(description_length(jnp.asarray(drawn), jnp.asarray(labels[:, None]), jnp.array([True]), l2)[0])
    assert found == pytest.approx(bits / N, rel=1e-3)


def test_what_is_there_takes_fewer_bits_than_what_is_not():
    x = inputs(3)
    y = jnp.stack([(x[:, 0] > 0).astype(jnp.float32), (inputs(4)[:, 0] > 0).astype(jnp.float32)], 1)
    there, chance = np.asarray(description_length(x, y, jnp.array([True, True]), 1e-2))
    assert there < 0.4
    assert 0.95 < chance < 1.3, "labels by chance take about a bit each"


def test_numbers_are_told_to_a_hundredth():
    """A standard normal number takes log2(√(2πe) · 100) bits; one that is known to a tenth, 3.3 bits fewer."""
    x = inputs(5)
    noise = inputs(6)[:, 0]
    y = jnp.stack([noise, x[:, 0] + 0.1 * noise, noise * 50], 1)
    chance, known, scaled = np.asarray(description_length(x, y, jnp.zeros(3, bool), 1e-4))
    whole = np.log2(np.sqrt(2 * np.pi * np.e) * 100)
    assert chance == pytest.approx(whole, abs=0.3)
    assert known == pytest.approx(whole + np.log2(0.1), abs=0.5)
    assert scaled == pytest.approx(chance, abs=1e-3)


def test_labels_that_do_not_apply_are_not_told():
    x = inputs(7)
    y = (x[:, :1] > 0).astype(jnp.float32)
    half = y.at[::2].set(jnp.nan)
    found = [float(description_length(x, labels, jnp.array([True]), 1e-2)[0]) for labels in (y, half)]
    assert found[1] > found[0]  # fewer to learn from, each
    assert found[1] < 1
    assert np.isnan(description_length(x, jnp.full_like(y, jnp.nan), jnp.array([True]), 1e-2)[0])
