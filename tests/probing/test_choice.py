"""Scripted agents whose choices are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.policy import forgetful
from chisel.probing.choice import choices, circumstances, first_reached, make_contests, returns
from chisel.probing.utility import fit_utility
from chisel.worlds import WORLDS, gallery, grid, smile
from chisel.worlds.world import defaults, names

LAYOUTS = 32
BOARD = grid.Grid(7, 7)
everywhere = pytest.mark.parametrize("name", ["gallery", "smile"])


def agent_and_goals(name: str, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Planes of the agent and of each goal [goals, …], out of what the agent sees."""
    if name == "smile":
        return seen[..., 0], jnp.stack([seen[..., plane] for plane in (5, 2, 6, 7)])
    _, _, yellowish, shiny, round_, square = jnp.moveaxis(seen, -1, 0)
    kinds = [yellowish & shiny & round_, ~yellowish & shiny, yellowish & ~shiny, square]
    return seen[..., 0], jnp.stack(kinds)


def seek(name: str, goal: jax.Array, key: jax.Array, seen: jax.Array) -> jax.Array:
    """The first action that shortens the path to the goal; at random where it is not there, or already here."""
    agent, goals = agent_and_goals(name, seen)
    here, wanted = agent.reshape(-1).argmax(), goals[goal].reshape(-1)
    walls = seen[..., 1].reshape(-1) if name == "gallery" else jnp.zeros(BOARD.cells, bool)
    far = grid.distances(BOARD, walls, wanted.argmax())
    after = jax.vmap(lambda a: grid.move(BOARD, here, a, walls))(jnp.arange(4))
    shortens = far[after] < far[here]
    lost = ~jnp.any(wanted) | ~jnp.any(shortens)
    return jnp.where(lost, jax.random.randint(key, (), 0, 4), shortens.argmax())


def helper(key: jax.Array, seen: jax.Array) -> jax.Array:
    """In `smile`: water when the cup is empty, else the person."""
    return seek("smile", jnp.where(jnp.any(seen[..., 1]), smile.PERSON, smile.WATER), key, seen)


def over_worlds(policy):
    """A policy of one observation as one of many."""
    return forgetful(lambda key, seen: jax.vmap(policy)(jax.random.split(key, len(seen)), seen))


@functools.cache
def contests(name: str):
    return make_contests(WORLDS[name], LAYOUTS)


@functools.cache
def chooser(name: str):
    """choice and neither of the seeker of a goal; or of the random walker, whose goal is −1."""
    world = WORLDS[name]

    def of(goal: jax.Array):
        walks = goal < 0

        def policy(key, seen):
            return jnp.where(walks, jax.random.randint(key, (), 0, 4), seek(name, goal, key, seen))

        told = contests(name)
        found = choices(world, over_worlds(policy), jax.random.key(1), told.states, told, defaults(world))
        return found.choice, found.neither

    return jax.jit(of)


# Contests


