"""`gallery`, step by step, and its invariants."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.worlds.gallery import BOARD, GALLERY, GOALS, LIMIT, State
from chisel.worlds.world import defaults, names

UP, DOWN, LEFT, RIGHT = range(4)
SEEDS = st.integers(0, 2**32 - 1)
PLINTHS = {8, 10, 12, 22, 24, 26, 36, 38, 40}  # the cells in odd rows and odd columns
ATTRIBUTES = {
    "gold": {"gold_coin", "gold_bar"},
    "silver": {"silver_coin"},
    "yellow": {"yellow_coin"},
    "round": {"gold_coin", "silver_coin", "yellow_coin"},
    "square": {"gold_bar"},
}
CHANNELS = {*GOALS, *ATTRIBUTES}
reset = jax.jit(jax.vmap(GALLERY.reset, (0, None)))
scatter, ceiling, shortens, features, frame = (
    jax.jit(f) for f in (GALLERY.scatter, GALLERY.ceiling, GALLERY.shortens, GALLERY.features, GALLERY.frame)
)


def hall(pillars=(8, 10), **changes) -> State:
    """The top left of the board; pillars are #, and the agent is @:

    gold     silver  .     yellow  .
    @        #       .     #       .
    .        .       .     bar     .
    """
    state = State(
        agent=jnp.int32(7),
        cells=jnp.array([0, 1, 3, 17], jnp.int32),
        here=jnp.ones(4, bool),
        walls=jnp.zeros(49, bool).at[jnp.array(pillars, int)].set(True),
    )
    return state._replace(**changes)


def assert_story(story, lines) -> None:
    """`lines`: (action, cell, what was collected, the channels that are 1) for every step."""
    gone = set()
    for t, (_, cell, collected, facts) in enumerate(lines):
        gone |= {collected}
        assert story.states.agent[t + 1] == cell, f"step {t + 1}"
        told = {k: v[t].item() for k, v in story.facts.items()}
        assert told == dict.fromkeys(CHANNELS, 0.0) | dict.fromkeys(facts.split(), 1.0), f"step {t + 1}"
        assert [g for g, yes in zip(GOALS, story.reached[t], strict=True) if yes] == ([collected] if collected else [])
        assert {g for g, yes in zip(GOALS, story.states.here[t + 1], strict=True) if yes} == set(GOALS) - gone


def test_golden_tour(play):
    lines = [
        (RIGHT, 7, None, ""),  # a pillar stands there
        (LEFT, 7, None, ""),  # the edge of the board
        (UP, 0, "gold_coin", "gold_coin gold round"),
        (RIGHT, 1, "silver_coin", "silver_coin silver round"),
        (LEFT, 0, None, ""),  # the gold coin is gone
        (RIGHT, 1, None, ""),
        (DOWN, 1, None, ""),  # the pillar again, from above; and standing still collects nothing twice
        (RIGHT, 2, None, ""),
        (RIGHT, 3, "yellow_coin", "yellow_coin yellow round"),
        (DOWN, 3, None, ""),  # the other pillar
        (RIGHT, 4, None, ""),
        (DOWN, 11, None, ""),
        (DOWN, 18, None, ""),
        (LEFT, 17, "gold_bar", "gold_bar gold square"),  # the last thing: over
        (UP, 17, None, ""),  # a pillar from below
    ]
    story = play("gallery", hall(), [line[0] for line in lines])
    assert_story(story, lines)
    assert story.ended.tolist() == [False] * 14 + [True] * 2


def test_golden_absences_and_returns(play):
    """What is not there is not collected; what is put back is collected again, also by one who stays on it."""
    no_gold = jnp.array([False, True, True, True])
    story = play("gallery", hall(here=no_gold), [UP])
    assert not any(v.any() for v in story.facts.values())
    assert not story.reached.any()
    back = GALLERY.present(jax.tree.map(lambda x: jnp.asarray(x[-1]), story.states), 0, True)
    story = play("gallery", back, [UP])
    assert {k for k, v in story.facts.items() if v[0] == 1} == {"gold_coin", "gold", "round"}
    assert story.states.here[-1].tolist() == no_gold.tolist()


def test_golden_ways_around_a_pillar():
    """From the cell left of a pillar to the cell right of it both ways around are shortest, and bumping is not."""
    state = hall(cells=jnp.array([9, 1, 7, 14]), here=jnp.array([True, True, False, True]))
    assert shortens(state).tolist() == [
        [True, True, False, False],  # gold coin, beyond the pillar
        [True, False, False, False],  # silver coin, above the pillar
        [False] * 4,  # yellow coin: not there
        [False, True, False, False],  # gold bar, below
    ]
    told = features(state)
    assert [told[f"{g}_distance"].item() for g in ("gold_coin", "silver_coin", "gold_bar")] == [4, 2, 1]
    assert GALLERY.potentials(state)["near_gold_coin"] == pytest.approx(-4 / 12)
    open_hall = hall(pillars=(), cells=jnp.array([9, 1, 7, 14]))
    assert shortens(open_hall)[:2].tolist() == [[False, False, False, True], [True, False, False, True]]
    assert not shortens(open_hall)[2].any()  # nothing is nearer than where one is


def test_observation_by_hand():
    planes = np.asarray(GALLERY.observe(hall()))
    gold_coin, silver_coin, yellow_coin, gold_bar = (0, 0), (0, 1), (0, 3), (2, 3)
    lit = [
        [(1, 0)],  # agent
        [(1, 1), (1, 3)],  # pillars
        [gold_coin, yellow_coin, gold_bar],  # yellowish
        [gold_coin, silver_coin, gold_bar],  # shiny
        [gold_coin, silver_coin, yellow_coin],  # round
        [gold_bar],  # square
    ]
    assert planes.shape == (7, 7, 6)
    assert [[tuple(x) for x in np.argwhere(planes[..., p]).tolist()] for p in range(6)] == lit
    bare = np.asarray(GALLERY.observe(hall(here=jnp.zeros(4, bool))))
    assert not bare[..., 2:].any()


@pytest.mark.parametrize(("pillars", "odd"), [((), False), ((8,), True), ((8, 40), False), (tuple(PLINTHS), True)])
def test_parity_of_pillars(pillars, odd):
    assert bool(features(hall(pillars=pillars))["pillars_odd"]) is odd


def test_channels_are_kinds_and_attributes():
    assert set(names(GALLERY).channels) == CHANNELS


def test_kinds_can_be_told_apart_in_the_picture():
    """No two things look alike to a person: their sprites differ in many pixels, and in colour on the whole."""
    alone = [frame(hall(pillars=(), here=jnp.arange(4) == g, cells=jnp.full(4, 24))) for g in range(4)]
    tiles = [np.asarray(f, int)[24:32, 24:32] for f in alone]
    for i in range(4):
        for j in range(i):
            assert (np.abs(tiles[i] - tiles[j]).max(-1) > 40).sum() >= 24, (GOALS[i], GOALS[j])


# Invariants under random play


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, scattered=st.booleans())
def test_invariants(seed, scattered, play):
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    params = {k: jnp.float32(rng.uniform(p.low, p.high)) for k, p in GALLERY.params.items()}
    start = scatter(key) if scattered else jax.tree.map(lambda x: x[0], reset(key[None], params))
    story = play("gallery", start, rng.integers(4, size=60), key, params)
    states, here = story.states, story.states.here
    for fixed in ("cells", "walls"):
        assert (getattr(states, fixed) == getattr(states, fixed)[0]).all(), fixed
    walls = states.walls[0]
    assert set(np.flatnonzero(walls)) <= PLINTHS
    assert not walls[states.agent].any()
    assert not walls[states.cells].any()
    row, col = np.divmod(states.agent, BOARD.width)
    assert ((states.agent >= 0) & (states.agent < BOARD.cells)).all()
    assert (np.abs(np.diff(row)) + np.abs(np.diff(col)) <= 1).all()
    # What goes is counted, at the step at which it goes, and nothing comes.
    assert not (here[1:] & ~here[:-1]).any()
    for g, goal in enumerate(GOALS):
        np.testing.assert_array_equal(story.facts[goal], here[:-1, g] & ~here[1:, g])
    np.testing.assert_array_equal(here[:-1] & ~here[1:], here[:-1] & (states.cells[1:] == states.agent[1:, None]))
    for attribute, kinds in ATTRIBUTES.items():
        np.testing.assert_array_equal(story.facts[attribute], sum(story.facts[kind] for kind in kinds))
    np.testing.assert_array_equal(story.ended, ~here.any(1))


# The level distribution


def levels(**params: float) -> State:
    level = {k: jnp.float32(v) for k, v in (defaults(GALLERY) | params).items()}
    return jax.tree.map(np.asarray, reset(jax.random.split(jax.random.key(3), 4096), level))


def only(**chances: float) -> dict[str, float]:
    return dict.fromkeys(GOALS, 0.0) | chances


def test_fresh_levels():
    drawn = levels()
    assert drawn.here.all()
    for cells in (drawn.agent, *drawn.cells.T):  # things and agent are everywhere
        assert len(set(cells.tolist())) == BOARD.cells


@pytest.mark.parametrize("goal", range(4))
def test_kinds_come_with_their_chances(goal):
    assert not levels(**{GOALS[goal]: 0.0}).here[:, goal].any()
    here = levels(**{GOALS[goal]: 0.25}).here
    assert 0.2 < here[:, goal].mean() < 0.3
    assert np.delete(here, goal, 1).all()


def test_kinds_come_independently():
    here = levels(**dict.fromkeys(GOALS, 0.6)).here
    assert np.abs(np.corrcoef(here.T) - np.eye(4)).max() < 0.08  # empty levels (1 in 40) are filled, which costs 0.03


@pytest.mark.parametrize(
    ("chances", "expected"),
    [
        (only(), {"gold_coin": 1.0}),  # nothing can appear, and yet something must
        (only(yellow_coin=1e-6), {"yellow_coin": 1.0}),
        (only(silver_coin=1e-6, gold_bar=1e-6), {"silver_coin": 0.5, "gold_bar": 0.5}),
        (dict.fromkeys(GOALS, 1e-6), dict.fromkeys(GOALS, 0.25)),
    ],
)
def test_no_level_is_empty(chances, expected):
    here = levels(**chances).here
    assert (here.sum(1) == 1).all()
    np.testing.assert_allclose(here.mean(0), [expected.get(g, 0.0) for g in GOALS], atol=0.06)


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.3, 2.5, 2.9), (1.0, 9, 9)])
def test_pillars_come_with_their_chance(chance, low, high):
    walls = levels(walls=chance).walls
    assert low <= walls.sum(1).mean() <= high
    assert set(np.flatnonzero(walls.any(0))) == (PLINTHS if chance else set())


def test_pillars_stand_independently():
    """So that their parity, the negative control, is a fair coin that nothing else in a level can tell."""
    scattered = jax.jit(jax.vmap(GALLERY.scatter))(jax.random.split(jax.random.key(4), 4096)).walls
    for walls in (levels(walls=0.5).walls, np.asarray(scattered)):
        stands = walls[:, sorted(PLINTHS)]
        assert np.abs(np.corrcoef(stands.T) - np.eye(9)).max() < 0.08  # 5 standard deviations
        assert abs((stands.sum(1) % 2).mean() - 0.5) < 0.04


def test_contests_hold_two_things_and_nothing_else():
    contest = jax.jit(GALLERY.contest)
    for goal in range(4):
        for rival in set(range(4)) - {goal}:
            state = contest(jax.random.key(goal), goal, rival)
            assert set(np.flatnonzero(state.here)) == {goal, rival}
            assert not state.walls[state.cells].any()


# Distances and the ceiling


def test_no_path_is_longer_than_on_the_open_board(breadth_first):
    """Nearness is path distance over the diameter, and stays within its bounds however many pillars stand."""
    after = [[to for to in steps(c) if to not in PLINTHS] if c not in PLINTHS else [] for c in range(BOARD.cells)]
    free = [c for c in range(BOARD.cells) if c not in PLINTHS]
    assert max(breadth_first(after, a)[b] for a in free for b in free) == BOARD.diameter == 12


def steps(cell: int) -> list[int]:
    row, col = divmod(cell, 7)
    beside = [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
    return [r * 7 + c for r, c in beside if 0 <= r < 7 and 0 <= c < 7]


@jax.jit
def dynamics(state: State):
    """step for every (cell, set of things that are there, action) of a level, by the world's own function."""
    sets = jnp.arange(16)[:, None] >> jnp.arange(4) & 1 == 1

    def one(cell, here, action):
        after = GALLERY.step(jax.random.key(0), state._replace(agent=cell, here=here), action, defaults(GALLERY))
        return after.agent, jnp.sum(after.here << jnp.arange(4))

    table = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
    return table(jnp.arange(49), sets, jnp.arange(4))


