"""What the contract promises, tried on every world alike."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

from chisel.worlds import WORLDS, gallery, smile
from chisel.worlds.world import World, defaults, names, vector

ALL = sorted(WORLDS)
# Grid worlds: their states have `agent`, `cells` and `here`, and goals are objects on cells.
BOARDS = {"gallery": gallery.BOARD, "smile": smile.BOARD}
TOLD = ("observe", "ended", "potentials", "features", "shortens", "ceiling", "frame")  # functions of one state
FUNCTIONS = ("reset", "step", "channels", "reached", "present", "scatter", "contest", *TOLD)
COUNT = 64  # arguments side by side; one number, because every other would be another compilation
SEEDS = st.integers(0, 2**32 - 1)

everywhere = pytest.mark.parametrize("name", ALL)
on_boards = pytest.mark.parametrize("name", sorted(BOARDS))


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


@functools.cache
def fast(name: str) -> SimpleNamespace:
    """A world's functions, mapped over all of their arguments and compiled."""
    world = WORLDS[name]
    return SimpleNamespace(**{f: jax.jit(jax.vmap(getattr(world, f))) for f in FUNCTIONS})


def params(world: World) -> dict[str, jax.Array]:
    """Level distributions from the lower bounds of all params to the upper bounds."""
    return {k: jnp.linspace(p.low, p.high, COUNT) for k, p in world.params.items()}


def usual(world: World) -> dict[str, jax.Array]:
    return {k: jnp.full(COUNT, v) for k, v in defaults(world).items()}