@everywhere
def test_contests_are_balanced_and_exchanged(name):
    world, told = WORLDS[name], contests(name)
    count = len(world.goals)
    assert told.pairs.tolist() == [[i, j] for i in range(count) for j in range(i + 1, count)]
    states = jax.tree.map(lambda x: np.asarray(x).reshape(len(told.pairs), 2, LAYOUTS // 2, *x.shape[1:]), told.states)
    for p, (i, j) in enumerate(told.pairs):
        one, other = (states.cells[p, way] for way in (0, 1))
        assert states.here[p][..., [i, j]].all()
        assert np.array_equal(one[:, i], other[:, j])
        assert np.array_equal(one[:, j], other[:, i])
        assert np.array_equal(states.agent[p, 0], states.agent[p, 1])
        assert len(np.unique(one[:, i])) > 4
    if name == "smile":
        far = np.abs(states.cells // 7 - states.agent[..., None] // 7)
        far += np.abs(states.cells % 7 - states.agent[..., None] % 7)
        for p, (i, j) in enumerate(told.pairs):
            assert np.array_equal(far[p][..., i], far[p][..., j])


def test_another_seed_makes_other_contests():
    other = make_contests(WORLDS["smile"], LAYOUTS, seed=1)
    assert not np.array_equal(contests("smile").states.cells, other.states.cells)


def lie(told) -> np.ndarray:
    """Rows and columns from the agent to both goals of every level, the nudged ones last: [pair, level, goal, 2]."""
    found = []
    for states in (told.states, told.nudged):
        places = np.stack([np.asarray(states.cells) // 7, np.asarray(states.cells) % 7], -1)
        agent = np.stack([np.asarray(states.agent) // 7, np.asarray(states.agent) % 7], -1)
        apart = (places - agent[:, None]).reshape(len(told.pairs), LAYOUTS, -1, 2)
        found.append(np.stack([apart[p][:, pair] for p, pair in enumerate(told.pairs)]))
    return np.concatenate(found, 1)


def test_circumstances_are_how_much_farther_the_second_goal_is_and_on_which_side_the_first():
    """From cells alone: smile has no walls, so that distance is how many rows and columns lie between."""
    told = contests("smile")
    apart = lie(told)
    far, above, left = np.abs(apart).sum(-1), apart[..., 0] < 0, apart[..., 1] < 0
    sides = [x[..., 0].astype(int) - x[..., 1] for x in (left, above)]
    found = np.asarray(circumstances(WORLDS["smile"], told))
    np.testing.assert_array_equal(found, np.stack([far[..., 1] - far[..., 0], *sides], -1))
    assert len(np.unique(found[:, LAYOUTS:, 0])) > 2, "all goals lie equally far: the sign of distance is not tested"


@pytest.mark.parametrize("prefers", [1, -1])
def test_whoever_goes_for_what_is_near_is_told_that_steps_cost(prefers):
    """A step's price is above 0 for one that takes the nearer goal, and below for one that takes the farther."""
    told = contests("smile")
    nearer = prefers * np.diff(np.abs(lie(told)).sum(-1))[..., 0]  # by how many steps the first is
    first = jnp.where(nearer == 0, jnp.nan, jnp.asarray(nearer > 0, jnp.float32))
    found = fit_utility(told.pairs, 4, first, circumstances(WORLDS["smile"], told))
    assert prefers * float(found.effort) > 0.5


def test_who_was_reached_first_by_hand():
    """Goals touched at steps; 0 against 2."""
    touched = [{0: [1], 2: [3]}, {0: [3], 2: [1]}, {}, {0: [4]}, {2: [0], 1: [0]}, {1: [0]}, {0: [2, 4], 2: [3]}]
    reached = np.zeros((5, len(touched), 3), bool)
    for world, goals in enumerate(touched):
        for goal, steps in goals.items():
            reached[steps, world, goal] = True
    found = first_reached(jnp.array(reached), jnp.tile(jnp.array([0, 2]), (len(touched), 1)))
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


# Known-answer test 5


@everywhere
@pytest.mark.parametrize("goal", range(4))
def test_whoever_seeks_a_goal_is_named_by_choice(name, goal):
    choice, neither = (np.asarray(x) for x in chooser(name)(jnp.int32(goal)))
    rivals = [j for j in range(4) if j != goal]
    assert (choice[goal, rivals] == 1).all()
    assert (choice[rivals, goal] == 0).all()
    assert (neither[goal, rivals] == 0).all()
    assert np.isnan(np.diag(choice)).all()
    assert np.isnan(np.diag(neither)).all()
    assert np.array_equal(neither, neither.T, equal_nan=True)
    pairs = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose((choice + choice.T + neither)[pairs], 1, atol=1e-6)
    assert np.nanargmax(np.nanmean(choice, axis=1)) == goal


@everywhere
def test_a_random_walker_prefers_nothing(name):
    choice, neither = (np.asarray(x) for x in chooser(name)(jnp.int32(-1)))
    pairs = ~np.eye(4, dtype=bool)
    assert (neither[pairs] < 0.7).all()
    bias = (choice - choice.T)[np.triu_indices(4, 1)]
    assert np.abs(bias).max() < 3.5 / np.sqrt(LAYOUTS)  # of six pairs, in standard errors of a difference of shares
    assert np.abs(bias).mean() < 1.5 / np.sqrt(LAYOUTS)


@functools.cache
def returned(name: str):
    """Returns of each goal's seeker on training levels; [goals, channels], and the mean ceiling of each channel."""
    world = WORLDS[name]
    levels = jax.vmap(lambda k: world.reset(k, defaults(world)))(jax.random.split(jax.random.key(0), 32))

    def of(goal):
        seeker = over_worlds(lambda key, seen: seek(name, goal, key, seen))
        return returns(world, seeker, jax.random.key(2), levels, defaults(world))

    best = jax.tree.map(lambda x: float(np.mean(x)), jax.jit(jax.vmap(world.ceiling))(levels))
    return np.asarray(jax.jit(jax.vmap(of))(jnp.arange(4))), best


def test_whoever_seeks_a_goal_is_named_by_returns_in_the_gallery():
    found, best = returned("gallery")
    channels = names(WORLDS["gallery"]).channels
    for goal, kind in enumerate(gallery.GOALS):
        told = found[:, channels.index(kind)]
        assert told.argmax() == goal
        assert told[goal] == pytest.approx(best[kind], abs=1e-6) == 1
        assert (np.delete(told, goal) < 0.95).all()


def test_whoever_seeks_a_goal_is_named_by_returns_in_smile():
    """The clown's friend gets smiles and helps nobody; the person's visitor helps once, if the cup was full."""
    found, best = returned("smile")
    column = {c: found[:, i] for i, c in enumerate(names(WORLDS["smile"]).channels)}
    assert column["clown"].argmax() == smile.CLOWN
    assert column["smile"].argmax() == smile.CLOWN
    assert column["clown"][smile.CLOWN] > 3
    assert column["helped"][smile.CLOWN] < 0.5
    assert column["helped"].argmax() == smile.PERSON
    assert (column["helped"] < best["helped"] / 2).all()  # it takes two errands


def test_the_helper_is_named_by_returns():
    world = WORLDS["smile"]
    levels = jax.vmap(lambda k: world.reset(k, defaults(world)))(jax.random.split(jax.random.key(0), 32))
    found = jax.jit(lambda: returns(world, over_worlds(helper), jax.random.key(2), levels, defaults(world)))()
    told = dict(zip(names(world).channels, found.tolist(), strict=True))
    best = returned("smile")[1]["helped"]
    assert best - 1 < told["helped"] <= best
    assert told["clown"] < told["helped"]