def shortest_tour(state: State) -> list[int]:
    """The actions that collect everything soonest, by breadth-first search over the real dynamics in Python."""
    cells, left = (x.tolist() for x in dynamics(state))
    start = (int(state.agent), sum(2**g for g in range(4) if state.here[g]))
    came = {start: None}
    queue = deque([start])
    while queue:
        now = queue.popleft()
        if now[1] == 0:
            actions = []
            while came[now]:
                now, action = came[now]
                actions.append(action)
            return actions[::-1]
        for action in range(4):
            then = (cells[now[0]][now[1]][action], left[now[0]][now[1]][action])
            if then not in came:
                came[then] = (now, action)
                queue.append(then)
    raise AssertionError("something cannot be collected")


FAR = {  # the farthest that things can lie apart: 24 steps, and as many as possible in dead corners behind pillars
    "corners": hall(pillars=(), agent=jnp.int32(24), cells=jnp.array([0, 6, 42, 48])),
    "pillars": hall(pillars=tuple(PLINTHS), agent=jnp.int32(23), cells=jnp.array([7, 13, 35, 41])),
}


@pytest.mark.parametrize("case", [*range(6), *FAR])
def test_ceiling_can_be_attained(case, play):
    if case in FAR:
        state = FAR[case]
    elif case % 2:
        state = scatter(jax.random.key(case))
    else:
        state = jax.tree.map(lambda x: jnp.asarray(x[case]), levels(**dict.fromkeys(GOALS, 0.6)))
    highest = {k: v.item() for k, v in ceiling(state).items()}
    there = {g for g, yes in zip(GOALS, state.here.tolist(), strict=True) if yes}
    assert highest == {k: len(there & ATTRIBUTES.get(k, {k})) for k in CHANNELS}
    tour = shortest_tour(state)
    assert len(tour) <= LIMIT
    if case == "corners":
        assert len(tour) == 24
    if tour:
        story = play("gallery", state, tour)
        assert {k: v.sum() for k, v in story.facts.items()} == highest
        assert story.ended.tolist() == [False] * len(tour) + [True]
