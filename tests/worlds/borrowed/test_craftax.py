import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("craftax")

from craftax.craftax_classic.constants import Action, BlockType
from craftax.craftax_classic.envs.craftax_state import EnvParams
from craftax.craftax_classic.game_logic import craftax_step, is_game_over

from chisel.worlds import load_world
from chisel.worlds.borrowed import craftax
from chisel.worlds.borrowed.craftax import ACHIEVEMENTS, ACTIONS
from chisel.worlds.world import names

WORLD = load_world("craftax")
SIDE_BY_SIDE, STEPS = 8, 48  # one shape, because every other would be another compilation, which takes seconds
HERE = (32, 32)  # where the player of the stories below stands


def keys(seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), SIDE_BY_SIDE)


def types(tree) -> list:
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


@functools.cache
def levels():
    return jax.jit(jax.vmap(lambda key: WORLD.reset(key, {})))(keys())


def fresh():
    return jax.tree.map(lambda x: x[0], levels())


@functools.cache
def scattered():
    return jax.jit(jax.vmap(WORLD.scatter))(keys(1))


@functools.cache
def player():
    """Plays actions [steps, worlds]; returns what every step led to, channels, craftax's own reward, and endings."""

    def one(state, now):
        key, action = now
        rewards = []

        def overheard(*args):
            after, reward = craftax_step(*args)
            rewards.append(reward)
            return after, reward

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(craftax, "craftax_step", overheard)
            after = WORLD.step(key, state, action, {})
        own = rewards[0], is_game_over(after, EnvParams())
        return after, (after, WORLD.channels(state, action, after), WORLD.ended(after), own)

    return jax.jit(lambda state, keys, actions: jax.lax.scan(jax.vmap(one), state, (keys, actions))[1])


def play(states, actions):
    """Plays actions [steps, worlds] in several worlds, one after the other what each step led to."""
    actions = jnp.asarray(actions, jnp.int32)
    padded = jnp.zeros((STEPS, SIDE_BY_SIDE), jnp.int32).at[: len(actions)].set(actions)
    walk = jax.vmap(lambda key: jax.random.split(key, SIDE_BY_SIDE))(jax.random.split(jax.random.key(7), STEPS))
    return jax.tree.map(lambda x: np.asarray(x)[: len(actions)], player()(states, walk, padded))


def story(state, *words: str):
    """Plays the same actions, by name, in worlds that are all alike, and tells of the first."""
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (SIDE_BY_SIDE, *x.shape)), state)
    actions = np.array([ACTIONS.index(word) for word in words])[:, None]
    return jax.tree.map(lambda x: x[:, 0], play(states, np.broadcast_to(actions, (len(words), SIDE_BY_SIDE))))


def beach(**blocks: BlockType):
    """A level of sand, where nothing grows and nobody comes, but for blocks next to the player."""
    spots = {"left": (32, 31), "right": (32, 33), "up": (31, 32), "down": (33, 32)}
    ground = jnp.full((64, 64), BlockType.SAND.value, jnp.int32)
    for where, block in blocks.items():
        ground = ground.at[spots[where]].set(block.value)
    return fresh().replace(map=ground, player_position=jnp.array(HERE, jnp.int32))


def test_names():
    assert ACTIONS[:6] == ("noop", "left", "right", "up", "down", "do")
    assert len(ACTIONS) == 17
    assert len(ACHIEVEMENTS) == 22
    assert set(names(WORLD).channels) == {*ACHIEVEMENTS, "all", "health"}
    assert names(WORLD).observation.shape == (1345,)


def test_types_stay():
    state = jax.eval_shape(lambda: WORLD.reset(jax.random.key(0), {}))
    after = jax.eval_shape(lambda s: WORLD.step(jax.random.key(0), s, jnp.int32(5), {}), state)
    drawn = jax.eval_shape(lambda: WORLD.scatter(jax.random.key(0)))
    assert types(state) == types(after) == types(drawn)
    assert not any(weak for *_, weak in types(state))
    assert types(levels()) == types(scattered())


