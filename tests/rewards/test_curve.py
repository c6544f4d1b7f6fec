"""Curves, against numpy's interpolation and plain Python."""

import jax
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chisel.rewards.curve import Curve, concatenate, constant, from_optax, piecewise, shift, stack

GRID = 32  # times are multiples of 1/GRID: exact in float32, and far enough apart for slopes to stay small
CLOSE = {"rtol": 1e-5, "atol": 1e-4}
VALUES = st.floats(-10, 10, width=32, allow_subnormal=False)
PROGRESS = st.floats(0, 1, width=32, allow_subnormal=False)
# Any order in which times can repeat (a jump, or several at one time).
KNOTS = st.lists(st.tuples(st.integers(0, GRID), VALUES), min_size=1, max_size=6).map(
    lambda knots: [(t / GRID, v) for t, v in sorted(knots, key=lambda k: k[0])]
)
CURVES = KNOTS.map(piecewise)


def steps(jumps: list[tuple[int, float]]) -> Curve:
    """Flat between jumps: there is no rounding, so that laws hold to the last bit."""
    jumps = sorted(jumps, key=lambda k: k[0])
    levels = [(jumps[max(i - 1, 0)][1], value) for i, (_, value) in enumerate(jumps)]
    return piecewise([(t / GRID, v) for (t, _), both in zip(jumps, levels, strict=True) for v in both])


STEPS = st.lists(st.tuples(st.integers(0, GRID), VALUES), min_size=1, max_size=4).map(steps)
law = settings(max_examples=40, deadline=None)


def values(curve: Curve, at) -> np.ndarray:
    return np.array([float(curve(np.float32(p))) for p in at])


# One curve


@law
@given(value=VALUES, progress=st.floats(-1, 2, width=32, allow_subnormal=False))
def test_a_constant_is_its_number_at_every_progress(value, progress):
    """To the last bit, and with any number of knots."""
    knots = piecewise([(0.0, value), (0.3, value), (0.3, value), (1.0, value)])
    for curve in (constant(value), knots, concatenate([(0.3, knots), (1.0, constant(value))])):
        assert np.asarray(curve(progress)).tobytes() == (np.float32(value) + 0.0).tobytes()


@law
@given(KNOTS, st.lists(PROGRESS, min_size=1, max_size=8))
def test_without_jumps_it_is_numpys_interpolation(knots, at):
    knots = list(dict(knots).items())
    times, heights = zip(*knots, strict=True)
    np.testing.assert_allclose(values(piecewise(knots), at), np.interp(at, times, heights), **CLOSE)


@law
@given(KNOTS)
def test_at_a_knot_the_last_of_its_time_holds(knots):
    last = dict(knots)  # of several values at one time, the later one
    assert values(piecewise(knots), last).tolist() == [np.float32(v) for v in last.values()]


@law
@given(KNOTS)
def test_a_jump_is_approached_from_the_left_and_taken_at_its_time(knots):
    first = dict(reversed(knots))  # of several values at one time, the earlier one
    inner = [t for t in first if t > knots[0][0]]
    before = [np.nextafter(np.float32(t), np.float32(0)) for t in inner]
    np.testing.assert_allclose(values(piecewise(knots), before), [first[t] for t in inner], **CLOSE)


@law
@given(KNOTS, PROGRESS)
def test_it_is_flat_outside_its_knots(knots, progress):
    (first, start), (last, end) = knots[0], knots[-1]
    if progress < first:
        assert float(piecewise(knots)(progress)) == np.float32(start)
    if progress >= last:
        assert float(piecewise(knots)(progress)) == np.float32(end)


