"""Random play, where its returns are known."""

import jax
import jax.numpy as jnp
import numpy as np

from chisel.probing.baseline import plays, random_play
from chisel.worlds import WORLDS
from chisel.worlds.world import defaults

LEVELS, TIMES = 32, 64
SMILE = WORLDS["smile"]


def played(world, times=TIMES):
    numbers = {k: jnp.float32(v) for k, v in defaults(world).items()}
    states = jax.vmap(world.reset, (0, None))(jax.random.split(jax.random.key(0), LEVELS), numbers)
    return jax.jit(lambda s: random_play(world, jax.random.key(1), s, numbers, times))(states)


def test_its_returns_are_those_of_a_binomial_distribution():
    """Each of 4 actions is as likely as another, in each of 40 steps; the error is that of all episodes."""
    first = SMILE._replace(channels=lambda before, action, after: {"first": action == 0, "steps": jnp.float32(1)})
    found = played(first)
    steps, p = SMILE.limit, 1 / len(SMILE.actions)
    error = np.sqrt(steps * p * (1 - p) / (LEVELS * TIMES))
    assert abs(float(found.mean[0]) - steps * p) < 4 * error
    np.testing.assert_allclose(found.error[0], error, rtol=0.1)
    assert (float(found.mean[1]), float(found.error[1])) == (steps, 0.0)


def test_levels_that_differ_add_nothing_to_its_error():
    """Agents are evaluated on the same levels, so that only chance within a level counts."""
    of_level = SMILE._replace(channels=lambda before, action, after: {"at": before.cells[0].astype(jnp.float32)})
    found = played(of_level, 4)
    assert float(found.error[0]) == 0
    assert float(found.mean[0]) > 0


def test_small_batteries_play_levels_more_often():
    assert [plays(n) * n >= 512 for n in (1, 4, 60, 64, 512)] == [True] * 5
    assert plays(10_000) == 4, "it takes more than one to tell how far chance scatters"
