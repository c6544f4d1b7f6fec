"""Bids, and what moves them: exact edits of the world's state."""

import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float


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
) -> Float[Array, "goals"]:
    """The mean bid for each goal over the states in which it is defined."""
    return jnp.nanmean(bids(logits[:, None, :], shortens, greedy), axis=0)


def total_effects(
    logits_in: Float[Array, "edited n actions"],
    logits_out: Float[Array, "edited n actions"],
    shortens_in: Bool[Array, "edited n goals actions"],
    greedy: bool = False,
) -> Float[Array, "edited goals"]:
    """What putting a goal's object in does to every bid: mean over states of b(object in) − b(object out).

    Which actions shorten a path is taken from the state with the object in, also for the bid without it, so that the
    two bids are about the same actions. The diagonal asks whether the policy heads for an object because it is there.
    Off the diagonal, a policy that heads for one object moves the bid for another whenever the two lie the same way.
    """
    with_it = bids(logits_in[:, :, None, :], shortens_in, greedy)
    without = bids(logits_out[:, :, None, :], shortens_in, greedy)
    return jnp.nanmean(with_it - without, axis=1)
