"""More features of `pacman` for a battery. The world tells of ghosts near and frightened and of the nearest pellet."""

import jax.numpy as jnp


def features(state):
    """What is left to be had, and how close the chase is."""
    apart = jnp.sum(jnp.abs(state.ghosts - state.player), -1)
    return {
        "powers_left": jnp.sum(state.powers).astype(jnp.float32),
        "ghosts_never_eaten": jnp.sum(state.untouched).astype(jnp.float32),
        "ghost_on_the_line": jnp.any((state.ghosts == state.player) & (apart > 0)[:, None]),
        "half_eaten": jnp.mean(state.pellets.astype(jnp.float32)) < 0.5,
    }
