"""What chance makes of levels: the returns of random play, with which those of agents are compared."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chisel.training.rollout import at_random, episode
from chisel.worlds.world import World

LEAST, EPISODES = 4, 512  # plays of each level; and of all levels of a distribution together


class RandomPlay(NamedTuple):
    """Returns of random play on given levels, unweighted.

    Fields:
        mean: over levels and plays of what every channel adds up to in a whole episode.
        error: its standard error. The levels are held fixed, since agents are evaluated on the same: it is of chance
            within a level only.
    """

    mean: Float[Array, " channels"]
    error: Float[Array, " channels"]


def plays(episodes: int) -> int:
    """How often each of so many levels is played.

    >>> plays(64), plays(1000)
    (8, 4)
    """
    return max(LEAST, -(-EPISODES // episodes))


def random_play(world: World, key: Array, states: Any, params: dict[str, Array], times: int) -> RandomPlay:
    """Plays every level `times` times to its end, all legal actions alike.

    Episodes are whole and begin where those of agents do, so that none counts for its length.

    Args:
        states: [levels, …] where episodes begin.
        times: 2 or more.
    """

    def once(key: Array) -> Array:
        return jnp.sum(episode(world, at_random(world), key, states, params)[0].facts, 0)

    totals = jax.lax.map(once, jax.random.split(key, times))  # [times, levels, channels]
    within = jnp.mean(jnp.var(totals, 0, ddof=1), 0)
    return RandomPlay(jnp.mean(totals, (0, 1)), jnp.sqrt(within / (totals.shape[0] * totals.shape[1])))
