"""Random mazes: rooms at even rows and even columns, a passage between each two that adjoin, pillars in between.

A maze is a minimum spanning tree of random weights: Prim's algorithm (Bell System Technical Journal 36, 1957) finds the
same tree as Kruskal's, with which mazes are usually made (Procgen, jaxgmg), in one step per room and without sorting.
No direction is favoured, although not all spanning trees are equally likely.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from chisel.worlds import grid
from chisel.worlds.grid import Grid

WORD = 32  # rooms whose membership is kept in one integer


def rooms(board: Grid) -> np.ndarray:
    """int[rows, columns]: the cells that are rooms; height and width are odd.

    >>> rooms(Grid(3, 5)).tolist()
    [[0, 2, 4], [10, 12, 14]]
    """
    return np.arange(board.cells).reshape(board.height, board.width)[::2, ::2]


def passages(board: Grid) -> np.ndarray:
    """int[passages, 2]: the rooms, by number in reading order, that each passage joins.

    >>> passages(Grid(3, 3)).tolist()
    [[0, 1], [2, 3], [0, 2], [1, 3]]
    """
    number = np.arange(rooms(board).size).reshape(rooms(board).shape)
    across, down = (number[:, :-1], number[:, 1:]), (number[:-1], number[1:])
    return np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in (across, down)])


def between(board: Grid) -> np.ndarray:
    """int[passages]: the cell of each passage.

    >>> between(Grid(3, 3)).tolist()
    [1, 7, 3, 5]
    """
    return rooms(board).ravel()[passages(board)].sum(1) // 2


def longest(board: Grid) -> int:
    """The longest path that there can be between two cells of a maze: through all rooms in turn. A path with a room
    at each end takes two steps from each room to the next; one that ends in a passage has a room less there.

    >>> longest(Grid(7, 7))
    30
    """
    return 2 * (rooms(board).size - 1)


def tree(key: Array, board: Grid) -> Bool[Array, " passages"]:
    """The passages of a perfect maze: one way, and only one, from every room to every other.

    The set of rooms that the tree has reached is kept as bits, which is many times as fast as an array of them.
    """
    joins, count = passages(board), rooms(board).size
    ends = np.zeros((-(-count // WORD), len(joins)), np.uint32)  # [words, passages] the two rooms as bits
    for room in joins.T:
        ends[room // WORD, np.arange(len(joins))] |= np.uint32(1) << (room % WORD).astype(np.uint32)
    last = 1 << (len(joins) - 1).bit_length()
    # Weights end in their passage's number, so that no two are equal.
    drawn = (jax.random.bits(key, (len(joins),), jnp.uint32) >> 1).astype(jnp.int32)
    weight = drawn // last * last + jnp.arange(len(joins), dtype=jnp.int32)

    def grow(maze: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        reached, dug = maze  # [words, 1], [passages]
        border = jnp.sum(jax.lax.population_count(reached & ends), axis=0) == 1  # leads from inside to outside
        lightest = weight == jnp.min(jnp.where(border, weight, jnp.iinfo(jnp.int32).max))
        entered = jnp.sum(jnp.where(lightest, ends, jnp.uint32(0)), axis=1, keepdims=True, dtype=jnp.uint32)
        return (reached | entered, dug | lightest), None

    first = jnp.zeros((len(ends), 1), jnp.uint32).at[0].set(1)
    return jax.lax.scan(grow, (first, jnp.zeros(len(joins), bool)), None, count - 1)[0][1]


def carve(key: Array, board: Grid, chance: Float[Array, ""] | float) -> Bool[Array, " cells"]:
    """The walls of a maze in which every passage that its tree does not need is walled with a chance: at 1 a perfect
    maze, at 0 an open lattice, in between a braided maze.
    """
    tree_key, loop_key = jax.random.split(key)
    cells = between(board)
    loops = jax.random.uniform(loop_key, cells.shape) >= chance
    pillars = np.ones(board.cells, bool)
    pillars[rooms(board)] = False
    return jnp.asarray(pillars).at[cells].set(~(tree(tree_key, board) | loops))


def pair(
    key: Array, board: Grid, walls: Bool[Array, " cells"], place: int, placed: Bool[Array, ""] | bool
) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""]]:
    """An agent's cell and two more at equal path distance from it, two steps or further. The second is `place` if
    `placed`; otherwise none of the three is. The agent's cell is drawn among those that have such a pair, which the end
    of a corridor lacks (and `grid.duel` does not ask); a board of 5 × 5 cells or more always has one.
    """
    u, index = jax.random.uniform(key, (3,)), jnp.arange(board.cells)
    far = jax.vmap(lambda cell: grid.distances(board, walls, cell))(index)
    free = ~walls & (index != place)
    fit = free[:, None] & free[None, :] & (far >= 2)  # [agent, thing]
    many = jnp.zeros((board.cells, board.cells + 1), jnp.int32).at[index[:, None], far].add(fit)
    ring = jnp.take_along_axis(many, far, axis=1)  # how many cells would do at the distance of each
    partners = fit & jnp.where(placed, far == far[:, place, None], ring >= 2)
    agent = grid.pick(u[0], jnp.any(partners, axis=1))
    first = grid.pick(u[1], partners[agent])
    second = grid.pick(u[2], fit[agent] & (far[agent] == far[agent, first]) & (index != first))
    return agent, first, jnp.where(placed, place, second)