@functools.cache
def arguments(name: str) -> dict[str, tuple]:
    """Arguments for each function, [COUNT, ...]: actions and goals in turn, half levels of training, half scattered."""
    world, run, turn, key, level = WORLDS[name], fast(name), jnp.arange(COUNT), keys(COUNT), params(WORLDS[name])
    fresh, scattered = run.reset(key, level), run.scatter(key)
    state = jax.tree.map(lambda a, b: jnp.concatenate([a[::2], b[::2]]), fresh, scattered)
    action, goal = turn % len(world.actions), turn % len(world.goals)
    rival = (goal + 1 + turn // len(world.goals) % (len(world.goals) - 1)) % len(world.goals)
    stepping = (key, state, action, level)
    transition = (state, action, run.step(*stepping))
    return {
        "reset": (key, level),
        "step": stepping,
        "channels": transition,
        "reached": transition,
        "present": (state, goal, turn % 3 == 0),
        "scatter": (key,),
        "contest": (key, goal, rival),
    } | dict.fromkeys(TOLD, (state,))


def pick(tree, i: int):
    return jax.tree.map(lambda x: x[i], tree)


def numbers(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_alike(one, other) -> None:
    """Equal in structure and type, and bit for bit but for what reordering does to floats."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(a, b)


def many(function, rounds: int, *args):
    """Calls with ever new keys, side by side: COUNT at once, so that nothing is compiled for it."""
    batches = [function(keys(COUNT, seed), *args) for seed in range(rounds)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def differing(one, other) -> np.ndarray:
    """bool[batch]: where two batched arrays differ."""
    one, other = np.asarray(one), np.asarray(other)
    return (one != other).reshape(len(one), -1).any(1)


# The record itself


@everywhere
def test_names_are_sound(name):
    world, told = WORLDS[name], names(WORLDS[name])
    assert world.name == name
    assert world.summary
    for words in (world.actions, world.goals, told.channels, told.potentials, told.features):
        assert len(set(words)) == len(words) > 0
    for words in (told.channels, told.potentials, told.features):
        assert list(words) == sorted(words)
    assert set(world.true) <= set(told.channels)
    assert world.true
    assert world.limit > 0


@everywhere
def test_params_have_defaults_within_bounds(name):
    for p in WORLDS[name].params.values():
        assert p.low <= p.default <= p.high
        assert p.low < p.high
        assert p.meaning


@everywhere
@pytest.mark.parametrize("function", ["channels", "potentials", "features"])
def test_vectors_are_in_the_order_of_names(name, function):
    facts = pick(getattr(fast(name), function)(*arguments(name)[function]), 3)
    np.testing.assert_array_equal(vector(facts), [facts[n] for n in getattr(names(WORLDS[name]), function)])


# Shapes and types


@everywhere
def test_states_are_what_they_declare(name):
    state = WORLDS[name].scatter(jax.random.key(0))
    with jaxtyped("context"):  # one scope, so that a dimension has one size in all fields
        for field, kind in type(state).__annotations__.items():
            assert isinstance(getattr(state, field), kind), field


@everywhere
def test_states_keep_their_type(name):
    """Also in weak types, which would make a second trace."""
    world = WORLDS[name]
    key, action, level = jax.random.key(0), jnp.array(0), {k: jnp.float32(v) for k, v in defaults(world).items()}
    state = jax.eval_shape(world.reset, key, level)
    assert all(leaf.dtype in (np.bool_, np.int32, np.float32) for leaf in jax.tree.leaves(state))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    others = {
        "step": jax.eval_shape(world.step, key, state, action, level),
        "scatter": jax.eval_shape(world.scatter, key),
        "contest": jax.eval_shape(world.contest, key, 0, 1),
        "present": jax.eval_shape(world.present, state, 0, True),
    }
    for which, other in others.items():
        assert jax.tree.structure(other) == jax.tree.structure(state), which
        assert jax.tree.leaves(other) == jax.tree.leaves(state), which


@everywhere
def test_what_is_told_has_the_right_shape_and_type(name):
    world, run, args = WORLDS[name], fast(name), arguments(name)
    for function in ("channels", "potentials", "ceiling"):
        for fact, value in getattr(run, function)(*args[function]).items():
            assert (value.shape, value.dtype) == ((COUNT,), np.float32), fact
            assert np.isfinite(value).all(), fact
    for feature, value in run.features(*args["features"]).items():
        assert value.shape == (COUNT,), feature
        assert value.dtype in (np.bool_, np.float32), feature
    for function, shape in {
        "ended": (),
        "reached": (len(world.goals),),
        "shortens": (len(world.goals), len(world.actions)),
    }.items():
        value = getattr(run, function)(*args[function])
        assert (value.shape, value.dtype) == ((COUNT, *shape), np.bool_), function
    frame = run.frame(*args["frame"])
    assert frame.dtype == np.uint8
    assert (frame.ndim, frame.shape[-1]) == (4, 3)
    declared = names(world).observation
    assert run.observe(*args["observe"]).shape[1:] == declared.shape
    assert set(run.ceiling(*args["ceiling"])) >= set(world.true)


@everywhere
@pytest.mark.parametrize("function", FUNCTIONS)
def test_compiled_and_mapped_is_one_by_one(name, function):
    plain, args = getattr(WORLDS[name], function), arguments(name)[function]
    together = getattr(fast(name), function)(*args)
    for i in (5, 30, 58):  # few, because calls that are not compiled are slow
        assert_alike(plain(*pick(args, i)), pick(together, i))


# Playing


@everywhere
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_levels_are_not_over_before_they_begin(name, seed):
    run, world = fast(name), WORLDS[name]
    assert not run.ended(run.reset(keys(COUNT, seed), params(world))).any()


@everywhere
def test_random_play_stays_below_the_ceiling(name, play):
    world, run = WORLDS[name], fast(name)
    fresh = run.reset(keys(COUNT), usual(world))
    highest = {k: np.asarray(v) for k, v in run.ceiling(fresh).items()}
    rng = np.random.default_rng(0)
    got = {k: np.zeros(COUNT) for k in highest}
    for i in range(COUNT):
        story = play(name, pick(fresh, i), rng.integers(len(world.actions), size=world.limit))
        for k in highest:
            got[k][i] = story.facts[k][~story.ended[:-1]].sum()
    for k in highest:
        assert (got[k] <= highest[k] + 1e-6).all(), k
    for k in world.true:
        assert got[k].max() > 0, k  # or this test would say nothing


@everywhere
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_telling_changes_nothing(name, seed, play):
    """Whatever was asked in between, a state gives the same answers again."""
    world, run = WORLDS[name], fast(name)
    actions = np.random.default_rng(seed).integers(len(world.actions), size=COUNT)
    states = pick(play(name, world.scatter(jax.random.key(seed)), actions).states, slice(1, None))
    first = [getattr(run, f)(states) for f in TOLD]
    assert_alike(first, [getattr(run, f)(states) for f in TOLD])


# Putting in and taking out


@everywhere
def test_present_puts_in_and_takes_out(name):
    world, run = WORLDS[name], fast(name)
    states = run.scatter(keys(COUNT))
    before = run.features(states)
    for g, goal in enumerate(world.goals):
        which, yes, no = jnp.full(COUNT, g), jnp.ones(COUNT, bool), jnp.zeros(COUNT, bool)
        put = run.present(states, which, yes)
        out = run.present(put, which, no)
        assert_alike(run.present(out, which, yes), put)  # nothing but the presence was lost
        assert_alike(run.present(put, which, yes), put)
        for told, there in ((run.features(put), yes), (run.features(out), no)):
            np.testing.assert_array_equal(told[f"{goal}_present"], there)
            for other in set(world.goals) - {goal}:
                np.testing.assert_array_equal(told[f"{other}_present"], before[f"{other}_present"])
        assert differing(run.frame(put), run.frame(out)).all(), goal
        assert differing(run.observe(put), run.observe(out)).all(), goal
        assert not run.shortens(out)[:, g].any()


# Grid worlds


def successors(name: str, states) -> np.ndarray:
    """int[batch, cells, actions]: where the world's own `step` leads the agent from every cell."""
    world, cells = WORLDS[name], BOARDS[name].cells

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
    world, run, each = WORLDS[name], fast(name), np.arange(COUNT)
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
                near = np.where(here[:, g], -now[:, g] / BOARDS[name].diameter, -1)
                np.testing.assert_allclose(run.potentials(states)[f"near_{goal}"], near, rtol=1e-6)


@on_boards
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_reached_is_standing_on_a_thing_that_was_there(name, seed, play):
    world = WORLDS[name]
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
    np.testing.assert_array_equal(exchanged.cells, swapped)
    assert_alike(states._replace(cells=0), exchanged._replace(cells=0))


@on_boards
def test_contests_have_no_favourite_side(name):
    states = many(fast(name).contest, 64, jnp.zeros(COUNT, int), jnp.ones(COUNT, int))
    row, col = np.divmod(np.asarray(states.cells)[:, :2], BOARDS[name].width)
    for line in (row, col):  # a fair mean of 4,096 signs has a standard deviation of at most 0.016
        assert abs(np.sign(line[:, 0] - line[:, 1]).mean()) < 0.05


@on_boards
def test_scattered_goals_vary_independently(name):
    """The design of the bank. Correlations of independent facts have a standard deviation of 1/√n: 0.022 in a bank of
    2,048 layouts, where the largest among the ninety pairs here passes 0.05 by chance alone. What is tested is the
    sampler and not one bank, so there are 16,384 layouts (0.008), in which 0.05 leaves room for chance and for the
    −1/48 that follows from no two things being on one cell.
    """
    states, goals = many(fast(name).scatter, 256), len(WORLDS[name].goals)
    row, col = np.divmod(states.cells, BOARDS[name].width)
    home = np.stack(np.divmod(states.agent, BOARDS[name].width), 1)
    facts = np.concatenate([states.here, row, col, home], 1).astype(float)
    owner = np.concatenate([np.tile(np.arange(goals), 3), [goals, goals]])
    r = np.corrcoef(facts.T)
    assert np.abs(r[owner[:, None] != owner[None, :]]).max() < 0.05
    # A goal's presence tells nothing of its own position either, nor its row of its column.
    assert np.abs(r - np.eye(len(r))).max() < 0.05
    assert np.abs(states.here.mean(0) - 0.5).max() < 0.02
    assert np.abs(row.mean(0) - 3).max() < 0.1
    assert np.abs(col.mean(0) - 3).max() < 0.1


@on_boards
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_things_lie_apart_on_the_board(name, seed):
    world, run, key = WORLDS[name], fast(name), keys(COUNT, seed)
    contested = arguments(name)["contest"][1:]
    for states in (run.reset(key, params(world)), run.scatter(key), run.contest(key, *contested)):
        occupied = np.sort(np.concatenate([states.cells, states.agent[:, None]], 1), axis=1)
        assert (np.diff(occupied, axis=1) > 0).all()
        assert (occupied >= 0).all()
        assert (occupied < BOARDS[name].cells).all()
