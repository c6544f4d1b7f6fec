"""A world seen through a window: the agent sees the cells around it, and nothing of the rest.

Everything else is as it was: what happens, what is paid, the truth that probes are asked for, the best that can be
reached by who sees all. So what is out of sight can be known only by who remembers it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chisel.worlds.world import State, World

SHADE = 5  # what is out of sight is so many parts of 16 as bright in a frame


def windowed(world: World, side: int) -> World:
    """The world with observations [side, side, planes + 1], the agent in the middle; the last plane is off the board.

    Args:
        world: one whose `board` is true.
        side: cells along one side of the window; odd.
    """
    assert world.board, world.name
    assert side % 2 == 1, side

    def observe(state: State) -> Array:
        return window(world.observe(state), side)

    def frame(state: State) -> Array:
        planes, picture = world.observe(state), world.frame(state)
        row, column = (index[:, None] if axis == 0 else index for axis, index in enumerate(_indices(planes)))
        agent_row, agent_column = _agent(planes)
        seen = (jnp.abs(row - agent_row) <= side // 2) & (jnp.abs(column - agent_column) <= side // 2)
        scale = picture.shape[0] // planes.shape[0]
        lit = jnp.repeat(jnp.repeat(seen, scale, 0), scale, 1)[..., None]
        return jnp.where(lit, picture, (picture.astype(jnp.uint16) * SHADE // 16).astype(jnp.uint8))

    return world._replace(name=f"{world.name} seen through {side}×{side}", observe=observe, frame=frame)


def _indices(planes: Array) -> tuple[Array, Array]:
    return jnp.arange(planes.shape[0]), jnp.arange(planes.shape[1])


def _agent(planes: Array) -> tuple[Array, Array]:
    """Row and column of the agent, which the first plane shows."""
    cell = jnp.argmax(planes[..., 0])
    return cell // planes.shape[1], cell % planes.shape[1]


def window(planes: Array, side: int) -> Array:
    """The cells around the agent, and a plane of what is off the board.

    >>> import jax.numpy as jnp
    >>> board = jnp.zeros((4, 4, 2), bool).at[0, 1, 0].set(True).at[1, 2, 1].set(True)
    >>> seen = window(board, 3)
    >>> seen[..., 1].astype(int).tolist(), seen[..., 2].astype(int).tolist()
    ([[0, 0, 0], [0, 0, 0], [0, 0, 1]], [[1, 1, 1], [0, 0, 0], [0, 0, 0]])
    """
    row, column = _agent(planes)
    beyond = jnp.zeros((*planes.shape[:2], 1), planes.dtype)
    told = jnp.concatenate([planes, beyond], -1)
    edge = side // 2
    wide = jnp.pad(told, [(edge, edge), (edge, edge), (0, 0)])
    on_board = jnp.pad(jnp.ones(planes.shape[:2], bool), edge)
    wide = wide.at[..., -1].set((~on_board).astype(planes.dtype))
    return jax.lax.dynamic_slice(wide, (row, column, 0), (side, side, wide.shape[-1]))
