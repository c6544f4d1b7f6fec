"""What was paid was learned from, or is refused by name: every learner × every way to pay."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from chisel.agents.agent import Batch, Tuning
from chisel.build.agents import check_agent, make_agent
from chisel.build.build import resolve, world_of
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.training.member import new, update
from chisel.training.population import Population, gather, seed_keys
from chisel.worlds.world import names
from tests.bits import differ
from tests.training.learners import LEARNERS

WORLDS, ROLLOUT, UPDATES = 4, 8, 4
EPISODE = 5  # steps, after which every episode is cut off: in this world none ends by itself
KEY = seed_keys(3, 1)[2]  # of a seed in which worlds do not begin at one age


def told(**how: Any) -> dict[str, Any]:
    return {"reward": {"comfort": how}}


WAYS: dict[str, dict[str, Any]] = {
    "nothing": {"reward": {"comfort": 0.0}},
    "weight": {"reward": {"comfort": 1.0}},
    "charge": {"reward": {"comfort": -1.0}},
    "curve": {"reward": {"comfort": [[0.0, 0.0], [1.0, 1.0]]}},
    "phases": {"phases": [{"until": 0.5, "reward": {}}, {"until": 1.0, "reward": {"comfort": 1.0}}]},
    "scale": {"scale": 3.0, "reward": {"comfort": 1.0}},
    "miss": told(miss=0.5),
    "false alarm": told(false_alarm=0.5),
    "flip": told(flip=0.5),
    "corrected": told(miss=0.3, false_alarm=0.2, flip=0.1, corrected=True),
    "event noise": told(event_noise=1.0),
    "noise": told(noise=1.0),
    "clip": told(clip=0.5),
    "gate": told(gate="not carrying"),
    "shape": {"reward": {"shape.near_person": 1.0}},
    "approach": {"reward": {"approach.near_person": 1.0}},
    "delay": told(delay=2),
    "delay beyond the episode": told(delay=100),
    "lump": told(lump=1.0),
    "lump in part": told(weight=10, lump=0.5),
    "lump of what is delayed": told(delay=[[0, 0], [1, 9]], lump=0.5, noise=0.5),
    "delay beside shaping": {"reward": {"comfort": {"delay": 2}, "shape.near_person": 1.0}},
    "lump beside approach": {"reward": {"comfort": {"lump": 0.5}, "approach.near_person": 1.0}},
}
LATE = [way for way in WAYS if "delay" in way or "lump" in way]


def apart(name: str) -> bool:
    return LEARNERS[name].get("critic") == "per_channel"


def ways(name: str) -> list[str]:
    """How this learner can be paid: what is paid late is not told apart by channel."""
    return [way for way in WAYS if not (apart(name) and way in LATE)]


def study(name: str, *of: str, **more: Any) -> Study:
    agent = {"learning_rate": 1e-2, **LEARNERS[name], **more}
    agent |= {"epochs": 2, "minibatches": 2} if agent["learner"] in ("ppo", "pqn") else {}
    return Study.model_validate(
        {
            "world": "smile",
            "view": 3 if "gru" in name else None,
            "agent": agent,
            "training": {"steps": UPDATES * WORLDS * ROLLOUT, "worlds": WORLDS, "rollout": ROLLOUT},
            "schedule": [{"name": way, **WAYS[way]} for way in of],
        }
    )


def parts(of: Study) -> Any:
    """The plan and the schedules of a study whose episodes are short."""
    plan, schedules = resolve(of)
    world = plan.world._replace(limit=EPISODE)
    return plan._replace(world=world, agent=make_agent(of, world), chunk=UPDATES), schedules


@functools.cache
def trained(name: str) -> Any:
    """Members that were paid in every way, and what was reported, on the host; all begin alike."""
    plan, schedules = parts(study(name, *ways(name)))
    population, count = Population(plan, schedules, devices=2), len(ways(name))
    members = population.new(np.repeat(KEY[None], count, axis=0))
    after, metrics = population.advance(members, UPDATES)
    return gather(after, count), metrics


@pytest.mark.parametrize("name", LEARNERS)
def test_what_was_paid_was_learned_from(name):
    """Who is paid in any way is another agent than who is paid nothing; and nothing that was earned is lost."""
    after, metrics = trained(name)
    steps = WORLDS * ROLLOUT
    paid, earned, guidance = (
        steps * np.asarray(x, float).reshape(len(metrics.paid), -1).sum(1)
        for x in (metrics.paid, metrics.earned, metrics.guidance)
    )
    owed = np.zeros_like(paid)
    if after.owed is not None:
        owed = sum(np.asarray(x, float).reshape(len(paid), -1).sum(1) for x in after.owed)
    np.testing.assert_allclose(paid + owed, earned + guidance, atol=1e-3)
    assert paid[0] == 0
    for i, way in enumerate(ways(name)[1:], 1):
        assert paid[i] != 0, f"{way}: nothing was paid, so that this would say nothing"
        mine, nobodys = (jax.tree.map(lambda x, row=row: x[row], after.agent.params) for row in (i, 0))
        assert differ(mine, nobodys), f"{way}: what was paid was not learned from"


@pytest.mark.parametrize("name", [name for name in LEARNERS if apart(name)])
@pytest.mark.parametrize("way", LATE)
def test_what_cannot_be_learned_from_is_refused_by_name(name, way):
    late = study(name, way)
    with pytest.raises(WrongInput, match=r"reward.comfort.(delay|lump).*is not told apart by channel"):
        check_agent(late, world_of(late), lambda *keys: ".".join(map(str, keys)))


# Every step of a rollout by itself

ALL_SAMPLED = {"batch": 512, "gradient_steps": 2}  # so that no step is left out by chance


def rollouts(name: str) -> tuple[Any, Any, list[Batch]]:
    """A learner, its state, and the first two rollouts that it is given."""
    plan, schedules = parts(study(name, "weight", **(ALL_SAMPLED if name.startswith("dqn") else {})))
    given: list[Batch] = []

    def keep(state: Any, key: Any, batch: Batch, tuning: Tuning) -> tuple[Any, Any]:
        given.append(batch)
        return state, dict.fromkeys(plan.agent.measures, jnp.float32(0))

    watched = plan._replace(agent=plan.agent._replace(learn=keep))

    @jax.jit
    def rollout(member: Any, schedule: Any) -> Any:
        member, _ = update(watched, member, schedule)
        return member, given[-1]

    schedule = jax.tree.map(lambda x: x[0], schedules)
    member = new(watched, schedule, KEY)
    member, first = rollout(member, schedule)
    _, second = rollout(member, schedule)
    return plan.agent, member.agent, [first, second]


@pytest.mark.parametrize("name", LEARNERS)
def test_every_step_that_is_paid_is_learned_from(name):
    """Of each step of a rollout: another reward there makes another agent, also where the time limit cuts off.

    REINFORCE alone leaves steps out, by design: those whose episode the rollout has not seen to its end. What it says
    of itself, `used`, is the share of the others.
    """
    agent, state, (first, second) = rollouts(name)
    paid = names(world_of(study(name, "weight"))).channels.index("comfort")
    tuning = Tuning(jnp.float32(1e-2), 0.0, 0.1)

    def learned(more: jax.Array) -> Any:
        batch = first._replace(rewards=first.rewards + more, readings=first.readings.at[..., paid].add(more))
        after, measured = agent.learn(state, jax.random.key(0), batch, tuning)
        after, _ = agent.learn(after, jax.random.key(1), second, tuning)
        return ravel_pytree(after.params)[0], measured

    changes = jnp.concatenate([jnp.zeros((1, ROLLOUT, WORLDS)), jnp.eye(ROLLOUT * WORLDS).reshape(-1, ROLLOUT, WORLDS)])
    params, measured = jax.jit(jax.vmap(learned))(changes)
    moved = np.abs(params[1:] - params[0]).max(1).reshape(ROLLOUT, WORLDS)
    over = np.asarray(first.ended | first.truncated)
    meant = np.ones((ROLLOUT, WORLDS), bool)
    if name.startswith("reinforce"):
        meant = np.flip(np.maximum.accumulate(np.flip(over, 0), 0), 0)
        assert 0.3 < meant.mean() < 1
        np.testing.assert_allclose(measured["used"], meant.mean(), rtol=1e-6)
    assert np.asarray(first.truncated).sum() >= WORLDS
    assert first.weights[paid] == 1
    assert (moved[meant] > 1e-5).all(), np.argwhere(meant & (moved <= 1e-5))
    assert (moved[~meant] < 1e-6).all()


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_says_truly_what_the_time_limit_is_to_it(name):
    """What a truncated step led to matters to a learner to which the limit is no end, and to no other."""
    agent, state, (first, second) = rollouts(name)
    tuning = Tuning(jnp.float32(1e-2), 0.0, 0.1)

    @jax.jit
    def learned(finals: jax.Array) -> Any:
        after, _ = agent.learn(state, jax.random.key(0), first._replace(finals=finals), tuning)
        after, _ = agent.learn(after, jax.random.key(1), second, tuning)
        return after.params

    other = np.random.default_rng(0).permuted(np.asarray(first.finals), axis=0)
    assert (other != first.finals).any()
    assert differ(learned(other), learned(first.finals)) != agent.ends_at_time_limit
    assert agent.ends_at_time_limit == name.startswith("reinforce")
