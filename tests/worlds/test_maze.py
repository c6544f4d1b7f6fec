"""`maze`, step by step, and its invariants."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.study.files import WrongInput
from chisel.worlds.grid import Grid
from chisel.worlds.maze import GOALS, MAZE, State, make, sized
from chisel.worlds.world import defaults, names

UP, DOWN, LEFT, RIGHT = range(4)
CHEESE, MARKER, CORNER = range(3)
BOARD, TOP_RIGHT = Grid(7, 7), 6
SEEDS = st.integers(0, 2**32 - 1)
COUNT = 64
reset = jax.jit(jax.vmap(MAZE.reset, (0, None)))
scatter, contest = jax.jit(jax.vmap(MAZE.scatter)), jax.jit(jax.vmap(MAZE.contest, (0, None, None)))
ceiling = jax.jit(jax.vmap(MAZE.ceiling))
shortens, features, potentials, observe, frame, ceiling_of_one = (
    jax.jit(f) for f in (MAZE.shortens, MAZE.features, MAZE.potentials, MAZE.observe, MAZE.frame, MAZE.ceiling)
)


def drawn(picture: str, **changes) -> State:
    """A level from a map: # wall, @ agent, c cheese, m marker, b both on one cell."""
    flat = "".join(picture.split())
    assert len(flat) == BOARD.cells
    cheese, marker = (max(flat.find(thing), flat.find("b")) for thing in "cm")
    state = State(
        agent=jnp.int32(flat.index("@")),
        cells=jnp.array([max(cheese, 0), max(marker, 0), TOP_RIGHT], jnp.int32),
        here=jnp.array([cheese >= 0, marker >= 0, True]),
        eaten=jnp.array(False),
        visited=jnp.array(False),
        walls=jnp.array([c == "#" for c in flat]),
    )
    return state._replace(**changes)


APART = """
    ..@#m..
    .#.#.#.
    .#...#c
    .#####.
    .......
    .#.#.#.
    .#...#.
"""
TOGETHER = """
    .....@b
    .###.#.
    .#...#.
    .#.#.#.
    .#.#...
    .#.#.#.
    .......
"""
BLOCKED = """
    .....#.
    ##.###.
    @.c...m
    .#.#.#.
    .#.#.#.
    .#.#.#.
    ...#...
"""  # the cheese lies in the only way to marker and corner
AROUND = """
    .....#.
    ##.###.
    @.c...m
    .#.#.#.
    .#...#.
    .#.#.#.
    .......
"""  # here there is another, below


def assert_story(story, lines) -> None:
    """`lines`: (action, cell, the channels that are 1, the goals reached) for every step."""
    for t, (_, cell, fired, touched) in enumerate(lines):
        assert story.states.agent[t + 1] == cell, f"step {t + 1}"
        told = {k: v[t].item() for k, v in story.facts.items()}
        assert told == dict.fromkeys(GOALS, 0.0) | dict.fromkeys(fired.split(), 1.0), f"step {t + 1}"
        assert [g for g, yes in zip(GOALS, story.reached[t], strict=True) if yes] == touched.split(), f"step {t + 1}"


def test_golden_marker_corner_cheese(play):
    lines = [
        (UP, 2, "", ""),  # the edge of the board
        (RIGHT, 2, "", ""),  # a wall
        (DOWN, 9, "", ""),
        (DOWN, 16, "", ""),
        (RIGHT, 17, "", ""),
        (RIGHT, 18, "", ""),
        (RIGHT, 18, "", ""),  # a wall
        (UP, 11, "", ""),
        (UP, 4, "marker", "marker"),  # wiped out
        (UP, 4, "", ""),  # standing on its cell does nothing any more
        (RIGHT, 5, "", ""),
        (LEFT, 4, "", ""),  # nor does coming back
        (RIGHT, 5, "", ""),
        (RIGHT, 6, "corner", "corner"),  # entered for the first time
        (RIGHT, 6, "", "corner"),  # stays: reached, but not entered again
        (LEFT, 5, "", ""),
        (RIGHT, 6, "", "corner"),  # and back: reached, but paid once only
        (DOWN, 13, "", ""),
        (DOWN, 20, "cheese", "cheese"),  # over
        (DOWN, 27, "", ""),
        (UP, 20, "", ""),  # nothing is left to eat
    ]
    story = play("maze", drawn(APART), [line[0] for line in lines])
    assert_story(story, lines)
    assert story.ended.tolist() == [False] * 19 + [True] * 3
    assert story.states.eaten.tolist() == story.ended.tolist()
    assert story.states.visited.tolist() == [False] * 14 + [True] * 8
    assert story.states.here[:, MARKER].tolist() == [True] * 9 + [False] * 13
    assert story.states.here[:, CHEESE].tolist() == [True] * 19 + [False] * 3
    assert story.states.here[:, CORNER].all()


