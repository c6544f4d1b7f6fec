"""What all grid worlds promise: distances, contests and scattered levels, against search in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from chisel.worlds import load_world, maze, passages
from chisel.worlds.world import defaults, names
from tests.worlds.trial import (
    BOARDS,
    COUNT,
    SEEDS,
    arguments,
    assert_alike,
    differing,
    fast,
    keys,
    many,
    on_boards,
    params,
    pick,
    usual,
)  # fmt: skip

# The longest path, by which potentials are made to lie between −1 and 0.
LONGEST = {name: board.diameter for name, board in BOARDS.items()} | {"maze": passages.longest(maze.BOARD)}
COINCIDE = {"maze"}  # worlds in whose training levels things may lie on one cell


def successors(name: str, states) -> np.ndarray:
    """int[batch, cells, actions]: where the world's own `step` leads the agent from every cell."""
    world, cells = load_world(name), BOARDS[name].cells

    def one(state, cell, action):
        return world.step(jax.random.key(0), state._replace(agent=cell), action, defaults(world)).agent

    table = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    return np.asarray(jax.jit(table)(states, jnp.arange(cells), jnp.arange(len(world.actions))))


def steps_to_goals(name: str, states, breadth_first) -> np.ndarray:
    """float[batch, goals, cells]: steps from every cell to each goal's cell, by plain search."""
    table = successors(name, states).tolist()
    cells = np.asarray(states.cells).tolist()
    return np.array([[breadth_first(t, c) for c in row] for t, row in zip(table, cells, strict=True)])


@on_boards
def test_distances_and_shortening_actions_agree_with_search(name, breadth_first):
    world, run, each = load_world(name), fast(name), np.arange(COUNT)
    for states in (run.reset(keys(COUNT), usual(world)), run.scatter(keys(COUNT))):
        far = steps_to_goals(name, states, breadth_first)
        agent, here = np.asarray(states.agent), np.asarray(states.here)
        following = successors(name, states)[each, agent]  # [batch, actions]
        now = far[each, :, agent]  # [batch, goals]
        then = np.take_along_axis(far, following[:, None, :].repeat(len(world.goals), 1), axis=2)
        assert np.isfinite(now).all()  # every goal can be reached
        np.testing.assert_array_equal(run.shortens(states), (then < now[:, :, None]) & here[:, :, None])
        told = run.features(states)
        nearest = np.where(here, now, np.inf).min(1)
        for g, goal in enumerate(world.goals):
            np.testing.assert_array_equal(told[f"{goal}_distance"], np.where(here[:, g], now[:, g], np.nan))
            np.testing.assert_array_equal(told[f"{goal}_nearest"], here[:, g] & (now[:, g] == nearest))
            if f"near_{goal}" in names(world).potentials:
                near = np.where(here[:, g], -now[:, g] / LONGEST[name], -1)
                np.testing.assert_allclose(run.potentials(states)[f"near_{goal}"], near, rtol=1e-6)


@on_boards
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_reached_is_standing_on_a_thing_that_was_there(name, seed, play):
    world = load_world(name)
    actions = np.random.default_rng(seed).integers(len(world.actions), size=world.limit)
    story = play(name, world.scatter(jax.random.key(seed)), actions)
    before, after = pick(story.states, slice(None, -1)), pick(story.states, slice(1, None))
    np.testing.assert_array_equal(story.reached, before.here & (before.cells == after.agent[:, None]))


@on_boards
def test_absent_things_are_hidden(name):
    """Where a thing was that is not there cannot be seen, nor does it move any fact."""
    run = fast(name)
    states = run.scatter(keys(COUNT))
    taken = np.zeros((COUNT, BOARDS[name].cells), bool)
    taken[np.arange(COUNT)[:, None], np.asarray(states.cells)] = True
    elsewhere = states._replace(cells=jnp.where(states.here, states.cells, jnp.asarray(taken.argmin(1))[:, None]))
    assert differing(states.cells, elsewhere.cells).mean() > 0.5  # or this test would say nothing
    for function in ("observe", "frame", "features", "potentials", "shortens", "ceiling"):
        assert_alike(getattr(run, function)(states), getattr(run, function)(elsewhere))


