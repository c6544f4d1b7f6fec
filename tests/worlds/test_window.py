"""Windows: the cells around the agent as they are on the board, and nothing of the rest."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from chisel.build.build import load_study, world_of
from chisel.study.files import WrongInput
from chisel.worlds import WORLDS, load_world
from chisel.worlds.window import SHADE, windowed
from chisel.worlds.world import names
from tests.worlds.trial import BOARDS, COUNT, SEEDS, differing, fast, keys, on_boards, usual

ALL = 2 * max(max(board) for board in BOARDS.values()) + 1  # shows the whole board from every cell
sides = pytest.mark.parametrize("side", [3, 5, ALL])


@functools.cache
def through(name, side, function="observe"):
    """A function of one state of the world behind the window, mapped over states and compiled."""
    return jax.jit(jax.vmap(getattr(load_world(name, view=side), function)))


def rows_and_columns(name, cells):
    return np.divmod(np.asarray(cells), BOARDS[name].width)


def cut(board, row, column, side):
    """The window in plain Python."""
    height, width, planes = board.shape
    meant = np.zeros((side, side, planes + 1), board.dtype)
    for i in range(side):
        for j in range(side):
            y, x = row - side // 2 + i, column - side // 2 + j
            if 0 <= y < height and 0 <= x < width:
                meant[i, j, :-1] = board[y, x]
            else:
                meant[i, j, -1] = 1
    return meant


@on_boards
@sides
def test_a_window_shows_the_cells_around_the_agent_and_where_the_board_ends(name, side):
    for states in (fast(name).reset(keys(COUNT), usual(load_world(name))), fast(name).scatter(keys(COUNT))):
        seen, boards = (np.asarray(see(states)) for see in (through(name, side), fast(name).observe))
        assert seen.dtype == boards.dtype
        rows, columns = rows_and_columns(name, states.agent)
        np.testing.assert_array_equal(seen, [cut(*x, side) for x in zip(boards, rows, columns, strict=True)])
        assert seen[:, side // 2, side // 2, 0].all()  # the agent, in the middle
        assert (seen[..., 0].sum((1, 2)) == 1).all()
        assert not seen[:, side // 2, side // 2, -1].any()
        if side == ALL:  # nothing is lost
            assert (seen[..., :-1].sum((1, 2)) == boards.sum((1, 2))).all()
            assert ((seen[..., -1] == 0).sum((1, 2)) == BOARDS[name].cells).all()


@on_boards
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_what_is_out_of_sight_changes_nothing(name, seed):
    """Every object is taken out and put in. It is seen if and only if it is near, whatever is known of it."""
    world, run, side, see = load_world(name), fast(name), 5, through(name, 5)
    states = run.scatter(keys(COUNT, seed))
    row, column = rows_and_columns(name, states.agent)
    for g, goal in enumerate(world.goals):
        if goal in world.places:
            continue
        which = jnp.full(COUNT, g)
        there, gone = (run.present(states, which, jnp.full(COUNT, yes)) for yes in (True, False))
        y, x = rows_and_columns(name, there.cells[:, g])
        near = (np.abs(y - row) <= side // 2) & (np.abs(x - column) <= side // 2)
        assert 0 < near.sum() < COUNT
        np.testing.assert_array_equal(differing(see(there), see(gone)), near)
        assert differing(run.observe(there), run.observe(gone)).all()


@on_boards
def test_all_but_the_view_is_as_it_was(name):
    world, seen = load_world(name), load_world(name, view=5)
    assert seen.name == f"{name} seen through 5×5"
    changed = {f for f in world._fields if getattr(world, f) is not getattr(seen, f)}
    assert changed == {"name", "observe", "frame"}
    (height, width, planes), board = names(seen).observation.shape, names(world).observation.shape
    assert (height, width, planes) == (5, 5, board[-1] + 1)
    assert names(seen)._replace(observation=None) == names(world)._replace(observation=None)


@on_boards
@pytest.mark.parametrize("side", [3, ALL])
def test_a_frame_is_dark_exactly_where_nothing_can_be_seen(name, side):
    board, states = BOARDS[name], fast(name).scatter(keys(COUNT))
    dimmed = np.asarray(through(name, side, "frame")(states))
    bright = np.asarray(fast(name).frame(states))
    tile = bright.shape[1] // board.height
    assert bright.shape[1:] == (board.height * tile, board.width * tile, 3) == dimmed.shape[1:]
    rows, columns = rows_and_columns(name, np.arange(board.cells))
    agent_row, agent_column = rows_and_columns(name, np.asarray(states.agent)[:, None])
    lit = (np.abs(rows - agent_row) <= side // 2) & (np.abs(columns - agent_column) <= side // 2)
    lit = lit.reshape(COUNT, board.height, board.width).repeat(tile, 1).repeat(tile, 2)
    np.testing.assert_array_equal(dimmed[lit], bright[lit])
    np.testing.assert_array_equal(dimmed[~lit], bright[~lit].astype(int) * SHADE // 16)
    assert (~lit).any() == (side == 3)


@pytest.mark.parametrize("name", [*sorted(BOARDS), "maze:9"])
def test_a_view_of_a_world_is_one_object(name):
    """Or else all that is compiled for a world would be compiled again and again."""
    assert load_world(name, view=5) is load_world(name, "mine.toml: view", 5)
    assert load_world(name, view=5) is not load_world(name, view=3)
    assert load_world(name, view=None) is load_world(name)


def test_the_window_of_a_world_that_is_not_registered():
    """Another board than the one that the name stands for is cut by its own size."""
    large = windowed(load_world("maze:9"), 3)
    assert names(large).observation.shape[:2] == (3, 3)


# What is refused

STUDY = """title = "Near"
world = "{world}"
view = {view}
[training]
steps = 2048
[[schedule]]
name = "none"
reward = {{}}
"""
ROOMS = ", ".join(repr(name) for name, world in WORLDS.items() if world.board)


@pytest.fixture
def complaint(tmp_path):
    def complaint(world, view):
        path = tmp_path / "near.toml"
        path.write_text(STUDY.format(world=world, view=view))
        with pytest.raises(WrongInput) as error:
            load_study(str(path))
        text = str(error.value)
        assert text.startswith(f"{path}, line 3: view")
        return text.removeprefix(f"{path}, line 3: ")

    return complaint


@pytest.mark.parametrize("world", ["posture", "chess", "pacman", "gymnax:CartPole-v1"])
def test_a_world_without_a_board_is_refused_by_name(complaint, world):
    package = {"chess": "pgx", "pacman": "jumanji", "gymnax:CartPole-v1": "gymnax"}.get(world)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    said = f"view: {world!r} has no board that could be seen through a window; expected one of {ROOMS}"
    assert complaint(world, 5) == said


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (4, "view: 4 is even, but the agent is in the middle; nearest are 3 and 5"),
        (1, "view is 1; expected greater than or equal to 3"),
        (2, "view is 2; expected greater than or equal to 3"),
        (-5, "view is -5; expected greater than or equal to 3"),
        (5.5, "view is 5.5; expected a valid integer, got a number with a fractional part"),
    ],
)
def test_a_window_without_a_middle_is_refused(complaint, view, said):
    assert complaint("smile", view) == said


def test_a_study_with_a_view_is_of_that_world(tmp_path):
    path = tmp_path / "near.toml"
    path.write_text(STUDY.format(world="smile", view=5))
    study = load_study(str(path))
    assert world_of(study) is load_world("smile", view=5)
    assert "view = 5" in study.to_toml().splitlines()
    assert "view" not in study.model_copy(update={"view": None}).to_toml()