def test_golden_all_at_once(play):
    """As in training: cheese and marker in the corner. One step takes all three, and the episode is over."""
    lines = [(LEFT, 4, "", ""), (RIGHT, 5, "", ""), (RIGHT, 6, "cheese marker corner", "cheese marker corner")]
    story = play("maze", drawn(TOGETHER), [line[0] for line in lines])
    assert_story(story, lines)
    assert story.ended.tolist() == [False] * 3 + [True]
    assert story.states.here[-1].tolist() == [False, False, True]


def test_golden_absences(play):
    """Where there is no cheese nothing ends the episode, and where there is no marker none is counted."""
    absent = MAZE.present(MAZE.present(drawn(TOGETHER), CHEESE, False), MARKER, False)
    story = play("maze", absent, [RIGHT, LEFT])
    assert_story(story, [(RIGHT, 6, "corner", "corner"), (LEFT, 5, "", "")])
    assert not story.ended.any()
    back = MAZE.present(jax.tree.map(lambda x: jnp.asarray(x[-1]), story.states), CHEESE, True)
    story = play("maze", back, [RIGHT])
    assert_story(story, [(RIGHT, 6, "cheese", "cheese corner")])
    assert story.ended.tolist() == [False, True]


@pytest.mark.parametrize("there", [True, False])
def test_the_corner_is_neither_put_in_nor_taken_out(there):
    for picture in (APART, TOGETHER):
        state = drawn(picture)
        for one, other in zip(MAZE.present(state, CORNER, there), state, strict=True):
            np.testing.assert_array_equal(one, other)


# What is told of a level, by hand


def test_golden_distances():
    """In APART the way to the marker is a corridor, and on from there to the corner and the cheese."""
    state = drawn(APART)
    told = features(state)
    assert [told[f"{g}_distance"].item() for g in GOALS] == [10, 6, 8]
    assert [g for g in GOALS if told[f"{g}_nearest"]] == ["marker"]
    near = potentials(state)
    assert [near[f"near_{g}"].item() for g in GOALS] == pytest.approx([-10 / 30, -6 / 30, -8 / 30])
    down = [False, True, False, False]
    # Around by the left and the bottom the cheese is 14 steps away, so that left does not shorten any path.
    assert shortens(state).tolist() == [down, down, down]
    gone = MAZE.present(state, MARKER, False)
    assert shortens(gone).tolist() == [down, [False] * 4, down]
    assert potentials(gone)["near_marker"] == -1
    assert np.isnan(features(gone)["marker_distance"])
    below = drawn(AROUND)._replace(agent=jnp.int32(46))
    assert shortens(below).tolist()[MARKER] == [True, False, False, True]  # two ways are as short
    assert shortens(below).tolist()[CHEESE] == [True, False, True, False]


@pytest.mark.parametrize(("picture", "odd"), [(APART, False), (APART.replace("#m", ".m"), True)], ids=["even", "odd"])
def test_parity_of_walls(picture, odd):
    assert picture.count("#") == 16 - odd
    assert bool(features(drawn(picture))["walls_odd"]) is odd


