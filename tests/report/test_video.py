import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from chisel.agents.networks import Form, make_network
from chisel.agents.policy import forgetful
from chisel.report.video import camera, frames, gif
from chisel.worlds import WORLDS
from chisel.worlds.world import defaults, names


def opened(data: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(data)) as picture:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


def test_a_gif_shows_its_frames_in_order_and_enlarged() -> None:
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    pictures = np.broadcast_to(colours[:, None, None], (3, 2, 5, 3))
    found = opened(gif(pictures, scale=3))
    assert [f.shape for f in found] == [(6, 15, 3)] * 3
    np.testing.assert_allclose([f[0, 0] for f in found], colours, atol=4)


def test_a_gif_repeats_for_ever() -> None:
    with Image.open(io.BytesIO(gif(np.zeros((2, 2, 2, 3), np.uint8)))) as picture:
        assert picture.info["loop"] == 0


def test_colours_of_later_frames_are_kept() -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    pictures[1] = [10, 200, 30]
    np.testing.assert_allclose(opened(gif(pictures))[1][0, 0], [10, 200, 30], atol=4)


@pytest.fixture(scope="module")
def smile() -> tuple:
    world = WORLDS["smile"]
    network = make_network(names(world).observation, len(world.actions), Form((8,)))
    return world, network, network.init(jax.random.key(0)), defaults(world)


def test_a_film_begins_with_the_same_level_for_every_agent(smile: tuple) -> None:
    world, network, params, levels = smile
    other, shoot = network.init(jax.random.key(1)), camera(world, network, levels, episodes=1)
    first, second = (opened(shoot(p)) for p in (params, other))
    np.testing.assert_array_equal(first[0], second[0])
    assert len(first) > 1


def test_a_film_is_the_same_every_time(smile: tuple) -> None:
    world, network, params, levels = smile
    one, other = (camera(world, network, levels, 1)(params) for _ in range(2))
    assert one == other


def test_frames_are_of_one_episode_after_another() -> None:
    world = WORLDS["gallery"]
    levels = {k: jnp.float32(v) for k, v in defaults(world).items()}
    waits = forgetful(lambda key, seen: jnp.zeros(len(seen), int))
    still = frames(world, waits, jax.random.key(0), levels, episodes=2)
    one = frames(world, waits, jax.random.key(0), levels, episodes=1)
    assert still.dtype == np.uint8
    assert still.shape[1:] == one.shape[1:]
    assert 1 <= len(one) <= world.limit
    assert 2 <= len(still) <= 2 * world.limit
