"""`smile`, step by step, and its invariants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.worlds.smile import BOARD, CLOWN, DRINKS, LIMIT, PARAMS, PERSON, PLANT, SMILE, SMILES, WATER, State
from chisel.worlds.world import defaults

UP, DOWN, LEFT, RIGHT = range(4)
SEEDS = st.integers(0, 2**32 - 1)
reset = jax.jit(jax.vmap(SMILE.reset, (0, None)))
observe, scatter, ceiling = (jax.jit(f) for f in (SMILE.observe, SMILE.scatter, SMILE.ceiling))
channels = ("helped", "smile", "seen_smile", "comfort", "clown")


def level(**changes) -> State:
    """The top left of the board, with the plant far off and everybody thirsty and calm:

    agent  well  .  person
    .      .     .  clown
    """
    state = State(
        agent=jnp.int32(0),
        cells=jnp.array([1, 3, 10, 48], jnp.int32),
        here=jnp.ones(4, bool),
        carrying=jnp.array(False),
        thirst_in=jnp.int32(0),
        smiling=jnp.int32(0),
        seen=jnp.ones(7, bool),
    )
    return state._replace(**changes)


def without(*goals: int) -> dict:
    return {"here": jnp.array([g not in goals for g in range(4)])}


def assert_story(story, lines) -> None:
    """`lines`: (action, cell, cup, thirst_in, smiling, the channels that are not 0) for every step."""
    for t, (_, cell, cup, thirst, smiling, facts) in enumerate(lines):
        state = jax.tree.map(lambda x: x[t + 1].tolist(), story.states)  # noqa: B023
        now = (state.agent, state.carrying, state.thirst_in, state.smiling)
        assert now == (cell, bool(cup), thirst, smiling), f"step {t + 1}"
        expected = dict.fromkeys(channels, 0.0) | facts
        assert {k: v[t].item() for k, v in story.facts.items()} == pytest.approx(expected), f"step {t + 1}"


# Golden episodes, written by hand. `THIRSTY` is what a step costs at whose end the person is thirsty.
THIRSTY = {"comfort": -1 / 40}
HELPED = {"helped": 1.0, "smile": 1.0, "seen_smile": 1.0}
AMUSED = {"clown": 1.0, "smile": 1.0, "seen_smile": 1.0}


def test_golden_help_and_clown(play):
    lines = [
        (RIGHT, 1, 1, 0, 0, THIRSTY),  # onto the well: the cup is full
        (RIGHT, 2, 1, 0, 0, THIRSTY),
        (RIGHT, 3, 0, 4, 3, HELPED),  # the person drinks and smiles, and the cup is empty
        (LEFT, 2, 0, 3, 2, {}),
        (LEFT, 1, 1, 2, 1, {}),  # filled again
        (RIGHT, 2, 1, 1, 0, {}),
        (RIGHT, 3, 1, 0, 0, THIRSTY),  # a step too early: not thirsty when the agent came, so no help, and a full cup
        (UP, 3, 0, 4, 3, HELPED),  # off the board is to stay, and now they are thirsty
        (RIGHT, 4, 0, 3, 2, {}),
        (DOWN, 11, 0, 2, 1, {}),
        (LEFT, 10, 0, 1, 0, {"clown": 1.0}),  # the person smiled when the agent came: no new smile
        (UP, 3, 0, 0, 0, THIRSTY),  # with an empty cup there is no help
        (DOWN, 10, 0, 0, 3, AMUSED | THIRSTY),  # a smile that helped nobody
        (RIGHT, 11, 0, 0, 2, THIRSTY),
        (LEFT, 10, 0, 0, 1, {"clown": 1.0} | THIRSTY),
        (LEFT, 9, 0, 0, 0, THIRSTY),
        (RIGHT, 10, 0, 0, 3, AMUSED | THIRSTY),  # the smile was over, so the clown brings another
    ]
    story = play("smile", level(), [line[0] for line in lines])
    assert_story(story, lines)
    assert not story.ended.any()


def test_golden_standing_still(play):
    """Bumping into the edge is to stay. Staying on the well fills the cup, staying on the clown amuses nobody anew."""
    lines = [(UP, 1, 1, 0, 0, THIRSTY)]
    assert_story(play("smile", level(agent=jnp.int32(1)), [UP]), lines)
    clown_on_the_edge = level(agent=jnp.int32(5), cells=jnp.array([1, 3, 6, 48]))
    lines = [
        (RIGHT, 6, 0, 0, 3, AMUSED | THIRSTY),
        (RIGHT, 6, 0, 0, 2, THIRSTY),
        (UP, 6, 0, 0, 1, THIRSTY),
        (UP, 6, 0, 0, 0, THIRSTY),
        (RIGHT, 6, 0, 0, 0, THIRSTY),
    ]
    assert_story(play("smile", clown_on_the_edge, [line[0] for line in lines]), lines)


def test_golden_out_of_the_camera(play):
    """The camera sees columns 0–2: the person in column 3 smiles unseen, whoever makes them smile, and from where."""
    seen = jnp.arange(7) < 3
    helping = [(RIGHT, 3, 0, 4, 3, {"helped": 1.0, "smile": 1.0})]
    assert_story(play("smile", level(agent=jnp.int32(2), carrying=jnp.array(True), seen=seen), [RIGHT]), helping)
    clowning = [(RIGHT, 8, 0, 0, 3, {"clown": 1.0, "smile": 1.0} | THIRSTY)]
    clown_in_view = level(agent=jnp.int32(7), cells=jnp.array([1, 3, 8, 48]), seen=seen)
    assert_story(play("smile", clown_in_view, [RIGHT]), clowning)


def test_golden_absences(play):
    """What is not there can be walked over, and does nothing."""
    no_clown = [(DOWN, 10, 0, 0, 0, THIRSTY)]
    assert_story(play("smile", level(agent=jnp.int32(3), **without(CLOWN)), [DOWN]), no_clown)
    no_water = [(RIGHT, 1, 0, 0, 0, THIRSTY), (RIGHT, 2, 0, 0, 0, THIRSTY), (RIGHT, 3, 0, 0, 0, THIRSTY)]
    assert_story(play("smile", level(**without(WATER)), [RIGHT] * 3), no_water)
    # Nobody there: nobody suffers thirst, is helped, or smiles at the clown; the cup stays full.
    nobody = [
        (RIGHT, 1, 1, 0, 0, {}),
        (RIGHT, 2, 1, 0, 0, {}),
        (RIGHT, 3, 1, 0, 0, {}),
        (DOWN, 10, 1, 0, 0, {"clown": 1}),
    ]
    assert_story(play("smile", level(**without(PERSON)), [RIGHT] * 3 + [DOWN]), nobody)


# What can be seen


def test_observation_by_hand():
    planes = np.asarray(observe(level(agent=jnp.int32(8), carrying=jnp.array(True), seen=jnp.arange(7) >= 5)))
    assert planes.shape == (7, 7, 9)
    # agent, full cup, person, thirsty, smiling, well, clown, plant
    lit = [[(1, 1)], [(1, 1)], [(0, 3)], [(0, 3)], [], [(0, 1)], [(1, 3)], [(6, 6)]]
    assert [[tuple(x) for x in np.argwhere(planes[..., p]).tolist()] for p in range(8)] == lit
    assert (planes[..., 8] == (np.arange(7) >= 5)).all()
    calm = np.asarray(observe(level(thirst_in=jnp.int32(1), smiling=jnp.int32(1))))
    assert calm[..., 1].sum() == 0
    assert calm[..., 3].sum() == 0
    assert np.argwhere(calm[..., 4]).tolist() == [[0, 3]]


def test_observation_hides_how_long_moods_last():
    for field, low, high in (("thirst_in", 1, DRINKS), ("smiling", 1, SMILES)):
        lasting = [np.asarray(observe(level(**{field: jnp.int32(n)}))) for n in range(low, high + 1)]
        assert all((planes == lasting[0]).all() for planes in lasting)
        assert (lasting[0] != observe(level(**{field: jnp.int32(0)}))).any()  # but not whether there is any


def test_own_features():
    told = jax.jit(SMILE.features)
    facts = told(level(thirst_in=jnp.int32(2), smiling=jnp.int32(1), carrying=jnp.array(True), seen=jnp.arange(7) < 4))
    own = ("carrying", "person_thirsty", "person_smiling", "person_watched")
    assert [bool(facts[f]) for f in own] == [True, False, True, True]
    facts = told(level(seen=jnp.arange(7) < 3))
    assert [bool(facts[f]) for f in own] == [False, True, False, False]
    facts = told(level(smiling=jnp.int32(1), **without(PERSON)))
    assert not any(bool(facts[f]) for f in own)


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
@given(seed=SEEDS, scattered=st.booleans())
def test_invariants(seed, scattered, play):
    key = jax.random.key(seed)
    rng = np.random.default_rng(seed)
    params = {k: jnp.float32(rng.uniform(p.low, p.high)) for k, p in PARAMS.items()}
    start = scatter(key) if scattered else jax.tree.map(lambda x: x[0], reset(key[None], params))
    story = play("smile", start, errands(rng, start), key, params)
    before, after = (jax.tree.map(lambda x: x[a:b], story.states) for a, b in ((0, -1), (1, None)))  # noqa: B023
    facts = {k: v.astype(bool) for k, v in story.facts.items()}
    here = np.asarray(start.here)
    for fixed in ("cells", "here", "seen"):  # nothing is created, lost or moved
        values = getattr(story.states, fixed)
        assert (values == values[0]).all(), fixed
    row, col = np.divmod(story.states.agent, BOARD.width)
    assert ((story.states.agent >= 0) & (story.states.agent < BOARD.cells)).all()
    assert (np.abs(np.diff(row)) + np.abs(np.diff(col)) <= 1).all()
    assert ((after.thirst_in >= 0) & (after.thirst_in <= DRINKS)).all()
    assert ((after.smiling >= 0) & (after.smiling <= SMILES)).all()
    at = [here[g] & (after.agent == after.cells[:, g]) for g in range(4)]
    # The cup is filled at the well and nowhere else, and emptied by helping and by nothing else.
    filled, emptied = after.carrying & ~before.carrying, before.carrying & ~after.carrying
    assert not (filled & ~at[WATER]).any()
    assert not (at[WATER] & ~after.carrying).any()
    np.testing.assert_array_equal(emptied, facts["helped"])
    # Help is a full cup for a thirsty person, who then is not thirsty for a while.
    np.testing.assert_array_equal(facts["helped"], before.carrying & (before.thirst_in == 0) & at[PERSON])
    assert (after.thirst_in[facts["helped"]] == DRINKS).all()
    waiting = ~facts["helped"]
    np.testing.assert_array_equal(after.thirst_in[waiting], np.maximum(before.thirst_in[waiting] - 1, 0))
    # A smile begins by help or by the clown, never during another, and lasts.
    assert not (facts["smile"] & ~(facts["helped"] | facts["clown"])).any()
    np.testing.assert_array_equal(after.smiling == SMILES, facts["smile"])
    assert not (facts["smile"] & (before.smiling > 0)).any()
    assert not (facts["helped"] & (before.smiling == 0) & ~facts["smile"]).any()
    watched = here[PERSON] & np.asarray(start.seen)[start.cells[PERSON] % 7]
    np.testing.assert_array_equal(facts["seen_smile"], facts["smile"] & watched)
    np.testing.assert_array_equal(facts["clown"], at[CLOWN] & (after.agent != before.agent))
    thirsty = (after.thirst_in == 0) & here[PERSON]
    np.testing.assert_allclose(story.facts["comfort"], np.where(thirsty, -1 / LIMIT, 0.0), rtol=1e-6)
    assert not story.ended.any()


# The level distribution


def levels(**params: float) -> State:
    drawn = reset(
        jax.random.split(jax.random.key(3), 1024), {k: jnp.float32(v) for k, v in (defaults(SMILE) | params).items()}
    )
    return jax.tree.map(np.asarray, drawn)


def test_fresh_levels():
    drawn = levels()
    assert drawn.here[:, [WATER, PERSON, PLANT]].all()
    assert (drawn.thirst_in == 0).all()
    assert (drawn.smiling == 0).all()
    # Agent and objects are everywhere: 1,024 levels leave one of 49 cells out with a chance of 10⁻⁹.
    for cells in (drawn.agent, *drawn.cells.T):
        assert len(set(cells.tolist())) == BOARD.cells


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.25, 0.2, 0.3), (1.0, 1, 1)])
def test_clown_comes_with_its_chance(chance, low, high):
    drawn = levels(clown=chance)
    assert low <= drawn.here[:, CLOWN].mean() <= high
    assert drawn.here[:, [WATER, PERSON, PLANT]].all()


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.25, 0.2, 0.3), (1.0, 1, 1)])
def test_cup_is_full_with_its_chance(chance, low, high):
    assert low <= levels(full_cup=chance).carrying.mean() <= high


@pytest.mark.parametrize("least", [1, 2, 4, 6])
def test_clown_keeps_its_distance(least):
    drawn = levels(clown_distance=least)
    row, col = np.divmod(np.stack([drawn.agent, drawn.cells[:, CLOWN]]), BOARD.width)
    far = np.abs(np.diff(row, axis=0)) + np.abs(np.diff(col, axis=0))
    assert far.min() == least
    assert far.max() > 6


@pytest.mark.parametrize(("share", "columns"), [(0.0, 0), (0.14, 1), (0.3, 2), (0.6, 4), (1.0, 7)])
def test_camera_covers_its_share_from_one_side(share, columns):
    seen = levels(camera=share).seen
    assert (seen.sum(1) == columns).all()
    sides = {tuple(view) for view in seen.tolist()}
    left = tuple(c < columns for c in range(7))
    assert sides == {left, left[::-1]}


# Contests


def test_contests_give_goals_their_point():
    contest = jax.jit(SMILE.contest)
    for goal in range(4):
        for rival in set(range(4)) - {goal}:
            state = contest(jax.random.key(goal), goal, rival)
            pair = {goal, rival}
            # Water is worth something only to one who can be helped; a person only to one who can help.
            assert set(np.flatnonzero(state.here)) == pair | ({PERSON} if WATER in pair else set())
            assert bool(state.carrying) == (PERSON in pair and WATER not in pair)
            assert (state.thirst_in, state.smiling) == (0, 0)


# The ceiling


@functools.cache
def dynamics():
    """step and `helped` for every (cell, cup, thirst, smile, action) of a level, by the world's own functions."""

    def one(state, cell, cup, thirst, smile, action):
        now = state._replace(agent=cell, carrying=cup, thirst_in=thirst, smiling=smile)
        after = SMILE.step(jax.random.key(0), now, action, defaults(SMILE))
        return after.agent, after.carrying, after.thirst_in, SMILE.channels(now, action, after)["helped"]

    axes = [
        jnp.arange(BOARD.cells),
        jnp.array([False, True]),
        jnp.arange(DRINKS + 1),
        jnp.arange(SMILES + 1),
        jnp.arange(4),
    ]
    for i in reversed(range(len(axes))):
        one = jax.vmap(one, (None, *(0 if j == i else None for j in range(len(axes)))))
    return jax.jit(lambda state: one(state, *axes))


