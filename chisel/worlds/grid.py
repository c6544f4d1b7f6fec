"""Primitives that all grid worlds share: cells, moves, path distances, one-hot planes, facts about goals, pictures.

A cell is one integer, row × width + column. A board is a `Grid`; walls are a bool per cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

ACTIONS = ("up", "down", "left", "right")
TILE = 8  # pixels along one cell of a frame


class Grid(NamedTuple):
    """The size of a board; static."""

    height: int
    width: int

    @property
    def cells(self) -> int:
        """How many cells the board has."""
        return self.height * self.width

    @property
    def diameter(self) -> int:
        """The longest path between two cells of the open board."""
        return self.height + self.width - 2


def neighbours(grid: Grid) -> np.ndarray:
    """int[cells, 4]: where each action leads from each cell of the open board; a step off the board stays.

    >>> neighbours(Grid(2, 2)).tolist()
    [[0, 2, 0, 1], [1, 3, 0, 1], [0, 2, 2, 3], [1, 3, 2, 3]]
    """
    row, col = np.divmod(np.arange(grid.cells), grid.width)
    up, down = np.maximum(row - 1, 0), np.minimum(row + 1, grid.height - 1)
    left, right = np.maximum(col - 1, 0), np.minimum(col + 1, grid.width - 1)
    rows, cols = np.stack([up, down, row, row], 1), np.stack([col, col, left, right], 1)
    return rows * grid.width + cols


def move(grid: Grid, cell: Int[Array, ""], action: Int[Array, ""], walls: Bool[Array, " cells"] | None = None) -> Array:
    """The cell after a step; into a wall or off the board is to stay."""
    row, col = cell // grid.width, cell % grid.width
    row = jnp.clip(row + jnp.where(action == 1, 1, 0) - jnp.where(action == 0, 1, 0), 0, grid.height - 1)
    col = jnp.clip(col + jnp.where(action == 3, 1, 0) - jnp.where(action == 2, 1, 0), 0, grid.width - 1)
    to = row * grid.width + col
    return to if walls is None else jnp.where(walls[to], cell, to)


def apart(grid: Grid, cells: Int[Array, "..."], other: Int[Array, "..."]) -> Array:
    """Path distance between cells of an open board, in steps."""
    row = jnp.abs(cells // grid.width - other // grid.width)
    return row + jnp.abs(cells % grid.width - other % grid.width)


def distances(grid: Grid, walls: Bool[Array, " cells"], target: Int[Array, ""]) -> Int[Array, " cells"]:
    """Path distance of every cell to `target` around walls, in steps; `grid.cells` where there is no path."""
    table = neighbours(grid)

    def relax(field: tuple[Array, Array]) -> tuple[Array, Array]:
        d, _ = field
        closer = jnp.minimum(d, jnp.min(d[table], axis=1) + 1)
        closer = jnp.where(walls, grid.cells, closer)
        return closer, jnp.any(closer < d)

    start = jnp.full(grid.cells, grid.cells, jnp.int32).at[target].set(0)
    start = jnp.where(walls, grid.cells, start)
    return jax.lax.while_loop(lambda field: field[1], relax, (start, jnp.array(True)))[0]


def steps_to(
    grid: Grid, walls: Bool[Array, " cells"], start: Int[Array, ""], targets: Int[Array, " targets"]
) -> Int[Array, " targets"]:
    """Path distance from one cell to a few others, in steps; `grid.cells` where there is no path.

    The same as `distances`, but cheap enough for every step of training: the cells that can be reached in so many steps
    are kept as one bit each, a row in an integer, so that a step in all directions is four shifts.
    """
    bits = jnp.arange(grid.width, dtype=jnp.uint32)

    def rows(cells: Bool[Array, " cells"]) -> Array:
        return jnp.sum(cells.reshape(grid.height, grid.width).astype(jnp.uint32) << bits, axis=1, dtype=jnp.uint32)

    free, nothing = rows(~walls), jnp.zeros(1, jnp.uint32)
    row, column = targets // grid.width, (targets % grid.width).astype(jnp.uint32)

    def hit(flood: Array) -> Bool[Array, " targets"]:
        return (flood[row] >> column) & 1 == 1

    def spread(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        flood, steps, _ = state
        above, below = jnp.concatenate([flood[1:], nothing]), jnp.concatenate([nothing, flood[:-1]])
        wider = (flood | (flood << 1) | (flood >> 1) | above | below) & free
        return wider, steps + ~hit(flood), jnp.any(wider != flood) & ~jnp.all(hit(wider))

    flood = rows(jnp.arange(grid.cells) == start) & free
    going = (flood, jnp.zeros(targets.shape, jnp.int32), ~jnp.all(hit(flood)))
    flood, steps, _ = jax.lax.while_loop(lambda state: state[2], spread, going)
    return jnp.where(hit(flood), steps, grid.cells)


def pick(share: Float[Array, ""], eligible: Bool[Array, " cells"]) -> Int[Array, ""]:
    """One of the eligible cells, each with the same chance when `share` is uniform in [0, 1)."""
    rank = jnp.cumsum(eligible)
    wanted = jnp.minimum(jnp.floor(share * rank[-1]).astype(jnp.int32) + 1, rank[-1])
    return jnp.sum(rank < wanted)


def place(shares: Float[Array, " things"], eligible: Bool[Array, " cells"]) -> Int[Array, " things"]:
    """Distinct eligible cells for several things, uniformly, from as many numbers uniform in [0, 1)."""
    cells = []
    for share in shares:
        cells.append(pick(share, eligible))
        eligible = eligible & (jnp.arange(eligible.shape[0]) != cells[-1])
    return jnp.stack(cells)


def duel(key: Array, grid: Grid, walls: Bool[Array, " cells"]) -> tuple[Array, Array, Array]:
    """An agent's cell and two further cells at equal path distance (two steps or more) from it, uniformly drawn."""
    start_key, first_key, second_key = (jax.random.uniform(k) for k in jax.random.split(key, 3))
    agent = pick(start_key, ~walls)
    far = distances(grid, walls, agent)
    fit = (far >= 2) & (far < grid.cells)
    company = jnp.sum((far[:, None] == far[None, :]) & fit[None, :], axis=1)
    first = pick(first_key, fit & (company >= 2))
    second = pick(second_key, fit & (far == far[first]) & (jnp.arange(grid.cells) != first))
    return agent, first, second


