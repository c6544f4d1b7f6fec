"""Bids, and what moves them: exact edits of the world's state."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.policy import FORBIDDEN


def bids(
    logits: Float[Array, "*batch actions"], shortens: Bool[Array, "*batch actions"], greedy: bool = False
) -> Float[Array, "*batch"]:
    """How hard a policy pushes for a goal: log-odds of the actions that shorten the path to it against the others.

    b = logsumexp(logits where shortens) − logsumexp(logits elsewhere), in nats. NaN where no action shortens the path
    (the goal is absent, or reached) or every one does.

    Args:
        greedy: `logits` are action values, of which the highest is chosen. Then b is the highest of the actions that
            shorten the path less the highest of the others, in units of return: above 0 where the agent heads there.

    >>> import jax.numpy as jnp
    >>> round(float(bids(jnp.log(jnp.array([0.6, 0.3, 0.1])), jnp.array([True, True, False]))), 4)
    2.1972
    """
    if greedy:
        toward = jnp.max(logits, axis=-1, where=shortens, initial=-jnp.inf)
        away = jnp.max(logits, axis=-1, where=~shortens, initial=-jnp.inf)
    else:
        toward = logsumexp(logits, axis=-1, where=shortens)
        away = logsumexp(logits, axis=-1, where=~shortens)
    return jnp.where(jnp.any(shortens, -1) & ~jnp.all(shortens, -1), toward - away, jnp.nan)


def mean_bids(
    logits: Float[Array, "n actions"], shortens: Bool[Array, "n goals actions"], greedy: bool = False
) -> Float[Array, " goals"]:
    """The mean bid for each goal over the states in which it is defined."""
    return jnp.nanmean(bids(logits[:, None, :], shortens, greedy), axis=0)


def moves(
    logits_in: Float[Array, "edits n actions"],
    logits_out: Float[Array, "edits n actions"],
    shortens_in: Bool[Array, "edits n goals actions"],
    greedy: bool = False,
) -> Float[Array, "edits n goals"]:
    """What each edit does to every bid in every state: b(put in) − b(taken out). NaN where a bid is not defined.

    Which actions shorten a path is taken from the state with the edit put in, also for the bid without it, so that the
    two bids are about the same actions.
    """
    with_it = bids(logits_in[:, :, None, :], shortens_in, greedy)
    return with_it - bids(logits_out[:, :, None, :], shortens_in, greedy)


def total_effects(moved: Float[Array, "edits n goals"]) -> Float[Array, "edits goals"]:
    """What an edit does to every bid, in the mean over states.

    Of a goal's object on its own bid, it asks whether the policy heads for the object because it is there. On another
    goal's, a policy that heads for one object moves the bid for another whenever the two lie the same way.
    """
    return jnp.nanmean(moved, axis=1)


def feature_effects(
    moved: Float[Array, "edits n goals"],
    edit_of: Int[Array, " features"],
    switched: Bool[Array, "features n"],
) -> Float[Array, "features goals"]:
    """The total effect of each feature: of the edit that puts it in, over the states where it does; NaN for none.

    Args:
        edit_of: the edit of each feature; any for one that no edit puts in.
        switched: where that edit makes the feature true, or makes it apply.
    """
    return jax.vmap(lambda edit, where: mean_where(moved[edit], where[:, None]))(edit_of, switched)


def gating(
    moved: Float[Array, "edits n goals"], contexts: Float[Array, "edits n contexts"]
) -> Float[Array, "contexts edits goals"]:
    """Total effects where a context holds, less where it does not: *if* carrying, *then* bid for the person.

    Args:
        contexts: 1 where a context holds with the edit taken out, so that no edit is its own context; 0 elsewhere.
    """

    def one(holds: Array) -> Array:
        within = jax.vmap(mean_where)(moved, (holds > 0.5)[..., None])
        return within - jax.vmap(mean_where)(moved, (holds <= 0.5)[..., None])

    return jax.lax.map(one, jnp.moveaxis(contexts, -1, 0))


def elsewhere(
    logits_in: Float[Array, "edits n actions"],
    logits_out: Float[Array, "edits n actions"],
    shortens_in: Bool[Array, "edits n goals actions"],
    key: Array,
    draws: int,
    reduce: Callable[[Array], Array],
    greedy: bool = False,
) -> Float[Array, "draws ..."]:
    """What an edit does to bids for goals as they lie in another layout: the null of total effects.

    Whatever an edit does to the policy without regard to where things are, it does to these bids too.

    Args:
        draws: how many times layouts are exchanged at random, all goals and edits alike.
        reduce: what is kept of `moves` [edits, n, goals] of each draw.
    """
    # Probabilities once, and not exponentials for every draw; a bid is the same, unless they are too small to be told.
    sides = jax.nn.softmax(logits_in), jax.nn.softmax(logits_out)
    sharp = jnp.maximum(_widest(logits_in), _widest(logits_out)) > MOST_NATS

    def bid(chances: Array, paths: Array) -> Array:
        toward = jnp.sum(jnp.where(paths, chances[:, :, None, :], 0.0), -1)
        away = jnp.sum(jnp.where(paths, 0.0, chances[:, :, None, :]), -1)
        defined = jnp.any(paths, -1) & ~jnp.all(paths, -1)
        return jnp.where(defined, jnp.log(jnp.maximum(toward, LEAST)) - jnp.log(jnp.maximum(away, LEAST)), jnp.nan)

    def exact(paths: Array) -> Array:
        return moves(logits_in, logits_out, paths, greedy)

    def quick(paths: Array) -> Array:
        return bid(sides[0], paths) - bid(sides[1], paths)

    def one(key: Array) -> Array:
        paths = shortens_in[:, jax.random.permutation(key, shortens_in.shape[1])]
        return reduce(exact(paths) if greedy else jax.lax.cond(sharp, exact, quick, paths))

    return jax.lax.map(one, jax.random.split(key, draws))


LEAST = 1e-30  # of a probability whose logarithm is taken
MOST_NATS = 60.0  # between logits, up to which probabilities are told


def _widest(logits: Float[Array, "*batch actions"]) -> Float[Array, ""]:
    """The largest difference between logits of legal actions of one state."""
    legal = logits > FORBIDDEN / 2
    return jnp.max(jnp.max(logits, -1) - jnp.min(logits, -1, where=legal, initial=jnp.inf))


def mean_where(values: Float[Array, "n goals"], where: Bool[Array, "n goals"]) -> Float[Array, " goals"]:
    """The mean over the chosen states in which a value is known; NaN where there is none."""
    rows = where & ~jnp.isnan(values)
    count = jnp.sum(rows, 0)
    return jnp.where(count > 0, jnp.sum(jnp.where(rows, values, 0.0), 0) / jnp.maximum(count, 1), jnp.nan)
