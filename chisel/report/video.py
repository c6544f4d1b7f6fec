"""An agent on screen: episodes as moving pictures."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8
from PIL import Image

from chisel.agents.networks import Network
from chisel.agents.policy import Actor, policy
from chisel.training.rollout import episode
from chisel.worlds.world import World

SCALE = 4  # screen pixels of a frame's pixel
PAUSE = 160  # milliseconds a frame stays
COLOURS = 64

Frames = UInt8[np.ndarray, "time y x 3"]


def camera(world: World, network: Network, levels: Mapping[str, float], episodes: int = 2) -> Callable[[Any], bytes]:
    """What films agents with one network on a few levels, one after another; compiled once for all.

    Args:
        levels: numbers of the level distribution, by name.

    Returns:
        (params, without a leading axis) -> GIF, of the same levels for every agent.
    """
    numbers = {name: jnp.float32(value) for name, value in levels.items()}
    play = jax.jit(lambda params, key: _play(world, policy(network, params), key, numbers, episodes))
    return lambda params: gif(_joined(play(params, jax.random.key(0xF11))))


def frames(world: World, actor: Actor, key: Array, levels: Mapping[str, Any], episodes: int = 2) -> Frames:
    """The frames of a few episodes, one after another, played by `actor`."""
    return _joined(_play(world, actor, key, levels, episodes))


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


def _play(world: World, actor: Actor, key: Array, levels: Mapping[str, Any], episodes: int) -> Played:
    """What is on screen at every step, and whether the episode was still going on."""
    level_key, act_key = jax.random.split(key)
    start = jax.vmap(lambda k: world.reset(k, levels))(jax.random.split(level_key, episodes))
    story, states = episode(world, actor, act_key, start, dict(levels))
    return story.alive, jax.vmap(jax.vmap(world.frame))(states)


def _joined(played: Played) -> Frames:
    alive, pictures = (np.asarray(x) for x in played)
    return np.concatenate([pictures[alive[:, i], i] for i in range(alive.shape[1])])
