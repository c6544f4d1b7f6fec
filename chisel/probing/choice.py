"""What an agent does: which of two goals it reaches first, and what its episodes add up to."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from chisel.agents.policy import Actor
from chisel.training.rollout import episode
from chisel.worlds.world import World


class Contests(NamedTuple):
    """Two-goal levels: for every pair of goals the same layouts twice, with the two exchanged.

    Fields:
        states: [pairs × layouts, …].
        pairs: [pairs, 2] goal numbers, the first below the second.
        layouts: levels of each pair.
    """

    states: Any
    pairs: np.ndarray
    layouts: int


def make_contests(world: World, layouts: int, seed: int = 0) -> Contests:
    """`layouts` levels (an even number) for every pair of the goals of a world that can make such levels."""
    contest = world.contest
    assert contest is not None, world.name
    pairs = np.array([(i, j) for i in range(len(world.goals)) for j in range(i + 1, len(world.goals))])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0xC40), seed), layouts // 2)

    def of_pair(pair: Array) -> Any:
        one_way = jax.vmap(lambda k: contest(k, pair[0], pair[1]))(keys)
        other_way = jax.vmap(lambda k: contest(k, pair[1], pair[0]))(keys)
        return jax.tree.map(lambda *x: jnp.concatenate(x), one_way, other_way)

    states = jax.jit(lambda p: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.lax.map(of_pair, p)))(pairs)
    return Contests(states, pairs, layouts)


def first_reached(reached: Bool[Array, "time worlds goals"], pair: Array) -> Float[Array, "worlds 3"]:
    """Per world, one-hot: the pair's first goal reached before its second, the second before the first, neither.

    Two goals are never on one cell, so that there are no ties.
    """
    steps = reached.shape[0]
    touched = jnp.take_along_axis(reached, jnp.broadcast_to(pair, (steps, *pair.shape)), axis=2)
    when = jnp.where(jnp.any(touched, 0), jnp.argmax(touched, 0), steps)  # [worlds, 2]
    first, second = when[:, 0] < when[:, 1], when[:, 1] < when[:, 0]
    return jnp.stack([first, second, ~first & ~second], -1).astype(jnp.float32)


def choices(
    world: World, actor: Actor, key: Array, contests: Contests, params: dict[str, Array]
) -> tuple[Float[Array, "goals goals"], Float[Array, "goals goals"]]:
    """`choice` and `neither`.

    Returns:
        choice[i, j]: share of their two-goal levels in which goal i is reached before goal j; NaN on the diagonal.
        neither[i, j]: share in which none of the two is reached before the time limit.
    """
    story, _ = episode(world, actor, key, contests.states, params)
    pair = jnp.repeat(jnp.asarray(contests.pairs), contests.layouts, axis=0)
    shares = first_reached(story.reached, pair).reshape(len(contests.pairs), contests.layouts, 3).mean(1)
    i, j = contests.pairs.T
    empty = jnp.full((len(world.goals), len(world.goals)), jnp.nan)
    choice = empty.at[i, j].set(shares[:, 0]).at[j, i].set(shares[:, 1])
    return choice, empty.at[i, j].set(shares[:, 2]).at[j, i].set(shares[:, 2])


def returns(world: World, actor: Actor, key: Array, states: Any, params: dict[str, Array]) -> Float[Array, "channels"]:
    """Mean over episodes from `states` of what every channel adds up to, unweighted."""
    story, _ = episode(world, actor, key, states, params)
    return jnp.mean(jnp.sum(story.facts, 0), 0)
