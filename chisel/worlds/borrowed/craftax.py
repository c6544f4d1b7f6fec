"""`craftax`: Craftax-Classic (Matthews et al. 2024, arXiv:2402.16801), survival in an open world, seen symbolically.

Gather wood, make tools, mine, drink, eat, sleep, and survive the night. Every achievement is a channel, so that a
schedule can pay for some of them and not for others: what does an agent that was paid for wood and water only come to
do when everything is paid for?

Craftax pays for an achievement once in an episode, and a tenth for every point of health won or lost: its own reward
is `{ all = 1.0, health = 0.1 }`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax_classic import constants
from craftax.craftax_classic.constants import OBS_DIM, Achievement, Action, BlockType
from craftax.craftax_classic.envs.craftax_state import EnvParams, EnvState, StaticEnvParams
from craftax.craftax_classic.game_logic import calculate_light_level, craftax_step, is_game_over
from craftax.craftax_classic.renderer import render_craftax_symbolic
from craftax.craftax_classic.world_gen import generate_world
from jaxtyping import Array, Bool, Float, Int, UInt8
from PIL import Image

from chisel.worlds.borrowed.common import old_key, settled, wander
from chisel.worlds.world import World

LIMIT = 300  # steps of an episode: a day and a night
WALK = 64  # most steps of random play before a state of the bank
MAP = StaticEnvParams()
RULES = EnvParams(max_timesteps=2**31 - 1)  # whether time is up is not the world's business
ACTIONS = tuple(action.name.lower() for action in Action)
ACHIEVEMENTS = tuple(achievement.name.lower() for achievement in Achievement)
FIRM = (BlockType.GRASS, BlockType.SAND, BlockType.PATH)  # ground that can be stood on and does no harm


def _reset(key: Array, params: Mapping[str, Any]) -> EnvState:
    del params
    return settled(generate_world(old_key(key), RULES, MAP))


def _step(key: Array, state: EnvState, action: Array, params: Mapping[str, Any]) -> EnvState:
    del params
    return settled(craftax_step(old_key(key), state, action, RULES, MAP)[0])


def _observe(state: EnvState) -> Float[Array, "1345"]:
    return render_craftax_symbolic(state).astype(jnp.float32)


def _ended(state: EnvState) -> Array:
    """Dead; whoever walks into lava is dead as well."""
    return is_game_over(state, RULES)


def _channels(before: EnvState, action: Array, after: EnvState) -> dict[str, Array]:
    del action
    new = (after.achievements & ~before.achievements).astype(jnp.float32)
    return {name: new[i] for i, name in enumerate(ACHIEVEMENTS)} | {
        "all": jnp.sum(new),
        "health": (after.player_health - before.player_health).astype(jnp.float32),
    }


def _view(state: EnvState) -> Int[Array, "7 9"]:
    """The kinds of block that the player sees; the player stands in the middle."""
    edge = max(OBS_DIM)
    padded = jnp.pad(state.map, edge, constant_values=BlockType.OUT_OF_BOUNDS.value)
    corner = state.player_position + edge - jnp.array(OBS_DIM, jnp.int32) // 2
    return jax.lax.dynamic_slice(padded, corner, OBS_DIM)


def _spots(state: EnvState, mobs: Any) -> Bool[Array, "mobs 7 9"]:
    """Where in the view each creature is, if it is there at all."""
    spot = mobs.position - state.player_position + jnp.array(OBS_DIM, jnp.int32) // 2
    rows, cols = jnp.indices(OBS_DIM)
    return mobs.mask[:, None, None] & (rows == spot[:, 0, None, None]) & (cols == spot[:, 1, None, None])


def _towards(name: str, seen: Bool[Array, "7 9"]) -> dict[str, Array]:
    """Where the nearest of the things that are seen are, by steps over open ground."""
    down, right = (i - size // 2 for i, size in zip(jnp.indices(OBS_DIM), OBS_DIM, strict=True))
    far = jnp.where(seen, jnp.abs(down) + jnp.abs(right), sum(OBS_DIM))
    least = jnp.min(far)
    nearest = seen & (far == least)
    return {
        f"near_{name}": jnp.any(seen),
        f"{name}_left": jnp.any(nearest & (right < 0)),
        f"{name}_right": jnp.any(nearest & (right > 0)),
        f"{name}_above": jnp.any(nearest & (down < 0)),
        f"{name}_below": jnp.any(nearest & (down > 0)),
        f"{name}_distance": jnp.where(jnp.any(seen), least.astype(jnp.float32), jnp.nan),
    }


def _features(state: EnvState) -> dict[str, Array]:
    view, own = _view(state), state.inventory
    row, col = state.player_position + constants.DIRECTIONS[state.player_direction]
    ahead = state.map.at[row, col].get(
        mode="fill", fill_value=BlockType.OUT_OF_BOUNDS.value, wrap_negative_indices=False
    )
    return {
        **_towards("tree", view == BlockType.TREE.value),
        **_towards("water", view == BlockType.WATER.value),
        "near_stone": jnp.any(view == BlockType.STONE.value),
        "near_table": jnp.any(view == BlockType.CRAFTING_TABLE.value),
        "near_cow": jnp.any(_spots(state, state.cows)),
        "near_zombie": jnp.any(_spots(state, state.zombies)),
        "facing_tree": ahead == BlockType.TREE.value,
        "facing_water": ahead == BlockType.WATER.value,
        "has_wood": own.wood > 0,
        "has_sapling": own.sapling > 0,
        "has_pickaxe": (own.wood_pickaxe > 0) | (own.stone_pickaxe > 0) | (own.iron_pickaxe > 0),
        "health": state.player_health.astype(jnp.float32),
        "food": state.player_food.astype(jnp.float32),
        "drink": state.player_drink.astype(jnp.float32),
        "energy": state.player_energy.astype(jnp.float32),
        "is_sleeping": state.is_sleeping,
        "dark": state.light_level < 0.5,
        # The negative control: settled when the level is made, far from where the player starts, of no use to anybody.
        "corner_grass": state.map[8, 8] == BlockType.GRASS.value,
    }


def _anywhere(key: Array, params: Mapping[str, Any]) -> EnvState:
    """A level at any hour, the player on any firm ground, more or less well, hungry, thirsty and tired, with or without
    wood and a pickaxe: what random play alone would hardly vary.
    """
    level_key, place_key, hour_key, needs_key, goods_key = jax.random.split(key, 5)
    state = _reset(level_key, params)
    firm = jnp.isin(state.map, jnp.array([block.value for block in FIRM], jnp.int32)).ravel()
    place = jax.random.categorical(place_key, jnp.where(firm, 0.0, -jnp.inf))
    hour = jax.random.randint(hour_key, (), 0, RULES.day_length)
    health, food, drink, energy = jax.random.randint(needs_key, (4,), 1, 10)
    wood, pickaxe = jnp.maximum(jax.random.randint(goods_key, (2,), -9, 10), 0)
    return settled(
        state.replace(
            player_position=jnp.stack([place // MAP.map_size[1], place % MAP.map_size[1]]),
            timestep=hour,
            light_level=calculate_light_level(hour, RULES),
            player_health=health,
            player_food=food,
            player_drink=drink,
            player_energy=energy,
            inventory=state.inventory.replace(wood=wood, wood_pickaxe=jnp.minimum(pickaxe, 1)),
        )
    )


_BLOCKS = (
    *("stone", "stone", "grass", "water", "stone", "tree", "wood", "path", "coal", "iron", "diamond"),
    *("table", "furnace", "sand", "lava", "plant_on_grass", "ripe_plant_on_grass"),
)
_PLAYERS = ("player-left", "player-right", "player-up", "player-down", "player-sleep")
_NEEDS = ("health", "food", "drink", "energy")
_GOODS = ("wood", "stone", "coal", "iron", "diamond", "sapling")
_TOOLS = ("wood_pickaxe", "stone_pickaxe", "iron_pickaxe", "wood_sword", "stone_sword", "iron_sword")
TILE = 16  # pixels along one block of a frame


@cache
def _pictures(*names: str) -> UInt8[np.ndarray, "names y x rgba"]:
    """Craftax's own pictures, read from its folder: its renderer would write a cache beside them on first use."""
    folder = Path(constants.__file__).parent / "assets"
    return np.stack([np.asarray(Image.open(folder / f"{name}.png").convert("RGBA")) for name in names])