@on_boards
def test_contests_are_fair(name, breadth_first):
    run, row = fast(name), np.arange(COUNT)
    key, goal, rival = arguments(name)["contest"]
    states, exchanged = run.contest(key, goal, rival), run.contest(key, rival, goal)
    here, far = np.asarray(states.here), steps_to_goals(name, states, breadth_first)
    assert here[row, goal].all()
    assert here[row, rival].all()
    first, second = (far[row, g, states.agent] for g in (goal, rival))
    np.testing.assert_array_equal(first, second)
    assert (first >= 2).all()  # so that no single step decides
    assert (np.asarray(states.cells)[row, goal] != np.asarray(states.cells)[row, rival]).all()
    # The same key with the two exchanged is the same level with the two exchanged, and nothing else.
    swapped = np.array(states.cells)
    swapped[row, goal], swapped[row, rival] = states.cells[row, rival], states.cells[row, goal]
    place = np.array([g in load_world(name).places for g in load_world(name).goals])
    mobile = ~(place[goal] | place[rival])  # a place cannot be exchanged: there the level is mirrored
    assert mobile.sum() >= COUNT // 4
    np.testing.assert_array_equal(exchanged.cells[mobile], swapped[mobile])
    assert_alike(
        pick(states._replace(cells=states.agent), mobile), pick(exchanged._replace(cells=states.agent), mobile)
    )


@on_boards
def test_contests_have_no_favourite_side(name):
    states = many(fast(name).contest, 64, jnp.zeros(COUNT, int), jnp.ones(COUNT, int))
    row, col = np.divmod(np.asarray(states.cells)[:, :2], BOARDS[name].width)
    for line in (row, col):  # a fair mean of 4,096 signs has a standard deviation of at most 0.016
        assert abs(np.sign(line[:, 0] - line[:, 1]).mean()) < 0.05


@on_boards
def test_scattered_goals_vary_independently(name):
    """The sampler behind the bank. Correlations of independent facts have a standard deviation of 1/√n: 0.008 in 16,384
    levels. There is room for chance, and for the −1/48 (on 49 cells) that follows from no two things being on one cell.
    """
    world, states = load_world(name), many(fast(name).scatter, 256)
    goals, place = len(world.goals), np.array([g in world.places for g in world.goals])
    row, col = np.divmod(states.cells, BOARDS[name].width)
    home = np.stack(np.divmod(states.agent, BOARDS[name].width), 1)
    facts = np.concatenate([states.here, row, col, home], 1).astype(float)
    kept = np.append(~np.tile(place, 3), [True, True])
    r = np.corrcoef(facts[:, kept].T)
    owner = np.concatenate([np.tile(np.arange(goals), 3), [goals, goals]])[kept]
    room = 0.03 + 1 / (BOARDS[name].cells - 1)
    assert np.abs(r[owner[:, None] != owner[None, :]]).max() < room
    # A goal's presence tells nothing of its own position either, nor its row of its column: but for what follows from a
    # corner that is kept free for a place.
    assert np.abs(r - np.eye(len(r))).max() < (0.09 if place.any() else room)
    assert np.abs(states.here.mean(0)[~place] - 0.5).max() < 0.02
    middle = (BOARDS[name].width - 1) / 2
    assert np.abs(row.mean(0)[~place] - middle).max() < 0.15
    assert np.abs(col.mean(0)[~place] - middle).max() < 0.15


@on_boards
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_things_lie_apart_on_the_board(name, seed):
    world, run, key = load_world(name), fast(name), keys(COUNT, seed)
    contested = arguments(name)["contest"][1:]
    fresh = [] if name in COINCIDE else [run.reset(key, params(world))]
    for states in (*fresh, run.scatter(key), run.contest(key, *contested)):
        occupied = np.sort(np.concatenate([states.cells, states.agent[:, None]], 1), axis=1)
        assert (np.diff(occupied, axis=1) > 0).all()
        assert (occupied >= 0).all()
        assert (occupied < BOARDS[name].cells).all()


@on_boards
def test_features_tell_of_presence(name):
    run, states = fast(name), fast(name).scatter(keys(COUNT))
    for g, goal in enumerate(load_world(name).goals):
        if goal in load_world(name).places:
            continue
        which, yes = jnp.full(COUNT, g), jnp.ones(COUNT, bool)
        for there in (yes, ~yes):
            told = run.features(run.present(states, which, there))
            np.testing.assert_array_equal(told[f"{goal}_present"], there)
            for other in set(load_world(name).goals) - {goal, *load_world(name).places}:
                np.testing.assert_array_equal(told[f"{other}_present"], run.features(states)[f"{other}_present"])