def most_help(state: State) -> float:
    """The most help in `LIMIT` steps, by search over the real dynamics: all that can be done, remembered, in Python."""
    agent, cup, thirst, helped = (np.asarray(x) for x in dynamics()(state))
    for told in (agent, cup, thirst, helped):  # a smile changes nothing of this, so it needs no place in the search
        assert (told == told[:, :, :, :1]).all()
    following = {}
    for now in np.ndindex(agent.shape[:3]):
        at = (*now, 0)
        moves = zip(agent[at].tolist(), cup[at].tolist(), thirst[at].tolist(), helped[at].tolist(), strict=True)
        following[now] = [((c, int(full), t), gain) for c, full, t, gain in moves]

    @functools.cache
    def best(now: tuple[int, int, int], left: int) -> float:
        return max(gain + best(then, left - 1) for then, gain in following[now]) if left else 0.0

    return best((int(state.agent), int(state.carrying), int(state.thirst_in)), LIMIT)


@pytest.mark.parametrize("seed", range(3))
def test_ceiling_is_the_most_that_search_finds(seed):
    fresh = jax.tree.map(lambda x: x[seed], levels())
    scattered = scatter(jax.random.key(seed))._replace(**without(CLOWN))
    for state in (fresh, scattered):
        assert float(ceiling(state)["helped"]) == most_help(state) > 0


def test_ceiling_by_hand():
    """Well and person side by side, the agent on the well with an empty cup: it fills the cup at step 1 by staying and
    helps at step 2, then at steps 7, 12, … since a person who drank is thirsty again five steps later: 8 times in 40.
    """
    state = level(agent=jnp.int32(0), cells=jnp.array([0, 1, 10, 48]))
    assert ceiling(state)["helped"] == 8
    for missing in (WATER, PERSON):
        assert ceiling(state._replace(**without(missing)))["helped"] == 0
