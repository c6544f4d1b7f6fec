"""Utility: whether what an agent chooses can be told by one number for each goal.

    P(i before j) = σ(u_i − u_j + κ (d_j − d_i) + side)        (Bradley & Terry 1952, with covariates)

A bad fit is a finding too: values that depend on the situation, or that go round in circles, are no utilities.
"""

from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chisel.probing.matrix import solve

NEWTON = 16
RIDGE = 1e-3  # penalty ½ · RIDGE · ‖(u, κ, sides)‖² beside the mean loss: the utilities of a sure choice stay finite


class Utility(NamedTuple):
    """A fit to the choices of one agent.

    Fields:
        utility: of each goal, in nats of log-odds; they sum to 0.
        effort: κ, what a step of path distance is worth. NaN if all levels are at equal distance.
        deviance: twice how much likelier choices are, in nats, if every pair has a number of its own, divided by how
            many numbers that is more: about 1 if one number for each goal is enough.
        intransitive: triples of goals that are chosen in a circle.
    """

    utility: Float[Array, " goals"]
    effort: Float[Array, ""]
    deviance: Float[Array, ""]
    intransitive: Float[Array, ""]


def fit_utility(
    pairs: np.ndarray, goals: int, first: Float[Array, "pairs levels"], covariates: Float[Array, "pairs levels k"]
) -> Utility:
    """Fits utilities to contests.

    Args:
        pairs: [pairs, 2] goal numbers, i and j.
        first: 1 where i was reached before j, 0 where j was; NaN where none was.
        covariates: the first is d_j − d_i in steps, the others tell sides; 0 where not known.

    Raises:
        ValueError: fewer than two goals.
    """
    if goals < 2:
        raise ValueError(f"goals={goals}: expected two or more to choose between")
    contrast = np.zeros((len(pairs), goals), np.float32)
    contrast[np.arange(len(pairs)), pairs[:, 0]] = 1
    contrast[np.arange(len(pairs)), pairs[:, 1]] = -1
    won, known = jnp.where(jnp.isnan(first), 0.0, first), ~jnp.isnan(first)
    weights, likely = _logistic(contrast, covariates, won, known)
    _, at_best = _logistic(np.eye(len(pairs), dtype=np.float32), covariates, won, known)
    spare = max(len(pairs) - (goals - 1), 1)
    varies = jnp.any(jnp.where(known, covariates[..., 0], 0.0) != 0)
    own = jnp.sum(won, 1) / jnp.maximum(jnp.sum(known, 1), 1)
    return Utility(
        utility=weights[:goals] - jnp.mean(weights[:goals]),
        effort=jnp.where(varies, weights[goals], jnp.nan),
        deviance=2 * jnp.maximum(at_best - likely, 0.0) / spare,
        intransitive=_circles(pairs, goals, own, jnp.any(known, 1)),
    )


def _logistic(of_pairs: np.ndarray, covariates: Array, won: Array, known: Array) -> tuple[Array, Array]:
    """Weights [columns of pairs, then covariates] of a ridge logistic fit, and the log-likelihood of all choices."""
    levels = won.shape[1]
    design = jnp.concatenate(
        [jnp.repeat(jnp.asarray(of_pairs), levels, 0), covariates.reshape(-1, covariates.shape[-1])], 1
    )
    y, rows = won.reshape(-1), known.reshape(-1)
    share = rows / jnp.maximum(jnp.sum(rows), 1)

    def newton(weights: Array, _: None) -> tuple[Array, None]:
        p = jax.nn.sigmoid(design @ weights)
        slope = design.T @ (share * (p - y)) + RIDGE * weights
        bend = design.T @ ((share * p * (1 - p))[:, None] * design) + RIDGE * jnp.eye(len(weights))
        return weights - solve(bend, slope[:, None])[:, 0], None

    weights, _ = jax.lax.scan(newton, jnp.zeros(design.shape[1]), None, NEWTON)
    out = design @ weights
    each = y * jax.nn.log_sigmoid(out) + (1 - y) * jax.nn.log_sigmoid(-out)
    return weights, jnp.sum(jnp.where(rows, each, 0.0))


def _circles(pairs: np.ndarray, goals: int, own: Array, known: Array) -> Array:
    """How many triples are chosen in a circle, each pair by its majority."""
    at = {(int(i), int(j)): k for k, (i, j) in enumerate(pairs)}
    found = jnp.zeros(())
    for a, b, c in combinations(range(goals), 3):
        ab, bc, ac = at[a, b], at[b, c], at[a, c]
        sure = known[ab] & known[bc] & known[ac]
        forth = (own[ab] > 0.5) & (own[bc] > 0.5) & (own[ac] < 0.5)
        back = (own[ab] < 0.5) & (own[bc] < 0.5) & (own[ac] > 0.5)
        found += sure & (forth | back)
    return found
