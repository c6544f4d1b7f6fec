"""A small study with every transform of the reward at once, for tests."""

import copy
import functools
from typing import Any

import jax

from chisel.build.build import resolve
from chisel.rewards.schedule import Schedule
from chisel.study.study import Study
from chisel.training.member import Plan

HELPED = {"miss": 0.2, "false_alarm": 0.05, "flip": 0.03, "corrected": True, "delay": 11.0}
SMILE = {
    "weight": [[0.0, 0.5], [1.0, 1.0]],
    "event_noise": 0.3,
    "noise": 0.1,
    "clip": 1.5,
    "gate": "person_watched",
    "delay": [[0.0, 0.0], [1.0, 9.0]],
    "lump": 0.5,
}
COMFORT = {"weight": -0.3, "noise": 0.05, "gate": {"feature": "not carrying", "strength": 0.5}, "lump": 0.25}
GUIDES = {"shape.near_water": 0.5, "approach.near_person": [[0.0, 0.5], [1.0, 0.0]]}
REWARD: dict[str, Any] = {"helped": HELPED, "smile": SMILE, "comfort": COMFORT} | GUIDES
NOTHING = {"weight": 0.0, "miss": 0.5, "false_alarm": 0.4, "noise": 3.0, "event_noise": 1.0, "clip": 2.0, "delay": 7.0}
ADVANCE = {"channel": "comfort", "above": -9.0, "episodes": 2.0}  # is met as soon as an episode is over


def phases(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Two phases, the first of which ends by what is achieved in it."""
    return [{"until": 0.6, "reward": first, "advance": ADVANCE}, {"until": 1.0, "reward": second}]


SCHEDULES: dict[str, dict[str, Any]] = {
    "all": {"phases": phases(REWARD, REWARD | {"helped": {**HELPED, "delay": 2.0}}), "exploration": 0.1},
    "all, and nothing": {
        "phases": phases(REWARD | {"clown": NOTHING}, REWARD | {"helped": {**HELPED, "delay": 2.0}, "seen_smile": NOTHING}),
        "exploration": 0.1,
    },
    "bare": {"reward": {"helped": 1.0, "comfort": 2.0}},
    "bare, and nothing": {"reward": {"helped": 1.0, "comfort": 2.0, "clown": NOTHING}},
    "at once": {"reward": {n: {k: v for k, v in t.items() if k not in ("delay", "lump")} for n, t in
                           {"helped": HELPED, "smile": SMILE, "comfort": COMFORT}.items()} | GUIDES},
}  # fmt: skip


@functools.cache
def overseen(*names: str, **kinds: Any) -> tuple[Plan, dict[str, Schedule]]:
    """The plan, and the schedules, of a study of the named schedules; of all if none is named. Episodes are short."""
    raw = {
        "world": "smile",
        "agent": {"network": {"widths": [8]}, "epochs": 2, "minibatches": 2, "learning_rate": 1e-2},
        "training": {"steps": 640, "worlds": 4, "rollout": 8},
        "schedule": [{"name": n, **copy.deepcopy(SCHEDULES[n])} for n in names or SCHEDULES],
    }
    plan, schedules = resolve(Study.model_validate(raw))
    plan = plan._replace(world=plan.world._replace(limit=14), chunk=8)
    parts = {n: jax.tree.map(lambda x, i=i: x[i], schedules) for i, n in enumerate(names or SCHEDULES)}
    return plan, parts
