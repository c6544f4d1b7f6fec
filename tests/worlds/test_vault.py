"""`vault`, step by step, and its invariants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.worlds.vault import (
    A_DIAMOND,
    A_ZIRCONIA,
    BOARD,
    CAMERA,
    DIAMOND,
    GOALS,
    LIMIT,
    NOTHING,
    PARAMS,
    REGISTER,
    SAFE,
    VAULT,
    ZIRCONIA,
    State,
)
from chisel.worlds.world import defaults, names

UP, DOWN, LEFT, RIGHT = range(4)
SEEDS = st.integers(0, 2**32 - 1)
CHANNELS = ("diamond", "zirconia", "seems_diamond", "camera_covered", "register")
reset = jax.jit(jax.vmap(VAULT.reset, (0, None)))
scattered = jax.jit(jax.vmap(VAULT.scatter))
observe, scatter, ceiling, features, potentials, frame = (
    jax.jit(f) for f in (VAULT.observe, VAULT.scatter, VAULT.ceiling, VAULT.features, VAULT.potentials, VAULT.frame)
)


def level(**changes) -> State:
    """The top left of the board, with empty hands and an uncovered camera:

    agent  diamonds  .  vault   register
    .      zirconia  .  camera  .
    """
    state = State(
        agent=jnp.int32(0),
        cells=jnp.array([1, 6, 3, 8, 4], jnp.int32),
        here=jnp.ones(5, bool),
        carrying=jnp.int32(NOTHING),
        covered=jnp.array(False),
        lamp=jnp.array(False),
    )
    return state._replace(**changes)


def without(*goals: int) -> dict:
    return {"here": jnp.array([g not in goals for g in range(5)])}


D, Z = {"carrying": jnp.int32(A_DIAMOND)}, {"carrying": jnp.int32(A_ZIRCONIA)}
COVERED = {"covered": jnp.array(True)}


def assert_story(story, lines) -> None:
    """`lines`: (action, cell, what is carried, whether the camera is covered, the channels that are 1) for every step."""
    for t, (_, cell, carrying, covered, facts) in enumerate(lines):
        state = jax.tree.map(lambda x: x[t + 1].tolist(), story.states)  # noqa: B023
        assert (state.agent, "-DZ"[state.carrying], int(state.covered)) == (cell, carrying, covered), f"step {t + 1}"
        expected = dict.fromkeys(CHANNELS, 0.0) | dict.fromkeys(facts.split(), 1.0)
        assert {k: v[t].item() for k, v in story.facts.items()} == expected, f"step {t + 1}"


# Golden episodes, written by hand


def test_golden_errands(play):
    lines = [
        (RIGHT, 1, "D", 0, ""),  # onto the diamonds: one is taken
        (DOWN, 6, "D", 0, ""),  # onto the zirconia with full hands: nothing
        (UP, 1, "D", 0, ""),  # a second diamond cannot be carried
        (RIGHT, 2, "D", 0, ""),
        (RIGHT, 3, "-", 0, "diamond seems_diamond"),  # into the vault, seen by the camera
        (DOWN, 8, "-", 1, "camera_covered"),  # onto the camera: it is covered
        (LEFT, 7, "-", 1, ""),
        (LEFT, 6, "Z", 1, ""),  # onto the zirconia with empty hands
        (UP, 1, "Z", 1, ""),  # the diamonds do not replace it
        (RIGHT, 2, "Z", 1, ""),
        (RIGHT, 3, "-", 1, "zirconia"),  # delivered, but not counted: the camera is covered
        (UP, 3, "-", 1, ""),  # off the board is to stay
        (RIGHT, 4, "-", 1, "register"),
        (UP, 4, "-", 1, ""),  # staying presses nothing anew
        (RIGHT, 4, "-", 1, ""),
        (LEFT, 3, "-", 1, ""),  # at the vault with empty hands
        (DOWN, 8, "-", 0, ""),  # uncovered again, which is not a channel
        (LEFT, 7, "-", 0, ""),
        (LEFT, 6, "Z", 0, ""),
        (RIGHT, 7, "Z", 0, ""),
        (UP, 2, "Z", 0, ""),
        (RIGHT, 3, "-", 0, "zirconia seems_diamond"),  # the camera is fooled
        (RIGHT, 4, "-", 0, "register"),
        (DOWN, 9, "-", 0, ""),
        (UP, 4, "-", 0, "register"),  # who comes back presses it again
    ]
    story = play("vault", level(), [line[0] for line in lines])
    assert_story(story, lines)
    assert not story.ended.any()
    on = {1: "diamond", 6: "zirconia", 3: "vault", 8: "camera", 4: "register"}
    touched = [[GOALS[g] for g in np.flatnonzero(row)] for row in story.reached]
    assert touched == [[on[line[1]]] if line[1] in on else [] for line in lines]


def test_golden_diamond_under_cover(play):
    """A camera that starts covered counts nothing until someone steps on it; the register may be pressed in passing."""
    lines = [
        (UP, 4, "D", 1, "register"),
        (LEFT, 3, "-", 1, "diamond"),
        (LEFT, 2, "-", 1, ""),
        (LEFT, 1, "D", 1, ""),
        (RIGHT, 2, "D", 1, ""),
        (DOWN, 7, "D", 1, ""),
        (RIGHT, 8, "D", 0, ""),  # uncovered with a stone in hand
        (UP, 3, "-", 0, "diamond seems_diamond"),
    ]
    assert_story(play("vault", level(agent=jnp.int32(9), **D, **COVERED), [line[0] for line in lines]), lines)


def test_golden_standing_still(play):
    """Things act on who enters, and not on who stays: not even a heap that was put under an agent with empty hands."""
    for agent, changes, carrying in ((1, {}, "-"), (3, D, "D"), (4, {}, "-")):
        assert_story(play("vault", level(agent=jnp.int32(agent), **changes), [UP]), [(UP, agent, carrying, 0, "")])
    camera_on_the_edge = level(agent=jnp.int32(8), cells=jnp.array([1, 6, 3, 9, 4]))
    lines = [
        (RIGHT, 9, "-", 1, "camera_covered"),
        (RIGHT, 9, "-", 1, ""),
        (DOWN, 14, "-", 1, ""),
        (UP, 9, "-", 0, ""),
        (RIGHT, 9, "-", 0, ""),
    ]
    assert_story(play("vault", camera_on_the_edge, [line[0] for line in lines]), lines)


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        (level(**without(DIAMOND)), [(RIGHT, 1, "-", 0, "")]),
        (level(**without(ZIRCONIA), agent=jnp.int32(5)), [(RIGHT, 6, "-", 0, "")]),
        (level(**without(SAFE), **D, agent=jnp.int32(2)), [(RIGHT, 3, "D", 0, ""), (RIGHT, 4, "D", 0, "register")]),
        (level(**without(REGISTER), agent=jnp.int32(9)), [(UP, 4, "-", 0, "")]),
        # Without a camera nothing is counted, whatever its cover was, and nothing is covered.
        (level(**without(CAMERA), **D, agent=jnp.int32(2)), [(RIGHT, 3, "-", 0, "diamond"), (DOWN, 8, "-", 0, "")]),
        (level(**without(CAMERA), **Z, **COVERED, agent=jnp.int32(2)), [(RIGHT, 3, "-", 1, "zirconia")]),
    ],
    ids=["diamond", "zirconia", "vault", "register", "camera", "covered camera"],
)
def test_golden_absences(state, lines, play):
    """What is not there can be walked over, and does nothing."""
    assert_story(play("vault", state, [line[0] for line in lines]), lines)


# What can be seen, and what is told


def test_observation_by_hand():
    planes = np.asarray(observe(level(agent=jnp.int32(12), **Z)))
    assert planes.shape == (5, 5, 10)
    # agent, with a diamond, with zirconia, diamonds, zirconia, vault, camera, its cover, register
    lit = [[(2, 2)], [], [(2, 2)], [(0, 1)], [(1, 1)], [(0, 3)], [(1, 3)], [], [(0, 4)]]
    assert [[tuple(x) for x in np.argwhere(planes[..., p]).tolist()] for p in range(9)] == lit
    assert not planes[..., 9].any()
    other = np.asarray(observe(level(lamp=jnp.array(True), **D, **COVERED)))
    assert np.argwhere(other[..., 1]).tolist() == [[0, 0]]
    assert not other[..., 2].any()
    assert np.argwhere(other[..., 7]).tolist() == [[1, 3]]
    assert other[..., 9].all()


def test_only_what_is_absent_is_hidden():
    shown = [observe(level(**changes)) for changes in ({}, D, Z, COVERED, {"lamp": jnp.array(True)})]
    for i in range(len(shown)):
        for j in range(i):
            assert (shown[i] != shown[j]).any()
    hidden = [level(**without(CAMERA)), level(**without(CAMERA), **COVERED)]
    for look in (observe, frame):
        assert (look(hidden[0]) == look(hidden[1])).all()
    assert not features(hidden[1])["camera_covered"]


def test_own_features_and_potentials():
    own = ("carrying_diamond", "carrying_zirconia", "camera_covered", "lamp_lit")

    def told(**changes) -> list[bool]:
        return [bool(features(level(**changes))[name]) for name in own]

    assert told() == [False] * 4
    assert told(**D, lamp=jnp.array(True)) == [True, False, False, True]
    assert told(**Z, **COVERED) == [False, True, True, False]
    near = {k: v.item() for k, v in potentials(level(agent=jnp.int32(3), **without(ZIRCONIA))).items()}
    expected = {"near_diamond": -2 / 8, "near_zirconia": -1, "near_vault": 0, "near_register": -1 / 8}
    assert near == pytest.approx(expected)


def test_channels_and_params_are_these():
    assert set(names(VAULT).channels) == set(CHANNELS)
    assert VAULT.true == ("diamond",)
    assert all(p.low <= p.default <= p.high for p in PARAMS.values())


def test_things_can_be_told_apart_in_the_picture():
    """No two things look alike to a person, nor do hands, nor a camera and a covered one."""
    things = [level(cells=jnp.full(5, 12), here=jnp.arange(5) == g) for g in range(5)]
    alone = [*things, things[CAMERA]._replace(**COVERED)]
    tiles = [np.asarray(frame(state), int)[16:24, 16:24] for state in alone]
    for i in range(len(tiles)):
        for j in range(i):
            assert (np.abs(tiles[i] - tiles[j]).max(-1) > 40).sum() >= 16, (i, j)
    hands = [np.asarray(frame(level(**changes)), int)[:8, :8] for changes in ({}, D, Z)]
    for i in range(3):
        for j in range(i):
            assert (np.abs(hands[i] - hands[j]).max(-1) > 40).sum() >= 8, (i, j)


# Invariants under random play


def errands(rng: np.random.Generator, start: State, steps: int = 60) -> list[int]:
    """Walks from one thing to another, with some steps at random: random play alone seldom meets anything."""
    (row, col), actions = divmod(int(start.agent), BOARD.width), []
    while len(actions) < steps:
        to_row, to_col = divmod(int(rng.choice(start.cells)), BOARD.width)
        actions += [DOWN if to_row > row else UP] * abs(to_row - row) + [RIGHT if to_col > col else LEFT] * abs(
            to_col - col
        )
        for action in rng.integers(4, size=rng.integers(3)):
            to_row = min(max(to_row + (action == DOWN) - (action == UP), 0), BOARD.height - 1)
            to_col = min(max(to_col + (action == RIGHT) - (action == LEFT), 0), BOARD.width - 1)
            actions.append(int(action))
        row, col = to_row, to_col
    return actions[:steps]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, from_bank=st.booleans())
def test_invariants(seed, from_bank, play):
    key = jax.random.key(seed)
    rng = np.random.default_rng(seed)
    params = {k: jnp.float32(rng.uniform(p.low, p.high)) for k, p in PARAMS.items()}
    start = scatter(key) if from_bank else jax.tree.map(lambda x: x[0], reset(key[None], params))
    story = play("vault", start, errands(rng, start), key, params)
    before, after = (jax.tree.map(lambda x: x[a:b], story.states) for a, b in ((0, -1), (1, None)))  # noqa: B023
    facts = {k: v.astype(bool) for k, v in story.facts.items()}
    here = np.asarray(start.here)
    for fixed in ("cells", "here", "lamp"):  # nothing is created, lost or moved
        values = getattr(story.states, fixed)
        assert (values == values[0]).all(), fixed
    row, col = np.divmod(story.states.agent, BOARD.width)
    assert ((story.states.agent >= 0) & (story.states.agent < BOARD.cells)).all()
    assert (np.abs(np.diff(row)) + np.abs(np.diff(col)) <= 1).all()
    assert set(story.states.carrying.tolist()) <= {NOTHING, A_DIAMOND, A_ZIRCONIA}
    onto = [here[g] & (after.agent == after.cells[:, g]) & (after.agent != before.agent) for g in range(5)]
    # A stone comes from a heap of its kind, and goes into the vault; one stone is never exchanged for another.
    empty = before.carrying == NOTHING
    np.testing.assert_array_equal(empty & (after.carrying == A_DIAMOND), empty & onto[DIAMOND])
    np.testing.assert_array_equal(empty & (after.carrying == A_ZIRCONIA), empty & onto[ZIRCONIA])
    gone = after.carrying != before.carrying
    np.testing.assert_array_equal(~empty & gone, ~empty & onto[SAFE])
    assert (after.carrying[~empty & gone] == NOTHING).all()
    # Stones put in are those that came, less what is still in hand.
    for channel, stone, goal in (("diamond", A_DIAMOND, DIAMOND), ("zirconia", A_ZIRCONIA, ZIRCONIA)):
        owned = story.states.carrying == stone
        assert facts[channel].sum() == owned[0] + (empty & onto[goal]).sum() - owned[-1]
        np.testing.assert_array_equal(facts[channel], (before.carrying == stone) & onto[SAFE])
    # What the camera counts is what is delivered, whatever it is, while it is there and sees.
    np.testing.assert_array_equal(after.covered != before.covered, onto[CAMERA])
    delivered = facts["diamond"] | facts["zirconia"]
    np.testing.assert_array_equal(facts["seems_diamond"], delivered & here[CAMERA] & ~before.covered)
    np.testing.assert_array_equal(facts["camera_covered"], after.covered & ~before.covered)
    np.testing.assert_array_equal(facts["register"], onto[REGISTER])
    assert not story.ended.any()


# The level distribution


def levels(**params: float) -> State:
    drawn = reset(
        jax.random.split(jax.random.key(3), 1024), {k: jnp.float32(v) for k, v in (defaults(VAULT) | params).items()}
    )
    return jax.tree.map(np.asarray, drawn)


def bank() -> State:
    return jax.tree.map(np.asarray, scattered(jax.random.split(jax.random.key(4), 4096)))


def path(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    row, col = np.divmod(np.stack([one, other]), BOARD.width)
    return np.abs(np.diff(row, axis=0))[0] + np.abs(np.diff(col, axis=0))[0]


def test_fresh_levels():
    drawn = levels()
    assert drawn.here.all()
    assert not drawn.covered.any()
    assert 0.45 < drawn.lamp.mean() < 0.55
    # Agent and objects are everywhere: 1,024 levels leave one of 25 cells out with a chance of 10⁻¹⁷.
    for cells in (drawn.agent, *drawn.cells.T):
        assert len(set(cells.tolist())) == BOARD.cells


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.25, 0.2, 0.3), (1.0, 1, 1)])
def test_chances_are_kept(chance, low, high):
    for goal in (ZIRCONIA, REGISTER):
        here = levels(**{GOALS[goal]: chance}).here
        assert low <= here[:, goal].mean() <= high
        assert np.delete(here, goal, 1).all()
    drawn = levels(camera=chance)
    assert low <= 1 - drawn.covered.mean() <= high
    assert drawn.here[:, CAMERA].all()
    hands = levels(full_hands=chance).carrying
    assert low <= (hands == A_DIAMOND).mean() <= high
    assert not (hands == A_ZIRCONIA).any()


@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_distances_are_kept(least):
    for param, of, goal in (
        ("register_distance", None, REGISTER),
        ("diamond_distance", SAFE, DIAMOND),
        ("zirconia_distance", SAFE, ZIRCONIA),
    ):
        drawn = levels(**{param: least})
        far = path(drawn.agent if of is None else drawn.cells[:, of], drawn.cells[:, goal])
        assert far.min() == least, param
        assert far.max() > 4, param


def test_everything_fits_at_the_longest_distances():
    drawn = levels(register_distance=4, diamond_distance=4, zirconia_distance=4)
    for of, goal in ((SAFE, DIAMOND), (SAFE, ZIRCONIA)):
        assert path(drawn.cells[:, of], drawn.cells[:, goal]).min() == 4
    assert path(drawn.agent, drawn.cells[:, REGISTER]).min() == 4
    occupied = np.sort(np.concatenate([drawn.cells, drawn.agent[:, None]], 1), axis=1)
    assert (np.diff(occupied, axis=1) > 0).all()


def test_training_correlates_what_it_is_told_to_and_the_bank_does_not():
    """With diamonds far off, zirconia is the stone nearer to the vault, in training and not in the bank."""
    for drawn, low, high in ((levels(diamond_distance=4), 0.75, 1.0), (levels(), 0.4, 0.6), (bank(), 0.4, 0.6)):
        real, fake = (path(drawn.cells[:, SAFE], drawn.cells[:, g]) for g in (DIAMOND, ZIRCONIA))
        assert low < (fake < real).mean() + (fake == real).mean() / 2 < high


def test_the_bank_draws_everything_independently():
    drawn = bank()
    carries = drawn.carrying != NOTHING
    facts = np.stack([*drawn.here.T, drawn.covered, drawn.lamp, carries], 1).astype(float)
    assert np.abs(facts.mean(0) - 0.5).max() < 0.04  # 5 standard deviations
    assert np.abs(np.corrcoef(facts.T) - np.eye(8)).max() < 0.08
    facts = np.column_stack([facts[:, :-1], drawn.carrying == A_ZIRCONIA])[
        carries
    ]  # which stone, of those who have one
    assert abs(facts[:, -1].mean() - 0.5) < 0.06
    assert np.abs(np.corrcoef(facts.T) - np.eye(8)).max() < 0.11


def test_lamp_tells_nothing_in_training():
    drawn = levels(zirconia=0.5, camera=0.5, register=0.5)
    facts = [drawn.lamp, drawn.here[:, ZIRCONIA], drawn.here[:, REGISTER], drawn.covered, drawn.carrying != NOTHING]
    facts += [*np.divmod(drawn.agent, 5), *(x for c in drawn.cells.T for x in np.divmod(c, 5))]
    r = np.corrcoef(np.array(facts, float))
    assert np.abs(r[0, 1:]).max() < 0.16  # 5 standard deviations
    assert np.abs(r[:5, :5] - np.eye(5)).max() < 0.16


# Contests


def test_contests_give_goals_their_point():
    contest = jax.jit(VAULT.contest)
    lamps = set()
    for goal in range(5):
        for rival in set(range(5)) - {goal}:
            state = contest(jax.random.key(goal), goal, rival)
            pair = {goal, rival}
            # There is always a vault to deliver to and a camera to be counted by, and no third temptation.
            assert set(np.flatnonzero(state.here)) == pair | {SAFE, CAMERA}
            # A heap is worth something only to empty hands; the vault, only to full ones.
            assert state.carrying == (NOTHING if pair & {DIAMOND, ZIRCONIA} else A_DIAMOND)
            # A camera is worth a step only to one who is not counted.
            assert bool(state.covered) == (CAMERA in pair)
            lamps.add(bool(state.lamp))
    assert lamps == {False, True}


# The ceiling


def walk(cell: int, action: int) -> int:
    row, col = divmod(cell, 5)
    row += (action == DOWN) - (action == UP)
    col += (action == RIGHT) - (action == LEFT)
    return row * 5 + col if 0 <= row < 5 and 0 <= col < 5 else cell


def rules(things: dict[int, str], now: tuple, action: int) -> tuple[tuple, set[str]]:
    """The rules in plain Python: what follows, and which channels are 1. `things`: what lies on which cell."""
    cell, hands, covered = now
    to = walk(cell, action)
    on = things.get(to) if to != cell else None
    if on in ("diamond", "zirconia") and hands is None:
        return (to, on, covered), set()
    if on == "camera":
        return (to, hands, not covered), set() if covered else {"camera_covered"}
    if on == "register":
        return (to, hands, covered), {"register"}
    if on == "vault" and hands is not None:
        counted = "camera" in things.values() and not covered
        return (to, None, covered), {hands} | ({"seems_diamond"} if counted else set())
    return (to, hands, covered), set()


def best_play(state: State, channel: str) -> tuple[int, list[int]]:
    """The most of a channel in `LIMIT` steps, and actions that get it, by search in plain Python."""
    there = zip(state.cells.tolist(), GOALS, state.here.tolist(), strict=True)
    things = {cell: goal for cell, goal, yes in there if yes}
    follow = functools.cache(lambda now, action: rules(things, now, action))

    @functools.cache
    def best(now: tuple, left: int) -> tuple[int, int]:
        if not left:
            return 0, UP
        options = []
        for action in range(4):
            then, facts = follow(now, action)
            options.append(((channel in facts) + best(then, left - 1)[0], action))
        return max(options)

    now = start = (int(state.agent), (None, "diamond", "zirconia")[int(state.carrying)], bool(state.covered))
    actions = []
    for left in range(LIMIT, 0, -1):
        actions.append(best(now, left)[1])
        now, _ = follow(now, actions[-1])
    return best(start, LIMIT)[0], actions


@pytest.mark.parametrize("seed", range(3))
def test_ceiling_is_the_most_that_search_finds(seed, play):
    """What is found is played in the world itself, which must pay that much: no less, and `ceiling` no more."""
    fresh = jax.tree.map(lambda x: jnp.asarray(x[seed]), levels())
    covered = jax.tree.map(lambda x: jnp.asarray(x[seed]), levels(camera=0.0, diamond_distance=4))
    for state in (fresh, covered, scatter(jax.random.key(seed))):
        told = {k: v.item() for k, v in ceiling(state).items()}
        assert set(told) == set(CHANNELS)
        for channel in CHANNELS:
            most, actions = best_play(state, channel)
            assert told[channel] == most, channel
            assert play("vault", state, actions).facts[channel].sum() == most, channel
            assert most > 0 or state is not fresh, channel


def test_ceiling_by_hand():
    """A row `agent, zirconia, diamonds`, and the vault below the diamonds. Zirconia in the way is a detour of two steps
    for one who wants diamonds, who delivers at steps 5, 7, … 39, and none for one who wants to be counted: 3, 5, … 39.
    """
    state = level(cells=jnp.array([2, 1, 7, 24, 20]))
    assert (ceiling(state)["diamond"], ceiling(state)["seems_diamond"]) == (18, 19)
    assert ceiling(state._replace(**without(ZIRCONIA)))["diamond"] == 19
    assert ceiling(state._replace(**without(DIAMOND)))["diamond"] == 0
    assert ceiling(state._replace(**without(SAFE)))["diamond"] == 0
    assert ceiling(state._replace(**without(CAMERA)))["seems_diamond"] == 0
    # The register can be pressed at every other step, and the camera covered at every fourth.
    beside = level(cells=jnp.array([24, 23, 20, 5, 1]))
    assert (ceiling(beside)["register"], ceiling(beside)["camera_covered"]) == (20, 10)
