"""How circumstances are told, on numbers that are known."""

import numpy as np
import pytest

from chisel.findings.words import oversight, situation, turns
from tests.report.small import per_seed, training

NAN = np.nan


def said(found: list[str]) -> list[str]:
    return [" ".join(text.split()) for text in found]


def knots(*pairs: tuple[int, float], updates: int = 10) -> list[float]:
    """A number that changes with those updates."""
    return [[v for at, v in pairs if at <= i][-1] for i in range(updates)]


def test_what_never_differs_is_not_told():
    assert situation(training(("a", "b"), learning_rate=0.003, entropy_weight=0.01), "a") == []


def test_what_differs_from_other_schedules_is_told_of_all():
    data = training(("a", "b"), exploration=[[[0.0]], [[0.1]]], entropy_weight=0.01)
    assert said(situation(data, "a")) == ["exploration 0"]
    assert said(situation(data, "b")) == ["exploration 0.1"]


def test_a_change_of_all_seeds_is_told_with_its_step():
    data = training(entropy_weight=knots((0, 0.05), (4, 0.01)), learning_rate=1e-3)
    assert said(situation(data, "one")) == ["entropy 0.05, from 400 steps 0.01"]


def test_a_change_at_other_times_by_seed_is_told_with_its_range_and_who_never_got_there():
    clown = np.stack([knots((0, 0), (2, 1)), knots((0, 0), (5, 1)), knots((0, 0))])[..., None]
    data = training(seeds=3, param=np.concatenate([clown, np.zeros_like(clown)], -1)[None])
    assert said(situation(data, "one")) == ["clown 0, from 200–500 steps 1 in 2 of 3 seeds (95 % interval 9 to 99 %)"]


def test_seeds_that_went_different_ways_are_told_together():
    data = training(entropy_weight=per_seed(knots((0, 0.0), (2, 0.3)), knots((0, 0.0), (2, 0.1), (4, 0.2))))
    assert said(situation(data, "one")) == ["entropy 0, later between 0.1 and 0.3 by seed"]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([np.linspace(1, 0.1, 10)] * 2, "learning rate from 1 to 0.1"),
        ([np.linspace(1, 0.1, 10), np.linspace(1, 0.55, 10)], "learning rate from 1 to 0.1–0.55 by seed"),
        ([[1, 2, 3] + [NAN] * 7, [1, 2] + [NAN] * 8], "learning rate from 1 to 2–3 by seed"),
        ([[1, 2, 3, 4, 5, 4, 3, 2, 1, 0.5]] * 2, "learning rate from 1 to 0.5, between 0.5 and 5"),
    ],
)
def test_a_ramp_is_told_by_where_it_begins_and_ends(rates, expected):
    assert said(situation(training(learning_rate=per_seed(*rates)), "one")) == [expected]


def test_a_halted_member_has_no_circumstances():
    data = training(entropy_weight=per_seed([0.1] * 4 + [NAN] * 6, knots((0, 0.1), (8, 0.2))), learning_rate=0.1)
    assert said(situation(data, "one")) == ["entropy 0.1, from 800 steps 0.2 in 1 of 2 seeds (95 % interval 1 to 99 %)"]
    data = training(entropy_weight=per_seed([0.1] * 4 + [NAN] * 6, [0.1] * 10))
    assert situation(data, "one") == []


def test_an_overseer_without_errors_is_not_told_of():
    nothing = dict.fromkeys(("miss", "false_alarm", "flip", "corrected", "noise", "event_noise", "delay", "lump"), 0.0)
    data = training(**nothing, clip=np.float32(1e30), gate_strength=0.0)
    assert oversight(data, "one") == []


KINDS = {
    "miss": (0.3, "helped missed 30 %"),
    "false_alarm": (0.01, "helped false alarms 1 %"),
    "flip": (0.02, "helped turned round 2 %"),
    "corrected": (1.0, "helped corrected"),
    "event_noise": (0.2, "helped size of events ±20 %"),
    "noise": (0.1, "helped noise ±0.1"),
    "clip": (2.0, "helped read at most 2"),
    "delay": (3.0, "helped delayed 3 steps"),
    "lump": (0.5, "helped half of it paid at the end"),
}


