"""What the contract promises, tried on every world alike: one table of tests over native and borrowed worlds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jaxtyping import jaxtyped

from chisel.probing.bank import make_states
from chisel.training.rollout import at_random, begin, collect, episode
from chisel.worlds import load_world
from chisel.worlds.world import defaults, names, vector
from tests.worlds.trial import (
    BORROWED,
    COUNT,
    FUNCTIONS,
    NATIVE,
    SEEDS,
    TOLD,
    abroad,
    arguments,
    assert_alike,
    at_home,
    differing,
    everywhere,
    fast,
    keys,
    params,
    pick,
    size,
    usual,
)  # fmt: skip

CHANCE = {"posture"}  # worlds in which luck decides, so that a ceiling holds in the mean
LEVELS = {"chess": 1, "pacman": 1, "posture": 2}  # how many different beginnings there are, where they are few

# The record itself


@everywhere
def test_names_are_sound(name):
    world, told = load_world(name), names(load_world(name))
    assert world.name == name
    assert world.summary
    for words in (world.actions, told.channels, *([world.goals, told.potentials, told.features] * (name in NATIVE))):
        assert len(words) > 0
    for words in (world.actions, world.goals, told.channels, told.potentials, told.features):
        assert len(set(words)) == len(words)
    for words in (told.channels, told.potentials, told.features):
        assert list(words) == sorted(words)
    assert set(world.true) <= set(told.channels)
    assert world.true
    assert set(world.places) <= set(world.goals)
    assert world.limit > 0
    assert world.brief > 0


@everywhere
def test_params_have_defaults_within_bounds(name):
    for p in load_world(name).params.values():
        assert p.low <= p.default <= p.high
        assert p.low < p.high
        assert p.meaning


@everywhere
@pytest.mark.parametrize("function", ["channels", "potentials", "features"])
def test_vectors_are_in_the_order_of_names(name, function):
    facts = pick(getattr(fast(name), function)(*arguments(name)[function]), 3)
    np.testing.assert_array_equal(vector(facts), [facts[n] for n in getattr(names(load_world(name)), function)])


@at_home
def test_an_edit_makes_its_feature_true_and_false_and_moves_nothing(name):
    """Where it can be: nobody who is not there is thirsty. Goals stay where they are, and as they are."""
    world = load_world(name)
    states = jax.jit(jax.vmap(world.scatter))(keys(256))
    told = jax.jit(jax.vmap(world.features))
    before = told(states)
    assert set(world.edits) <= set(before)
    for feature, edit in world.edits.items():
        put_in, taken_out = (
            told(jax.jit(jax.vmap(lambda state, e=edit, t=there: e(state, t)))(states)) for there in (True, False)
        )
        assert not taken_out[feature].any(), f"{feature} holds though it was taken out"
        possible = np.asarray(before[feature] | put_in[feature])
        assert (put_in[feature] == possible).all(), f"{feature} was put in, and lost"
        assert possible.mean() > 0.3, f"{feature} can hardly be put in"
        for goal in world.goals:
            for fact in (f"{goal}_present", f"{goal}_left", f"{goal}_above"):
                if fact in before and fact != feature:
                    np.testing.assert_array_equal(put_in[fact], before[fact], err_msg=f"{feature} changes {fact}")
                    np.testing.assert_array_equal(taken_out[fact], before[fact], err_msg=f"{feature} changes {fact}")


# Shapes and types


@at_home
def test_states_are_what_they_declare(name):
    state = load_world(name).scatter(jax.random.key(0))
    with jaxtyped("context"):  # one scope, so that a dimension has one size in all fields
        for field, kind in type(state).__annotations__.items():
            assert isinstance(getattr(state, field), kind), field


@everywhere
def test_states_keep_their_type(name):
    """Also in weak types, which would make a second trace."""
    world = load_world(name)
    key, action, level = jax.random.key(0), jnp.array(0), {k: jnp.float32(v) for k, v in defaults(world).items()}
    state = jax.eval_shape(world.reset, key, level)
    plain = (np.bool_, np.int32, np.float32) if name in NATIVE else (np.bool_, np.integer, np.float32)
    assert all(any(np.issubdtype(leaf.dtype, kind) for kind in plain) for leaf in jax.tree.leaves(state))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    others = {
        "step": jax.eval_shape(world.step, key, state, action, level),
        "scatter": jax.eval_shape(world.scatter, key),
    }
    if world.contest:
        others["contest"] = jax.eval_shape(world.contest, key, 0, 1)
    if world.present:
        others["present"] = jax.eval_shape(world.present, state, 0, True)
    for which, other in others.items():
        assert jax.tree.structure(other) == jax.tree.structure(state), which
        assert jax.tree.leaves(other) == jax.tree.leaves(state), which


@everywhere
def test_what_is_told_has_the_right_shape_and_type(name):
    world, run, args, count = load_world(name), fast(name), arguments(name), size(name)
    for function in ("channels", "potentials", *(["ceiling"] * bool(world.ceiling))):
        for fact, value in getattr(run, function)(*args[function]).items():
            assert (value.shape, value.dtype) == ((count,), np.float32), fact
            assert np.isfinite(value).all(), fact
    for feature, value in run.features(*args["features"]).items():
        assert value.shape == (count,), feature
        assert value.dtype in (np.bool_, np.float32), feature
    shapes = {"ended": (), "reached": (len(world.goals),), "shortens": (len(world.goals), len(world.actions))}
    for function, shape in shapes.items():
        if getattr(world, function):
            value = getattr(run, function)(*args[function])
            assert (value.shape, value.dtype) == ((count, *shape), np.bool_), function
    frame = run.frame(*args["frame"])
    assert frame.dtype == np.uint8
    assert (frame.ndim, frame.shape[-1]) == (4, 3)
    declared, seen = names(world).observation, run.observe(*args["observe"])
    assert (seen.shape[1:], seen.dtype) == (declared.shape, declared.dtype)
    assert np.isfinite(seen.astype(np.float32)).all()
    if world.ceiling:
        assert set(run.ceiling(*args["ceiling"])) >= set(world.true)
    if world.legal:
        allowed = jax.vmap(world.legal)(seen)
        assert (allowed.shape, allowed.dtype) == ((count, len(world.actions)), np.bool_)
        assert (allowed.any(1) | run.ended(*args["ended"])).all()


@at_home
@pytest.mark.parametrize("function", FUNCTIONS)
def test_compiled_and_mapped_is_one_by_one(name, function):
    plain, args = getattr(load_world(name), function), arguments(name)[function]
    together = getattr(fast(name), function)(*args)
    for i in (5, 30, 58):  # few, because calls that are not compiled are slow
        assert_alike(plain(*pick(args, i)), pick(together, i))


@abroad
@pytest.mark.parametrize("function", ["reset", "step", "observe", "channels", "ended"])
def test_borrowed_and_mapped_is_one_by_one(name, function):
    alone, args = jax.jit(getattr(load_world(name), function)), arguments(name)[function]
    together = getattr(fast(name), function)(*args)
    for i in (1, 6):
        assert_alike(alone(*pick(args, i)), pick(together, i))


# Playing


@everywhere
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_levels_are_drawn_anew_and_not_over_before_they_begin(name, seed):
    run, world, count = fast(name), load_world(name), size(name)
    states = run.reset(keys(count, seed), params(world, count))
    assert not run.ended(states).any()
    assert_alike(states, run.reset(keys(count, seed), params(world, count)))  # by the key alone
    seen = np.asarray(run.observe(run.reset(keys(count, seed), usual(world, count)))).reshape(count, -1)
    kinds = len(np.unique(seen, axis=0))
    assert kinds == LEVELS[name] if name in LEVELS else kinds > count // 2


@everywhere
def test_the_end_is_the_worlds_and_the_limit_is_not(name):
    """Terminated against truncated, by the one place that knows of both: with an early limit and an early start."""
    world = load_world(name)._replace(limit=3)
    level = {k: jnp.float32(v) for k, v in defaults(world).items()}

    @jax.jit
    def play(key):
        playing = begin(world, key, FEW_WORLDS, len(names(world).channels), level)
        return playing, collect(world, at_random(world), key, playing, level, 7, ())[1]

    before, seen = jax.tree.map(np.asarray, play(jax.random.key(0)))
    assert not (seen.ended & seen.truncated).any()
    age = before.age.copy()
    for t in range(7):
        age += 1
        np.testing.assert_array_equal(seen.truncated[t], (age >= 3) & ~seen.ended[t])
        age[seen.ended[t] | seen.truncated[t]] = 0
    assert np.isfinite(seen.facts).all()
    assert seen.truncated.any()


FEW_WORLDS = 4


@at_home
def test_random_play_stays_below_the_ceiling(name, play):
    world, run = load_world(name), fast(name)
    fresh = run.reset(keys(COUNT), usual(world))
    highest = {k: np.asarray(v) for k, v in run.ceiling(fresh).items()}
    rng = np.random.default_rng(0)
    got = {k: np.zeros(COUNT) for k in highest}
    for i in range(COUNT):
        story = play(name, pick(fresh, i), rng.integers(len(world.actions), size=world.limit), jax.random.key(i))
        for k in highest:
            got[k][i] = story.facts[k][~story.ended[:-1]].sum()
    for k in highest:
        if name in CHANCE:
            assert got[k].mean() <= highest[k].mean() + 3 * got[k].std() / np.sqrt(COUNT), k
        else:
            assert (got[k] <= highest[k] + 1e-6).all(), k
    for k in world.true:
        assert got[k].max() > 0, k  # or this test would say nothing


@at_home
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_telling_changes_nothing(name, seed, play):
    """Whatever was asked in between, a state gives the same answers again."""
    world, run = load_world(name), fast(name)
    actions = np.random.default_rng(seed).integers(len(world.actions), size=COUNT)
    states = pick(play(name, world.scatter(jax.random.key(seed)), actions).states, slice(1, None))
    first = [getattr(run, f)(states) for f in TOLD]
    assert_alike(first, [getattr(run, f)(states) for f in TOLD])


@abroad
def test_features_are_constant_under_looking_again(name):
    run, states = fast(name), arguments(name)["observe"][0]
    first = run.features(states)
    run.observe(states), run.frame(states)
    assert_alike(first, run.features(states))


# Putting in and taking out


@at_home
def test_present_puts_in_and_takes_out(name):
    world, run = load_world(name), fast(name)
    states = run.scatter(keys(COUNT))
    for g, goal in enumerate(world.goals):
        which, yes, no = jnp.full(COUNT, g), jnp.ones(COUNT, bool), jnp.zeros(COUNT, bool)
        put = run.present(states, which, yes)
        out = run.present(put, which, no)
        assert_alike(run.present(out, which, yes), put)  # nothing but the presence was lost
        assert_alike(run.present(put, which, yes), put)
        if goal in world.places:
            assert_alike(out, states)
            continue
        assert differing(run.frame(put), run.frame(out)).all(), goal
        assert differing(run.observe(put), run.observe(out)).all(), goal
        assert not run.shortens(out)[:, g].any()


@at_home
def test_the_bank_is_uncorrelated(name):
    """In presences and positions of goals, in a bank of the usual size; a bank of plain draws would fail."""
    layout = jax.jit(jax.vmap(load_world(name).layout))
    assert largest_correlation(layout(make_states(load_world(name), 2048))) < 0.05
    if name == "smile":
        plain = many_scattered(name, 32)
        assert largest_correlation(layout(plain)) > 0.05


def many_scattered(name: str, rounds: int):
    batches = [fast(name).scatter(keys(COUNT, seed)) for seed in range(rounds)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def largest_correlation(facts) -> float:
    facts = np.asarray(facts)[:, np.std(facts, axis=0) > 0]
    return float(np.abs(np.corrcoef(facts.T) - np.eye(facts.shape[1])).max())


def test_every_borrowed_world_is_in_the_table():
    from chisel.worlds.borrowed import BORROWED as SHIPPED

    assert {name.partition(":")[0] for name in BORROWED} == set(SHIPPED)


# Ranges of channels

UNKNOWN = {"craftax": {"health"}, "gymnax:CartPole-v1": {"reward"}}  # channels that can add up to anything, or may


@everywhere
def test_channels_stay_in_the_ranges_that_the_world_states(name):
    """In whole episodes by chance, on levels of training and on others; and no channel has been forgotten."""
    world, told = load_world(name), names(load_world(name)).channels
    assert set(told) - set(world.ranges) == UNKNOWN.get(name, set())
    assert set(world.ranges) <= set(told)
    run, count = fast(name), size(name)
    numbers = {k: jnp.float32(v) for k, v in defaults(world).items()}
    steps = min(world.limit, 50)
    play = jax.jit(lambda key, state: jnp.sum(episode(world, at_random(world), key, state, numbers, steps)[0].facts, 0))
    for states in (run.reset(keys(count), usual(world, count)), run.scatter(keys(count))):
        totals = np.asarray(play(jax.random.key(1), states))
        for i, channel in enumerate(told):
            low, high = world.ranges.get(channel, (-np.inf, np.inf))
            assert low < high
            assert (totals[:, i] >= low - 1e-6).all(), channel
            assert (totals[:, i] <= high + 1e-6).all(), channel
