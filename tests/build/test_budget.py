"""Budgets: what a phase expects to pay is what can be worked out by hand, and a match makes it equal."""

import functools

import numpy as np
import pytest

from chisel.build.budget import budgets, matched
from chisel.study.files import WrongInput
from chisel.study.study import Study, differences
from chisel.worlds.posture import LIMIT, TOP

STEPS = 64 * 32 * 10


@pytest.fixture(autouse=True)
def half_as_many_samples(monkeypatch):
    monkeypatch.setattr("chisel.build.budget.STEPS", 100_000)


def study(*rewards, world="posture", params=None, **more) -> Study:
    """A study with a schedule for every reward: a table, or a list of (until, table, world_params)."""
    parts = []
    for i, reward in enumerate(rewards):
        own = {"reward": reward} if isinstance(reward, dict) else {
            "phases": [{"until": u, "reward": r, "world_params": p} for u, r, p in reward]
        }  # fmt: skip
        parts.append({"name": f"s{i}"} | own)
    raw = {"world": world, "training": {"steps": STEPS, "seeds": 1}, "schedule": parts, "world_params": params or {}}
    return Study.model_validate(raw | more)


@functools.cache
def risings(slip: float) -> np.ndarray:
    """How often a dog at random rises to each posture in a step, in the mean over an episode: by dynamic programming."""
    up, stay = 0.25 * (1 - slip), 0.25 * (1 - slip)
    here, found = np.eye(TOP + 1)[0], np.zeros(TOP + 1)
    for _ in range(LIMIT):
        after = np.zeros(TOP + 1)
        for posture, chance in enumerate(here):
            rise = up if posture < TOP else 0.0  # there is nowhere to rise to from the top: it is a step down
            if rise:
                after[posture + 1] += chance * rise
                found[posture + 1] += chance * rise
            after[posture] += chance * stay
            after[max(posture - 1, 0)] += chance * (1 - rise - stay)
        here = after
    return found / LIMIT


def test_what_a_phase_expects_is_what_random_play_earns():
    """Weight × rate × steps, within five standard errors; and after an overseer's errors."""
    phases = [
        (0.3, {"reached_1": 2.0, "reached_2": -1.0}, {"slip": 0.0}),
        (1.0, {"reached_1": {"miss": 0.5, "false_alarm": 0.1}}, {"slip": 0.4}),
    ]
    first, second = budgets(study(phases))["s0"]
    assert (first.steps, second.steps) == (0.3 * STEPS, 0.7 * STEPS)
    rates, later = risings(0.0), risings(0.4)
    for channel, weight, rate in (("reached_1", 2.0, rates[1]), ("reached_2", -1.0, rates[2])):
        assert first.reward[channel] == pytest.approx(weight * rate * first.steps, abs=5 * first.error[channel])
        assert first.weighed[channel] == pytest.approx(abs(first.reward[channel]), rel=1e-4)
        assert first.error[channel] < 0.02 * abs(first.reward[channel])
    assert first.mass("reward") == pytest.approx(first.reward["reached_1"] - first.reward["reached_2"])
    seen = 0.5 * later[1] + 0.1 * (1 - later[1])
    assert second.reward["reached_1"] == pytest.approx(seen * second.steps, abs=5 * second.error["reached_1"])
    assert second.events["reached_1"] == pytest.approx(later[1] * second.steps, rel=0.02)
    assert "reached_2" not in second.reward


def test_what_changes_within_a_phase_is_averaged():
    rising = budgets(study({"reached_1": 1.0}, {"reached_1": [[0.0, 0.0], [1.0, 2.0]]}))
    assert rising["s1"][0].reward["reached_1"] == pytest.approx(rising["s0"][0].reward["reached_1"], rel=1e-4)


def total(found: Study, kind: str) -> list[float]:
    return [sum(phase.mass(kind) for phase in phases) for phases in budgets(found).values()]


REWARDS = (
    {"reached_1": 1.0},
    {"reached_1": {"miss": 0.75}},
    {"reached_2": 3.0, "reached_1": -0.5, "shape.height": 9.0},
)


@pytest.mark.parametrize("kind", ["reward", "events"])
def test_a_match_makes_budgets_equal(kind):
    found = matched(study(*REWARDS, match=kind))
    first, *others = total(found, kind)
    np.testing.assert_allclose(others, first, rtol=2e-3)
    scales = [part.scale for part in found.schedule]
    assert scales[0] == 1.0
    # What is missed must be made up for if reward is to be equal, and is no matter if events are.
    assert scales[1] == pytest.approx({"reward": 4.0, "events": 1.0}[kind], rel=0.05)


def test_a_match_is_made_once_and_keeps_what_is_given():
    asked = study(*REWARDS, match="reward")
    own = asked.model_copy(
        update={"schedule": [*asked.schedule[:2], asked.schedule[2].model_copy(update={"scale": 7.0})]}
    )
    found = matched(own)
    assert [part.scale for part in found.schedule][2] == 7.0
    assert found.schedule[1].scale == matched(asked).schedule[1].scale
    assert matched(found) is found
    assert not differences(matched(asked), matched(asked))
    assert matched(study(*REWARDS)) == study(*REWARDS)


def test_what_expects_nothing_cannot_be_matched():
    never = study({"reached_1": 1.0}, {"stands_on_command": 1.0}, match="reward", params={"command": 0.0})
    with pytest.raises(WrongInput, match="schedule 's1' expects nothing under random play"):
        matched(never)


def test_players_at_random_keep_to_the_rules():
    """In chess an illegal move would end the game: random play pays for what only legal moves lead to."""
    pytest.importorskip("pgx")
    found = budgets(study({"capture": 1.0}, world="chess"))["s0"][0]
    assert 0 < found.events["capture"] < STEPS
