"""What every learner promises: the same bits however a run is cut, forked or kept company, and none for what is unpaid."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.policy import learned
from chisel.build.agents import make_agent
from chisel.build.build import resolve
from chisel.runs.store import Saver, create, load_checkpoint
from chisel.study.study import Study
from chisel.training.member import new, update
from chisel.training.population import Population, gather, lay, seed_keys
from tests.bits import assert_same_bits, differ
from tests.training.learners import LEARNERS

LONE = ("ppo, conv", "ppo, gru", "ppo, all else", "dqn, otherwise")  # for what has to be compiled once more

MIXED = {"helped": 1.7, "smile": 0.9, "comfort": -0.3}
LATER = {"reward": {"smile": -1.0, "clown": 0.5}, "learning_rate": 2e-3, "exploration": 0.2}
SCHEDULES: dict[str, dict[str, Any]] = {
    "mixed": {"reward": MIXED},
    "and nothing": {"reward": MIXED | {"clown": 0.0, "seen_smile": [[0.0, 0.0], [0.3, 0.0], [1.0, 0.0]]}},
    "turns": {"phases": [{"until": 0.6, "reward": MIXED}, {"until": 1.0, **LATER}]},
    "later": LATER,
    "frozen": {"reward": MIXED, "learning_rate": 0.0},
}
MINE = list(SCHEDULES).index
TURN, UPDATES = 3, 5  # "turns" turns after so many
EPISODE = 5  # steps; less than a rollout, so that there are whole episodes; and some are cut off by its end


def study(name: str) -> Study:
    agent = {"learning_rate": 1e-2, **LEARNERS[name]}
    agent |= {"epochs": 2, "minibatches": 2} if agent["learner"] in ("ppo", "pqn") else {}
    return Study.model_validate(
        {
            "world": "smile",
            "view": 3 if "gru" in name else None,
            "agent": agent,
            "training": {"steps": UPDATES * 32, "worlds": 4, "rollout": 8},
            "schedule": [{"name": n, **s} for n, s in SCHEDULES.items()],
        }
    )


@functools.cache
def parts(name: str) -> Any:
    """The plan and the schedules of a learner's study."""
    plan, schedules = resolve(study(name))
    world = plan.world._replace(limit=EPISODE)
    return plan._replace(world=world, agent=make_agent(study(name), world), chunk=UPDATES), schedules


def under(name: str, *chosen: str) -> Any:
    """Schedules of members, by name."""
    return jax.tree.map(lambda x: x[np.array([MINE(c) for c in chosen])], parts(name)[1])


def keys(members: int) -> np.ndarray:
    """All of one seed; one in which worlds do not begin at one age."""
    return np.repeat(seed_keys(3, 1)[2:], members, axis=0)


@pytest.fixture(scope="module", params=LEARNERS)
def name(request):
    """A learner. All tests of one come together, since compiling takes longest by far."""
    return request.param


@pytest.fixture(scope="module")
def found(name):
    """A learner under every schedule, on two devices: the members before, and after five updates in one call."""
    population = Population(parts(name)[0], under(name, *SCHEDULES), devices=2)
    members = population.new(keys(len(SCHEDULES)))
    before = gather(members, len(SCHEDULES))
    after, metrics = population.advance(members, UPDATES)
    return SimpleNamespace(all=population, before=before, after=gather(after, len(SCHEDULES)), metrics=metrics)


def advanced(population: Population, state: Any, updates: int) -> tuple[Any, Any]:
    """Members that come from the host, as from a checkpoint, after so many updates, and their metrics; on the host."""
    members, metrics = population.advance(lay(state, population.mesh), updates)
    return gather(members, population.members), metrics


def of(tree: Any, schedule: str) -> Any:
    return jax.tree.map(lambda x: x[MINE(schedule)], tree)


def test_it_learns_and_what_it_measures_is_finite(name, found):
    """Or else what follows would say nothing."""
    agents = found.after.agent
    for one, other in (("mixed", "frozen"), ("mixed", "later"), ("mixed", "turns")):
        assert differ(of(agents.params, one), of(agents.params, other))
    measures = found.metrics.measures
    assert measures.shape == (len(SCHEDULES), UPDATES, len(found.all.plan.agent.measures))
    learning = slice(1, None) if name.startswith("dqn") else slice(None)  # DQN waits for its replay to fill
    assert np.isfinite(measures[:, learning]).all()
    assert np.isnan(measures[:, 0]).all() == name.startswith("dqn")
    assert np.isfinite(found.metrics.paid).all()
    assert found.metrics.episodes.sum() > 0


def test_five_updates_are_two_and_three(name, found):
    """With the state taken to the host in between, and laid out again."""
    with jax.no_tracing():  # compiled once for all distances, and for states from wherever
        two, first = advanced(found.all, found.before, 2)
        five, second = advanced(found.all, two, 3)
    assert_same_bits(five, found.after)
    assert_same_bits(jax.tree.map(lambda *x: np.concatenate(x, axis=1), first, second), found.metrics)


@pytest.mark.exact
@pytest.mark.parametrize("name", LONE, indirect=True)
def test_alone_it_is_the_same_as_among_others(name, found):
    """On one device, where the others were on two. Under the schedule that turns."""
    row = slice(MINE("turns"), MINE("turns") + 1)
    lone = Population(parts(name)[0], under(name, "turns"), devices=1)
    state, metrics = advanced(lone, jax.tree.map(lambda x: x[row], found.before), UPDATES)
    assert_same_bits((state, metrics), jax.tree.map(lambda x: x[row], (found.after, found.metrics)))


