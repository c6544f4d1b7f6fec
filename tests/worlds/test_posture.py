"""`posture`, step by step, its invariants, and its exact values."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.study.files import WrongInput
from chisel.worlds.posture import ACTIONS, LIMIT, PARAMS, POSTURE, TOP, State, values
from chisel.worlds.world import defaults, names

WAIT, HOLD, RAISE, BARK = range(4)
STAND, WARN = range(2)
USUAL = defaults(POSTURE)
SEEDS = st.integers(0, 2**32 - 1)
CHANNELS = names(POSTURE).channels
EPISODES = 4096  # side by side; one number, compiled once
CELLS = list(itertools.product(range(TOP + 1), (0, 1), (0, 1)))  # posture, command, visitor
reset = jax.jit(jax.vmap(POSTURE.reset, (0, None)))
scatter = jax.jit(jax.vmap(POSTURE.scatter))
observe, features, potentials, shortens, contest, ceiling = (
    jax.jit(f)
    for f in (
        POSTURE.observe, POSTURE.features, POSTURE.potentials, POSTURE.shortens, POSTURE.contest, POSTURE.ceiling
    )
)  # fmt: skip
solve = jax.jit(values)


def level(posture=0, commanded=False, visited=False, collar_red=False, **chances) -> State:
    """Nothing slips, comes or goes unless its chance is given."""
    return State(
        posture=jnp.int32(posture),
        commanded=jnp.array(bool(commanded)),
        visitor=jnp.array(bool(visited)),
        collar_red=jnp.array(bool(collar_red)),
        chances=jnp.array([chances.get(name, 0.0) for name in PARAMS], jnp.float32),
    )


def assert_story(play, start: State, lines) -> None:
    """`lines`: (action, posture, commanded, visitor, the channels that are not 0, but for effort) for every step."""
    story = play("posture", start, [line[0] for line in lines])
    for t, (_, posture, commanded, visitor, facts) in enumerate(lines):
        now = (story.states.posture[t + 1], story.states.commanded[t + 1], story.states.visitor[t + 1])
        assert now == (posture, bool(commanded), bool(visitor)), f"step {t + 1}"
        expected = dict.fromkeys(CHANNELS, 0.0) | {"effort": -posture / 5 / 40} | facts
        assert {k: v[t].item() for k, v in story.facts.items()} == pytest.approx(expected), f"step {t + 1}"
        goals = [facts.get("stands_on_command", 0) == 1, facts.get("bark_at_visitor", 0) == 1]
        assert story.reached[t].tolist() == goals, f"step {t + 1}"
    assert not story.ended.any()


# Golden episodes, written by hand


def test_golden_up_and_obedient(play):
    lines = [
        (RAISE, 1, 1, 0, {"reached_1": 1}),
        (RAISE, 2, 1, 0, {"reached_2": 1}),
        (HOLD, 2, 1, 0, {}),  # holding keeps the posture
        (RAISE, 3, 1, 0, {"reached_3": 1}),
        (WAIT, 2, 1, 0, {}),  # waiting sinks
        (RAISE, 3, 1, 0, {"reached_3": 1}),  # up again pays again
        (RAISE, 4, 1, 0, {"reached_4": 1}),
        (RAISE, 5, 1, 0, {"reached_5": 1}),  # arriving is not standing still: the command holds
        (HOLD, 5, 0, 0, {"stands_on_command": 1}),  # obeyed, and over
        (HOLD, 5, 0, 0, {}),  # without a command there is nothing in it
        (RAISE, 4, 0, 0, {}),  # reaching up when it stands already: it topples
        (RAISE, 5, 0, 0, {"reached_5": 1}),
        (BARK, 4, 0, 0, {"bark": 1}),  # barking sinks as well
    ]
    assert_story(play, level(commanded=True), lines)


def test_golden_up_and_down_is_not_standing(play):
    lines = [
        (RAISE, 5, 1, 1, {"reached_5": 1}),
        (RAISE, 4, 1, 1, {}),
        (RAISE, 5, 1, 1, {"reached_5": 1}),
        (WAIT, 4, 1, 1, {}),
        (HOLD, 4, 1, 1, {}),  # standing still, but not on the hind legs
        (BARK, 3, 1, 1, {"bark": 1, "bark_at_visitor": 1}),
    ]
    assert_story(play, level(4, commanded=True, visited=True), lines)


def test_golden_the_floor(play):
    """Nobody sinks below lying, and lying down is not reaching anything."""
    lines = [(WAIT, 0, 0, 0, {}), (HOLD, 0, 0, 0, {}), (BARK, 0, 0, 0, {"bark": 1})]
    assert_story(play, level(), lines)


def test_golden_always_slipping(play):
    lines = [(RAISE, 2, 0, 0, {}), (HOLD, 1, 0, 0, {}), (RAISE, 0, 0, 0, {}), (RAISE, 0, 0, 0, {}), (HOLD, 0, 0, 0, {})]
    assert_story(play, level(3, slip=1.0), lines)
    assert_story(play, level(5, commanded=True, slip=1.0), [(HOLD, 4, 1, 0, {}), (WAIT, 3, 1, 0, {})])


def test_golden_commands_come_and_go(play):
    """A command given in every step where there is none can be obeyed in every other one."""
    obeyed = {"stands_on_command": 1}
    lines = [(HOLD, 5, 1, 0, {}), (HOLD, 5, 0, 0, obeyed), (HOLD, 5, 1, 0, {}), (HOLD, 5, 0, 0, obeyed)]
    assert_story(play, level(5, command=1.0), lines)
    # Dropped at once: one that is obeyed in the same step counts, one that is not is gone.
    assert_story(play, level(5, commanded=True, dropped=1.0), [(HOLD, 5, 0, 0, obeyed), (HOLD, 5, 0, 0, {})])
    assert_story(play, level(4, commanded=True, dropped=1.0), [(RAISE, 5, 0, 0, {"reached_5": 1}), (HOLD, 5, 0, 0, {})])


def test_golden_visitors_come_and_go(play):
    barks, warns = {"bark": 1}, {"bark": 1, "bark_at_visitor": 1}
    lines = [(BARK, 0, 0, 1, barks), (BARK, 0, 0, 0, warns), (WAIT, 0, 0, 1, {}), (WAIT, 0, 0, 0, {})]
    assert_story(play, level(visitor=1.0, leaves=1.0), lines)
    assert_story(play, level(visited=True, leaves=1.0), [(HOLD, 0, 0, 0, {}), (BARK, 0, 0, 0, barks)])


# What can be seen


def test_observation_by_hand():
    seen = np.asarray(observe(level(3, commanded=True)))
    assert seen.dtype == bool
    assert seen.astype(int).tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert np.asarray(observe(level(0, visited=True, collar_red=True))).astype(int).tolist() == [
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        1,
    ]


def test_observation_and_picture_show_all_but_the_chances():
    every = [level(*cell, collar_red=red) for cell in CELLS for red in (0, 1)]
    frame = jax.jit(POSTURE.frame)
    assert len({np.asarray(observe(state)).tobytes() for state in every}) == len(every)
    assert len({np.asarray(frame(state)).tobytes() for state in every}) == len(every)
    for state in every:
        other = state._replace(chances=jnp.linspace(0.1, 0.9, len(PARAMS), dtype=jnp.float32))
        np.testing.assert_array_equal(observe(state), observe(other))
        np.testing.assert_array_equal(frame(state), frame(other))


def test_own_features_and_potentials():
    facts = features(level(4, commanded=True, collar_red=True))
    told = {k: v.item() for k, v in facts.items() if k != "prospect"}
    assert told == {
        "posture": 4.0, "standing": False, "one_below": True, "commanded": True, "visitor": False, "collar_red": True
    }  # fmt: skip
    facts = features(level(5, visited=True))
    assert (facts["standing"], facts["one_below"], facts["visitor"], facts["commanded"]) == (True, False, True, False)
    # Nothing comes or goes: one command, obeyed for sure, or none ever.
    assert features(level(2, commanded=True))["prospect"] == 1
    assert features(level(2))["prospect"] == 0
    for posture, height in enumerate([-1.0, -0.8, -0.6, -0.4, -0.2, 0.0]):
        calm, called = potentials(level(posture)), potentials(level(posture, commanded=True))
        assert (calm["height"], calm["height_on_command"]) == (pytest.approx(height), -1)
        assert (called["height"], called["height_on_command"]) == (pytest.approx(height), pytest.approx(height))


# Goals


def test_shortening_actions_agree_with_search(breadth_first):
    """Distance to the event itself: with nothing left to chance, how many steps until the goal is reached."""
    step, reached = jax.jit(POSTURE.step), jax.jit(POSTURE.reached)
    done = len(CELLS)
    for goal in (STAND, WARN):
        after = []
        for cell in CELLS:
            following = []
            for action in range(4):
                before = level(*cell)
                then = step(jax.random.key(0), before, jnp.int32(action), {})
                to = (int(then.posture), int(then.commanded), int(then.visitor))
                following.append(done if reached(before, action, then)[goal] else CELLS.index(to))
            after.append(following)
        far = breadth_first([*after, []], done)
        for i, cell in enumerate(CELLS):
            there = cell[1 + goal]
            assert np.isfinite(far[i]) == bool(there)  # every goal that is there can be reached, and no other
            expected = [bool(there) and far[to] < far[i] for to in after[i]]
            assert shortens(level(*cell))[goal].tolist() == expected, cell


@pytest.mark.parametrize("collar", [0, 1])
def test_contests_are_one_action_from_either_goal(collar, play):
    seen = set()
    for seed in range(8):
        state = contest(jax.random.key(seed), STAND, WARN)
        jax.tree.map(np.testing.assert_array_equal, state, contest(jax.random.key(seed), WARN, STAND))
        assert (state.posture, state.commanded, state.visitor) == (TOP, True, True)
        seen.add(int(state.collar_red))
        if state.collar_red == collar:
            assert play("posture", state, [HOLD]).reached.tolist() == [[True, False]]
            assert play("posture", state, [BARK]).reached.tolist() == [[False, True]]
            # They stay, however long the dog thinks it over.
            idle = play("posture", state, [WAIT] * LIMIT).states
            assert idle.commanded.all()
            assert idle.visitor.all()
    assert seen == {0, 1}


def test_present_puts_in_and_takes_out():
    for cell in CELLS:
        state = level(*cell, collar_red=True, slip=0.3)
        for there in (False, True):
            jax.tree.map(
                np.testing.assert_array_equal,
                (POSTURE.present(state, STAND, there), POSTURE.present(state, WARN, there)),
                (state._replace(commanded=jnp.array(there)), state._replace(visitor=jnp.array(there))),
            )


# Invariants under random play


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, scattered=st.booleans())
def test_invariants(seed, scattered, play):
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    params = {k: jnp.float32(rng.choice([0.0, 1.0, rng.uniform()])) for k in PARAMS}
    start = scatter(key[None]) if scattered else reset(key[None], params)
    start = jax.tree.map(lambda x: x[0], start)._replace(chances=jnp.stack(list(params.values())))
    actions = rng.choice(4, size=60, p=[0.1, 0.3, 0.5, 0.1])  # or it would hardly ever stand
    story = play("posture", start, actions, key, params)
    before, after = (jax.tree.map(lambda x: x[a:b], story.states) for a, b in ((0, -1), (1, None)))  # noqa: B023
    facts = {k: v.astype(bool) for k, v in story.facts.items() if k != "effort"}
    for fixed in ("collar_red", "chances"):
        moved = getattr(story.states, fixed)
        assert (moved == moved[0]).all(), fixed
    change = after.posture - before.posture
    assert ((after.posture >= 0) & (after.posture <= TOP)).all()
    assert np.isin(change, (-1, 0, 1)).all()
    assert (actions[change == 1] == RAISE).all()
    assert np.isin(actions[(change == 0) & (before.posture > 0)], [HOLD]).all()
    # Every step up is paid for once, and where it led.
    for k in range(1, TOP + 1):
        np.testing.assert_array_equal(facts[f"reached_{k}"], (change == 1) & (after.posture == k))
    np.testing.assert_allclose(story.facts["effort"], -after.posture / 5 / 40, rtol=1e-6)
    # Obeying takes a command and standing still; it ends the command.
    obeyed = facts["stands_on_command"]
    np.testing.assert_array_equal(obeyed, before.commanded & (before.posture == TOP) & (after.posture == TOP))
    assert not after.commanded[obeyed].any()
    np.testing.assert_array_equal(facts["bark"], actions == BARK)
    np.testing.assert_array_equal(facts["bark_at_visitor"], (actions == BARK) & before.visitor)
    np.testing.assert_array_equal(story.reached, np.stack([obeyed, facts["bark_at_visitor"]], 1))
    assert not story.ended.any()
    # What cannot happen does not, and what is certain does.
    can_slip = np.isin(actions, [HOLD, RAISE]) & (before.posture > 0) & ((actions == HOLD) | (before.posture < TOP))
    for chance, now, happens in (
        ("slip", can_slip, change < 0),
        ("command", ~before.commanded, after.commanded),
        ("dropped", before.commanded & ~obeyed, ~after.commanded),
        ("visitor", ~before.visitor, after.visitor),
        ("leaves", before.visitor, ~after.visitor),
    ):
        if float(params[chance]) in (0.0, 1.0):
            assert (happens[now] == bool(params[chance])).all(), chance


# Many episodes side by side


class Tally(NamedTuple):
    """What happened in many episodes; [steps, episodes]."""

    before: State
    actions: np.ndarray
    after: State
    obeyed: np.ndarray
    facts: dict[str, np.ndarray]


@jax.jit
def _roll(tables, starts, key):
    def one(states, now):
        table, key = now
        actions = table[states.posture, states.commanded.astype(int), states.visitor.astype(int)]
        keys = jax.random.split(key, EPISODES)
        after = jax.vmap(POSTURE.step, (0, 0, 0, None))(keys, states, actions, {})
        facts = jax.vmap(POSTURE.channels)(states, actions, after)
        return after, (states, actions, after, facts)

    return jax.lax.scan(one, starts, (tables, jax.random.split(key, LIMIT)))[1]


def roll(policy, start: State, seed: int = 0) -> Tally:
    """Plays `policy`, int[(steps,) posture, command, visitor], in many episodes of `LIMIT` steps from one state."""
    tables = np.broadcast_to(np.asarray(policy, np.int32), (LIMIT, TOP + 1, 2, 2))
    starts = jax.tree.map(lambda x: jnp.broadcast_to(x, (EPISODES, *x.shape)), start)
    told = jax.tree.map(np.asarray, _roll(tables, starts, jax.random.key(seed)))
    before, actions, after, facts = told
    return Tally(before, actions, after, facts["stands_on_command"], facts)


def fresh(collar_red: bool = False, **params: float) -> State:
    """A training level; the one it is but for the collar."""
    state = POSTURE.reset(jax.random.key(0), {k: jnp.float32(v) for k, v in (USUAL | params).items()})
    return state._replace(collar_red=jnp.array(collar_red))


def assert_near(sample: np.ndarray, mean: float, allowance: float = 0.0) -> None:
    """The sample's mean is within five standard errors of the mean it should have: wrong once in two million tries."""
    error = sample.std() / np.sqrt(sample.size)
    assert abs(sample.mean() - mean) <= 5 * error + allowance, (sample.mean(), mean, error)


