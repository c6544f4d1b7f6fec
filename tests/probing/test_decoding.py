"""Measures of one array: what each is of, whatever the labels are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.probing import controls
from chisel.probing.decoding import Label, Plan, Task, read

ROWS, FITTED, L2 = 240, 150, 0.02
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(ROWS, 4)) * [1, 3, 2, 0.3], jnp.float32)
COLORS = np.asarray(jnp.argmax(X[:, :3] + RNG.normal(size=(ROWS, 3)), 1))
# A class of three columns between a truth value and a number.
LABELS = (Label("bright", 0, 1, "binary"), Label("color", 1, 4, "categorical"), Label("size", 4, 5, "continuous"))
BINARY = jnp.array([True, True, True, True, False])


def truth(facts, seed):
    """Columns of labels that hang on the activations, more or less."""
    own = np.random.default_rng(seed).normal(size=ROWS)
    columns = [facts[:, 0] + own > 0, *(np.eye(3)[COLORS if seed == 0 else np.roll(COLORS, 1)]).T, facts[:, 1] + own]
    return jnp.asarray(np.stack(columns, 1), jnp.float32)


TRUTH, CONTROL = truth(X, 0), truth(X[:, ::-1], 1)


@pytest.mark.parametrize("standardise", [True, False])
def test_measures_are_of_the_rows_and_labels_that_they_should_be(standardise):
    plan = Plan(LABELS, FITTED, standardise=standardise)
    task = Task(TRUTH, BINARY, L2, None)
    with jax.default_matmul_precision("highest"):
        _, found = read(X, task, CONTROL, plan)
        _, own = read(X, task, None, plan)
        _, control = read(X, task._replace(truth=CONTROL), None, plan)
        bits = controls.description_length(X[:FITTED], TRUTH[:FITTED], BINARY, L2, standardise)
    assert set(found) == {"score", "description_length", "selectivity"}
    np.testing.assert_allclose(found["selectivity"], own["score"] - control["score"], atol=1e-5)
    assert (np.abs(control["score"]) > 0.05).all(), "a control that scores 0 tells nothing apart"
    meant = [bits[0], bits[1:4].sum(), bits[4]]
    np.testing.assert_allclose(found["description_length"], meant, rtol=1e-4)
    # Neither measure may know the rows that are tested, but for the scores.
    hidden = task._replace(truth=TRUTH.at[FITTED:].set(1 - TRUTH[FITTED:]))
    with jax.default_matmul_precision("highest"):
        _, other = read(X, hidden, None, plan)
    np.testing.assert_array_equal(other["description_length"], own["description_length"])
    assert (np.asarray(other["score"]) != own["score"]).all()


def test_scores_of_labels_do_not_depend_on_the_labels_beside_them():
    """They are judged together where they are alike, and laid out by their columns."""
    alone = {}
    with jax.default_matmul_precision("highest"):
        for label in LABELS:
            columns = slice(label.first, label.end)
            plan = Plan((label._replace(first=0, end=label.end - label.first),), FITTED, ("score",))
            _, found = read(X, Task(TRUTH[:, columns], BINARY[columns], L2, None), None, plan)
            alone[label.name] = float(found["score"][0])
        twice = (LABELS[2]._replace(first=0, end=1), *(k._replace(first=k.first + 1, end=k.end + 1) for k in LABELS))
        both = jnp.concatenate([TRUTH[:, 4:], TRUTH], 1)
        task = Task(both, jnp.concatenate([BINARY[4:], BINARY]), L2, None)
        _, found = read(X, task, None, Plan(twice, FITTED, ("score",)))
    meant = [alone[name] for name in ("size", "bright", "color", "size")]
    np.testing.assert_allclose(found["score"], meant, atol=2e-3)