def test_first_errands():
    """Trees on three sides and water on the fourth; a felled tree leaves grass."""
    tree = BlockType.TREE
    told, facts, ended, _ = story(
        beach(left=tree, up=tree, down=tree, right=BlockType.WATER),
        "left",  # turns to the tree: it is in the way
        "do",  # the first wood
        "up",
        "do",  # more wood is no new achievement
        "place_table",  # takes both
        "make_wood_pickaxe",  # there is no wood left
        "down",
        "do",
        "make_wood_pickaxe",
        "right",
        "do",  # drinks
        "do",  # and drinks again
        "noop",
    )
    happened = {
        "collect_wood": 1,
        "place_table": 4,
        "make_wood_pickaxe": 8,
        "collect_drink": 10,
    }
    for name in ACHIEVEMENTS:
        expected = np.zeros(13)
        if name in happened:
            expected[happened[name]] = 1
        np.testing.assert_array_equal(facts[name], expected, err_msg=name)
    assert facts["all"].tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0]
    assert told.inventory.wood.tolist() == [0, 1, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert (told.player_position == HERE).all()
    assert not facts["health"].any()
    assert not ended.any()


def test_lava_is_death():
    _, facts, ended, _ = story(beach(left=BlockType.LAVA), "noop", "left")
    assert ended.tolist() == [False, True]
    assert facts["health"].tolist() == [0, -9]
    assert not facts["all"].any()


def test_hunger_kills():
    """With food, drink and strength all gone, health falls by one when `recover` falls below −15, and at none left the
    episode is over.
    """
    none = dict.fromkeys(("player_food", "player_drink", "player_energy"), jnp.int32(0))
    weak = beach().replace(player_health=jnp.int32(1), player_recover=jnp.float32(-13.5), **none)
    told, facts, ended, _ = story(weak, *["noop"] * 3)
    assert told.player_health.tolist() == [1, 0, 0]
    assert ended.tolist() == [False, True, True]
    assert facts["health"].tolist() == [0, -1, 0]


def test_time_is_not_up():
    """Craftax would end the episode at step 10,000. Chisel cuts episodes off itself, long before."""
    late = beach().replace(timestep=jnp.int32(9_998))
    _, _, ended, (_, own) = story(late, "noop", "noop", "noop")
    assert own.tolist() == [False, True, True]
    assert not ended.any()
    assert WORLD.limit < EnvParams().max_timesteps


def test_channels_rebuild_the_reward_of_craftax():
    rng = np.random.default_rng(0)
    weights = np.ones(len(ACTIONS))
    weights[ACTIONS.index("do")] = 8
    actions = rng.choice(len(ACTIONS), (STEPS, SIDE_BY_SIDE), p=weights / weights.sum())
    start = levels().replace(player_health=jnp.arange(1, 1 + SIDE_BY_SIDE, dtype=jnp.int32))
    told, facts, ended, (reward, own) = play(start, actions)
    np.testing.assert_allclose(facts["all"] + 0.1 * facts["health"], reward, atol=1e-6)
    np.testing.assert_array_equal(ended, own)
    np.testing.assert_array_equal(ended, told.player_health <= 0)
    assert facts["all"].sum() > 4
    assert facts["health"].any()
    # What was unlocked is the sum of what was told, each at most once.
    had = sum(facts[name].sum(0) for name in ACHIEVEMENTS)
    np.testing.assert_array_equal(had, told.achievements[-1].sum(-1))
    for i, name in enumerate(ACHIEVEMENTS):
        np.testing.assert_array_equal(facts[name].sum(0), told.achievements[-1, :, i], err_msg=name)


def test_all_is_a_sum():
    before = fresh().replace(achievements=jnp.arange(22) == 0)
    facts = WORLD.channels(before, jnp.int32(0), before.replace(achievements=jnp.arange(22) < 3))
    assert facts["all"] == 2
    assert [name for name in ACHIEVEMENTS if facts[name]] == list(ACHIEVEMENTS[1:3])


def test_features_of_a_scene():
    """A tree two steps to the left and another two above, water one above and three right, a table behind, a cow."""
    state = beach(right=BlockType.CRAFTING_TABLE)
    scene = state.map.at[32, 30].set(BlockType.TREE.value).at[30, 32].set(BlockType.TREE.value)
    scene = scene.at[31, 35].set(BlockType.WATER.value).at[32, 37].set(BlockType.STONE.value)  # one column too far
    cows = state.cows.replace(position=state.cows.position.at[1].set(jnp.array([35, 36])), mask=jnp.arange(3) == 1)
    zombies = state.zombies.replace(
        position=state.zombies.position.at[0].set(jnp.array([36, 32])), mask=jnp.arange(3) == 0
    )
    state = state.replace(map=scene, cows=cows, zombies=zombies, player_drink=jnp.int32(4))
    facts = {name: value.item() for name, value in WORLD.features(state).items()}
    expected = {
        "near_tree": True,
        "tree_left": True,
        "tree_right": False,
        "tree_above": True,
        "tree_below": False,
        "tree_distance": 2,
        "near_water": True,
        "water_left": False,
        "water_right": True,
        "water_above": True,
        "water_below": False,
        "water_distance": 4,
        "near_table": True,
        "near_cow": True,
        "near_zombie": False,  # one row too far
        "near_stone": False,
        "facing_tree": False,
        "has_wood": False,
        "has_pickaxe": False,
        "drink": 4,
        "food": 9,
        "is_sleeping": False,
        "dark": False,
        "corner_grass": False,
    }
    assert {name: facts[name] for name in expected} == expected
    gone = WORLD.features(state.replace(cows=cows.replace(mask=jnp.zeros(3, bool)), map=jnp.full_like(scene, 2)))
    assert not any(gone[name] for name in ("near_cow", "near_tree", "near_water", "near_table"))
    assert np.isnan(gone["tree_distance"])
    assert gone["corner_grass"]


@pytest.mark.parametrize(
    ("direction", "tree", "water"), [("left", True, False), ("right", False, True), ("up", False, False)]
)
def test_facing(direction, tree, water):
    state = beach(left=BlockType.TREE, right=BlockType.WATER)
    facts = WORLD.features(state.replace(player_direction=jnp.int32(Action[direction.upper()].value)))
    assert (facts["facing_tree"], facts["facing_water"]) == (tree, water)


def test_nothing_lies_beyond_the_edge():
    """In the top row and facing up, what is on the other side of the map is not ahead, and not in view."""
    state = beach().replace(player_position=jnp.array([0, 32], jnp.int32), player_direction=jnp.int32(Action.UP.value))
    facts = WORLD.features(state.replace(map=state.map.at[60:].set(BlockType.WATER.value)))
    assert not facts["facing_water"]
    assert not facts["near_water"]


def test_the_agent_sees_its_surroundings_only():
    state = beach()
    seen = WORLD.observe(state)
    assert (seen.shape, seen.dtype) == ((1345,), jnp.float32)
    for hidden in (
        state.replace(map=state.map.at[32, 37].set(BlockType.TREE.value)),
        state.replace(timestep=jnp.int32(123), state_rng=jnp.zeros(2, jnp.uint32), player_hunger=jnp.float32(20)),
        state.replace(achievements=jnp.ones(22, bool)),
    ):
        np.testing.assert_array_equal(WORLD.observe(hidden), seen)
    for shown in (
        state.replace(map=state.map.at[32, 36].set(BlockType.TREE.value)),
        state.replace(player_drink=jnp.int32(3)),
        state.replace(inventory=state.inventory.replace(wood=jnp.int32(1))),
        state.replace(light_level=jnp.float32(0.1)),
    ):
        assert (WORLD.observe(shown) != seen).any()


def test_states_of_the_bank_vary():
    drawn = scattered()
    firm = {block.value for block in craftax.FIRM}
    assert (drawn.player_health > 0).all()
    assert len({tuple(p) for p in drawn.player_position.tolist()}) == SIDE_BY_SIDE
    assert np.ptp(np.asarray(drawn.timestep)) > 100
    assert np.ptp(np.asarray(drawn.player_drink)) > 2
    under = drawn.map[jnp.arange(SIDE_BY_SIDE), drawn.player_position[:, 0], drawn.player_position[:, 1]]
    assert set(under.tolist()) <= firm


def test_frame_shows_the_scene():
    state = beach(left=BlockType.TREE).replace(light_level=jnp.float32(1))
    draw = jax.jit(WORLD.frame)
    frame = np.asarray(draw(state))
    assert (frame.shape, frame.dtype) == ((144, 144, 3), np.uint8)

    def tile(row: int, col: int, of: np.ndarray = frame) -> np.ndarray:
        return of[16 * row : 16 * row + 16, 16 * col : 16 * col + 16]

    np.testing.assert_array_equal(tile(3, 3), craftax._pictures("tree")[0, ..., :3])
    np.testing.assert_array_equal(tile(0, 0), craftax._pictures("sand")[0, ..., :3])
    assert (tile(3, 4) != tile(0, 0)).any()  # the player
    assert not tile(7, 4).any()  # no wood yet
    richer = state.replace(inventory=state.inventory.replace(wood=jnp.int32(3)))
    assert tile(7, 4, np.asarray(draw(richer))).any()
    assert draw(state.replace(light_level=jnp.float32(0)))[:112].mean() < 0.5 * frame[:112].mean()
