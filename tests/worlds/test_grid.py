"""The primitives of grids, against plain Python."""

import functools
import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from chisel.worlds import grid
from chisel.worlds.grid import Grid

BOARD = Grid(4, 6)
BOARDS = [BOARD, Grid(1, 5), Grid(3, 3)]
WALLS = st.lists(st.booleans(), min_size=BOARD.cells, max_size=BOARD.cells)
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}

distances = jax.jit(functools.partial(grid.distances, BOARD))
pick = jax.jit(jax.vmap(grid.pick, (0, None)))
place = jax.jit(jax.vmap(grid.place, (0, None)))


def stepped(board: Grid, cell: int, action: int, walls) -> int:
    """Where a step leads, by rows and columns."""
    row, col = divmod(cell, board.width)
    row, col = row + STEPS[grid.ACTIONS[action]][0], col + STEPS[grid.ACTIONS[action]][1]
    inside = 0 <= row < board.height and 0 <= col < board.width
    return row * board.width + col if inside and not walls[row * board.width + col] else cell


# Moves and distances


@pytest.mark.parametrize("board", BOARDS)
def test_moves_and_neighbours_are_steps_on_the_board(board):
    walls = np.random.default_rng(0).random(board.cells) < 0.4
    cell, action = (jnp.array(x) for x in zip(*itertools.product(range(board.cells), range(4)), strict=True))
    free = jax.vmap(lambda c, a: grid.move(board, c, a))(cell, action).tolist()
    walled = jax.vmap(lambda c, a: grid.move(board, c, a, jnp.array(walls)))(cell, action).tolist()
    pairs = list(zip(cell.tolist(), action.tolist(), strict=True))
    assert free == [stepped(board, c, a, [False] * board.cells) for c, a in pairs]
    assert walled == [stepped(board, c, a, walls) for c, a in pairs]
    assert grid.neighbours(board).reshape(-1).tolist() == free


@settings(max_examples=50, deadline=None)
@given(walls=WALLS, target=st.integers(0, BOARD.cells - 1))
@example(walls=[False] * BOARD.cells, target=0)
def test_distances_are_those_of_breadth_first_search(walls, target, breadth_first):
    after = [[] if walls[c] else [stepped(BOARD, c, a, walls) for a in range(4)] for c in range(BOARD.cells)]
    steps = [BOARD.cells] * BOARD.cells if walls[target] else breadth_first(after, target)
    assert distances(jnp.array(walls), target).tolist() == [min(s, BOARD.cells) for s in steps]


@pytest.mark.parametrize("board", [BOARD, Grid(5, 7), Grid(13, 13)], ids=str)
def test_steps_to_a_few_cells_are_those_distances(board):
    """From and to everywhere, walls included; in a batch, where the slowest decides how long all go on."""
    rng = np.random.default_rng(0)
    walls = jnp.array(rng.random((64, board.cells)) < rng.uniform(0, 0.6, (64, 1)))
    start, targets = jnp.array(rng.integers(board.cells, size=64)), jnp.array(rng.integers(board.cells, size=(64, 5)))
    targets = targets.at[:8, 0].set(start[:8])  # one is there already
    found = jax.jit(jax.vmap(functools.partial(grid.steps_to, board)))(walls, start, targets)
    far = jax.jit(jax.vmap(functools.partial(grid.distances, board)))(walls, start)
    meant = np.take_along_axis(np.asarray(far), np.asarray(targets), axis=1)
    np.testing.assert_array_equal(found, meant)
    assert (meant == board.cells).any()
    assert (meant == 0).any()
    one = jax.jit(functools.partial(grid.steps_to, board))
    np.testing.assert_array_equal(one(walls[3], start[3], targets[3]), meant[3])


def test_distance_on_the_open_board_is_apart():
    everywhere = jnp.arange(BOARD.cells)
    far = jax.vmap(distances, (None, 0))(jnp.zeros(BOARD.cells, bool), everywhere)
    np.testing.assert_array_equal(far, grid.apart(BOARD, everywhere[:, None], everywhere[None, :]))
    assert far.max() == BOARD.diameter == 8


# Drawing cells


