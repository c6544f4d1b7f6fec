"""Patterns, what passes along a direction, and its nulls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.probing.mediation import Passing, mediated, orthonormal, patterns, size, steering
from chisel.probing.verdict import max_t

N, UNITS = 2000, 12


def test_a_pattern_is_what_a_feature_does_to_the_layer_while_the_others_stay():
    """Though features correlate, and one of them does not always apply."""
    chance = np.random.default_rng(0)
    z = chance.normal(size=(N, 3))
    z[:, 1] += 0.8 * z[:, 0]
    rows = chance.normal(size=(3, UNITS))
    x = z @ rows + 0.05 * chance.normal(size=(N, UNITS)) + 3
    found = np.asarray(patterns(jnp.asarray(x, jnp.float32), jnp.asarray(z, jnp.float32)))
    np.testing.assert_allclose(found, rows, atol=0.02)
    # A probe's weights are another thing: they avoid what the correlated feature does.
    assert np.linalg.matrix_rank(found) == 3


def test_what_does_not_vary_has_no_pattern_and_what_does_not_apply_counts_at_its_mean():
    chance = np.random.default_rng(1)
    z = chance.normal(size=(N, 3)).astype(np.float32)
    x = z[:, :1] * np.ones(UNITS) + z[:, 1:2] * np.arange(UNITS)
    z[:, 2] = 4.0
    z[::2, 1] = np.nan
    found = np.asarray(patterns(jnp.asarray(x), jnp.asarray(z)))
    assert not found[2].any()
    np.testing.assert_allclose(found[0], 1, atol=0.2)
    assert np.isfinite(found).all()


def one_of_four(chance):
    """Four truth values of which one holds, and two that follow from them: six columns of which three are free."""
    which = np.eye(4)[chance.integers(0, 4, N)]
    return np.c_[which, which[:, 0] + which[:, 1], which[:, 2]], 3


def number_and_sums(chance):
    """A number far from 0, a truth value, and what they make up together."""
    number, fact = chance.normal(size=N), chance.integers(0, 2, N)
    return np.c_[number + 300, fact, number - 2 * fact, 1e-6 * number], 2


def almost_constant(chance):
    """0.1 is no float32 number, and its mean another one."""
    return np.c_[chance.normal(size=N), np.full(N, 0.1), np.full(N, 7e-9)], 1


@pytest.mark.parametrize("features", [one_of_four, number_and_sums, almost_constant])
def test_features_that_make_up_each_other_have_the_patterns_of_least_norm(features):
    """Against NumPy's pseudo-inverse in float64. A basis of the patterns has no direction that is rounding."""
    chance = np.random.default_rng(6)
    z, free = features(chance)
    z = z.astype(np.float32)
    x = (z[:, :3] @ chance.normal(size=(3, UNITS)) + chance.normal(size=(N, UNITS))).astype(np.float32)
    exact = z.astype(float)
    spread = np.where(exact.std(0) > 1e-6 * np.abs(exact).max(0), exact.std(0), np.inf)
    scaled = (exact - exact.mean(0)) / spread
    expected = np.linalg.pinv(scaled, rcond=1e-5) @ (x - x.mean(0, dtype=float))
    found = patterns(jnp.asarray(x), jnp.asarray(z))
    own = np.where(np.isfinite(spread), spread, 1.0)[:, None]
    np.testing.assert_allclose(np.asarray(found) * own, expected, atol=2e-4)
    assert (np.linalg.norm(orthonormal(found), axis=1) > 0.5).sum() == free


def passing(edits=2, states=6):
    chance = np.random.default_rng(2)
    before, after = chance.normal(size=(2, edits, states, UNITS)).astype(np.float32)
    return Passing(jnp.asarray(before), jnp.asarray(after))


def bases(count, rank, seed):
    rows = np.random.default_rng(seed).normal(size=(count, rank, UNITS))
    return orthonormal(jnp.asarray(rows, jnp.float32))


def test_a_basis_spans_the_same_at_right_angles():
    rows = np.random.default_rng(3).normal(size=(4, UNITS))
    rows[2] = rows[0] - 2 * rows[1]  # says nothing new
    rows[3] *= 1e-3
    found = np.asarray(orthonormal(jnp.asarray(rows, jnp.float32)))
    assert not found[2].any()
    kept = found[[0, 1, 3]]
    np.testing.assert_allclose(kept @ kept.T, np.eye(3), atol=1e-5)
    assert np.linalg.matrix_rank(np.concatenate([rows, found]), tol=1e-3 * 1e-2) == 3