CASES = [
    {},
    {"slip": 0.4, "command": 0.6, "dropped": 0.3, "visitor": 0.5, "leaves": 0.05},
    {"slip": 0.0, "command": 1.0, "dropped": 0.0, "visitor": 1.0, "leaves": 1.0},
]


@pytest.mark.parametrize("params", CASES)
def test_chances_are_what_params_ask_for(params):
    story = roll(np.random.default_rng(1).choice([HOLD, RAISE], size=(LIMIT, TOP + 1, 2, 2)), fresh(**params))
    chances = USUAL | params
    before, after = story.before, story.after
    slipping = (before.posture > 0) & ((story.actions == HOLD) | (before.posture < TOP))
    waiting = before.commanded & (story.obeyed == 0)
    assert_near((after.posture < before.posture)[slipping].astype(float), chances["slip"])
    assert_near(after.commanded[~before.commanded].astype(float), chances["command"])
    assert_near((~after.commanded)[waiting].astype(float), chances["dropped"])
    assert_near(after.visitor[~before.visitor].astype(float), chances["visitor"])
    assert_near((~after.visitor)[before.visitor].astype(float), chances["leaves"])


def test_chances_are_independent():
    """That it slips tells nothing of commands, nor commands of visitors."""
    story = roll(
        np.full((TOP + 1, 2, 2), HOLD), level(TOP, slip=0.1, command=0.5, dropped=0.5, visitor=0.5, leaves=0.5)
    )
    first = jax.tree.map(lambda x: x[0], story.after)  # the first step, before anything depends on anything
    coins = np.stack([first.posture < TOP, first.commanded, first.visitor]).astype(float)
    assert np.abs(np.corrcoef(coins) - np.eye(3)).max() < 5 / np.sqrt(EPISODES)


