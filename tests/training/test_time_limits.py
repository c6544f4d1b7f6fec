"""Shaping and the time limit: in worlds small enough to write out every plan, by what each learner takes for an end."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.build.agents import make_agent
from chisel.build.schedules import make_schedule, needs
from chisel.rewards.schedule import in_force
from chisel.study.study import Study
from chisel.training.member import Plan, new, update
from chisel.training.population import seed_keys
from chisel.worlds.world import World
from tests.training.conftest import make
from tests.training.learners import LEARNERS, SMALL

WORLDS, ROLLOUTS = 96, 3


class Rules(NamedTuple):
    """A world as tables: where [state, action] leads and what it pays, which states are ends, Φ, and the time limit."""

    leads: Any
    pays: Any
    over: Any
    height: Any
    limit: int
    discount: float
    fades: bool = False  # whether the weight of Φ changes from rollout to rollout
    alternating: bool = False

    def world(self) -> World:
        """The same for chisel: a state is its number, and episodes begin in any that is not an end."""
        leads, pays, over, height = (np.asarray(x) for x in self[:4])
        starts = jnp.asarray(np.flatnonzero(~over))
        return make(self.limit)._replace(
            alternating=self.alternating,
            reset=lambda key, params: jax.random.choice(key, starts),
            step=lambda key, state, action, params: jnp.asarray(leads)[state, action],
            observe=lambda state: jax.nn.one_hot(state, len(leads)),
            ended=lambda state: jnp.asarray(over)[state],
            channels=lambda before, action, after: {"pay": jnp.asarray(pays, jnp.float32)[before, action]},
            potentials=lambda state: {"height": jnp.asarray(height, jnp.float32)[state]},
            features=lambda state: {"even": state % 2 == 0},
            scatter=lambda key: jax.random.choice(key, starts),
            true=("pay",),
        )


def two_states(pay: float) -> Rules:
    """An action chooses the next state; choosing state 0 is paid; Φ(s) = s."""
    return Rules([[0, 1], [0, 1]], [[pay, 0.0]] * 2, [False, False], [0.0, 1.0], 4, 0.97)


def made_up(seed: int, alternating: bool = False) -> Rules:
    """Four states, of which one is an end; three steps at most."""
    rng = np.random.default_rng(seed)
    leads, pays = rng.integers(0, 4, (4, 2)), rng.normal(size=(4, 2))
    return Rules(leads, pays, np.arange(4) == 3, rng.normal(size=4), 3, 0.9, True, alternating)


RULES = {
    "two states, .1": two_states(0.1),
    "two states, .3": two_states(0.3),
    "made up": made_up(0),
    "made up, another": made_up(5),
    "players alternate": made_up(1, alternating=True),
}


def plans(rules: Rules, start: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All plans from a state to the end of the episode: (actions, states)."""
    found = set()
    for actions in itertools.product(range(2), repeat=rules.limit):
        states = [start]
        for action in actions:
            if not rules.over[states[-1]]:
                states.append(int(rules.leads[states[-1]][action]))
        found.add((actions[: len(states) - 1], tuple(states)))
    return sorted(found)


def values(rules: Rules, discount: float) -> np.ndarray:
    """What each state is worth to who is not stopped by a time limit; of an end, nothing."""
    value = np.zeros(len(rules.over))
    for _ in range(2000):
        value = np.where(rules.over, 0.0, (np.asarray(rules.pays) + discount * value[np.asarray(rules.leads)]).max(1))
    return value


