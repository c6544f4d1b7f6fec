"""What adapters share: keys as others want them, types that stay the same, states for the bank."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt32

from chisel.worlds.grid import pick
from chisel.worlds.world import State


def old_key(key: Array) -> UInt32[Array, "2"]:
    """A key as raw numbers: the kind that older packages take, and that can be kept in a state and saved."""
    return jax.random.key_data(key)


def settled(tree: Any) -> Any:
    """The same arrays with definite types: others leave weak ones behind, for which JAX would compile anew."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(jnp.asarray(x), jnp.asarray(x).dtype), tree)


def wander(
    reset: Callable[[Array, Any], State],
    step: Callable[[Array, State, Array, Any], State],
    ended: Callable[[State], Array],
    may: Callable[[State], Bool[Array, " actions"]],
    most: int,
) -> Callable[[Array], State]:
    """The `scatter` of a world whose states cannot be made at will: some steps of random play from a new level.

    Policy-independent, and nothing more: features are as correlated as random play leaves them.

    Args:
        may: the actions that can be chosen, at least one.
        most: the number of steps is uniform below this. A step that would end the episode is not taken.
    """

    def scatter(key: Array) -> State:
        level_key, count_key, walk_key = jax.random.split(key, 3)

        def one(i: Array, state: State) -> State:
            act_key, step_key = jax.random.split(jax.random.fold_in(walk_key, i))
            action = pick(jax.random.uniform(act_key), may(state))
            after = step(step_key, state, action, {})
            over = ended(after)
            return jax.tree.map(lambda a, b: jnp.where(over, a, b), state, after)

        return jax.lax.fori_loop(0, jax.random.randint(count_key, (), 0, most), one, reset(level_key, {}))

    return scatter
