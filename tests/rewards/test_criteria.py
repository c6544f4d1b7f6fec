"""Schedules that go on when something is achieved, against a reading of the rules in plain Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chisel.rewards.criteria import FOREVER, Criteria, Standing, beginning, go_on, no_criteria, stack_criteria
from chisel.rewards.curve import concatenate, constant
from chisel.rewards.schedule import in_force, make, stack_schedules

CHANNELS, MOST = 2, 4  # MOST phases
goes_on = jax.jit(go_on)
all_go_on = jax.jit(jax.vmap(go_on))


def criteria(*phases) -> Criteria:
    """Phases given as (end, channel or None, above, episodes, wait); the last one ends never."""
    ends, channel, above, episodes, wait = zip(*phases, strict=True)
    watched = [[c == i for i in range(CHANNELS)] for c in channel]
    return Criteria(
        np.array([*ends[:-1], FOREVER], np.int32),
        np.array(watched, np.float32),
        np.array(above, np.float32),
        np.array(episodes, np.float32),
        np.array(wait),
    )


def walk(rules: Criteria, updates, standing: Standing | None = None) -> list[int]:
    """The clock after each update, given as (totals, episodes)."""
    standing, clocks = standing or beginning(), []
    for totals, episodes in updates:
        standing = goes_on(rules, standing, np.float32(totals), np.int32(episodes))
        clocks.append(int(standing.at))
    return clocks


class Doubtful(Exception):
    """So near the mark that rounding decides."""


def by_hand(phases, updates) -> list[int]:
    """The clock after each update: every episode of the phase is remembered, and how many came after it."""
    ends, at, seen, clocks = [*(p[0] for p in phases[:-1]), math.inf], 0, [], []
    for totals, episodes in updates:
        which = next(i for i, end in enumerate(ends) if at < end)
        _, channel, above, span, wait = phases[which]
        met, end = False, ends[which]
        if channel is not None:
            seen = [(weight * math.exp(-episodes / span), total) for weight, total in seen]
            seen += [(episodes, totals[channel])] if episodes else []
            count, total = (sum(x) for x in zip(*[(w, w * t) for w, t in seen], strict=True)) if seen else (0, 0)
            if count and min(abs(count - span / 2), abs(total - above * count)) < 1e-3:
                raise Doubtful
            met = count >= span / 2 and total >= above * count
        held = channel is not None and wait and not met and at + 1 >= end
        at = end if met else end - 1 if held else at + 1
        if at >= end:
            seen = []
        clocks.append(at)
    return clocks


TENTHS = st.integers(-20, 20).map(lambda i: i / 10)
PHASE = st.tuples(st.none() | st.integers(0, 1), TENTHS, st.sampled_from([0.5, 3.0, 10.0, 40.0]), st.booleans())


@st.composite
def told(draw) -> list[tuple]:
    """Phases of 1 to 8 updates."""
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=MOST))
    phases = [(int(end), *draw(PHASE)) for end in np.cumsum(lengths)]
    return [*phases[:-1], (phases[-1][0], None, *phases[-1][2:])]


UPDATES = st.lists(st.tuples(st.tuples(TENTHS, TENTHS), st.integers(0, 6)), min_size=1, max_size=25)


def without(updates) -> list[tuple]:
    """An update in which no episode finished has no mean."""
    return [((math.nan,) * CHANNELS if not n else totals, n) for totals, n in updates]


@settings(max_examples=150, deadline=None)
@given(told(), UPDATES)
def test_it_goes_on_as_it_is_said(phases, updates):
    updates = without(updates)
    try:
        meant = by_hand(phases, updates)
    except Doubtful:
        return
    padded = stack_criteria([criteria(*phases), criteria(*[(i + 1, None, 0, 1, False) for i in range(MOST)])])
    assert walk(jax.tree.map(lambda x: x[0], padded), updates) == meant


@settings(max_examples=30, deadline=None)
@given(st.lists(told(), min_size=1, max_size=3), UPDATES)
def test_stacked_with_others_it_goes_on_as_alone(schedules, updates):
    """Whatever the number of their phases; and beside one without any, which goes by the clock."""
    updates = without(updates)
    try:
        meant = [by_hand(phases, updates) for phases in schedules]
    except Doubtful:
        return
    each = [*(criteria(*phases) for phases in schedules), no_criteria(CHANNELS)]
    together, count = stack_criteria(each), len(each)
    standing, clocks = jax.tree.map(lambda x: jnp.repeat(x, count), beginning()), []
    for totals, episodes in updates:
        told = np.broadcast_to(np.float32(totals), (count, CHANNELS)), np.full(count, episodes, np.int32)
        standing = all_go_on(together, standing, *told)
        clocks.append(standing.at.tolist())
    by_the_clock = list(range(1, len(updates) + 1))
    assert [list(found) for found in zip(*clocks, strict=True)] == [*meant, by_the_clock]
    if len(schedules) == 1:
        assert walk(each[0], updates) == meant[0]


GOOD, BAD, NOBODY = ((1.0, 0.0), 10), ((0.0, 1.0), 10), ((math.nan, math.nan), 0)
LAST = (99, None, 0.0, 1.0, False)


def test_when_it_is_met_the_clock_jumps_to_the_end_of_the_phase():
    rules = criteria((20, 0, 0.5, 10.0, False), (30, None, 0.0, 1.0, False), LAST)
    assert walk(rules, [BAD, GOOD, GOOD, *[BAD] * 3]) == [1, 20, 21, 22, 23, 24]


def test_when_it_is_not_met_the_clock_goes_on_all_the_same():
    assert walk(criteria((3, 0, 0.5, 10.0, False), LAST), [BAD] * 5) == [1, 2, 3, 4, 5]


def test_a_phase_that_waits_holds_the_clock_just_before_its_end():
    rules = criteria((3, 0, 0.5, 10.0, True), (5, None, 0.0, 1.0, True), LAST)
    assert walk(rules, [*[BAD] * 6, NOBODY, GOOD, *[BAD] * 3]) == [1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6]


def test_only_the_channel_that_is_named_is_watched():
    assert walk(criteria((9, 1, 0.5, 10.0, False), LAST), [GOOD, GOOD, ((-9.0, 2.0), 10)]) == [1, 2, 9]


def test_half_as_many_episodes_must_have_been_seen():
    rules = criteria((90, 0, 0.5, 10.0, False), LAST)
    assert walk(rules, [((1.0, 0.0), 4)]) == [1], "too few episodes tell nothing"
    assert walk(rules, [((1.0, 0.0), 5)]) == [90], "half as many are enough"
    assert walk(rules, [NOBODY] * 4) == [1, 2, 3, 4], "none at all are not enough, and are no number"


def test_old_episodes_are_forgotten():
    """Exponentially: of n bad ones and then k good ones the mean is 1 − e^(−k/span), so that ln 2 spans reach ½."""
    rules = criteria((900, 0, 0.5, 20.0, False), LAST)
    slowly = [((0.0, 0.0), 1)] * 200 + [((1.0, 0.0), 1)] * 30
    clocks = walk(rules, slowly)
    assert clocks.index(900) + 1 - 200 == math.ceil(20 * math.log(2))


AT_THE_MARK = [(0.1, 1), (0.1, 3), (0.3, 1), (1 / 3, 7), (0.7, 1), (-0.9, 3)]


@pytest.mark.parametrize(("above", "episodes"), AT_THE_MARK)
def test_a_mean_that_is_exactly_what_must_be_reached_reaches_it(above, episodes):
    clocks = walk(criteria((900, 0, above, 30.0, True), LAST), [((above, 0.0), episodes)] * 60)
    assert clocks[-1] >= 900


@pytest.mark.parametrize("above", [0.3, -0.9, 17.1])
def test_a_mean_that_is_less_by_rounding_only_reaches_it(above):
    """However the sum was compiled: here it is given."""
    rules = jax.tree.map(jnp.asarray, criteria((900, 0, above, 30.0, True), LAST))
    mark = np.float32(above) * np.float32(20)

    def clock(total):
        standing = Standing(jnp.int32(5), jnp.float32(total), jnp.float32(20), jnp.int32(5))
        return int(go_on(rules, standing, jnp.zeros(CHANNELS), jnp.int32(0)).at)

    assert clock(np.nextafter(mark, np.float32(-np.inf))) == 900
    assert clock(mark - 1e-3 * abs(mark)) == 6


def test_nothing_is_carried_into_the_next_phase():
    """Neither where the criterion was met, nor where time ran out, though the next phase asks for the same."""
    same = (0, 0.5, 20.0, False)
    met = walk(criteria((50, *same), (90, *same), LAST), [GOOD, ((1.0, 0.0), 9), ((1.0, 0.0), 2)])
    assert met == [50, 51, 90], "what was achieved before counts again"
    out = criteria((2, 0, 5.0, 20.0, False), (90, *same), LAST)
    assert walk(out, [GOOD, GOOD, ((1.0, 0.0), 9), ((1.0, 0.0), 2)]) == [1, 2, 3, 90], "what was seen before counts"
    poor = ((0.2, 0.0), 10)  # with what was achieved before, it would be enough
    assert walk(out, [GOOD, GOOD, poor, poor]) == [1, 2, 3, 4], "what was achieved before counts"


def test_episodes_of_the_opening_of_a_phase_do_not_count():
    """In each phase anew: they began before it, or were the short ones of those that began in it."""
    same = (0, 0.5, 10.0, False)
    rules, standing, clocks = criteria((50, *same), (90, *same), LAST), beginning(), []
    for _ in range(7):
        standing = jax.jit(go_on, static_argnums=4)(rules, standing, np.float32(GOOD[0]), np.int32(10), 2)
        clocks.append(int(standing.at))
    assert clocks == [1, 2, 50, 51, 52, 90, 91]


def test_the_standing_is_in_numbers_after_an_update_without_episodes():
    standing = goes_on(criteria((9, 0, 5.0, 20.0, False), LAST), beginning(), np.float32(GOOD[0]), np.int32(10))
    after = goes_on(criteria((9, 0, 5.0, 20.0, False), LAST), standing, np.float32(NOBODY[0]), np.int32(0))
    assert (float(after.total), float(after.episodes)) == (float(standing.total), float(standing.episodes)) == (10, 10)


def test_what_is_in_force_follows_the_schedules_own_clock():
    """All that comes after a phase comes sooner; a schedule by the clock, in the same study, has its phases in time."""
    updates = 8
    phases = concatenate([(0.5, constant(1.0)), (0.75, constant(2.0)), (1.0, constant(3.0))])
    rules = criteria((4, 0, 0.5, 10.0, False), (6, None, 0.0, 1.0, False), LAST)

    def schedule(rules):
        return make(("a", "b"), (), {}, constant(1.0), updates, {"a": phases}, {}, criteria=rules)

    together = stack_schedules([schedule(rules), schedule(None)])
    standing, weights = jax.tree.map(lambda x: jnp.repeat(x, 2), beginning()), []
    for _ in range(updates):
        weights.append(jax.vmap(in_force)(together, standing.at).reward[:, 0].tolist())
        told = np.broadcast_to(np.float32(GOOD[0]), (2, CHANNELS)), np.full(2, 10, np.int32)
        standing = all_go_on(together.criteria, standing, *told)
    assert list(zip(*weights, strict=True)) == [(1, 2, 2, 3, 3, 3, 3, 3), (1, 1, 1, 1, 2, 2, 3, 3)]