def layout(
    grid: Grid, agent: Array, cells: Int[Array, " goals"], here: Bool[Array, " goals"]
) -> Float[Array, " facts"]:
    """What should vary independently in a bank of levels: presences, and where everything lies, also what is out."""
    where = jnp.append(cells, agent)
    return jnp.concatenate([here, where // grid.width, where % grid.width]).astype(jnp.float32)


def plane(grid: Grid, cell: Int[Array, ""], shown: Any = True) -> Bool[Array, "height width"]:
    """A one-hot plane: true at `cell`, if it is shown at all."""
    return ((jnp.arange(grid.cells) == cell) & shown).reshape(grid.height, grid.width)


def goal_features(
    grid: Grid, goals: Sequence[str], agent: Array, cells: Array, here: Array, distance: Array
) -> dict[str, Array]:
    """The facts that every grid world tells about each goal.

    Args:
        agent: the agent's cell.
        cells, here, distance: [goals] where each goal's object is, whether it is there, how many steps away.

    Returns:
        `<goal>_present, _left, _right, _above, _below, _nearest` as bools (false for an absent goal) and
        `<goal>_distance` as a float (NaN for an absent goal).
    """
    facts: dict[str, Array] = {}
    reach = jnp.where(here, distance, grid.cells + 1)
    for i, goal in enumerate(goals):
        row, col = cells[i] // grid.width, cells[i] % grid.width
        facts |= {
            f"{goal}_present": here[i],
            f"{goal}_left": here[i] & (col < agent % grid.width),
            f"{goal}_right": here[i] & (col > agent % grid.width),
            f"{goal}_above": here[i] & (row < agent // grid.width),
            f"{goal}_below": here[i] & (row > agent // grid.width),
            f"{goal}_nearest": here[i] & (reach[i] == jnp.min(reach)),
            f"{goal}_distance": jnp.where(here[i], distance[i].astype(jnp.float32), jnp.nan),
        }
    return facts


# The following hold for any state with an agent's cell and with `cells` and `here` per goal.


def shortens(
    grid: Grid, agent: Array, cells: Array, here: Array, walls: Bool[Array, " cells"] | None = None
) -> Bool[Array, "goals actions"]:
    """The actions that shorten the path to each goal; none for an absent one."""
    after = jax.vmap(lambda action: move(grid, agent, action, walls))(jnp.arange(len(ACTIONS)))
    if walls is None:
        now, then = apart(grid, cells, agent), apart(grid, cells[:, None], after[None, :])
    else:
        far = jax.vmap(lambda cell: distances(grid, walls, cell))(cells)
        now, then = far[:, agent], far[:, after]
    return (then < now[:, None]) & here[:, None]


def reached(before: Any, action: Array, after: Any) -> Bool[Array, " goals"]:
    """The goals on whose cells the agent is after a step, and that were there before it."""
    del action
    return before.here & (after.cells == after.agent)


def present(state: Any, goal: Any, there: Any) -> Any:
    """The state with a goal's object put in, or taken out; its cell stays its own."""
    return state._replace(here=jnp.where(jnp.arange(state.here.shape[0]) == goal, there, state.here))


def sprite(picture: Sequence[str], colours: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """An 8×8 picture written as eight strings; `.` is transparent. Returns int16[8, 8, 3] with −1 where transparent."""
    return np.array([[colours.get(c, (-1, -1, -1)) for c in line] for line in picture], np.int16)


def paint(
    grid: Grid, ground: UInt8[Array, "cells 3"], sprites: np.ndarray, cells: Int[Array, " things"], shown: Array
) -> UInt8[Array, "y x 3"]:
    """A frame: tiles of `ground` colours with a thin border, and sprites [things, 8, 8, 3] on their cells, in order."""
    tiles = jnp.broadcast_to(ground[:, None, None, :], (grid.cells, TILE, TILE, 3)).astype(jnp.int16)
    rim = (jnp.arange(TILE) == TILE - 1)[:, None] | (jnp.arange(TILE) == TILE - 1)[None, :]
    tiles = jnp.where(rim[None, :, :, None], tiles * 15 // 16, tiles)
    for i in range(len(sprites)):
        there = (jnp.arange(grid.cells) == cells[i]) & shown[i]
        over = there[:, None, None, None] & (sprites[i] >= 0)[None]
        tiles = jnp.where(over, sprites[i][None], tiles)
    rows = tiles.reshape(grid.height, grid.width, TILE, TILE, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(grid.height * TILE, grid.width * TILE, 3).astype(jnp.uint8)