def test_what_passes_is_the_part_of_the_move_in_the_concept():
    """Against plain NumPy, with the activations themselves for bids."""
    edges, concepts = passing(), bases(2, 3, seed=3)
    concepts = concepts.at[1, 2].set(0.0)  # of lower rank
    found = mediated(edges, concepts, bases(1, 3, seed=4), lambda edit, h: h - edges.before[edit]).along
    for edit in range(2):
        move, b = np.asarray(edges.after[edit] - edges.before[edit]), np.asarray(concepts[edit])
        np.testing.assert_allclose(found[edit], move @ b.T @ b, atol=1e-5)


def test_random_moves_are_of_the_rank_of_the_concept_and_equally_far():
    """A null of another rank or size would be no match: it would pass more, or less, for that reason alone."""
    edges, concepts = passing(states=20), bases(2, 3, seed=3)
    concepts = concepts.at[1, 1:].set(0.0)
    found = mediated(edges, concepts, bases(5, 3, seed=4), lambda edit, h: h - edges.before[edit])
    for edit, rank in ((0, 3), (1, 1)):
        far = float(size(found.along[edit]))
        for draw in np.asarray(found.chance):
            assert np.linalg.matrix_rank(draw[edit], tol=1e-4) == rank, f"a null draw moves in other than {rank} ways"
            assert float(size(jnp.asarray(draw[edit]))) == pytest.approx(far, rel=1e-4), "moved too far"


def test_steering_moves_by_the_strength_along_the_pattern():
    h = jnp.asarray(np.random.default_rng(5).normal(size=(8, UNITS)), jnp.float32)
    rows = jnp.eye(UNITS)[:2] * 3
    found = steering(h, rows, jnp.array([-1.0, 2.0]), lambda x: x - h)
    assert found.shape == (2, 2, UNITS)
    np.testing.assert_allclose(found[0, :, 0], [-3, 6], atol=1e-5)
    np.testing.assert_allclose(found[1, :, 1], [-3, 6], atol=1e-5)
    np.testing.assert_allclose(found[0, :, 1:], 0, atol=1e-6)


# Corrected p values


@pytest.mark.parametrize("value", [0.1, 1e-7, 3e5])
def test_nulls_that_are_all_the_same_number_tell_nothing(value):
    """Their float32 mean is not that number, and their spread is rounding."""
    nulls = jnp.full((99, 2), value, jnp.float32)
    assert np.asarray(max_t(jnp.array([value, 1.001 * value]), nulls).p).tolist() == [1.0, 1.0]


def test_of_nothing_one_in_twenty_families_has_a_finding():
    """Twelve correlated questions: at most 5 % of families have any p below 0.05, and hardly fewer."""
    mixing = jnp.asarray(np.random.default_rng(6).normal(size=(12, 12)) + 1.5, jnp.float32)

    def family(key):
        draws = jax.random.normal(key, (100, 12)) @ mixing
        return jnp.min(max_t(draws[0], draws[1:]).p)

    lowest = np.asarray(jax.jit(jax.vmap(family))(jax.random.split(jax.random.key(0), 2000)))
    wrong = (lowest <= 0.05).mean()
    # 2,000 families at 0.05: a standard error of 0.005. What is found is not among its own null draws, whose spread
    # is taken from 99: slightly more than 5 % is due to that.
    assert 0.03 < wrong < 0.075, f"{wrong:.1%} of families without any effect have a finding"


def test_one_sided_is_for_what_lies_above():
    nulls = jax.random.normal(jax.random.key(0), (99, 2))
    found = jnp.array([-9.0, 9.0])
    assert np.asarray(max_t(found, nulls).p).tolist() == pytest.approx([0.01, 0.01])
    assert np.asarray(max_t(found, nulls, two_sided=False).p).tolist() == pytest.approx([1.0, 0.01])


def test_what_cannot_be_tested_is_not_found():
    nulls = jax.random.normal(jax.random.key(0), (99, 3)).at[:, 1].set(2.0)
    tested = max_t(jnp.array([jnp.nan, 5.0, 0.1]), nulls)
    assert np.asarray(tested.p)[:2].tolist() == [1.0, 1.0]
    assert np.isnan(tested.t[:2]).all()