def test_training_levels_begin_alike_and_bank_states_anywhere():
    key = jax.random.split(jax.random.key(5), EPISODES)
    params = {k: jnp.float32(v) for k, v in (USUAL | {"slip": 0.3, "command": 0.7}).items()}
    drawn, bank = (jax.tree.map(np.asarray, x) for x in (reset(key, params), scatter(key)))
    assert (drawn.posture == 0).all()
    assert not (drawn.commanded | drawn.visitor).any()
    np.testing.assert_allclose(drawn.chances, np.tile([0.3, 0.7, 0.05, 0.1, 0.2], (EPISODES, 1)), rtol=1e-6)
    np.testing.assert_allclose(bank.chances, np.tile([0.1, 0.1, 0.05, 0.1, 0.2], (EPISODES, 1)), rtol=1e-6)
    assert_near(drawn.collar_red.astype(float), 0.5)
    # In the bank every posture is as likely as any other, and nothing tells of anything else.
    for k in range(TOP + 1):
        assert_near((bank.posture == k).astype(float), 1 / 6)
    for coin in (bank.commanded, bank.visitor, bank.collar_red):
        assert_near(coin.astype(float), 0.5)
    r = np.corrcoef(np.stack([bank.posture, bank.commanded, bank.visitor, bank.collar_red]).astype(float))
    assert np.abs(r - np.eye(4)).max() < 5 / np.sqrt(EPISODES)


