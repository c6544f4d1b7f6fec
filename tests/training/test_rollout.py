"""The one place that knows limits and resets, against a game played in plain Python."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.agents.policy import Actor, forgetful
from chisel.training.rollout import _chance, _deal, _draw, at_random, begin, collect, episode
from chisel.worlds import WORLDS as WORLDS_BY_NAME
from chisel.worlds.world import defaults, names

LIMIT, WORLDS, STEPS = 5, 3, 12
SHAPED = ("level", "far")  # not in order of name
PARAMS = {"luck": jnp.float32(1.0), "target": jnp.float32(3.0)}
CHANNELS = ("counted", "finished", "luck", "time")
COUNTED, FINISHED, LUCK, TIME = range(4)
SEEDS = st.integers(0, 2**32 - 1)


def coin(chance):
    """A policy that counts with some chance, whatever it sees."""
    return forgetful(lambda key, seen: jax.random.bernoulli(key, chance, seen.shape[:1]).astype(jnp.int32))


@pytest.fixture(scope="module")
def compiled(counting):
    """`compiled(limit)`: begin and collect as functions of a key and numbers, so that they are compiled once."""

    @functools.cache
    def of(limit):
        world = counting(limit)
        start = jax.jit(lambda key, params: begin(world, key, WORLDS, len(CHANNELS), params))
        return start, jax.jit(
            lambda key, playing, params, chance: collect(world, coin(chance), key, playing, params, STEPS, SHAPED)
        )

    return of


def played(compiled, seed: int, chance: float, rollouts: int = 3):
    """A few rollouts one after another: [(playing before, rollout)], and playing at the end."""
    start, play = compiled
    key, playing, parts = jax.random.key(seed), start(jax.random.key(seed + 1), PARAMS), []
    for part in range(rollouts):
        before = playing
        playing, seen = play(jax.random.fold_in(key, part), playing, PARAMS, jnp.float32(chance))
        parts.append(jax.tree.map(np.asarray, (before, seen)))
    return parts, jax.tree.map(np.asarray, playing)


law = settings(max_examples=15, deadline=None)
chances = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])


def test_names_are_as_the_tests_have_them(counting):
    assert names(counting(LIMIT)).channels == CHANNELS


@law
@given(SEEDS, chances)
@example(0, 0.0)  # every episode is cut off
@example(0, 1.0)  # none is, but those that began old
def test_a_rollout_is_the_game_that_plain_python_plays(compiled, seed, chance):
    """Tallies, ages, endings, facts, potentials, what was seen after a cut, and what finished episodes added up to."""
    parts, end = played(compiled(LIMIT), seed, chance)
    first = parts[0][0]
    tally, age = first.state.tally.tolist(), first.age.tolist()
    level, totals = first.state.level.tolist(), [[0.0] * 4 for _ in range(WORLDS)]
    done = 0  # steps: what finishes within the first LIMIT does not count
    for before, seen in parts:
        assert before.age.tolist() == age
        np.testing.assert_allclose(before.totals, totals, atol=1e-5)
        finals, finished, lengths = [], [], []
        for t in range(STEPS):
            done += 1
            for w in range(WORLDS):
                action, was = int(seen.actions[t, w]), tally[w]
                np.testing.assert_allclose(seen.observations[t, w], [was, 3, level[w]])
                np.testing.assert_allclose(seen.before[t, w], [level[w], was - 3])
                tally[w], age[w] = was + action, age[w] + 1
                over, cut = tally[w] >= 3, tally[w] < 3 and age[w] >= LIMIT
                assert (bool(seen.ended[t, w]), bool(seen.truncated[t, w])) == (over, cut)
                np.testing.assert_allclose(seen.after[t, w], [level[w], tally[w] - 3])
                told = [action, over, seen.facts[t, w, LUCK], 0.25]
                np.testing.assert_allclose(seen.facts[t, w], told)
                totals[w] = [a + b for a, b in zip(totals[w], told, strict=True)]
                if cut:
                    finals.append([tally[w], 3, level[w]])
                if over or cut:
                    if done > LIMIT:
                        finished.append(totals[w])
                        lengths.append(age[w])
                    following = seen.observations[t + 1, w] if t + 1 < STEPS else seen.last[w]
                    assert following[0] == 0
                    assert following[2] != pytest.approx(level[w], abs=1e-6)  # another level
                    tally[w], age[w], level[w], totals[w] = 0, 0, float(following[2]), [0.0] * 4
        assert len(finals) == seen.truncated.sum()
        np.testing.assert_allclose(seen.finals[: len(finals)], np.reshape(finals, (-1, 3)))
        np.testing.assert_allclose(seen.last, [[t, 3, x] for t, x in zip(tally, level, strict=True)])
        assert seen.episodes.finished == len(finished)
        if finished:
            np.testing.assert_allclose(seen.episodes.totals, np.mean(finished, axis=0), rtol=1e-5)
            np.testing.assert_allclose(seen.episodes.steps, np.mean(lengths), rtol=1e-6)
        else:
            assert math.isnan(seen.episodes.steps)
            assert np.isnan(seen.episodes.totals).all()
    assert end.age.tolist() == age
    np.testing.assert_allclose(end.totals, totals, atol=1e-5)


def test_no_episode_that_finished_is_nan_and_not_zero(compiled):
    """A limit too far to be reached, and nobody counts."""
    parts, _ = played(compiled(10_000), 0, 0.0, rollouts=1)
    seen = parts[0][1]
    assert seen.episodes.finished == 0
    assert math.isnan(seen.episodes.steps)
    assert np.isnan(seen.episodes.totals).all()
    assert not seen.truncated.any()


def test_there_is_a_slot_for_every_step_that_can_be_cut_off(compiled):
    """Even where every world begins at its last step."""
    start, play = compiled(LIMIT)
    playing = start(jax.random.key(0), PARAMS)._replace(age=jnp.full(WORLDS, LIMIT - 1))
    _, seen = play(jax.random.key(1), playing, PARAMS, jnp.float32(0.0))
    cuts = [0, 5, 10]
    assert np.flatnonzero(np.asarray(seen.truncated).all(1)).tolist() == cuts
    assert np.asarray(seen.truncated).sum() == len(cuts) * WORLDS == len(seen.finals)


def test_luck_differs_between_worlds_and_steps(compiled):
    parts, _ = played(compiled(LIMIT), 3, 0.5)
    drawn = np.concatenate([seen.facts[..., LUCK].ravel() for _, seen in parts])
    assert len(np.unique(drawn)) == len(drawn)
    actions = np.concatenate([seen.actions for _, seen in parts])
    assert len(np.unique(actions, axis=1).T) == WORLDS


def test_the_level_distribution_is_the_one_in_force(compiled):
    """Running episodes go on as they began, new ones are drawn from the new one."""
    start, play = compiled(LIMIT)
    playing = start(jax.random.key(0), PARAMS)
    far = PARAMS | {"target": jnp.float32(7.0), "luck": jnp.float32(0.0)}
    _, seen = play(jax.random.key(1), playing, far, jnp.float32(0.5))
    over = np.cumsum(np.asarray(seen.ended | seen.truncated), axis=0) > 0
    targets = np.asarray(seen.observations)[..., 1]
    assert (targets[0] == 3).all()
    assert (targets[1:][over[:-1]] == 7).all()
    assert (targets[1:][~over[:-1]] == 3).all()
    assert not np.any(np.asarray(seen.facts)[..., LUCK])


def levels_dealt(world) -> list[float]:
    """The levels of a rollout in which everybody counts, in the order in which they were dealt."""
    playing = begin(world, jax.random.key(0), WORLDS, len(CHANNELS), PARAMS)
    play = jax.jit(lambda p: collect(world, coin(1.0), jax.random.key(1), p, PARAMS, STEPS, ()))
    _, seen = jax.tree.map(np.asarray, play(playing))
    following = np.concatenate([seen.observations[1:], seen.last[None]])[..., 2]
    return following[seen.ended | seen.truncated].tolist()


def test_every_level_is_new_while_the_deck_lasts(counting):
    dealt = levels_dealt(counting(LIMIT))
    assert len(dealt) > 2 * WORLDS
    assert len(set(dealt)) == len(dealt)


def test_a_deck_that_is_used_up_is_dealt_again_in_order(counting):
    dealt = levels_dealt(counting(LIMIT)._replace(brief=1000))  # as many cards as worlds
    assert len(dealt) > 2 * WORLDS
    assert dealt == (dealt[:WORLDS] * len(dealt))[: len(dealt)]
    assert len(set(dealt)) == WORLDS


def test_cards_are_dealt_in_order_from_the_first():
    deck = {"card": jnp.arange(5)}
    cards, dealt = _deal(deck, jnp.int32(0), jnp.array([False, True, True]))
    assert (cards["card"][1:].tolist(), int(dealt)) == ([0, 1], 2)
    cards, dealt = _deal(deck, jnp.int32(4), jnp.array([True, False, True]))
    assert (cards["card"][::2].tolist(), int(dealt)) == ([4, 0], 6)


@pytest.mark.parametrize(("steps", "cards"), [(2, 3), (4, 6), (5, 8), (7, 11)])
def test_a_deck_has_a_card_for_every_so_many_steps_rounded_up(counting, steps, cards):
    deck = _draw(counting(LIMIT)._replace(brief=2), jax.random.key(0), WORLDS, steps, PARAMS)
    assert len(deck.level) == cards


def test_no_world_shares_the_luck_of_an_actor():
    """Nor of another world or step: whatever an actor makes of its key, here one for each world."""
    actor = Actor(jax.random.split, lambda *_: None)
    both = [np.asarray(jax.random.key_data(keys)) for keys in _chance(actor, jax.random.key(0), STEPS, WORLDS)]
    every = np.concatenate(both).reshape(-1, 2)
    assert len(np.unique(every, axis=0)) == 2 * STEPS * WORLDS


def test_fresh_worlds_have_ages_all_over_the_limit(counting):
    limit, many = 8, 256
    playing = begin(counting(limit), jax.random.key(0), many, len(CHANNELS), PARAMS)
    counts = np.bincount(playing.age, minlength=limit)
    assert len(counts) == limit
    assert counts.min() > many / limit / 2
    assert len(np.unique(playing.state.level)) == many
    assert not np.any(playing.totals)
    assert playing.totals.shape == (many, len(CHANNELS))


def test_mapped_over_members_it_is_the_same_as_one_after_another(compiled):
    start, play = compiled(LIMIT)
    keys = jax.random.split(jax.random.key(5), 3)
    playing = jax.tree.map(lambda *x: jnp.stack(x), *[start(k, PARAMS) for k in keys])
    chance = jnp.array([0.1, 0.5, 0.9])
    together = jax.jit(jax.vmap(play, (0, 0, None, 0)))(keys, playing, PARAMS, chance)
    for i in range(3):
        alone = play(keys[i], jax.tree.map(lambda x, i=i: x[i], playing), PARAMS, chance[i])
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(many[i], one, rtol=1e-6)


def test_potentials_that_nobody_shapes_with_are_not_recorded(counting):
    world = counting(LIMIT)._replace(potentials=None)  # nor asked for
    playing = begin(world, jax.random.key(0), WORLDS, len(CHANNELS), PARAMS)
    _, seen = collect(world, coin(0.5), jax.random.key(0), playing, PARAMS, 2, ())
    assert seen.before.shape == seen.after.shape == (2, WORLDS, 0)


def test_conditions_are_those_after_the_step_and_before_any_reset(counting):
    """1 or 0; and a condition turned round is its opposite everywhere."""
    world = counting(LIMIT)
    playing = begin(world, jax.random.key(0), WORLDS, len(CHANNELS), PARAMS)
    gates = ("not even", "even")
    play = jax.jit(lambda p: collect(world, coin(0.6), jax.random.key(1), p, PARAMS, STEPS, SHAPED, gates))
    _, seen = jax.tree.map(np.asarray, play(playing))
    tally = seen.observations[..., 0] + seen.actions
    assert tally[seen.ended].tolist() == [3] * seen.ended.sum() != []
    np.testing.assert_array_equal(seen.gates[..., 0], tally % 2)
    np.testing.assert_array_equal(seen.gates[..., 1], 1 - tally % 2)
    assert seen.gates.dtype == np.float32


def test_conditions_that_nobody_asks_for_are_not_recorded(counting):
    world = counting(LIMIT)._replace(features=None)
    playing = begin(world, jax.random.key(0), WORLDS, len(CHANNELS), PARAMS)
    _, seen = collect(world, coin(0.5), jax.random.key(0), playing, PARAMS, 2)
    assert seen.gates.shape == (2, WORLDS, 0)


# Single episodes


def test_an_episode_stops_counting_after_its_end(counting):
    world = counting(LIMIT)
    fresh = jax.vmap(world.reset, (0, None))(jax.random.split(jax.random.key(0), 3), PARAMS)
    fresh = fresh._replace(tally=jnp.array([0, 2, 3]))  # three to go, one to go, over from the start
    always = forgetful(lambda key, seen: jnp.ones(len(seen), jnp.int32))
    story, states = jax.jit(lambda s: episode(world, always, jax.random.key(1), s, PARAMS))(fresh)
    assert story.alive.T.tolist() == [
        [True, True, True, False, False],
        [True, False, False, False, False],
        [False] * LIMIT,
    ]
    assert story.facts[..., COUNTED].T.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5]
    assert story.facts[..., FINISHED].T.tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5]
    np.testing.assert_allclose(story.facts[..., TIME], np.where(story.alive, 0.25, 0))
    assert story.reached[..., 0].T.tolist() == [[False, False, True, False, False], [True] + [False] * 4, [False] * 5]
    # The states before each step; where it is over nothing moves any more.
    assert states.tally.T.tolist() == [[0, 1, 2, 3, 3], [2, 3, 3, 3, 3], [3] * 5]
    assert np.array_equal(states.level, np.broadcast_to(fresh.level, (LIMIT, 3)))


def test_an_episode_is_cut_off_at_the_limit_or_where_asked(counting):
    world = counting(LIMIT)
    fresh = jax.vmap(world.reset, (0, None))(jax.random.split(jax.random.key(0), 2), PARAMS)
    waits = forgetful(lambda key, seen: jnp.zeros(len(seen), jnp.int32))
    for steps, meant in ((None, LIMIT), (2, 2)):
        story, _ = episode(world, waits, jax.random.key(1), fresh, PARAMS, steps)
        assert story.alive.shape == (meant, 2)
        assert story.alive.all()
        assert not story.reached.any()


# Means over episodes


def test_a_mean_over_episodes_is_not_biased_by_their_length_from_the_first_on():
    """In a maze, random play finds the cheese in about a sixth of episodes, and those are shorter than the others: before
    a full horizon has passed, only such could have finished. Against whole episodes from fresh levels."""
    maze = WORLDS_BY_NAME["maze"]
    cheese = names(maze).channels.index("cheese")
    params = {name: jnp.float32(value) for name, value in defaults(maze).items()}
    levels = jax.vmap(maze.reset, (0, None))(jax.random.split(jax.random.key(0), 8192), params)
    whole = jax.jit(lambda s: episode(maze, at_random(maze), jax.random.key(1), s, params)[0])(levels)
    truth = float(whole.facts[..., cheese].sum(0).mean())
    playing = begin(maze, jax.random.key(2), 1024, len(names(maze).channels), params)
    play = jax.jit(lambda p, key: collect(maze, at_random(maze), key, p, params, 32))
    found = []
    for i in range(5):
        playing, seen = play(playing, jax.random.key(3 + i))
        found.append((float(seen.episodes.totals[cheese]), int(seen.episodes.finished)))
    assert found[0][1] == 0, "nothing counts before a full horizon has passed"
    for mean, count in found[1:]:
        assert count > 500
        assert abs(mean - truth) < 4 * math.sqrt(truth * (1 - truth) / count)  # yes or no: a binomial's standard error