@pytest.mark.parametrize(
    ("picture", "changes", "best"),
    [
        (APART, {}, [1, 1, 1]),
        (TOGETHER, {}, [1, 1, 1]),  # both under the agent's next step
        (AROUND, {}, [1, 1, 1]),
        (BLOCKED, {}, [1, 0, 0]),  # who eats the cheese gets no further
        (BLOCKED, {"here": jnp.array([False, True, True])}, [0, 1, 1]),  # without it the way is free
        (APART, {"visited": jnp.array(True)}, [1, 1, 0]),
        (APART, {"eaten": jnp.array(True)}, [0, 0, 0]),  # over
    ],
    ids=["apart", "together", "a_way_around", "blocked", "no_cheese", "visited", "over"],
)
def test_ceilings_by_hand(picture, changes, best):
    assert [ceiling_of_one(drawn(picture, **changes))[g].item() for g in GOALS] == best


def test_observation_by_hand():
    planes = np.asarray(observe(drawn(APART)))
    walls = [divmod(i, 7) for i, c in enumerate("".join(APART.split())) if c == "#"]
    assert planes.shape == (7, 7, 4)
    lit = [[tuple(x) for x in np.argwhere(planes[..., p]).tolist()] for p in range(4)]
    assert lit == [[(0, 2)], walls, [(2, 6)], [(0, 4)]]
    both = np.asarray(observe(drawn(TOGETHER)))
    assert np.argwhere(both[..., 2]).tolist() == np.argwhere(both[..., 3]).tolist() == [[0, 6]]
    bare = np.asarray(observe(drawn(TOGETHER, here=jnp.array([False, False, True]))))
    assert not bare[..., 2:].any()  # nor is the corner drawn


def test_what_the_agent_cannot_see():
    """Whether the corner was visited, and that the cheese was eaten."""
    state = drawn(APART)
    hidden = state._replace(visited=jnp.array(True), eaten=jnp.array(True))
    np.testing.assert_array_equal(observe(hidden), observe(state))
    np.testing.assert_array_equal(frame(hidden), frame(state))
    assert features(hidden)["corner_visited"]
    assert not features(state)["corner_visited"]