@functools.cache
def played(name: str, rules: str) -> Any:
    """What a learner is paid, [time, worlds], for random play, and the weight of Φ for the state before each step and
    after it; and the learner.
    """
    of = RULES[rules]
    agent = {**LEARNERS[name], "discount": of.discount}
    if agent["network"].get("kind") == "conv":
        agent["network"] = SMALL
    steps = of.limit + 1  # so that episodes go on from one rollout to the next
    weight = [[0.0, 2.0], [1.0, 0.5]] if of.fades else 1.0
    study = Study.model_validate(
        {
            "world": "smile",
            "agent": agent | ({"replay": WORLDS * steps * 2} if agent["learner"] == "dqn" else {}),
            "training": {"steps": ROLLOUTS * WORLDS * steps, "worlds": WORLDS, "rollout": steps},
            "schedule": [{"name": "x", "reward": {"pay": 1.0, "shape.height": weight}, "exploration": 1.0}],
        }
    )
    world = of.world()
    wanted = needs(study, world)
    schedule = make_schedule(study.schedule[0], study, world, wanted)
    learner, given = make_agent(study, world), []

    def keep(state: Any, key: Any, batch: Any, tuning: Any) -> Any:
        given.append(batch)
        return state, dict.fromkeys(learner.measures, jnp.float32(0))

    plan = Plan(world, learner._replace(learn=keep), WORLDS, steps, shaped=wanted.potentials)

    @jax.jit
    def go(member: Any) -> Any:
        return update(plan, member, schedule)[0], given[-1]

    member, batches = new(plan, schedule, seed_keys(1, 1)[0]), []
    for _ in range(ROLLOUTS):
        member, batch = go(member)
        batches.append(batch)
    whole = {k: np.concatenate([np.asarray(getattr(b, k)) for b in batches]) for k in FIELDS}
    weights = [float(in_force(schedule, jnp.int32(i)).shape[0]) for i in range(ROLLOUTS + 1)]
    before = np.repeat(weights[:-1], steps)
    after = np.append(before[1:], weights[-1])
    return whole, before, after, learner


FIELDS = ("observations", "actions", "rewards", "ended", "truncated")


def episodes(whole: dict[str, np.ndarray]) -> list[tuple[int, int, slice]]:
    """The episodes that were seen from their beginning to their end: (world, first step, steps)."""
    over, found = whole["ended"] | whole["truncated"], []
    for w in range(over.shape[1]):
        ends = np.flatnonzero(over[:, w])
        found += [(w, a + 1, slice(a + 1, b + 1)) for a, b in itertools.pairwise(ends.tolist())]
    return found


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("rules", RULES)
def test_no_potential_changes_which_plan_is_best(name, rules):
    """By what each learner makes as much as it can of: discounted reward to what it takes for an end, and, where it
    takes the limit for none, what the state there is worth to it. Shaped, every plan is worth Φ of where it begins less.
    """
    of = RULES[rules]
    whole, before, after, learner = played(name, rules)
    gamma, height = learner.discount, np.asarray(of.height)
    assert gamma == (-of.discount if of.alternating else of.discount)
    value = values(of, gamma)
    best: dict[int, list[tuple[float, float, tuple[int, ...]]]] = {}
    for w, first, steps in episodes(whole):
        actions = tuple(whole["actions"][steps, w].tolist())
        start = int(whole["observations"][first, w].argmax())
        states = dict(plans(of, start))[actions]
        discounts = gamma ** np.arange(len(actions))
        plain = discounts @ [of.pays[s][a] for s, a in zip(states, actions, strict=False)]
        shaped = discounts @ whole["rewards"][steps, w]
        assert whole["ended"][steps, w][-1] == of.over[states[-1]]
        if not of.over[states[-1]] and not name.startswith("reinforce"):
            plain += gamma ** len(actions) * value[states[-1]]
            shaped += gamma ** len(actions) * (value[states[-1]] - after[steps][-1] * height[states[-1]])
        assert shaped == pytest.approx(plain - before[first] * height[start], abs=1e-4)
        best.setdefault(start, []).append((plain, shaped + before[first] * height[start], actions))
    for start, worths in best.items():
        assert {actions for *_, actions in worths} == {actions for actions, _ in plans(of, start)}, "not all were seen"
        assert max(worths)[2] == max(worths, key=lambda x: (round(x[1], 3), x[0]))[2]


@pytest.mark.parametrize("pay", [0.1, 0.3])
def test_the_time_limit_is_an_end_to_reinforce(pay):
    """Of 16 plans the best is to stay where it is paid; with Φ kept at the limit it would be to leave in the last step:
    γ·Φ(1) = .97 is more than the pay.
    """
    whole, *_, learner = played("reinforce", f"two states, {pay:.1f}".replace("0.", "."))
    worth = {}
    for w, first, steps in episodes(whole):
        if whole["observations"][first, w, 0] == 1:
            actions = tuple(whole["actions"][steps, w].tolist())
            worth[actions] = float(learner.discount ** np.arange(4) @ whole["rewards"][steps, w])
    assert max(worth, key=worth.__getitem__) == (0, 0, 0, 0)
    assert worth[0, 0, 0, 0] == pytest.approx(pay * (1 + 0.97 + 0.97**2 + 0.97**3), rel=1e-5)
    assert worth[0, 0, 0, 1] == pytest.approx(pay * (1 + 0.97 + 0.97**2), rel=1e-5)