# Exact values, against the rules written down once more in plain Python


def outcomes(posture, command, visitor, action, chances):
    """What may come of an action: (probability, (posture, command, visitor), channels)."""
    lower = max(posture - 1, 0)
    if action == HOLD:
        falls = [(1 - chances["slip"], posture), (chances["slip"], lower)]
    elif action == RAISE and posture < 5:
        falls = [(1 - chances["slip"], posture + 1), (chances["slip"], lower)]
    else:
        falls = [(1.0, lower)]
    comes, goes = chances["visitor"], chances["leaves"]
    visits = [(1 - goes, 1), (goes, 0)] if visitor else [(1 - comes, 0), (comes, 1)]
    for p, to in falls:
        facts = dict.fromkeys(CHANNELS, 0.0) | {"effort": -to / 200}
        if to > posture:
            facts[f"reached_{to}"] = 1.0
        if action == BARK:
            facts |= {"bark": 1.0, "bark_at_visitor": float(visitor)}
        if command and posture == to == 5:
            facts["stands_on_command"] = 1.0
            calls = [(1.0, 0)]
        elif command:
            calls = [(1 - chances["dropped"], 1), (chances["dropped"], 0)]
        else:
            calls = [(1 - chances["command"], 0), (chances["command"], 1)]
        for (q, call), (r, visit) in itertools.product(calls, visits):
            yield p * q * r, (to, call, visit), facts


