"""Random mazes, held against searches in plain Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.worlds import passages
from chisel.worlds.grid import Grid

COUNT = 64
SIZES = (5, 7, 9, 13)


@functools.cache
def carver(size: int):
    return jax.jit(jax.vmap(lambda key, chance: passages.carve(key, Grid(size, size), chance), (0, None)))


def carve(size: int, chance: float, seed: int = 0, rounds: int = 1) -> np.ndarray:
    """bool[rounds × COUNT, size, size]: walls. COUNT at once, so that a size is compiled once."""
    batches = jax.random.split(jax.random.key(seed), (rounds, COUNT))
    return np.concatenate([np.asarray(carver(size)(keys, chance)) for keys in batches]).reshape(-1, size, size)


def following(walls: np.ndarray) -> list[list[int]]:
    """Where one can go from each cell."""
    size = len(walls)

    def of(row: int, col: int) -> list[int]:
        steps = ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1))
        return [r * size + c for r, c in steps if 0 <= r < size and 0 <= c < size and not walls[r, c]]

    return [[] if walls[divmod(cell, size)] else of(*divmod(cell, size)) for cell in range(size * size)]


def opened(walls: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The open passages of one maze, each as the two rooms that it joins."""
    size = len(walls)
    across = [((r, c - 1), (r, c + 1)) for r in range(0, size, 2) for c in range(1, size, 2) if not walls[r, c]]
    return across + [((r - 1, c), (r + 1, c)) for r in range(1, size, 2) for c in range(0, size, 2) if not walls[r, c]]


def parts(size: int, joined) -> int:
    """Into how many parts the rooms fall; plain union of sets."""
    part = {(r, c): {(r, c)} for r in range(0, size, 2) for c in range(0, size, 2)}
    for one, other in joined:
        whole = part[one] | part[other]
        for room in whole:
            part[room] = whole
    return len({id(p) for p in part.values()})


@pytest.mark.parametrize("size", SIZES)
def test_perfect_mazes_are_spanning_trees(size):
    mazes, rooms = carve(size, 1.0), ((size + 1) // 2) ** 2
    for walls in mazes:
        joined = opened(walls)
        assert len(joined) == rooms - 1  # with one part: no way round anywhere
        assert parts(size, joined) == 1
    assert len({walls.tobytes() for walls in mazes}) > COUNT // 2


@pytest.mark.parametrize("size", SIZES)
def test_what_is_neither_room_nor_passage_is_wall(size):
    odd = np.arange(size) % 2 == 1
    for chance in (0.0, 0.5, 1.0):
        walls = carve(size, chance)
        assert walls[:, odd][:, :, odd].all()
        assert not walls[:, ~odd][:, :, ~odd].any()


@pytest.mark.parametrize("size", [5, 13])
def test_braids_lie_between_the_tree_and_the_lattice(size):
    """The same keys dig the same tree, whatever the chance; a higher chance only adds walls."""
    lattice, loose, dense, perfect = (carve(size, chance) for chance in (0.0, 0.25, 0.75, 1.0))
    odd = np.arange(size) % 2 == 1
    assert (lattice == (odd[:, None] & odd[None, :])).all()
    for fewer, more in ((lattice, loose), (loose, dense), (dense, perfect)):
        assert (more >= fewer).all()
    spare = (perfect & ~lattice).sum()
    for walls, chance in ((loose, 0.25), (dense, 0.75)):
        assert abs((walls & ~lattice).sum() / spare - chance) < 4 * 0.5 / np.sqrt(spare)


def test_no_direction_is_favoured():
    """Passages that the square's eight symmetries map on each other are in the tree equally often."""
    dug = 1.0 - carve(7, 1.0, seed=1, rounds=64).mean(0)
    count = 64 * COUNT
    turned = [np.rot90(x, quarter) for x in (dug, dug.T) for quarter in range(4)]
    assert np.ptp(turned, axis=0).max() < 6 * 0.5 / np.sqrt(count)
    outer = [dug[0], dug[-1], dug[:, 0], dug[:, -1]]
    sides = np.array([side[1::2].mean() for side in outer])
    assert np.ptp(sides) < 6 * 0.5 / np.sqrt(3 * count)
    # Every spanning tree of 16 rooms has 15 of the 24 passages.
    assert dug[::2, 1::2].sum() + dug[1::2, ::2].sum() == pytest.approx(15, abs=1e-4)


def test_every_tree_occurs():
    """Nine rooms in a square have 192 spanning trees, by Kirchhoff's theorem."""
    mazes = carve(5, 1.0, seed=2, rounds=128)
    assert len({walls.tobytes() for walls in mazes}) == 192


@pytest.mark.parametrize("size", [5, 7, 13])
def test_longest_path_is_reached_by_a_snake(size, breadth_first):
    """A corridor through all rooms is a maze, and no path in a maze can be longer."""
    walls = np.zeros((size, size), bool)
    walls[1::2] = True
    for k, row in enumerate(range(1, size, 2)):
        walls[row, -1 if k % 2 == 0 else 0] = False
    assert len(opened(walls)) == ((size + 1) // 2) ** 2 - 1
    assert max(paths(walls, breadth_first)) == passages.longest(Grid(size, size))
    for maze in (*carve(size, 1.0)[:4], *carve(size, 0.8)[:4]):
        assert max(paths(maze, breadth_first)) <= passages.longest(Grid(size, size))


def paths(walls: np.ndarray, breadth_first) -> list[float]:
    """Steps between every two free cells."""
    after, free = following(walls), np.flatnonzero(~walls.ravel()).tolist()
    return [breadth_first(after, cell)[other] for cell in free for other in free]


@pytest.mark.parametrize("placed", [False, True])
def test_pairs_are_drawn_from_all_that_fit(placed, breadth_first):
    """Near the ends of a corridor there are no two cells at equal distance, and no agent is put there."""
    picture = [
        ".....",
        "####.",
        ".....",
        ".####",
        ".....",
    ]
    walls, place = np.array([[c == "#" for c in line] for line in picture]), 12
    keys = jax.random.split(jax.random.key(0), 8192)
    draw = jax.jit(jax.vmap(lambda key: passages.pair(key, Grid(5, 5), jnp.asarray(walls.ravel()), place, placed)))
    drawn = set(zip(*(np.asarray(x).tolist() for x in draw(keys)), strict=True))
    free = set(np.flatnonzero(~walls.ravel()).tolist())
    far = {cell: breadth_first(following(walls), cell) for cell in free}
    seconds = {place} if placed else free - {place}
    fitting = {
        (agent, first, second)
        for agent in free - {place}
        for first in free - {place}
        for second in seconds
        if first != second and far[agent][first] == far[agent][second] >= 2
    }
    assert drawn == fitting
    assert {agent for agent, _, _ in drawn} < free - {place}  # or this maze would say nothing
