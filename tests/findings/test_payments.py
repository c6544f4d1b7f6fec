"""What was paid and what guards did, on numbers that are known."""

import numpy as np
import pytest

from chisel.findings.payments import acts, guards_of, sources, stays
from tests.report.small import by_phase, training

GUARDS = """
[[guard]]
name = "stop"
watch = ["b"]
when = { reading = "skill", feature = "carrying", above = 0.5 }
then = { halt = true }
[[guard]]
when = { reading = "returns", channel = "helped", below = 0.1 }
then = { note = "lost" }
"""


def titles(data, schedule="one"):
    return [stay.title for stay in stays(data, schedule)]


def test_only_what_pays_somewhere_is_a_source():
    assert sources(training()) == ["helped"]
    assert sources(training(("a", "b"), weight=[[[[1.0, 0.0]]], [[[0.0, -1.0]]]])) == ["helped", "smile"]
    assert sources(training(weight=np.nan)) == []
    assert sources(training(shape_weight=0.0)) == ["helped"]
    assert sources(training(approach_weight=0.5)) == ["helped", "guidance"]


def test_sums_are_over_steps_and_phases_add_up_to_all():
    phase = by_phase((4,), (4,))
    weight = np.where(phase[..., None] == 0, [0.0, 1.0], [2.0, 0.0])
    earned = np.where(phase[..., None] == 0, [0.0, 0.5], [0.25, 0.0]) * np.array([1.0, 3.0])[:, None, None]
    whole, early, late = stays(training(weight=weight, earned=earned, phase=phase), "one")
    assert (early.title, late.title) == ("phase 1 (to 400 steps)", "phase 2 (to the end)")
    assert early.steps.tolist() == [400, 400]
    assert late.steps.tolist() == [600, 600]
    assert early.earned.tolist() == [[0, 200], [0, 600]]  # 4 updates of 100 steps at 0.5, and at three times that
    assert late.earned.tolist() == [[150, 0], [450, 0]]
    assert (early.paid.tolist(), late.paid.tolist()) == ([False, True], [True, False])
    np.testing.assert_allclose(whole.earned, early.earned + late.earned)
    assert whole.steps.tolist() == [1000, 1000]


def test_guidance_is_counted_and_paid_where_potentials_weigh():
    shape = np.array([1.0] * 4 + [0.0] * 6)[:, None]
    data = training(shape_weight=shape, guidance=np.array([-0.5] * 4 + [0.0] * 6), phase=by_phase((4,), (4,)))
    whole, early, late = stays(data, "one")
    assert whole.earned[:, 1].tolist() == [-200, -200]
    assert (early.paid.tolist(), late.paid.tolist()) == ([True, True], [True, False])


def test_a_single_phase_is_not_repeated():
    assert titles(training()) == ["in all"]


def test_phases_that_criteria_move_are_as_long_as_each_member_was_in_them():
    data = training(seeds=3, phase=by_phase((2, 6), (5, 6), (9,)))
    assert titles(data) == [
        "in all",
        "phase 1 (to 200–900 steps)",
        "phase 2 (to 600 steps or the end)",
        "phase 3 (to the end)",
    ]
    assert [stay.steps.tolist() for stay in stays(data, "one")[1:]] == [[200, 500, 900], [400, 100, 100], [400, 400, 0]]


def test_time_under_another_schedule_and_after_halting_stands_apart():
    under, phase = np.array([[[0] * 10] * 2, [[1] * 10] * 2]), np.zeros((2, 2, 10), int)
    phase[0] = by_phase((5,), (5,))[0]
    under[1, 0, 3:], phase[1, 0, 5:] = 0, 1
    phase[1, 1, 8:] = -1
    earned = np.where(phase[..., None] < 0, np.nan, [1.0, 0.0])
    whole, *each = stays(training(("a", "b"), under=under, phase=phase, earned=earned), "b")
    assert [(stay.title, stay.steps.tolist()) for stay in each] == [
        ("phase 1 (to 300–800 steps)", [300, 800]),
        ("under 'a', phase 1 (to 500 steps)", [200, 0]),
        ("under 'a', phase 2 (to the end)", [500, 0]),
        ("halted", [0, 200]),
    ]
    assert [stay.earned[:, 0].tolist() for stay in each] == [[300, 800], [200, 0], [500, 0], [0, 0]]
    assert (whole.earned[:, 0].tolist(), whole.steps.tolist()) == ([1000, 800], [1000, 800])


def watched():
    """Two guards, two schedules, three seeds, checkpoints at 0, 500, 950 and 1,000 steps."""
    nan, data = np.nan, training(("a", "b"), 3).assign_coords(checkpoint=[0, 500, 950, 1000])
    seen = np.full((2, 2, 3, 4), nan)
    seen[0, 1] = [[nan, 0.6, 0.9, 0.9], [nan, 0.1, 0.7, nan], [nan, 0.2, 0.31, -0.5]]
    seen[1] = 0.3
    seen[1, 0, 0] = [nan, 0.4, 0.3, 0.35]
    seen[1, 0, 1] = [nan, 0.4, 0.05, 0.2]
    seen[1, 1, 2] = nan
    fired = np.full((2, 2, 3), nan)
    fired[0, 1, :2], fired[1, 0, 1] = (500, 950), 950
    dims = ("guard", "schedule", "seed")
    return data.assign(guard_seen=((*dims, "checkpoint"), seen), guard_fired=(dims, fired))


def test_a_guard_is_told_for_every_schedule_that_it_watches():
    found = acts(watched(), guards_of(GUARDS))
    assert [(act.guard, act.schedule) for act in found] == [(0, "b"), (1, "a"), (1, "b")]
    assert acts(training(), guards_of(GUARDS)) == []
    assert guards_of('title = "none"') == []


def test_what_a_guard_read_is_of_when_it_acted_or_else_nearest_to_acting():
    stop, lost, other = acts(watched(), guards_of(GUARDS))
    np.testing.assert_array_equal(stop.at, [500, 950, np.nan])
    assert stop.left == pytest.approx([0.5, 0.05, np.nan], nan_ok=True)
    assert stop.read == pytest.approx([0.6, 0.7, 0.31])  # the highest of the last, which never acted
    assert lost.read == pytest.approx([0.3, 0.05, 0.3])
    assert other.read == pytest.approx([0.3, 0.3, np.nan], nan_ok=True)  # nothing could be read of the last