@functools.cache
def tables(chances: tuple[tuple[str, float], ...]):
    """P[cell, action, cell], and the expected channels [cell, action, channel]."""
    moves, gains = np.zeros((24, 4, 24)), np.zeros((24, 4, len(CHANNELS)))
    for i, action in itertools.product(range(24), range(4)):
        for p, then, facts in outcomes(*CELLS[i], action, dict(chances)):
            moves[i, action, CELLS.index(then)] += p
            gains[i, action] += p * np.array([facts[c] for c in CHANNELS])
    return moves, gains


def policy_iteration(weights, chances, discount):
    """V and Q by solving the linear equations of ever better policies, in float64."""
    moves, gains = tables(tuple(chances.items()))
    reward, policy = gains @ [weights.get(c, 0.0) for c in CHANNELS], np.zeros(24, int)
    while True:
        mine = np.arange(24), policy
        v = np.linalg.solve(np.eye(24) - discount * moves[mine], reward[mine])
        q = reward + discount * moves @ v
        if (q.max(1) <= v + 1e-9).all():
            return v, q
        policy = q.argmax(1)


def best_in_time(chances, weights=None, steps=LIMIT):
    """The best expected sums of an episode, [cell], and how to get them, [step, posture, command, visitor]."""
    moves, gains = tables(tuple(chances.items()))
    reward = gains @ [(weights or {"stands_on_command": 1.0}).get(c, 0.0) for c in CHANNELS]
    v, policy = np.zeros(24), []
    for _ in range(steps):
        q = reward + moves @ v
        v = q.max(1)
        policy.append(q.argmax(1).reshape(TOP + 1, 2, 2))
    return v, np.stack(policy[::-1])