def test_steps_hold_up_to_their_edge_and_the_next_from_it_on():
    curve, edge = concatenate([(0.25, constant(1.0)), (0.75, constant(2.0)), (1.0, constant(3.0))]), np.float32(0.25)
    at = [0, np.nextafter(edge, np.float32(0)), edge, 0.5, 0.75, 1, 2]
    assert values(curve, at).tolist() == [1, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("knots", [[], [(0.5, 1.0), (0.25, 2.0)]])
def test_knots_that_make_no_curve_are_refused(knots):
    with pytest.raises(ValueError, match="knot times"):
        piecewise(knots)


# Many at once


@law
@given(st.lists(CURVES, min_size=1, max_size=4), PROGRESS)
def test_a_stack_is_its_curves_bit_for_bit(curves, progress):
    together, alone = stack(curves)(progress), [curve(progress) for curve in curves]
    assert np.asarray(together).tobytes() == np.array(alone, np.float32).tobytes()


@law
@given(st.lists(st.lists(CURVES, min_size=2, max_size=2), min_size=1, max_size=3), PROGRESS)
def test_stacks_stack(table, progress):
    together = np.asarray(stack([stack(row) for row in table])(progress))
    assert together.tobytes() == np.array([[c(progress) for c in row] for row in table], np.float32).tobytes()


def test_a_stack_of_nothing_evaluates_to_nothing():
    assert stack([])(0.5).shape == (0,)


def test_mapped_over_progress_it_is_the_same_as_in_a_loop():
    curve, at = piecewise([(0.0, 1.0), (0.5, 3.0), (0.5, -1.0), (1.0, 0.0)]), np.linspace(0, 1, 9, dtype=np.float32)
    np.testing.assert_allclose(jax.jit(jax.vmap(curve))(at), values(curve, at), rtol=1e-6)


# Phases


def pieces(least: int, curves: st.SearchStrategy = CURVES) -> st.SearchStrategy:
    """Curves with ever later edges, the last at 1."""
    edges = st.lists(st.integers(1, GRID - 1), min_size=least - 1, max_size=3, unique=True).map(sorted)
    return edges.flatmap(
        lambda e: st.tuples(*[curves for _ in range(len(e) + 1)]).map(
            lambda curves: [(until, c) for until, c in zip([*(t / GRID for t in e), 1.0], curves, strict=True)]
        )
    )


@law
@given(pieces(1), st.lists(PROGRESS, min_size=1, max_size=6))
def test_each_phase_is_its_own_curve_up_to_its_edge(phases, at):
    edges = np.array([until for until, _ in phases])
    at = [*at, *edges[:-1]]  # at the very edge the next one holds
    holding = [phases[min(np.searchsorted(edges, p, side="right"), len(phases) - 1)][1] for p in at]
    # A knot that falls on the end of training belongs to no phase: there is no update at progress 1.
    whole = concatenate(phases)
    for p, curve in zip(at, holding, strict=True):
        if p < 1:
            np.testing.assert_allclose(float(whole(p)), float(curve(p)), **CLOSE)


@law
@given(pieces(2))
def test_just_before_an_edge_the_phase_still_holds(phases):
    whole = concatenate(phases)
    for until, curve in phases[:-1]:
        before = np.nextafter(np.float32(until), np.float32(0))
        np.testing.assert_allclose(float(whole(before)), float(curve(before)), **CLOSE)


@law
@given(pieces(3), st.lists(PROGRESS, min_size=1, max_size=6))
def test_phases_can_be_grouped_in_any_way(phases, at):
    at = [p for p in [*at, *(until for until, _ in phases)] if p < 1]
    flat = values(concatenate(phases), at)
    (first, second), rest = phases[:2], phases[2:]
    left = concatenate([(second[0], concatenate([first, second])), *rest])
    right = concatenate([first, (1.0, concatenate([second, *rest]))])
    np.testing.assert_allclose(values(left, at), flat, **CLOSE)
    np.testing.assert_allclose(values(right, at), flat, **CLOSE)


def around(times) -> list[np.float32]:
    """Each time within training, and its two neighbours in float32."""
    near = [np.nextafter(np.float32(t), np.float32(to)) for t in times for to in (-1, t, 2)]
    return [t for t in near if 0 <= t < 1]


@law
@given(pieces(3, STEPS), st.lists(PROGRESS.filter(lambda p: p < 1), max_size=4), st.data())
def test_grouped_phases_are_the_same_to_the_last_bit(phases, at, data):
    """At every knot and edge, and next to it; for any two neighbours taken together first."""
    at = [*at, *around(t for until, curve in phases for t in (0, until, *curve.times))]
    flat = values(concatenate(phases), at)
    first = data.draw(st.integers(0, len(phases) - 2))
    pair = concatenate([(u, c) for u, c in phases[: first + 2]])
    left = concatenate([(phases[first + 1][0], pair), *phases[first + 2 :]])
    right = concatenate([*phases[:first], (1.0, concatenate(phases[first:]))])
    assert values(left, at).tolist() == flat.tolist()
    assert values(right, at).tolist() == flat.tolist()


BY = st.integers(0, GRID).map(lambda i: i / GRID)


@law
@given(pieces(1, STEPS), BY, st.lists(st.integers(0, 2 * GRID), max_size=6))
def test_phases_that_come_later_are_later_phases(phases, by, at):
    """Shifting after concatenating is concatenating what was shifted, with the edges shifted; exactly."""
    whole = shift(concatenate(phases), by)
    each = concatenate([(until + by, shift(curve, by)) for until, curve in phases])
    times = [t + by for until, curve in phases for t in (until, *curve.times) if t < 1]
    near = [np.nextafter(np.float32(t), np.float32(to)) for t in times for to in (-1, t, 3)]
    at = [p for p in [*near, *(t / GRID for t in at)] if by <= p < 1 + by]  # before that there is nothing to shift
    assert values(whole, at).tolist() == values(each, at).tolist()


@law
@given(CURVES, BY, BY, st.lists(PROGRESS, min_size=1, max_size=6))
def test_two_shifts_are_one_by_their_sum(curve, one, other, at):
    twice, once = shift(shift(curve, one), other), shift(curve, one + other)
    np.testing.assert_allclose(values(twice, at), values(once, at), **CLOSE)
    np.testing.assert_allclose(values(once, np.float32(at) + (one + other)), values(curve, at), **CLOSE)
    assert twice.values.tolist() == curve.values.tolist()


def test_a_stack_is_shifted_as_its_curves_are():
    curves = [constant(2.0), piecewise([(0.25, 0.0), (0.5, 1.0)])]
    late, each = shift(stack(curves), 0.25), [shift(c, 0.25) for c in curves]
    for p in (0.25, 0.5, 0.625, 0.75):
        assert late(p).tolist() == [float(c(p)) for c in each]


@law
@given(edge=st.floats(0.01, 0.99), before=VALUES, after=VALUES)
@example(edge=0.1, before=1.0, after=2.0)  # rounds up in float32
@example(edge=0.7, before=1.0, after=2.0)  # rounds down
def test_an_edge_that_float32_cannot_hold_is_an_edge_all_the_same(edge, before, after):
    """Also where the first phase has a jump of its own at the edge, which is for it to lose."""
    whole = concatenate([(edge, piecewise([(0.0, before), (edge, before), (edge, 99.0)])), (1.0, constant(after))])
    at = np.float32(edge)
    found = values(whole, [np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])
    np.testing.assert_allclose(found, [before, after, after], **CLOSE)


def test_a_phase_of_no_length_does_nothing():
    whole = concatenate([(0.5, constant(1.0)), (0.5, constant(7.0)), (1.0, constant(2.0))])
    assert values(whole, [0.25, 0.5, 0.75]).tolist() == [1, 2, 2]


# From optax

OPTAX = {
    "constant": (optax.constant_schedule(0.3), 1),
    "linear": (optax.linear_schedule(1.0, 0.1, 40), 4),
    "steps": (optax.piecewise_constant_schedule(1.0, {10: 0.5, 30: 0.1}), 8),
    "cosine": (optax.cosine_decay_schedule(1.0, 50), 100),
    "warmup": (optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 60), 100),
    "exponential": (optax.exponential_decay(1.0, 20, 0.5), 100),
}


@pytest.mark.parametrize(("schedule", "most"), OPTAX.values(), ids=OPTAX)
@pytest.mark.parametrize("updates", [1, 2, 64, 500])
def test_an_optax_schedule_is_met_in_every_update(schedule, most, updates):
    knots = from_optax(schedule, updates)
    found = values(piecewise(knots), (np.arange(updates) + 0.5) / updates)
    meant = np.array([float(schedule(k)) for k in range(updates)])
    np.testing.assert_allclose(found, meant, atol=2e-6 * np.abs(meant).max())
    assert len(knots) <= max(most, 2, updates if most == 100 else 0)  # straight stretches take no knots
