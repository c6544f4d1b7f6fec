"""What an agent does: which of two goals it reaches first, and what its episodes add up to."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from chisel.agents.policy import Actor
from chisel.training.rollout import at_random, episode
from chisel.worlds.world import World, defaults, names, vector

NUDGES = 3


class Contests(NamedTuple):
    """Two-goal levels: for every pair of goals the same layouts twice, with the two exchanged.

    Fields:
        states: [pairs × layouts, …].
        pairs: [pairs, 2] goal numbers, the first below the second.
        layouts: levels of each pair.
        nudged: the same levels after a few steps by chance, in which none was reached: at unequal distance.
    """

    states: Any
    pairs: np.ndarray
    layouts: int
    nudged: Any


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
    # Equal chance for a level and the same with its goals exchanged, so that sides stay balanced.
    nudging = jnp.tile(jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys), 2 * len(pairs))
    return Contests(states, pairs, layouts, jax.jit(jax.vmap(partial(_nudged, world)))(states, nudging))


def _nudged(world: World, state: Any, key: Array) -> Any:
    """After up to `NUDGES` steps by chance, without those that would reach a goal or end the episode."""
    params = {name: jnp.float32(value) for name, value in defaults(world).items()}

    def one(state: Any, key: Array) -> tuple[Any, None]:
        acting, moving, skipping = jax.random.split(key, 3)
        luck = at_random(world).luck(acting, 1)
        action = at_random(world).act(luck, world.observe(state)[None], None)[0][0]
        after = world.step(moving, state, action, params)
        wrong = jnp.any(world.reached(state, action, after)) | world.ended(after) | jax.random.bernoulli(skipping, 0.25)
        return jax.tree.map(lambda a, b: jnp.where(wrong, a, b), state, after), None

    return jax.lax.scan(one, state, jax.random.split(key, NUDGES))[0]


def circumstances(world: World, contests: Contests) -> Float[Array, "pairs levels 3"]:
    """What else could decide a contest, of the levels at equal distance and then of the nudged ones.

    d_j − d_i in steps; whether i rather than j lies to the left, and above, as 1, 0 or −1. 0 where a world has no
    features that tell.
    """
    known = names(world).features
    both = jax.tree.map(lambda *x: jnp.concatenate(x), contests.states, contests.nudged)
    facts = jax.jit(jax.vmap(lambda state: vector(world.features(state))))(both)  # [2 × pairs × levels, features]

    def of_goals(kind: str) -> np.ndarray:
        columns = [
            np.nan_to_num(facts[:, known.index(f"{goal}_{kind}")])
            if f"{goal}_{kind}" in known
            else np.full(len(facts), np.nan)
            for goal in world.goals
        ]
        return np.stack(columns, -1).reshape(2, len(contests.pairs), contests.layouts, -1)

    which = contests.pairs
    rows = np.arange(len(which))
    found = []
    for kind, sign in (("distance", -1), ("left", 1), ("above", 1)):
        values = of_goals(kind)
        between = values[:, rows, :, which[:, 0]] - values[:, rows, :, which[:, 1]]  # [pairs, 2, levels]
        found.append(sign * np.nan_to_num(between).reshape(len(which), -1))
    return jnp.asarray(np.stack(found, -1), jnp.float32)


def first_reached(reached: Bool[Array, "time worlds goals"], pair: Array) -> Float[Array, "worlds 3"]:
    """Per world, one-hot: the pair's first goal reached before its second, the second before the first, neither.

    Two goals are never on one cell, so that there are no ties.
    """
    steps = reached.shape[0]
    touched = jnp.take_along_axis(reached, jnp.broadcast_to(pair, (steps, *pair.shape)), axis=2)
    when = jnp.where(jnp.any(touched, 0), jnp.argmax(touched, 0), steps)  # [worlds, 2]
    first, second = when[:, 0] < when[:, 1], when[:, 1] < when[:, 0]
    return jnp.stack([first, second, ~first & ~second], -1).astype(jnp.float32)


class Choices(NamedTuple):
    """What an agent did in contests.

    Fields:
        choice: [i, j] share of their two-goal levels in which goal i is reached before goal j; NaN on the diagonal.
        neither: [i, j] share in which none of the two is reached before the time limit.
        first: 1 where the first goal of a pair is reached before the second, 0 where the second is, NaN where none is.
    """

    choice: Float[Array, "goals goals"]
    neither: Float[Array, "goals goals"]
    first: Float[Array, "pairs levels"]


def choices(
    world: World, actor: Actor, key: Array, states: Any, contests: Contests, params: dict[str, Array]
) -> Choices:
    """Plays contests to their end.

    Args:
        states: [pairs × levels, …] where they begin.
    """
    story, _ = episode(world, actor, key, states, params)
    levels = story.reached.shape[1] // len(contests.pairs)
    pair = jnp.repeat(jnp.asarray(contests.pairs), levels, axis=0)
    each = first_reached(story.reached, pair).reshape(len(contests.pairs), levels, 3)
    shares = each.mean(1)
    i, j = contests.pairs.T
    empty = jnp.full((len(world.goals), len(world.goals)), jnp.nan)
    return Choices(
        choice=empty.at[i, j].set(shares[:, 0]).at[j, i].set(shares[:, 1]),
        neither=empty.at[i, j].set(shares[:, 2]).at[j, i].set(shares[:, 2]),
        first=jnp.where(each[..., 2] > 0, jnp.nan, each[..., 0]),
    )


def returns(world: World, actor: Actor, key: Array, states: Any, params: dict[str, Array]) -> Float[Array, " channels"]:
    """Mean over episodes from `states` of what every channel adds up to, unweighted."""
    story, _ = episode(world, actor, key, states, params)
    return jnp.mean(jnp.sum(story.facts, 0), 0)