APPROXIMATIONS = {f"reached_{k}": 1.0 for k in range(1, TOP + 1)}
WEIGHTS = [
    {"stands_on_command": 1.0},
    {"stands_on_command": 1.0, "effort": 4.0},
    APPROXIMATIONS,
    {"bark_at_visitor": 0.7, "reached_2": -0.4, "stands_on_command": 2.0},
]


def exact(weights, params, discount):
    """`values` as numpy arrays by cell; every channel is named, so that it is compiled once."""
    every = {c: jnp.float32(weights.get(c, 0.0)) for c in CHANNELS}
    v, q = solve(every, {k: jnp.float32(p) for k, p in (USUAL | params).items()}, jnp.float32(discount))
    return np.asarray(v, float).reshape(24), np.asarray(q, float).reshape(24, 4)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.97])
def test_values_are_the_optimal_ones(weights, params, discount):
    chances = USUAL | params
    v, q = exact(weights, params, discount)
    moves, gains = tables(tuple(chances.items()))
    reward = gains @ [weights.get(c, 0.0) for c in CHANNELS]
    scale = max(1.0, np.abs(v).max())
    residual = (reward + discount * moves @ v).max(1) - v
    assert np.abs(residual).max() < 1e-5 * scale
    np.testing.assert_array_equal(v, q.max(1))
    true_v, true_q = policy_iteration(weights, chances, discount)
    np.testing.assert_allclose(v, true_v, atol=1e-4 * scale)
    np.testing.assert_allclose(q, true_q, atol=1e-4 * scale)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_greedy_play_earns_the_values(weights):
    v, q = exact(weights, {}, 0.8)
    story = roll(q.argmax(1).reshape(TOP + 1, 2, 2), fresh())
    paid = sum(weights.get(c, 0.0) * story.facts[c] for c in CHANNELS)
    earned = (0.8 ** np.arange(LIMIT) @ paid).astype(float)
    assert_near(earned, v[0], allowance=0.8**LIMIT * np.abs(v).max() + 1e-5)