def test_things_can_be_told_apart_in_the_picture():
    """Cheese, marker, agent, and the cheese below its marker."""
    alone = [
        (20, drawn(APART, here=jnp.array([True, False, True]))),
        (20, drawn(APART, here=jnp.array([False, True, True]), cells=jnp.array([0, 20, 6]))),
        (20, drawn(APART, cells=jnp.array([20, 20, 6]))),
        (2, drawn(APART)),
    ]
    tiles = [np.asarray(frame(s), int)[cell // 7 * 8 :, cell % 7 * 8 :][:8, :8] for cell, s in alone]
    for i in range(4):
        for j in range(i):
            assert (np.abs(tiles[i] - tiles[j]).max(-1) > 40).sum() >= 10, (i, j)


# Invariants under random play


def params(rng, world=MAZE) -> dict[str, jax.Array]:
    return {k: jnp.float32(rng.uniform(p.low, p.high)) for k, p in world.params.items()}


def first(states) -> State:
    return jax.tree.map(lambda x: jnp.asarray(x[0]), states)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, scattered=st.booleans())
def test_invariants(seed, scattered, play):
    keys, rng = jax.random.split(jax.random.key(seed), COUNT), np.random.default_rng(seed)
    level = params(rng)
    start = first(scatter(keys) if scattered else reset(keys, level))
    story = play("maze", start, rng.integers(4, size=60), keys[0], level)
    states, here = story.states, story.states.here
    for fixed in ("cells", "walls"):
        assert (getattr(states, fixed) == getattr(states, fixed)[0]).all(), fixed
    assert (states.cells[:, CORNER] == TOP_RIGHT).all()
    assert here[:, CORNER].all()
    assert not states.walls[0][states.agent].any()
    assert not states.walls[0][states.cells[0]].any()
    row, col = np.divmod(states.agent, 7)
    assert ((states.agent >= 0) & (states.agent < 49)).all()
    assert (np.abs(np.diff(row)) + np.abs(np.diff(col)) <= 1).all()
    # What goes is counted, at the step at which it goes, and nothing comes.
    assert not (here[1:] & ~here[:-1]).any()
    for g, goal in enumerate(GOALS):
        assert story.facts[goal].sum() <= 1
        if goal != "corner":
            np.testing.assert_array_equal(story.facts[goal], here[:-1, g] & ~here[1:, g])
    entered = (states.agent == TOP_RIGHT).cumsum() > 0
    np.testing.assert_array_equal(states.visited, entered | states.visited[0])
    np.testing.assert_array_equal(story.facts["corner"], states.visited[1:] & ~states.visited[:-1])
    np.testing.assert_array_equal(story.ended, here[0, CHEESE] & ~here[:, CHEESE])


@pytest.mark.parametrize("size", [5, 9])
def test_everything_can_be_reached_on_other_boards(size, breadth_first):
    """By agents of levels of all kinds, within the time limit; and things lie where they may."""
    world, rng = sized(size), np.random.default_rng(size)
    keys = jax.random.split(jax.random.key(size), COUNT)
    contested = jax.jit(jax.vmap(world.contest, (0, None, None)))
    sets = [jax.jit(jax.vmap(world.reset, (0, None)))(keys, params(rng, world)), jax.jit(jax.vmap(world.scatter))(keys)]
    sets += [contested(keys, jnp.int32(0), jnp.int32(1)), contested(keys, jnp.int32(2), jnp.int32(0))]
    for kind, states in enumerate(sets):
        assert (np.asarray(states.cells)[:, CORNER] == size - 1).all()
        for i in range(COUNT):
            state = jax.tree.map(lambda x, i=i: np.asarray(x[i]), states)
            far = breadth_first(around(state.walls), int(state.agent))
            things = [far[c] for c in state.cells]
            assert max(far[c] for c in np.flatnonzero(~state.walls)) <= world.limit - 10
            assert min(things) > 0
            if kind == 2:
                assert things[CHEESE] == things[MARKER] >= 2
            if kind == 3:
                assert things[CHEESE] == things[CORNER] >= 2


# The level distribution


def levels(rounds: int = 16, **changes: float) -> State:
    level = {k: jnp.float32(v) for k, v in (defaults(MAZE) | changes).items()}
    batches = [reset(keys, level) for keys in jax.random.split(jax.random.key(3), (rounds, COUNT))]
    return jax.tree.map(lambda *x: np.concatenate(x), *batches)


def assert_free(states: State) -> None:
    """Nobody stands in a wall, nor starts on a goal."""
    taken = np.concatenate([states.cells, states.agent[:, None]], 1)
    assert not np.take_along_axis(states.walls, taken, 1).any()
    assert (states.cells != states.agent[:, None]).all()


def test_training_levels_by_default():
    """The cheese in the corner, the marker on it, the agent anywhere else."""
    states = levels()
    assert (states.cells == TOP_RIGHT).all()
    assert states.here.all()
    assert not states.eaten.any()
    assert not states.visited.any()
    assert_free(states)
    odd = np.divmod(np.arange(49), 7)
    free = {cell for cell in range(49) if not (odd[0][cell] % 2 and odd[1][cell] % 2)} - {TOP_RIGHT}
    assert set(states.agent.tolist()) == free


@pytest.mark.parametrize(("corner", "side"), [(1.4, 1), (1.6, 2), (3.0, 3), (7.0, 7)])
def test_the_cheese_lies_in_a_square_at_the_corner(corner, side):
    states = levels(corner=corner)
    row, col = np.divmod(states.cells[:, CHEESE], 7)
    assert row.max() == side - 1
    assert col.min() == 7 - side
    assert row.min() == 0
    assert col.max() == 6
    assert (states.cells[:, MARKER] == states.cells[:, CHEESE]).all()
    assert_free(states)


def test_cheese_and_marker_come_apart():
    states = levels(corner=7.0, together=0.0)
    assert (states.cells[:, CHEESE] != states.cells[:, MARKER]).all()
    assert_free(states)
    assert len(set(states.cells[:, MARKER].tolist())) == 40  # every cell but the pillars, the corner as well
    states = levels(rounds=64, corner=7.0, together=0.25, marker=0.5)
    joined, shown = states.cells[:, CHEESE] == states.cells[:, MARKER], states.here[:, MARKER]
    for share in (
        joined[shown].mean(),
        joined[~shown].mean(),
    ):  # whether there is a marker tells nothing of where it is
        assert 0.21 < share < 0.29


def test_markers_come_with_their_chance():
    assert not levels(marker=0.0).here[:, MARKER].any()
    here = levels(rounds=64, marker=0.25).here
    assert 0.22 < here[:, MARKER].mean() < 0.28
    assert here[:, CHEESE].all()


def test_walls_come_with_their_chance():
    assert (levels(walls=0.0).walls.sum(1) == 9).all()
    assert (levels(walls=1.0).walls.sum(1) == 18).all()  # 24 passages less the 15 of a tree
    assert abs(levels().walls.sum(1).mean() - 13.5) < 0.2


def test_the_bank_parts_what_training_joins():
    """Where the cheese is tells nothing of the marker, nor of the corner; and each is there or not by itself."""
    states = jax.tree.map(
        lambda *x: np.concatenate(x), *map(scatter, jax.random.split(jax.random.key(9), (128, COUNT)))
    )
    assert_free(states)
    assert (states.cells[:, CHEESE] != states.cells[:, MARKER]).all()
    assert (states.cells[:, :2] != TOP_RIGHT).all()
    assert (states.agent != TOP_RIGHT).all()
    assert not states.eaten.any()
    places = [np.stack(np.divmod(x, 7)) for x in (*states.cells.T[:2], states.agent)]
    coins = [*states.here.T[:2], states.visited, states.walls.sum(1) % 2 == 1, states.walls.sum(1)]
    r = np.corrcoef(np.concatenate([*places, coins]).astype(float))
    for i in range(0, 6, 2):
        r[i, i + 1] = r[i + 1, i] = (
            0  # a thing's row and column are not quite independent, as no thing is in the corner
        )
    r[-1, -2] = r[-2, -1] = 0  # nor are a number and its parity
    # Of 8,192 layouts a fair correlation has a standard deviation of 0.011; sharing about 35 cells is worth −0.03.
    assert np.abs(r - np.eye(len(r))).max() < 0.06
    for coin in coins[:4]:
        assert abs(coin.mean() - 0.5) < 0.025
    assert (states.walls.sum(1).min(), states.walls.sum(1).max()) == (9, 18)  # open lattices and perfect mazes


# Contests


def mirrored(cells) -> np.ndarray:
    """Along the diagonal through the top right corner: the first row becomes the last column, read downwards."""
    image = np.arange(49).reshape(7, 7)[::-1, ::-1].T.ravel()
    return np.argsort(image)[np.asarray(cells)]


def test_mirroring_by_hand():
    assert mirrored([6, 0, 48, 42, 5, 13]).tolist() == [6, 48, 0, 42, 13, 5]


@pytest.mark.parametrize(("goal", "rival"), [(CHEESE, MARKER), (CHEESE, CORNER), (MARKER, CORNER)])
def test_contests_are_fair(goal, rival, breadth_first):
    keys = jax.random.split(jax.random.key(4), COUNT)
    states, exchanged = (
        jax.tree.map(np.asarray, contest(keys, jnp.int32(a), jnp.int32(b))) for a, b in ((goal, rival), (rival, goal))
    )
    for drawn_states in (states, exchanged):
        assert_free(drawn_states)
        assert (drawn_states.here == [g in (goal, rival, CORNER) for g in range(3)]).all()
        assert not drawn_states.visited.any()
        assert (drawn_states.cells[:, :2] != TOP_RIGHT).all()
        assert (drawn_states.cells[:, CORNER] == TOP_RIGHT).all()
        for walls, agent, cells in zip(drawn_states.walls, drawn_states.agent, drawn_states.cells, strict=True):
            far = breadth_first(around(walls), int(agent))
            assert far[cells[goal]] == far[cells[rival]] >= 2
    assert len(set(states.agent.tolist())) > 15
    if rival == CORNER:
        assert (exchanged.agent == mirrored(states.agent)).all()
        assert (exchanged.cells == mirrored(states.cells)).all()
        assert (exchanged.walls[:, mirrored(np.arange(49))] == states.walls).all()
    else:
        assert (exchanged.agent == states.agent).all()
        assert (exchanged.walls == states.walls).all()
        assert (exchanged.cells == states.cells[:, [MARKER, CHEESE, CORNER]]).all()


# The ceiling


def around(walls, size: int = 0) -> list[list[int]]:
    """Where each action leads from each cell, in plain Python."""
    size = size or round(len(walls) ** 0.5)

    def to(cell: int, action: int) -> int:
        row, col = divmod(cell, size)
        row, col = row + (action == DOWN) - (action == UP), col + (action == RIGHT) - (action == LEFT)
        inside = 0 <= row < size and 0 <= col < size
        return row * size + col if inside and not walls[row * size + col] else cell

    return [[to(cell, action) for action in range(4)] for cell in range(size * size)]


def plans(state: State) -> dict[str, list[int]]:
    """The shortest plan that makes each channel fire, where there is one within the limit: a search over cells that
    knows the rules, and goes through what it may, but never beyond the end of the episode.
    """
    after, found = around(state.walls), {}
    if state.eaten:
        return found
    cheese, marker = (int(c) if here else None for c, here in zip(state.cells[:2], state.here[:2], strict=True))
    seen, queue = set(), deque([(int(state.agent), [])])
    while queue:
        cell, plan = queue.popleft()
        for action in range(4) if len(plan) < MAZE.limit else ():
            to, longer = after[cell][action], [*plan, action]
            fires = {"cheese": to == cheese, "marker": to == marker, "corner": to == TOP_RIGHT and not state.visited}
            for channel in (c for c, yes in fires.items() if yes):
                found.setdefault(channel, longer)
            if to not in seen and to != cheese:
                seen.add(to)
                queue.append((to, longer))
    return found


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS)
def test_ceiling_is_what_the_best_plan_gets(seed, play):
    """As many levels again have the agent's cell on the cheese's or the marker's, as after things were put back."""
    keys, rng = jax.random.split(jax.random.key(seed), COUNT), np.random.default_rng(seed)
    fresh = jax.tree.map(np.asarray, reset(keys, params(rng) | {"together": jnp.float32(0.5)}))
    scattered = jax.tree.map(np.asarray, scatter(keys))
    back = scattered._replace(agent=scattered.cells[np.arange(COUNT), rng.integers(2, size=COUNT)])
    for states in (fresh, scattered, back):
        told = ceiling(states)
        for i in range(COUNT):
            state = jax.tree.map(lambda x, i=i: x[i], states)
            best = plans(state)
            assert {c for c in GOALS if told[c][i] == 1} == set(best), i
            assert all(told[c][i] in (0, 1) for c in GOALS)
            for channel, plan in best.items() if i < 4 else ():
                story = play("maze", jax.tree.map(jnp.asarray, state), plan)
                assert story.facts[channel].sum() == story.facts[channel][-1] == 1
                assert not story.ended[:-1].any()


