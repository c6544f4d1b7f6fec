"""Shaping guides, and does not change what is best."""

import functools
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.rewards.shaping import approach, shaping

STEPS, WORLDS = 12, 3
GAMMA = 0.9
shape = jax.jit(shaping, static_argnums=6)


def story(seed: int, potentials: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Potentials of s and s' along a rollout, each s' being the next s."""
    along = np.random.default_rng(seed).normal(size=(STEPS + 1, WORLDS, potentials)).astype(np.float32)
    return along[:-1], along[1:]


def never() -> np.ndarray:
    return np.zeros((STEPS, WORLDS), bool)


def discounted(rewards: np.ndarray) -> np.ndarray:
    return (GAMMA ** np.arange(len(rewards)))[:, None].T @ rewards


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_over_an_episode_it_telescopes(seed, terminated):
    before, after = story(seed)
    weights, ended = np.array([2.0, -0.5], np.float32), never()
    ended[-1] = terminated
    found = discounted(np.asarray(shape(weights, weights, weights, before, after, ended, GAMMA), float))[0]
    end = 0.0 if terminated else GAMMA**STEPS * (after[-1] @ weights)
    np.testing.assert_allclose(found, -(before[0] @ weights) + end, atol=1e-4)


def test_what_follows_counts_but_at_the_ends_that_it_is_told_of():
    """Which these are, a truncated step or not, is for the learner to say."""
    before, after = story(0, potentials=1)
    one, ended = np.ones(1, np.float32), never()
    ended[4, 1] = True
    found = np.asarray(shape(one, one, one, before, after, ended, GAMMA))
    plain = GAMMA * after[..., 0] - before[..., 0]
    np.testing.assert_allclose(found[4, 1], -before[4, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(found[~ended], plain[~ended], rtol=1e-4, atol=1e-6)


def test_weights_that_change_between_rollouts_still_telescope():
    """γΦ(s', t') − Φ(s, t): the weights of the next rollout hold for the state with which it begins, and no other."""
    first, second = np.array([1.0, 0.0], np.float32), np.array([0.25, -3.0], np.float32)
    before, after = story(1)
    middle = STEPS // 2
    parts = [
        shape(first, second, first, before[:middle], after[:middle], never()[:middle], GAMMA),
        shape(second, second, second, before[middle:], after[middle:], never()[middle:], GAMMA),
    ]
    found = discounted(np.concatenate(parts).astype(float))[0]
    np.testing.assert_allclose(found, -(before[0] @ first) + GAMMA**STEPS * (after[-1] @ second), atol=1e-5)


WEIGHTS = st.lists(st.floats(-3, 3, width=32, allow_subnormal=False), min_size=2, max_size=2).map(np.float32)
ROLLOUTS = st.lists(st.tuples(WEIGHTS, WEIGHTS), min_size=1, max_size=4)


def switched(plan, before, after, ended, keeps=True) -> np.ndarray:
    """The guidance of rollouts in a row, each (weights, what it expects next); the next may have other weights, and
    keeps the promise or, which is wrong, does not.
    """
    parts, promised, steps = [], plan[0][0], STEPS // len(plan)
    for i, (weights, expected) in enumerate(plan):
        now = slice(i * steps, STEPS if i == len(plan) - 1 else (i + 1) * steps)
        known = promised if keeps else weights
        parts.append(shape(weights, expected, known, before[now], after[now], ended[now], GAMMA))
        promised = expected
    return np.concatenate(parts).astype(float)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), ROLLOUTS, st.booleans())
def test_a_schedule_that_is_switched_between_rollouts_telescopes_by_what_was_promised(seed, plan, terminated):
    """Σ γ^t F_t = γ^T Φ_T − Φ_0: what the last rollout promised for the end, and the first was charged at the start,
    whatever was in force in between, though no rollout had the weights that the one before it expected.
    """
    (before, after), ended = story(seed), never()
    ended[-1] = terminated
    found = discounted(switched(plan, before, after, ended))[0]
    end = 0.0 if terminated else GAMMA**STEPS * (after[-1] @ plan[-1][1])
    np.testing.assert_allclose(found, end - before[0] @ plan[0][0], atol=1e-4)


def test_a_promise_that_is_not_kept_would_break_it():
    """New weights for the state in which a rollout begins pay for a state what nobody was charged, at every switch."""
    (before, after), first, second = story(3), np.float32([1.0, 0.5]), np.float32([-2.0, 0.0])
    plan = [(first, first), (second, second)]
    kept, broken = (discounted(switched(plan, before, after, never(), keeps))[0] for keeps in (True, False))
    meant = GAMMA**STEPS * (after[-1] @ second) - before[0] @ first
    np.testing.assert_allclose(kept, meant, atol=1e-5)
    middle = STEPS // 2
    np.testing.assert_allclose(broken - kept, GAMMA**middle * (before[middle] @ (first - second)), atol=1e-5)
    assert np.abs(broken - meant).max() > 0.1


def test_a_rollout_of_one_step_keeps_its_promise_and_makes_one():
    one, two, three = (np.float32([x]) for x in (1.0, 2.0, 3.0))
    before, after = np.full((1, 1, 1), 0.5, np.float32), np.full((1, 1, 1), 0.25, np.float32)
    found = shape(one, two, three, before, after, np.zeros((1, 1), bool), GAMMA)
    assert float(found[0, 0]) == pytest.approx(GAMMA * 2 * 0.25 - 3 * 0.5)


def test_without_weight_it_is_exactly_nothing():
    nothing = np.zeros(2, np.float32)
    assert not np.any(shape(nothing, nothing, nothing, *story(2), never(), GAMMA))


# A tabular world whose answer is known: FrozenLake (slippery), docs of Gymnasium's maps; the numbers are those of
# known-answer test 10.

LAKES = {
    4: ("SFFF", "FHFH", "FFFH", "HFFG"),
    8: ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
}
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up: a move slips to its neighbours in this order
KNOWN = {(4, 0.99): 0.542026, (4, 0.95): 0.180472, (8, 0.99): 0.414640, (8, 0.95): 0.048250}


@functools.cache
def lake(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """chances[s, a, s'], rewards[s'], over[s']; nothing leads out of where it is over."""
    tiles = "".join(LAKES[size])
    chances = np.zeros((size * size, 4, size * size))
    for cell, action, slip in itertools.product(range(size * size), range(4), (-1, 0, 1)):
        if tiles[cell] in "SF":
            rows, columns = MOVES[(action + slip) % 4]
            row = min(max(cell // size + rows, 0), size - 1)
            column = min(max(cell % size + columns, 0), size - 1)
            chances[cell, action, row * size + column] += 1 / 3
    return chances, np.array([float(t == "G") for t in tiles]), np.array([t in "HG" for t in tiles])


def best(chances: np.ndarray, rewards: np.ndarray, over: np.ndarray, gamma: float) -> np.ndarray:
    """Q*[s, a] by value iteration, with rewards[s, s']."""
    q = np.zeros(chances.shape[:2])
    for _ in range(5000):
        value = np.where(over, 0.0, q.max(1))
        q, last = (chances * (rewards[:, None, :] + gamma * value)).sum(2), q
        if np.abs(q - last).max() < 1e-14:
            return q
    raise AssertionError("no convergence")


def potential(size: int) -> np.ndarray:
    """Any numbers will do; also where it is over, where they must not matter."""
    return np.random.default_rng(size).normal(size=size * size)


def guide(phi: np.ndarray, over: np.ndarray, gamma: float) -> np.ndarray:
    """What the project's shaping adds on every transition [s, s']: one long rollout of one step each."""
    count = len(phi)
    before, after = (x.reshape(1, -1, 1).astype(np.float32) for x in np.meshgrid(phi, phi, indexing="ij"))
    one = np.ones(1, np.float32)
    ended = np.broadcast_to(over, (count, count)).reshape(1, -1)
    return np.asarray(shape(one, one, one, before, after, ended, gamma), float).reshape(count, count)


@pytest.mark.parametrize(("size", "gamma"), KNOWN)
def test_the_best_values_of_frozen_lake_are_known_and_shaping_keeps_them(size, gamma):
    chances, rewards, over = lake(size)
    rewards, phi = np.broadcast_to(rewards, (size * size, size * size)), potential(size)
    plain = best(chances, rewards, over, gamma)
    assert plain[0].max() == pytest.approx(KNOWN[size, gamma], abs=5e-7)

    exact = gamma * np.where(over, 0.0, phi)[None, :] - phi[:, None]
    open_ = ~over
    identity = best(chances, rewards + exact, over, gamma)[open_]
    np.testing.assert_allclose(identity, (plain - phi[:, None])[open_], atol=1e-9)

    shaped = best(chances, rewards + guide(phi, over, gamma), over, gamma)
    np.testing.assert_allclose(shaped[open_], (plain - phi[:, None])[open_], atol=1e-5)
    assert shaped[0].max() + phi[0] == pytest.approx(KNOWN[size, gamma], abs=1e-5)
    as_good_as_any = [q >= q.max(1, keepdims=True) - 1e-4 for q in (plain, shaped)]
    assert (as_good_as_any[0] == as_good_as_any[1])[open_].all()


def test_a_potential_at_the_end_would_break_it():
    chances, rewards, over = lake(4)
    phi = potential(4)
    plain = best(chances, np.broadcast_to(rewards, (16, 16)), over, 0.99)
    wrong = best(chances, rewards + guide(phi, np.zeros(16, bool), 0.99), over, 0.99)
    assert np.abs(wrong - (plain - phi[:, None]))[~over].max() > 0.1
    assert (wrong.argmax(1) != plain.argmax(1))[~over].any()


def test_another_discount_than_the_learners_would_break_it():
    chances, rewards, over = lake(4)
    phi = potential(4)
    plain = best(chances, np.broadcast_to(rewards, (16, 16)), over, 0.99)
    wrong = best(chances, rewards + guide(phi, over, 0.9), over, 0.99)
    assert np.abs(wrong - (plain - phi[:, None]))[~over].max() > 0.1


def test_a_wrong_sign_would_break_it():
    """Of one term: the policy. Of both: only the values, since that is shaping by the opposite potential."""
    chances, rewards, over = lake(4)
    phi = potential(4)
    plain = best(chances, np.broadcast_to(rewards, (16, 16)), over, 0.99)
    one = best(chances, rewards + guide(phi, over, 0.99) + 2 * phi[:, None], over, 0.99)
    assert (one.argmax(1) != plain.argmax(1))[~over].any()
    both = best(chances, rewards - guide(phi, over, 0.99), over, 0.99)
    assert np.abs(both - (plain - phi[:, None]))[~over].max() > 0.1
    np.testing.assert_allclose(both[~over], (plain + phi[:, None])[~over], atol=1e-5)


# Naive guidance, for comparison


def test_approach_pays_for_rises_and_takes_nothing_back():
    """A path to and fro earns every time it comes nearer, and shaping without a discount nothing."""
    heights = np.float32([0.0, 0.5, 0.25, 0.75, 0.0, 0.75, 0.75])
    before, after = heights[:-1, None, None], heights[1:, None, None]
    two = np.float32([2.0])
    assert approach(two, before, after).ravel().tolist() == [1.0, 0.0, 1.0, 0.0, 1.5, 0.0]
    guided = shape(two, two, two, before, after, np.zeros((6, 1), bool), 1.0)
    assert float(np.sum(guided)) == pytest.approx(1.5)  # how much higher it ends than it began


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), WEIGHTS)
def test_each_potential_is_approached_by_itself(seed, weights):
    before, after = story(seed)
    rises = np.where(after > before, after - before, 0.0)
    np.testing.assert_allclose(approach(weights, before, after), rises @ weights, atol=1e-5)
    back = approach(weights, after, before)  # the way back
    change = (after - before) @ weights
    np.testing.assert_allclose(approach(weights, before, after) - back, change, atol=1e-5)


def corridor(cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """chances, rewards[s, s'], over, nearness: left and right; it pays 1 and is over in the last cell."""
    chances = np.zeros((cells, 2, cells))
    for cell, action in itertools.product(range(cells - 1), range(2)):
        chances[cell, action, max(cell - 1, 0) if action == 0 else cell + 1] = 1
    over = np.arange(cells) == cells - 1
    return chances, np.broadcast_to(over.astype(float), (cells, cells)), over, np.arange(cells) / (cells - 1)


def test_approach_teaches_to_go_in_circles_where_shaping_does_not():
    """Randløv & Alstrøm 1998 in four cells: with γ = 0.95 a step nearer, worth 1/3, every other step is worth more than
    arriving: 1/3 / (1 − γ²) = 3.4 against 1 + 1/3.
    """
    chances, rewards, over, near = corridor(4)
    before, after = (x.reshape(1, -1, 1).astype(np.float32) for x in np.meshgrid(near, near, indexing="ij"))
    naive = np.asarray(approach(np.ones(1, np.float32), before, after), float).reshape(4, 4)
    plain, shaped, circling = (
        best(chances, rewards + more, over, 0.95)[:3] for more in (0.0, guide(near, over, 0.95), naive)
    )
    assert plain.argmax(1).tolist() == shaped.argmax(1).tolist() == [1, 1, 1]
    assert circling[2].argmax() == 0, "beside the goal it turns round"
    assert circling[1].max() == pytest.approx(1 / 3 / (1 - 0.95**2), abs=1e-5)
    assert (circling[2, 0] - circling[2, 1]) > 1


# Any other world


def random_world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """chances, rewards[s, s'], over, potential and γ of a small world made up at random."""
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(2, 7), rng.integers(2, 4)
    chances = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    over = rng.random(states) < 0.3
    chances[over] = 0.0
    return chances, rng.normal(size=(states, states)), over, rng.normal(size=states), float(rng.uniform(0.5, 0.95))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_potential_moves_the_optimal_policy_of_any_world(seed):
    chances, rewards, over, phi, gamma = random_world(seed)
    plain = best(chances, rewards, over, gamma)
    shaped = best(chances, rewards + guide(phi, over, gamma), over, gamma)
    np.testing.assert_allclose(shaped[~over], (plain - phi[:, None])[~over], atol=1e-4)
    gaps = plain.max(1, keepdims=True) - plain
    np.testing.assert_array_less(gaps[np.arange(len(phi)), shaped.argmax(1)][~over], 1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shaping_teaches_what_initial_values_would(seed):
    """Wiewiora 2003: Q-learning from nothing with shaping, and from the potential without, learn the same differences
    from the same experience, step by step.
    """
    chances, rewards, over, phi, gamma = random_world(seed)
    rng, guided = np.random.default_rng(seed), guide(phi, over, gamma)
    states, actions = chances.shape[:2]
    shaped, begun = np.zeros((states, actions)), np.repeat(phi[:, None], actions, axis=1)
    for _ in range(200):
        state = int(rng.integers(states))
        if over[state]:
            continue
        action = int(rng.integers(actions))
        then = int(rng.choice(states, p=chances[state, action]))
        for q, reward in ((shaped, rewards[state, then] + guided[state, then]), (begun, rewards[state, then])):
            follows = 0.0 if over[then] else gamma * q[then].max()
            q[state, action] += 0.3 * (reward + follows - q[state, action])
        np.testing.assert_allclose(shaped + phi[:, None], begun, atol=1e-4)
