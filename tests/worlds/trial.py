"""What the tests that run over all worlds share: a world's functions compiled, and arguments for them."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from chisel.worlds import WORLDS, errands, gallery, load_world, maze, smile, vault
from chisel.worlds.world import World, defaults

NATIVE = sorted(WORLDS)
BORROWED = ["chess", "craftax", "gymnax:CartPole-v1", "pacman"]
# Grid worlds: their states have `agent`, `cells` and `here`, and goals are objects on cells, or cells.
BOARDS = {"errands": errands, "gallery": gallery, "maze": maze, "smile": smile, "vault": vault}
BOARDS = {name: module.BOARD for name, module in BOARDS.items()}
TOLD = ("observe", "ended", "potentials", "features", "shortens", "ceiling", "frame")  # functions of one state
FUNCTIONS = ("reset", "step", "channels", "reached", "present", "scatter", "contest", *TOLD)
SEEDS = st.integers(0, 2**32 - 1)
COUNT = 64  # arguments side by side; one number, because every other would be another compilation
FEW = 8  # the same for borrowed worlds, which are slow


everywhere = pytest.mark.parametrize("name", [*NATIVE, *BORROWED])
at_home = pytest.mark.parametrize("name", NATIVE)
abroad = pytest.mark.parametrize("name", BORROWED)
on_boards = pytest.mark.parametrize("name", sorted(BOARDS))


def size(name: str) -> int:
    return FEW if name in BORROWED else COUNT


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


@functools.cache
def fast(name: str) -> SimpleNamespace:
    """A world's functions, mapped over all of their arguments and compiled."""
    world = load_world(name)
    return SimpleNamespace(**{f: jax.jit(jax.vmap(getattr(world, f))) for f in FUNCTIONS if getattr(world, f)})


def params(world: World, count: int = COUNT) -> dict[str, jax.Array]:
    """Level distributions from the lower bounds of all params to the upper bounds."""
    return {k: jnp.linspace(p.low, p.high, count) for k, p in world.params.items()}


def usual(world: World, count: int = COUNT) -> dict[str, jax.Array]:
    return {k: jnp.full(count, v) for k, v in defaults(world).items()}


@functools.cache
def arguments(name: str) -> dict[str, tuple]:
    """Arguments for each function, [size, ...]: actions and goals in turn, half levels of training, half scattered."""
    world, run, count = load_world(name), fast(name), size(name)
    key, level, turn = keys(count), params(world, count), jnp.arange(count)
    fresh, scattered = run.reset(key, level), run.scatter(key)
    state = jax.tree.map(lambda a, b: jnp.concatenate([a[::2], b[::2]]), fresh, scattered)
    action = turn % len(world.actions)
    stepping = (key, state, action, level)
    transition = (state, action, run.step(*stepping))
    found = {"reset": (key, level), "step": stepping, "channels": transition, "reached": transition, "scatter": (key,)}
    found |= dict.fromkeys(TOLD, (state,))
    if world.goals:
        goal = turn % len(world.goals)
        rival = (goal + 1 + turn // len(world.goals) % (len(world.goals) - 1)) % len(world.goals)
        found |= {"present": (state, goal, turn % 3 == 0), "contest": (key, goal, rival)}
    return found


def pick(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def numbers(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_alike(one, other) -> None:
    """Equal in structure and type, and bit for bit but for what reordering does to sums of floats."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
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