def _over(picture: Array, ground: Array) -> Array:
    """A picture laid on another."""
    solid = picture[..., 3:] > 127
    return jnp.where(solid, picture[..., :3], ground).astype(jnp.uint8)


def _tiled(tiles: UInt8[Array, "rows columns y x 3"]) -> UInt8[Array, "height width 3"]:
    rows, columns = tiles.shape[:2]
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * TILE, columns * TILE, 3)


def _scene(state: EnvState) -> Array:
    """What the player sees, by the light of the hour."""
    view = _view(state)
    tiles = jnp.asarray(_pictures(*_BLOCKS))[view][..., :3]
    tiles = jnp.where((view == BlockType.OUT_OF_BOUNDS.value)[..., None, None, None], jnp.uint8(128), tiles)
    for name, mobs in (("cow", state.cows), ("zombie", state.zombies), ("skeleton", state.skeletons)):
        there = jnp.any(_spots(state, mobs), axis=0)[..., None, None, None]
        tiles = jnp.where(there, _over(jnp.asarray(_pictures(name))[0], tiles), tiles)
    there = jnp.any(_spots(state, state.arrows), axis=0)[..., None, None, None]
    tiles = jnp.where(there, _over(jnp.asarray(_pictures("arrow-up"))[0], tiles), tiles)
    stance = jnp.where(state.is_sleeping, 4, state.player_direction - 1)
    row, col = OBS_DIM[0] // 2, OBS_DIM[1] // 2
    tiles = tiles.at[row, col].set(_over(jnp.asarray(_pictures(*_PLAYERS))[stance], tiles[row, col]))
    light = jnp.array([0.25, 0.3, 0.45]) * (1 - state.light_level) + state.light_level
    return _tiled((tiles * light).astype(jnp.uint8))


