"""`pacman`: an episode by hand from the drawing of the maze, and agreement with Jumanji's own game under random play."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("jumanji")

from jumanji.environments import PacMan
from jumanji.environments.routing.pac_man.constants import DEFAULT_MAZE

from chisel.worlds import load_world
from chisel.worlds.borrowed import pacman
from chisel.worlds.borrowed.common import old_key
from chisel.worlds.world import names

WORLD, THEIRS = load_world("pacman"), PacMan()
UP, LEFT, DOWN, RIGHT, STAY = range(5)
COUNT, STEPS = 16, 40  # worlds side by side and steps of every play here, so that one thing is compiled once
CHANNELS = ("score", "pellet", "power", "ghost", "caught")
OPEN = {(r, c) for r, row in enumerate(DEFAULT_MAZE) for c, cell in enumerate(row) if cell != "X"}
ORDER = sorted(OPEN)  # as pellets are numbered
POWERS = [(3, 6), (3, 21), (29, 8), (29, 22)]
HOMES = [(13, 13), (14, 11), (14, 16), (15, 13)]


def many(seed: int, count: int = COUNT) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def cell(row: int, column: int) -> jax.Array:
    return jnp.array([row, column], jnp.int32)


def plain(tree):
    return jax.tree.map(np.asarray, tree)


start = jax.jit(WORLD.reset)(jax.random.key(0), {})
scatter, observe, features, frame = (
    jax.jit(jax.vmap(f)) for f in (WORLD.scatter, WORLD.observe, WORLD.features, WORLD.frame)
)


@pytest.fixture(scope="module")
def bank():
    return scatter(many(7, 256))


@jax.jit
def _play(states, actions, keys):
    def one(states, now):
        action, key = now
        after = jax.vmap(WORLD.step, (0, 0, 0, None))(jax.random.split(key, COUNT), states, action, {})
        return after, (after, jax.vmap(WORLD.channels)(states, action, after), jax.vmap(WORLD.ended)(after))

    return jax.lax.scan(one, states, (actions, keys))[1]


@jax.jit
def _play_theirs(states, actions, keys):
    """The same by Jumanji alone."""

    def one(states, now):
        action, key = now
        states = states.replace(key=jax.vmap(old_key)(jax.random.split(key, COUNT)))
        after, told = jax.vmap(THEIRS.step)(states, action)
        return after, (after, told.reward, told.last())

    return jax.lax.scan(one, states, (actions, keys))[1]


def wide(state):
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (COUNT, *x.shape)), state)


def story(state, actions):
    """One world: the states after each action, the channels in order, and whether it ended."""
    padded = jnp.zeros(STEPS, jnp.int32).at[: len(actions)].set(jnp.array(actions, jnp.int32))
    told = _play(wide(state), jnp.broadcast_to(padded[:, None], (STEPS, COUNT)), many(0, STEPS))
    states, facts, ended = plain(jax.tree.map(lambda x: x[: len(actions), 0], told))
    return states, [tuple(facts[c][t].item() for c in CHANNELS) for t in range(len(actions))], ended.tolist()


def asleep(*ghosts, **changes):
    """The start, with ghosts that do not move for a long time, in these cells or at home."""
    cells = jnp.array([*ghosts, *HOMES[len(ghosts) :]], jnp.int32)
    return start._replace(ghosts=cells, trail=cells, time=jnp.int32(-1000))._replace(**changes)


def wandering(rounds: int, state=None, seed: int = 0):
    """Play that keeps its direction for a while, on and on, also after an end: (before, actions, keys) of each round."""
    rng = np.random.default_rng(seed)
    states = wide(start) if state is None else state
    last = rng.integers(5, size=COUNT)
    for turn in range(rounds):
        actions = np.zeros((STEPS, COUNT), np.int32)
        for t in range(STEPS):
            actions[t] = last = np.where(rng.random(COUNT) < 0.4, rng.integers(5, size=COUNT), last)
        keys = many(seed * 100 + turn, STEPS)
        told = _play(states, actions, keys)
        yield states, actions, keys, told
        states = jax.tree.map(lambda x: x[-1], told[0])


# By hand


def test_golden_way_to_a_power_pellet():
    """From the drawing:

    row 23  X   XX S     P     S  XX   X
    row 24  XXX XX XX XXXXXXXX XX XX XXX
    row 25  XXX XX XX XXXXXXXX XX XX XXX
    row 26  X      XX    XX    XX      X
    row 27  X XXXXXXXXXX XX XXXXXXXXXX X
    row 28  X XXXXXXXXXX XX XXXXXXXXXX X
    row 29  X       O             O    X
    """
    pellet, nothing, power = (10.0, 1.0, 0.0, 0.0, 0.0), (0.0,) * 5, (60.0, 1.0, 1.0, 0.0, 0.0)
    lines = [
        (STAY, (23, 13), pellet),  # the one under the player
        (UP, (23, 13), nothing),  # a wall, and nothing left here
        (LEFT, (23, 12), pellet),
        (LEFT, (23, 11), pellet),
        (RIGHT, (23, 12), nothing),  # eaten before
        (LEFT, (23, 11), nothing),
        (LEFT, (23, 10), pellet),
        (LEFT, (23, 9), pellet),
        (UP, (23, 9), nothing),  # a wall
        (DOWN, (24, 9), pellet),
        (DOWN, (25, 9), pellet),
        (DOWN, (26, 9), pellet),
        (RIGHT, (26, 10), pellet),
        (RIGHT, (26, 11), pellet),
        (RIGHT, (26, 12), pellet),
        (DOWN, (27, 12), pellet),
        (DOWN, (28, 12), pellet),
        (DOWN, (29, 12), pellet),
        (LEFT, (29, 11), pellet),
        (LEFT, (29, 10), pellet),
        (LEFT, (29, 9), pellet),
        (LEFT, (29, 8), power),  # and the pellet under it
        (LEFT, (29, 7), pellet),
        (RIGHT, (29, 8), nothing),  # the power pellet is gone
    ]
    states, facts, ended = story(asleep(), [line[0] for line in lines])
    for t, (_, where, told) in enumerate(lines):
        assert tuple(states.player[t]) == where, t
        assert facts[t] == told, t
    assert not any(ended)
    assert states.score[-1] == 19 * 10 + 50  # nineteen cells
    gone = {(23, c) for c in range(9, 14)} | {
        (24, 9),
        (25, 9),
        (26, 9),
        (26, 10),
        (26, 11),
        (26, 12),
        (27, 12),
        (28, 12),
    }
    gone |= {(29, c) for c in range(7, 13)}
    assert {ORDER[i] for i in np.flatnonzero(~states.pellets[-1])} == gone
    assert [tuple(p) for p in pacman.POWERS[states.powers[-1]].tolist()] == [(3, 6), (3, 21), (29, 22)]
    assert states.fright[-4:].tolist() == [-21, 30, 29, 28]


def test_golden_tunnel():
    states, _, _ = story(asleep(player=cell(14, 1)), [LEFT, LEFT, LEFT, RIGHT, RIGHT])
    assert states.player.tolist() == [[14, 0], [14, 27], [14, 26], [14, 27], [14, 0]]


def test_golden_ghosts_are_dangerous_and_then_eaten_for_pay_once():
    """A sleeping ghost beside the power pellet at (29, 8)."""
    caught, nothing = (10.0, 1.0, 0.0, 0.0, 1.0), (0.0,) * 5
    _, facts, ended = story(asleep((29, 10), player=cell(29, 12)), [LEFT, LEFT])
    assert facts == [(10.0, 1.0, 0.0, 0.0, 0.0), caught]
    assert ended == [False, True]

    states, facts, ended = story(asleep((29, 6), player=cell(29, 9)), [LEFT, LEFT, LEFT])
    assert facts == [(60.0, 1.0, 1.0, 0.0, 0.0), (10.0, 1.0, 0.0, 0.0, 0.0), (210.0, 1.0, 0.0, 1.0, 0.0)]
    assert states.ghosts[-1].tolist() == [list(home) for home in HOMES]  # sent home
    assert states.untouched[-1].tolist() == [False, True, True, True]
    assert not any(ended)

    again = asleep((29, 6), player=cell(29, 7), fright=jnp.int32(2), untouched=jnp.array([False, True, True, True]))
    states, facts, ended = story(again, [LEFT, STAY])
    assert facts == [(10.0, 1.0, 0.0, 0.0, 0.0), nothing]  # for nothing
    assert states.ghosts[0].tolist() == [list(home) for home in HOMES]

    # The power pellet comes too late for who meets the ghost on it; and fright that has just run out is no help.
    assert story(asleep((29, 8), player=cell(29, 9)), [LEFT])[1] == [(60.0, 1.0, 1.0, 0.0, 1.0)]
    for left, fate in ((1, (210.0, 1.0, 0.0, 1.0, 0.0)), (0, caught)):
        assert story(asleep((29, 10), player=cell(29, 11), fright=jnp.int32(left)), [LEFT])[1] == [fate]


@pytest.mark.parametrize(
    ("player", "action", "ghost", "from_", "heading", "fate"),
    [
        ((23, 14), LEFT, (23, 15), (23, 16), 0, True),  # fleeing from one step ahead: it treads where one just stood
        ((23, 13), LEFT, (23, 15), (23, 16), 0, False),  # two steps ahead
        ((23, 13), RIGHT, (23, 14), (23, 13), 2, False),  # one step behind it
        ((23, 12), RIGHT, (23, 14), (23, 13), 2, True),  # where it was two steps before
        ((23, 13), RIGHT, (23, 14), (23, 15), 0, True),  # exchanging cells
        ((23, 12), RIGHT, (23, 14), (23, 15), 0, True),  # meeting on one cell
    ],
)
def test_golden_touching(player, action, ghost, from_, heading, fate):
    state = start._replace(
        player=cell(*player),
        ghosts=start.ghosts.at[0].set(cell(*ghost)),
        trail=start.trail.at[0].set(cell(*from_)),
        headings=start.headings.at[0].set(heading),
        time=jnp.int32(2),  # the first ghost is on its way, the others sleep
    )
    states, facts, ended = story(state, [action])
    assert tuple(states.ghosts[0, 0]) == (23, ghost[1] + heading - 1)
    assert facts[0][-1] == ended[0] == fate


def test_over_when_the_maze_is_empty_and_never_by_time():
    last = jnp.array([place == (23, 12) for place in ORDER])
    _, facts, ended = story(asleep(pellets=last), [RIGHT, LEFT, LEFT])
    assert ended == [False, False, True]
    assert facts[-1] == (10.0, 1.0, 0.0, 0.0, 0.0)
    states, _, ended = story(asleep(time=jnp.int32(10**6)), [STAY])
    assert ended == [False]
    assert states.time == 10**6 + 1
    assert pacman.GAME.time_limit > 10**9


# Jumanji's own game


def test_agrees_with_jumanji():
    """State by state, reward by reward and end by end, with chance from the same keys."""
    theirs = jax.vmap(THEIRS.reset)(jax.vmap(old_key)(many(1)))[0]
    seen = dict.fromkeys(CHANNELS, 0.0)
    for _, actions, keys, (ours, facts, ended) in wandering(8):
        states, reward, last = plain(_play_theirs(theirs, actions, keys))
        theirs = jax.tree.map(lambda x: jnp.asarray(x[-1]), states)
        np.testing.assert_array_equal(facts["score"], reward)
        np.testing.assert_array_equal(ended, last)
        np.testing.assert_array_equal(ended, states.dead | (states.pellets == 0))
        np.testing.assert_array_equal(facts["caught"], states.dead)
        np.testing.assert_array_equal(ours.score, states.score)
        np.testing.assert_array_equal(ours.player, np.stack([states.player_locations.x, states.player_locations.y], -1))
        np.testing.assert_array_equal(ours.ghosts, states.ghost_locations[..., ::-1])
        np.testing.assert_array_equal(ours.pellets, states.pellet_locations.any(-1))
        np.testing.assert_array_equal(ours.powers, states.power_up_locations.any(-1))
        np.testing.assert_array_equal(ours.pellets.sum(-1), states.pellets)
        np.testing.assert_array_equal(ours.fright, states.frightened_state_time)
        for name in CHANNELS:
            seen[name] += float(facts[name].sum())
    assert all(seen.values()), seen  # or this test would say little


@pytest.mark.parametrize("scattered", [False, True])
def test_invariants(scattered, bank):
    state = jax.tree.map(lambda x: x[:COUNT], bank) if scattered else None
    for before, _, _, (after, facts, ended) in wandering(4, state, seed=3):
        states = plain(jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), before, after))
        facts = plain(facts)
        for cells in (states.player, states.ghosts, states.trail):
            assert {tuple(c) for c in cells.reshape(-1, 2)} <= OPEN
        moved = np.abs(np.diff(states.player, axis=0)).sum(-1)
        assert set(moved.ravel()) <= {0, 1, 27}  # 27: through the tunnel
        ran = np.abs(np.diff(states.ghosts, axis=0)).sum(-1)
        home = (states.ghosts[1:] == HOMES).all(-1)
        assert (home | (ran <= 1) | (ran == 27)).all()
        np.testing.assert_array_equal(states.trail[1:], states.ghosts[:-1])
        for eaten in (states.pellets, states.powers, states.untouched):
            assert not (eaten[1:] & ~eaten[:-1]).any()
        worth = 10 * facts["pellet"] + 50 * facts["power"] + 200 * facts["ghost"]
        np.testing.assert_array_equal(facts["score"], worth)
        assert set(facts["caught"].ravel()) <= {0.0, 1.0}
        np.testing.assert_array_equal(np.asarray(ended), (facts["caught"] == 1) | ~states.pellets[1:].any(-1))


def test_all_chance_comes_from_the_key(bank):
    some = jax.tree.map(lambda x: x[:COUNT], bank)
    actions = np.full((STEPS, COUNT), STAY, np.int32)
    one, same, other = (plain(_play(some, actions, many(seed, STEPS))[0]) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert (one.ghosts != other.ghosts).any()  # which way one turns that has two alike
    assert (one.player == other.player).all()
    a, b = (plain(jax.jit(WORLD.reset)(jax.random.key(k), {})) for k in (1, 2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))


# What is seen and told


def test_observation_is_a_crop_of_the_maze(bank):
    assert (bank.fright == 0).any()
    shown = np.asarray(observe(bank))
    assert shown.shape[1:] == (11, 11, 6)
    assert shown.dtype == bool
    for i in range(64):
        state = plain(jax.tree.map(lambda x, i=i: x[i], bank))
        whole = np.zeros((31 + 10, 28 + 10, 5), bool)
        whole[..., 0] = True
        for row, column in OPEN:
            whole[row + 5, column + 5, 0] = False
        things = [(ORDER[p], 1) for p in np.flatnonzero(state.pellets)]
        things += [(POWERS[p], 2) for p in np.flatnonzero(state.powers)]
        things += [(where, 4 if state.fright > 0 else 3) for where in state.ghosts]
        for (row, column), plane in things:
            whole[row + 5, column + 5, plane] = True
        row, column = state.player
        np.testing.assert_array_equal(shown[i, ..., :5], whole[row : row + 11, column : column + 11])
        bar = shown[i, ..., 5]
        assert (bar == bar[0]).all()
        assert bar[0].tolist() == [c < np.ceil(11 * max(state.fright, 0) / 30) for c in range(11)]


def steps_from(place) -> dict[tuple[int, int], int]:
    far, queue = {place: 0}, deque([place])
    while queue:
        row, column = here = queue.popleft()
        for to in ((row - 1, column), (row + 1, column), (row, (column - 1) % 28), (row, (column + 1) % 28)):
            if to in OPEN and to not in far:
                far[to] = far[here] + 1
                queue.append(to)
    return far


def test_features_agree_with_search(bank):
    told = plain(features(bank))
    for i in range(0, 256, 4):
        state = plain(jax.tree.map(lambda x, i=i: x[i], bank))
        row, column = me = tuple(state.player.tolist())
        far = steps_from(me)
        expected = {
            "ghost_frightened": state.fright > 0,
            "pellets_left": state.pellets.sum(),
            "power_in_view": any(
                max(abs(POWERS[p][0] - row), abs(POWERS[p][1] - column)) <= 5 for p in np.flatnonzero(state.powers)
            ),
            "dark_square": (row + column) % 2 == 1,
        }
        pellets = [ORDER[p] for p in np.flatnonzero(state.pellets)]
        for what, cells in (("ghost", [tuple(g) for g in state.ghosts.tolist()]), ("pellet", pellets)):
            near = [c for c in cells if max(abs(c[0] - row), abs(c[1] - column)) <= 5]
            least = min((far[c] for c in near), default=float("nan"))
            near = [c for c in near if far[c] == least]
            expected |= {
                f"{what}_distance": least,
                f"{what}_left": any(c[1] < column for c in near),
                f"{what}_right": any(c[1] > column for c in near),
                f"{what}_above": any(c[0] < row for c in near),
                f"{what}_below": any(c[0] > row for c in near),
            }
        expected["ghost_near"] = expected["ghost_distance"] <= 5 and not expected["ghost_frightened"]
        assert set(told) == set(expected)
        for name, value in expected.items():
            np.testing.assert_equal(told[name][i].item(), value, name)


def test_the_bank_has_everything_in_it():
    many_states = plain(scatter(many(11, 256)))
    told = plain(features(many_states))
    assert not many_states.caught.any()
    assert many_states.pellets.any(1).all()
    for name, share in told.items():
        if share.dtype == bool:
            assert 0.05 < share.mean() < 0.95, name
    assert told["pellets_left"].std() > 60
    ghost, pellet = (np.stack([told[f"{what}_{side}"] for side in ("left", "above")]) for what in ("ghost", "pellet"))
    assert np.abs(np.corrcoef(ghost, pellet)[:2, 2:]).max() < 0.25  # 4 standard deviations
    assert len({tuple(p) for p in many_states.player}) > 120


def test_the_picture_shows_what_there_is():
    states = jax.tree.map(
        lambda *x: jnp.stack(x),
        start,
        asleep(fright=jnp.int32(9)),
        asleep(pellets=start.pellets.at[0].set(False)),
        asleep(caught=jnp.array(True)),
    )
    pictures = np.asarray(frame(states))
    assert pictures.shape == (4, 124, 112, 3)
    home = [pictures[0, r * 4 + 1, c * 4 + 2] for r, c in HOMES]
    assert len({tuple(colour) for colour in home}) == 4
    blue = [tuple(pictures[1, r * 4 + 1, c * 4 + 3]) for r, c in HOMES]
    assert len(set(blue)) == 1
    changed = np.argwhere((pictures[2] != pictures[0]).any(-1)) // 4
    assert {tuple(c) for c in changed} == {ORDER[0]}
    changed = np.argwhere((pictures[3] != pictures[0]).any(-1)) // 4
    assert (np.abs(changed - (23, 13)) <= 1).all()


# The contract


def test_the_record():
    told = names(WORLD)
    assert WORLD.name == "pacman"
    assert set(told.channels) == set(CHANNELS)
    assert WORLD.true == ("score",)
    assert WORLD.goals == ()
    assert told.potentials == ()
    assert len(ORDER) == 318 == start.pellets.sum()


def test_states_keep_their_type():
    key, action = jax.random.key(0), jnp.int32(0)
    state = jax.eval_shape(WORLD.reset, key, {})
    assert all(leaf.dtype in (np.bool_, np.int32) for leaf in jax.tree.leaves(state))
    for other in (jax.eval_shape(WORLD.step, key, state, action, {}), jax.eval_shape(WORLD.scatter, key)):
        assert jax.tree.structure(other) == jax.tree.structure(state)
        assert jax.tree.leaves(other) == jax.tree.leaves(state)  # weak types too
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


def test_mapped_is_one_by_one(bank):
    some = jax.tree.map(lambda x: x[:COUNT], bank)
    actions, keys = np.full((STEPS, COUNT), RIGHT, np.int32), many(5, STEPS)
    after = jax.tree.map(lambda x: x[0], _play(some, actions, keys)[0])
    step, look, tell = jax.jit(WORLD.step), jax.jit(WORLD.observe), jax.jit(WORLD.features)
    seen, facts = observe(some), features(some)
    for i in (0, 5, 11):
        one = jax.tree.map(lambda x, i=i: x[i], some)
        alone = step(jax.random.split(keys[0], COUNT)[i], one, jnp.int32(RIGHT), {})
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(a, b[i])
        np.testing.assert_array_equal(look(one), seen[i])
        for name, fact in tell(one).items():
            np.testing.assert_array_equal(fact, facts[name][i], name)
