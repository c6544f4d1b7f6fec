"""More features of `chess` for a battery. The world tells of material, queens, check and captures."""

import jax.numpy as jnp


def features(state):
    """Structure: pawns, numbers of pieces, and how much there is to choose from. Pieces of the mover are positive."""
    pawns = state.board == 1, state.board == -1
    return {
        "pawns_more": (jnp.sum(pawns[0]) - jnp.sum(pawns[1])).astype(jnp.float32),
        "pieces": jnp.sum(state.board != 0).astype(jnp.float32),
        "moves": jnp.sum(state.legal).astype(jnp.float32),
        "seen_before": jnp.any(jnp.all(state.marks[1:] == state.mark, -1)),
    }
