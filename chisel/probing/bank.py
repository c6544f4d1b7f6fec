"""The bank: policy-independent states on which every checkpoint of every member is read.

Features vary independently in it, so that a probe cannot pass off one for another, and it is split in half by layout,
so that no layout is both fitted and tested.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chisel.worlds.world import World, vector


class Bank(NamedTuple):
    """States with the truth about them. `layouts` of them; the first half is fitted on, the second tested.

    Fields:
        observations: [layouts, …].
        features: [layouts, features]; 0 or 1 for a binary one; NaN where a feature does not apply.
        shortens: [layouts, goals, actions]; the actions that shorten the path to each goal. None if nobody knows.
        edits: the same states with objects put in and out. None where the world cannot do that.
    """

    observations: Array
    features: Float[Array, "layouts features"]
    shortens: Bool[Array, "layouts goals actions"] | None
    edits: "Edits | None"


class Edits(NamedTuple):
    """The bank's states with each goal's object in, and out.

    Fields:
        put_in, taken_out: [goals, layouts, …] observations.
        shortens_in: [edited goal, layouts, goals, actions], in the states where the edited goal is in.
    """

    put_in: Array
    taken_out: Array
    shortens_in: Bool[Array, "edited layouts goals actions"]


def make_bank(world: World, layouts: int, seed: int = 0) -> Bank:
    """The bank of a world; the same for the same seed, whatever is read on it."""

    def build(key: Array) -> Bank:
        states = jax.vmap(world.scatter)(jax.random.split(key, layouts))
        return Bank(
            observations=jax.vmap(world.observe)(states),
            features=jax.vmap(lambda state: vector(world.features(state)))(states),
            shortens=None if world.shortens is None else jax.vmap(world.shortens)(states),
            edits=_edits(world, states),
        )

    return jax.jit(build)(jax.random.fold_in(jax.random.key(0xBA4), seed))


def _edits(world: World, states: Any) -> Edits | None:
    present, shortens = world.present, world.shortens
    if present is None or shortens is None:
        return None

    def edit(goal: Array, there: bool) -> Any:
        return jax.vmap(lambda state: present(state, goal, there))(states)

    goals = jnp.arange(len(world.goals))
    put_in, taken_out = (jax.vmap(lambda g, t=there: edit(g, t))(goals) for there in (True, False))
    observe = jax.vmap(jax.vmap(world.observe))
    return Edits(observe(put_in), observe(taken_out), jax.vmap(jax.vmap(shortens))(put_in))
