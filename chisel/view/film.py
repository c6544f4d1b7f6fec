"""An agent on screen: episodes as moving pictures."""

import io
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8
from PIL import Image

from chisel.agents.networks import Network
from chisel.training.rollout import Act, episode
from chisel.worlds import load_world
from chisel.worlds.world import World

SCALE = 4  # screen pixels of a frame's pixel
PAUSE = 160  # milliseconds a frame stays
COLOURS = 64

Frames = UInt8[np.ndarray, "time y x 3"]


def film(world: World, network: Network, params: Any, levels: Mapping[str, float], episodes: int = 2) -> bytes:
    """A GIF of an agent on a few levels, one after another; the same levels for every agent.

    Args:
        params: the parameters of `network`, without a leading axis.
        levels: numbers of the level distribution, by name.
    """
    numbers = {name: jnp.float32(value) for name, value in levels.items()}
    return gif(_joined(_player(world.name, network, episodes)(params, jax.random.key(0xF11), numbers)))


def frames(world: World, act: Act, key: Array, levels: Mapping[str, Any], episodes: int = 2) -> Frames:
    """The frames of a few episodes, one after another, played by `act`."""
    return _joined(_play(world, act, key, levels, episodes))


def gif(pictures: Frames, scale: int = SCALE) -> bytes:
    """A looping GIF."""
    size = pictures.shape[2] * scale, pictures.shape[1] * scale
    images = [Image.fromarray(p).resize(size, Image.Resampling.NEAREST) for p in pictures]
    # One palette for all frames, from all of them, so that colours neither flicker nor go missing.
    palette = Image.fromarray(np.concatenate(list(pictures))).quantize(COLOURS)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=PAUSE, loop=0, optimize=True)
    return out.getvalue()


Played = tuple[Bool[Array, "time episodes"], UInt8[Array, "time episodes y x 3"]]


def _play(world: World, act: Act, key: Array, levels: Mapping[str, Any], episodes: int) -> Played:
    """What is on screen at every step, and whether the episode was still going on."""
    level_key, act_key = jax.random.split(key)
    start = jax.vmap(lambda k: world.reset(k, levels))(jax.random.split(level_key, episodes))
    story, states = episode(world, act, act_key, start, dict(levels))
    return story.alive, jax.vmap(jax.vmap(world.frame))(states)


@cache
def _player(name: str, network: Network, episodes: int) -> Callable[..., Played]:
    """Plays episodes of a world, compiled once for all agents with one network."""

    def play(params: Any, key: Array, levels: Mapping[str, Any]) -> Played:
        def act(key: Array, observations: Array) -> Array:
            return jax.random.categorical(key, network.apply(params, observations).logits)

        return _play(load_world(name), act, key, levels, episodes)

    return jax.jit(play)


def _joined(played: Played) -> Frames:
    alive, pictures = (np.asarray(x) for x in played)
    return np.concatenate([pictures[alive[:, i], i] for i in range(alive.shape[1])])