def _frame(state: EnvState) -> UInt8[Array, "144 144 3"]:
    """The view, and below it what the player has: needs, goods and tools, each with its number."""
    needs = [getattr(state, f"player_{name}") for name in _NEEDS]
    counts = jnp.stack([*needs, *(getattr(state.inventory, name) for name in _GOODS + _TOOLS), *[jnp.int32(0)] * 2])
    icons = jnp.asarray(_pictures(*_NEEDS, *_GOODS, *_TOOLS, "grass", "grass"))
    digits = jnp.asarray(_pictures("1", *"123456789"))[counts, ::2, ::2]
    shown = (counts > 0)[:, None, None, None]
    icons = jnp.where(shown, _over(icons, jnp.uint8(0)), jnp.uint8(0))
    corner = icons[:, TILE // 2 :, TILE // 2 :]
    icons = icons.at[:, TILE // 2 :, TILE // 2 :].set(jnp.where(shown, _over(digits, corner), corner))
    return jnp.concatenate([_scene(state), _tiled(icons.reshape(2, OBS_DIM[1], TILE, TILE, 3))])


def make() -> World:
    """Craftax-Classic. Importing this module is what takes time; nothing is read or written."""
    return World(
        name="craftax",
        summary="survive and craft in an open world; every achievement is a channel",
        actions=ACTIONS,
        goals=(),
        true=("all",),
        limit=LIMIT,
        params={},
        reset=_reset,
        step=_step,
        observe=_observe,
        ended=_ended,
        channels=_channels,
        potentials=lambda state: {},
        features=_features,
        scatter=wander(_anywhere, _step, _ended, lambda state: jnp.ones(len(ACTIONS), bool), WALK),
        frame=_frame,
        ranges=dict.fromkeys(ACHIEVEMENTS, (0.0, 1.0)) | {"all": (0.0, float(len(ACHIEVEMENTS)))},
        brief=100,
    )
