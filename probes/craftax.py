"""More features of `craftax` for a battery. The world tells of what is near, what is faced and some of what is had."""

import jax.numpy as jnp


def features(state):
    """Belongings, and how dangerous it is."""
    own = state.inventory
    return {
        "has_stone": own.stone > 0,
        "has_coal": own.coal > 0,
        "belongings": (own.wood + own.stone + own.coal + own.iron + own.sapling).astype(jnp.float32),
        "arrow_flying": jnp.any(state.arrows.mask),
        "in_need": jnp.minimum(jnp.minimum(state.player_food, state.player_drink), state.player_energy) < 4,
    }