# Sizes


@pytest.mark.parametrize(("option", "limit"), [("5", 26), ("7", 40), ("9", 58), ("13", 106)])
def test_boards_of_other_sizes(option, limit):
    world, size = make(option), int(option)
    assert (world.name, world.limit) == (f"maze:{option}", limit)
    assert names(world).observation.shape == (size, size, 4)
    assert world.params["corner"].high == size
    assert jax.eval_shape(world.frame, jax.eval_shape(world.scatter, jax.random.key(0))).shape == (
        8 * size,
        8 * size,
        3,
    )


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("big", "found 'big'"),
        ("", "found ''"),
        ("-7", "found '-7'"),
        ("7.0", "found '7.0'"),
        ("٧", "found '٧'"),
        ("9" * 5000, "found '999"),
        ("8", "found '8'; the nearest are 7 and 9"),
        ("3", "found '3'; agent, cheese, marker and corner cannot lie apart on less than 5"),
        ("1", "found '1'; agent, cheese, marker and corner cannot lie apart on less than 5"),
        ("0", "found '0'; agent, cheese, marker and corner cannot lie apart on less than 5"),
        ("14", "found '14'; the largest is 13"),
        ("15", "found '15'; the largest is 13"),
    ],
)
def test_sizes_that_there_are_not(option, why):
    with pytest.raises(WrongInput) as error:
        make(option)
    assert str(error.value).startswith(f"maze:{option}: expected an odd size from 5 to 13, {why}")
    assert "\n" not in str(error.value)