def test_values_refuse_names_that_are_not():
    with pytest.raises(WrongInput, match=r"'stand_on_command'.*stands_on_command"):
        values({"stand_on_command": 1.0}, {}, 0.9)
    with pytest.raises(WrongInput, match=r"'slips'.*slip"):
        values({"bark": 1.0}, {"slips": 0.1}, 0.9)


def policy_for(weights) -> np.ndarray:
    return exact(weights, {}, 0.97)[1].argmax(1).reshape(TOP + 1, 2, 2)


def test_what_the_story_says_is_so():
    """Free standing is for all day, standing that costs is for a command, and the way up is an end in itself."""
    free, charged, paid = (policy_for(w) for w in WEIGHTS[:3])
    assert (free[:TOP] == RAISE).all()
    assert (free[TOP] == HOLD).all()
    assert np.isin(charged[:, 0], [WAIT, BARK]).all()  # barking is sinking too
    assert (charged[:TOP, 1] == RAISE).all()
    assert (charged[TOP, 1] == HOLD).all()
    assert (paid[:TOP] == RAISE).all()
    assert (paid[TOP] != HOLD).all()
    story = roll(paid, fresh())
    assert story.obeyed.sum() == 0
    assert sum(story.facts[c] for c in APPROXIMATIONS).sum(0).mean() > LIMIT / 2


# The ceiling


@pytest.mark.parametrize("params", CASES)
def test_ceiling_is_what_search_finds(params):
    found, _ = best_in_time(USUAL | params)
    start = fresh(**params)
    told = jax.jit(jax.vmap(POSTURE.ceiling))(
        jax.tree.map(lambda *x: jnp.stack(x), *(level(*cell)._replace(chances=start.chances) for cell in CELLS))
    )
    np.testing.assert_allclose(told["stands_on_command"], found, rtol=1e-5, atol=1e-6)
    assert found.min() > 0


@pytest.mark.parametrize("params", CASES)
def test_ceiling_is_attained_and_not_exceeded(params):
    start = fresh(**params)
    highest = float(ceiling(start)["stands_on_command"])
    best = best_in_time(USUAL | params)[1]
    assert_near(roll(best, start, seed=3).obeyed.sum(0), highest)
    rng = np.random.default_rng(2)
    doubting = np.where(rng.uniform(size=best.shape) < 0.1, rng.integers(4, size=best.shape), best)
    for other in (doubting, policy_for(WEIGHTS[1]), policy_for(WEIGHTS[2]), rng.integers(4, size=best.shape)):
        got = roll(other, start, seed=4).obeyed.sum(0)
        assert got.mean() <= highest + 5 * got.std() / np.sqrt(EPISODES)


def test_ceiling_by_hand():
    """Five steps up and one to obey. A command in every step where there is none can be obeyed in every other one: the
    first comes while the dog rises, is obeyed at step 6, and then at steps 8, 10, …, 40: 18 times.
    """
    assert ceiling(level(command=1.0))["stands_on_command"] == 18
    assert ceiling(level(TOP, commanded=True, command=1.0))["stands_on_command"] == 20
    assert ceiling(level(TOP, command=1.0, slip=1.0))["stands_on_command"] == 0
    # One command that may be dropped in each of the five steps before it can be obeyed.
    assert ceiling(level(commanded=True, dropped=0.1))["stands_on_command"] == pytest.approx(0.9**5)


def test_actions_are_in_order():
    assert ACTIONS == ("wait", "hold", "raise", "bark")
