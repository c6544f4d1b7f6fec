"""A board of 8×8 cells, a fifth of them obstacles, and a goal to be reached: the maze of `sb3_maze.py` as a world.

Obstacles, agent and goal are drawn anew for every episode; a goal may be walled off, in both versions alike. Only what
training needs is told: this world has no readings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from chisel.worlds import grid
from chisel.worlds.world import World

BOARD = grid.Grid(8, 8)
CHANCE = 0.2
LIMIT = 100  # steps of an episode


class State(NamedTuple):
    """One moment: cells, and where obstacles stand."""

    agent: Int[Array, ""]
    goal: Int[Array, ""]
    walls: Bool[Array, " cells"]


def _reset(key: Array, params: Mapping[str, Any]) -> State:
    del params
    u = jax.random.uniform(key, (BOARD.cells + 2,))
    walls = u[2:] < CHANCE
    agent, goal = grid.place(u[:2], ~walls)
    return State(agent, goal, walls)


def _step(key: Array, state: State, action: Array, params: Mapping[str, Any]) -> State:
    del key, params
    return state._replace(agent=grid.move(BOARD, state.agent, action, state.walls))


def _observe(state: State) -> Bool[Array, " planes"]:
    """Planes of the agent, the obstacles and the goal, flat."""
    planes = grid.plane(BOARD, state.agent), state.walls, grid.plane(BOARD, state.goal)
    return jnp.concatenate([plane.reshape(-1) for plane in planes])


def _there(state: State) -> Array:
    return state.agent == state.goal


OBSTACLES = World(
    name="obstacles",
    summary="a goal among obstacles",
    actions=grid.ACTIONS,
    goals=(),
    true=("goal",),
    limit=LIMIT,
    params={},
    reset=_reset,
    step=_step,
    observe=_observe,
    ended=_there,
    channels=lambda before, action, after: {"goal": _there(after)},
    potentials=lambda state: {},
    features=lambda state: {},
    scatter=lambda key: _reset(key, {}),
    frame=lambda state: jnp.zeros((1, 1, 3), jnp.uint8),
)
