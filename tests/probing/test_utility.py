"""Utilities recovered from planted ones; and choices that no utility explains."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.analysis.statistics import t_interval
from chisel.probing.utility import fit_utility

PLANTED = np.array([1.2, 0.3, -0.4, -1.1])
EFFORT = 0.4
PAIRS = np.array(list(combinations(range(4), 2)))
LEVELS, SEEDS, TRIALS = 128, 6, 200


def chosen(key, odds, levels=LEVELS):
    """Choices of a policy with the given log-odds of i for each pair, and a price of distance."""
    far, luck = jax.random.split(key)
    covariates = jnp.zeros((len(PAIRS), levels, 3))
    covariates = covariates.at[..., 0].set(jax.random.randint(far, (len(PAIRS), levels), -3, 4))
    chance = jax.nn.sigmoid(odds[:, None] + EFFORT * covariates[..., 0])
    return (jax.random.uniform(luck, chance.shape) < chance).astype(jnp.float32), covariates


def planted_odds():
    return jnp.asarray(PLANTED[PAIRS[:, 0]] - PLANTED[PAIRS[:, 1]], jnp.float32)


def fits(odds, count, levels=LEVELS):
    def one(key):
        first, covariates = chosen(key, odds, levels)
        return fit_utility(PAIRS, 4, first, covariates)

    return jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), count))


def test_planted_utilities_are_recovered_inside_their_interval():
    """19 times in 20, over seeds; the width is that of a t interval of six."""
    found = fits(planted_odds(), TRIALS * SEEDS)
    for values, truth in ((found.utility, PLANTED), (found.effort[:, None], [EFFORT])):
        interval = t_interval(np.asarray(values, float).reshape(TRIALS, SEEDS, -1), axis=1)
        inside = (interval.low <= truth) & (np.asarray(truth) <= interval.high)
        # 200 trials of 0.95: fewer than 0.90 has a chance below 0.001.
        assert (inside.mean(0) > 0.9).all(), f"covered {inside.mean(0)} of the time"
        np.testing.assert_allclose(np.mean(values, 0), truth, atol=0.05)


def test_one_number_for_each_goal_is_enough_where_it_is():
    found = fits(planted_odds(), 200)
    assert float(found.deviance.mean()) == pytest.approx(1, abs=0.25), "the deviance of a true model is not its freedom"
    assert float(found.intransitive.mean()) < 0.05


def test_choices_in_a_circle_fit_no_utility():
    """0 over 1, 1 over 2, 2 over 0; and all over 3."""
    beats = {(0, 1): 2.0, (1, 2): 2.0, (0, 2): -2.0, (0, 3): 2.0, (1, 3): 2.0, (2, 3): 2.0}
    found = fits(jnp.array([beats[i, j] for i, j in PAIRS.tolist()]), 20)
    assert float(found.deviance.min()) > 20, (
        f"a circle passed for a utility: deviance {float(found.deviance.min()):.1f}"
    )
    assert (np.asarray(found.intransitive) == 1).all()


def test_sure_choices_have_finite_utilities_in_order():
    first = jnp.ones((len(PAIRS), 16))
    found = fit_utility(PAIRS, 4, first, jnp.zeros((len(PAIRS), 16, 3)))
    utility = np.asarray(found.utility)
    assert np.isfinite(utility).all()
    assert (np.diff(utility) < 0).all()
    assert abs(utility.sum()) < 1e-4
    assert np.isnan(found.effort)  # all at equal distance: what a step is worth cannot be told


def test_levels_in_which_none_is_reached_say_nothing():
    first, covariates = chosen(jax.random.key(3), planted_odds())
    more = jnp.concatenate([first, jnp.full_like(first, jnp.nan)], 1), jnp.concatenate([covariates, covariates + 2], 1)
    one, other = fit_utility(PAIRS, 4, first, covariates), fit_utility(PAIRS, 4, *more)
    np.testing.assert_allclose(one.utility, other.utility, atol=1e-3)
    assert float(one.deviance) == pytest.approx(float(other.deviance), abs=1e-2)


def test_one_goal_has_no_utility():
    with pytest.raises(ValueError, match="expected two or more"):
        fit_utility(np.zeros((0, 2), int), 1, jnp.zeros((0, 4)), jnp.zeros((0, 4, 3)))