@settings(max_examples=50, deadline=None)
@given(eligible=WALLS)
def test_pick_gives_every_eligible_cell_the_same_share(eligible):
    assume(any(eligible))
    fit = np.flatnonzero(eligible)
    middles = (np.arange(BOARD.cells) * len(fit) // BOARD.cells + 0.5) / len(fit)
    np.testing.assert_array_equal(
        pick(jnp.array(middles, jnp.float32), jnp.array(eligible)), fit[(middles * len(fit)).astype(int)]
    )
    edges = jnp.full(BOARD.cells, np.nextafter(np.float32(1), np.float32(0))).at[0].set(0.0)
    assert pick(edges, jnp.array(eligible))[:2].tolist() == [fit[0], fit[-1]]


def test_place_draws_every_arrangement_equally_often():
    eligible = np.array([True, False, True, True, False, True])
    shares = jnp.array(list(itertools.product(*([(i + 0.5) / n for i in range(n)] for n in (4, 3, 2)))))
    drawn = [tuple(cells) for cells in place(shares, jnp.array(eligible)).tolist()]
    assert sorted(drawn) == sorted(itertools.permutations([0, 2, 3, 5], 3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_place_keeps_things_apart_and_where_they_may_be(seed):
    chance, mask = jax.random.split(jax.random.key(seed))
    eligible = jax.random.uniform(mask, (BOARD.cells,)) < 0.5
    assume(eligible.sum() >= 3)
    cells = np.asarray(place(jax.random.uniform(chance, (16, 3)), eligible))
    assert (np.diff(np.sort(cells, axis=1), axis=1) > 0).all()
    assert np.asarray(eligible)[cells].all()


@functools.cache
def duels(board: Grid):
    return jax.jit(jax.vmap(lambda key, walls: grid.duel(key, board, walls), (0, None)))


@settings(max_examples=25, deadline=None)
@given(built=st.sets(st.integers(0, BOARD.cells - 1), max_size=8), seed=st.integers(0, 2**32 - 1))
def test_duels_are_fair_around_walls(built, seed, breadth_first):
    walls = [c in built for c in range(BOARD.cells)]
    after = [[] if walls[c] else [stepped(BOARD, c, a, walls) for a in range(4)] for c in range(BOARD.cells)]
    drawn = duels(BOARD)(jax.random.split(jax.random.key(seed), 16), jnp.array(walls))
    for agent, first, second in zip(*(x.tolist() for x in drawn), strict=True):
        assert not walls[agent]
        far = breadth_first(after, agent)
        counts = Counter(d for d in far if 2 <= d < float("inf"))
        if max(counts.values(), default=0) >= 2:  # walled in, there is no duel to be had
            assert 2 <= far[first] == far[second] < float("inf")
            assert first != second


def test_duels_are_drawn_uniformly_and_alike_for_both():
    """Every duel on 3×3 as often as it should be: agent, first and second in turn, each uniform among what fits."""
    count = 20_000
    keys = jax.random.split(jax.random.key(0), count)
    drawn = Counter(zip(*(x.tolist() for x in duels(Grid(3, 3))(keys, jnp.zeros(9, bool))), strict=True))
    expected = {}
    for agent in range(9):
        row, col = divmod(agent, 3)
        far = [abs(row - c // 3) + abs(col - c % 3) for c in range(9)]
        fit = [c for c in range(9) if far[c] >= 2 and far.count(far[c]) >= 2]
        for first in fit:
            others = [c for c in fit if far[c] == far[first] and c != first]
            for second in others:
                expected[agent, first, second] = count / (9 * len(fit) * len(others))
    assert set(drawn) == set(expected)
    # χ² with as many degrees of freedom has this mean, and twice this variance; 4 standard deviations
    chi2, freedom = sum((drawn[k] - e) ** 2 / e for k, e in expected.items()), len(expected) - 1
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5


# Facts and pictures


def test_plane_is_hot_where_and_when_shown():
    shown = grid.plane(Grid(2, 3), jnp.array(4))
    assert shown.tolist() == [[False, False, False], [False, True, False]]
    assert shown.dtype == bool
    assert not grid.plane(Grid(2, 3), jnp.array(4), jnp.array(False)).any()


def test_goal_features_by_hand():
    """On 3×3 with the agent in the centre: one goal in a corner, one beside the agent, one absent."""
    facts = grid.goal_features(
        Grid(3, 3),
        ("corner", "beside", "absent"),
        jnp.array(4),
        jnp.array([0, 5, 1]),
        jnp.array([True, True, False]),
        jnp.array([2, 1, 0]),
    )
    facts = {k: v.item() for k, v in facts.items()}
    assert {k for k, v in facts.items() if v is True} == {
        "corner_present", "corner_left", "corner_above", "beside_present", "beside_right", "beside_nearest",
    }  # fmt: skip
    assert facts["corner_distance"] == 2
    assert facts["beside_distance"] == 1
    assert np.isnan(facts["absent_distance"])
    below = grid.goal_features(Grid(3, 3), ("low",), jnp.array(4), jnp.array([7]), jnp.array([True]), jnp.array([1]))
    assert [k for k, v in below.items() if v.dtype == bool and v] == ["low_present", "low_below", "low_nearest"]
    tie = grid.goal_features(
        Grid(3, 3), ("a", "b"), jnp.array(4), jnp.array([1, 3]), jnp.array([True, True]), jnp.array([1, 1])
    )
    assert tie["a_nearest"]
    assert tie["b_nearest"]


def test_paint_puts_sprites_over_ground_and_over_each_other():
    board, blank = Grid(1, 2), ["........"] * 7
    ink = {"r": (200, 0, 0), "b": (0, 0, 200)}
    red, blue = grid.sprite(["rr......", *blank], ink), grid.sprite([".b......", *blank], ink)
    ground = jnp.array([[160, 160, 160], [32, 32, 32]], jnp.uint8)
    sprites = np.stack([red, blue, red])
    frame = grid.paint(board, ground, sprites, jnp.array([1, 1, 0]), jnp.array([True, True, False]))
    assert (frame.shape, frame.dtype) == ((8, 16, 3), np.uint8)
    assert frame[0, 8].tolist() == [200, 0, 0]
    assert frame[0, 9].tolist() == [0, 0, 200]  # the later sprite is on top
    assert frame[0, 10].tolist() == [32, 32, 32]  # transparent
    assert frame[0, 0].tolist() == [160, 160, 160]  # not shown
    assert frame[7, 0].tolist() == frame[0, 7].tolist() == [150, 150, 150]  # the border of a tile