@pytest.mark.parametrize(("kind", "value", "expected"), [(k, *v) for k, v in KINDS.items()], ids=KINDS)
def test_every_error_has_its_words(kind, value, expected):
    assert said(oversight(training(**{kind: np.float32(value)}), "one")) == [expected]


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        ([1, 0], "helped seen only where person_watched"),
        ([0, 1], "helped seen only where not carrying"),
        ([0, 0.5], "helped 50 % lost where carrying"),
        ([0.25, 0], "helped 25 % lost where not person_watched"),
    ],
)
def test_a_gate_says_where_is_looked(strength, expected):
    assert said(oversight(training(gate_strength=strength), "one")) == [expected]


def test_errors_that_change_are_told_with_their_steps():
    miss, alarm = knots((0, 0.3), (5, 0)), knots((0, 0), (2, 0.1))
    clip, gate = knots((0, 2), (5, 1e30)), np.array(knots((0, 1), (5, 0)))
    data = training(
        miss=np.array(miss)[:, None],
        false_alarm=np.array(alarm)[:, None],
        clip=np.array(clip, np.float32)[:, None],
        gate_strength=np.stack([gate, 0 * gate], -1)[:, None],
    )
    assert said(oversight(data, "one")) == [
        "helped missed 30 %, from 500 steps 0 %, from 200 steps false alarms 10 %, "
        "read at most 2, from 500 steps unlimited, seen only where person_watched, from 500 steps everywhere"
    ]


def test_an_error_that_fades_is_a_ramp():
    data = training(miss=np.linspace(0.5, 0, 10)[:, None], delay=np.linspace(9, 0, 10)[:, None])
    assert said(oversight(data, "one")) == ["helped missed from 50 % to 0 %, delayed from 9 steps to 0 steps"]


def test_a_ramp_that_seeds_join_at_other_times_begins_with_a_range():
    weight = np.stack([np.arange(10) >= begin for begin in (0, 2)])[..., None] * np.array([1.0, 0.0])
    data = training(weight=weight[None], miss=np.linspace(0.9, 0, 10)[:, None])
    assert said(oversight(data, "one")) == ["helped missed from 70 %–90 % to 0 % by seed"]


def test_only_what_is_paid_for_is_told_of():
    weight = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 3 + [[1.0, 0.0]] * 2)
    miss = np.array([[0.3, 0.9]] * 5 + [[0.0, 0.1]] * 3 + [[0.3, 0.9]] * 2)
    assert said(oversight(training(weight=weight, miss=miss), "one")) == ["helped missed 30 %", "smile missed 10 %"]


def test_what_guards_did_is_told_and_what_came_of_it_is_told_elsewhere():
    moved, stayed, stopped = [1] * 4 + [0] * 6, [1] * 10, [1] * 7 + [0] * 3  # the last by two guards at once
    phase = np.zeros((2, 3, 10), int)
    phase[1, 2, 7:] = -1
    under = np.stack([np.zeros((3, 10), int), np.array([moved, stayed, stopped])])
    data = training(("plain", "moved"), 3, under=under, phase=phase, miss=(under == 1)[..., None] * 0.2)
    data["entropy_weight"] = (data["under"].dims, np.where(under == 1, 0.5, 0.1))
    assert said(turns(data, "plain")) == []
    assert said(turns(data, "moved")) == [
        "under 'plain' from 400 steps in 1 of 3 seeds (95 % interval 1 to 91 %)",
        "halted at 700 steps in 1 of 3 seeds (95 % interval 1 to 91 %)",
    ]
    assert said(oversight(data, "moved")) == ["helped missed 20 %"]
    assert said(oversight(data, "plain")) == []
    assert said(situation(data, "moved")) == ["entropy 0.5"]