def test_who_goes_on_under_another_schedule_is_who_always_had_it_in_mind(name, found):
    """A fork: under the schedule that turns, and under the other one from the turn on. Twins are equal to the bit, the
    others are as they were, and nothing is compiled for it.
    """
    three, _ = advanced(found.all, found.before, TURN)
    source, twins = MINE("mixed"), [MINE("and nothing"), MINE("later")]
    forked = jax.tree.map(lambda x: np.array(x), three)
    for i in twins:
        jax.tree.map(lambda x: x.__setitem__(i, x[source]), forked)  # noqa: B023
    try:
        with jax.no_tracing():
            found.all.use(under(name, *("mixed", "later", "turns", "later", "frozen")))
            after, metrics = advanced(found.all, forked, UPDATES - TURN)
    finally:
        found.all.use(under(name, *SCHEDULES))
    late = jax.tree.map(lambda x: x[:, TURN:], found.metrics)
    for i in twins:
        assert_same_bits(jax.tree.map(lambda x, i=i: x[i], after), of(found.after, "turns"))
        assert_same_bits(jax.tree.map(lambda x, i=i: x[i], metrics), of(late, "turns"))
    for other in ("mixed", "turns", "frozen"):
        assert_same_bits((of(after, other), of(metrics, other)), (of(found.after, other), of(late, other)))
    assert differ(of(after, "later"), of(found.after, "later"))


def test_what_weighs_nothing_trains_the_same_as_what_is_not_named(name, found):
    assert_same_bits(of(found.after, "and nothing"), of(found.after, "mixed"))
    assert_same_bits(of(found.metrics, "and nothing"), of(found.metrics, "mixed"))


def test_at_a_learning_rate_of_nothing_no_parameter_changes(name, found):
    """Though all else goes on: episodes, moments, replays."""
    before, after = (of(state, "frozen").agent for state in (found.before, found.after))
    assert_same_bits(learned(after.params), learned(before.params))
    if name.startswith("dqn"):
        assert_same_bits(after.target, before.target)
        assert after.done == 3 * (UPDATES - 1)
    assert differ(after.optimiser, before.optimiser)


@pytest.mark.parametrize("name", ["pqn, conv", "dqn, softmax"], indirect=True)
def test_the_temperature_it_last_acted_at_is_what_it_is_read_at(name, found):
    """One number of the study, or a curve at the middle of the last update; before the first, of that."""
    softness = {"pqn, conv": [0.02, 0.02], "dqn, softmax": [0.5 - 0.4 * u / UPDATES for u in (0.5, UPDATES - 0.5)]}
    for state, meant in zip((found.before, found.after), softness[name], strict=True):
        np.testing.assert_allclose(state.agent.params["temperature"], meant, rtol=1e-5)


@pytest.mark.parametrize("name", ["ppo, gru", "dqn"], indirect=True)
def test_what_it_keeps_beside_parameters_is_in_checkpoints(name, found, tmp_path):
    """The state goes through a file, and training goes on as if it had not."""
    two, metrics = advanced(found.all, found.before, 2)
    run = create(tmp_path / "run", study(name), {})
    saver = Saver(run)
    saver.save(2, state=two, metrics=metrics)
    saver.close()
    state, rows = found.all.shapes(keys(len(SCHEDULES)), 2)
    loaded = load_checkpoint(run, 2, state=state, metrics=rows)["state"]
    kept = loaded.agent.replay.observations if name == "dqn" else loaded.playing.memory
    assert all(np.asarray(x).any() for x in jax.tree.leaves(kept))
    five, _ = advanced(found.all, loaded, 3)
    assert_same_bits(five, found.after)


@pytest.mark.parametrize("name", ["a2c, gru"], indirect=True)
def test_learning_sees_what_was_remembered_in_acting(name):
    """Unrolled from the memory it comes with, a rollout leads to that of the next, which is empty where one begins."""
    plan = parts(name)[0]
    network, given = plan.agent.network, []

    def keep(state, key, batch, tuning):
        given.append(batch)
        return state, dict.fromkeys(plan.agent.measures, jnp.float32(0))

    watched = plan._replace(agent=plan.agent._replace(learn=keep))

    @jax.jit
    def rollout(member, schedule):
        """The next member, what it remembered when it began, and what learning makes of that."""
        after, _ = update(watched, member, schedule)
        batch = given[-1]
        over = batch.ended | batch.truncated
        begins = jnp.concatenate([jnp.zeros_like(over[:1]), over[:-1]])
        kept = network.unroll(member.agent.params, batch.observations, begins, batch.memory)[1]
        return after, batch.memory, jax.tree.map(lambda x: x[-1], kept), over[-1]

    schedule = jax.tree.map(lambda x: x[0], under(name, "mixed"))
    member = new(watched, schedule, keys(1)[0])
    begun: list[bool] = []
    for i in range(EPISODE):
        member, first, kept, over = rollout(member, schedule)
        assert len(kept) == 2  # the policy's memory, and the critic's
        for trunk, meant in kept.items():
            assert first[trunk].any() == (i > 0)
            assert meant.any(1).all()
            assert not member.playing.memory[trunk][over].any()
            np.testing.assert_allclose(member.playing.memory[trunk][~over], meant[~over], rtol=1e-5, atol=1e-6)
        begun += over.tolist()
    assert sum(begun) == 4  # every world was cut off at the end of a rollout once
