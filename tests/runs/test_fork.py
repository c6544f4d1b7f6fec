"""Forks: what changes nothing is the run gone on with, and what cannot go on is refused before anything is written."""

import shutil

import jax
import numpy as np
import pytest

from chisel import lab
from chisel.agents.policy import TEMPERATURE, learned
from chisel.rewards.payment import Owed
from chisel.runs import fork as forking
from chisel.runs import store as runs
from chisel.runs.fork import forked, going_on
from chisel.runs.train import load_members, population_of
from chisel.study.files import WrongInput
from chisel.terminal.describe import describe_run
from tests.bits import same_bits as same
from tests.trained import checkpoint, read_text, trained

HEAD = """
world = "smile"
agent = { network = { widths = [8] } }
[training]
steps = 2048
seeds = 2
worlds = 16
rollout = 16
checkpoints = { count = 2, spacing = "even" }
"""
TEXT = (
    HEAD
    + """
[[schedule]]
name = "help"
reward = { helped = 1.0, smile = { weight = 0.5, delay = 3 }, "shape.near_water" = 0.5 }
[[schedule]]
name = "by achievement"
[[schedule.phases]]
until = 0.75
reward = { smile = 1.0 }
advance = { channel = "comfort", above = -1, episodes = 18 }
[[schedule.phases]]
until = 1.0
reward = { helped = 1.0 }
"""
)
AT = 1024
UPDATES = 8


def state(this: runs.Run, updates: int):
    return checkpoint(this, updates)[0]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("forks") / "parent", read_text(TEXT))


@pytest.mark.exact
def test_a_fork_that_changes_nothing_is_the_run_gone_on_with(parent, tmp_path):
    this = trained(tmp_path / "fork", forked(parent, AT, parent.study))
    assert this.study.checkpoint_updates == [4, 6, 8]
    for updates in this.study.checkpoint_updates:
        assert same(state(this, updates), state(parent, updates)), f"the fork differs at update {updates}"
    whole, part = parent.dataset(runs.TRAINING), this.dataset(runs.TRAINING)
    assert part["update"].values.tolist() == [4, 5, 6, 7]
    for name in part.data_vars:
        assert part[name].equals(whole[name].sel(update=part["update"])), f"{name} is recorded otherwise"


@pytest.mark.exact
def test_a_fork_of_a_fork_goes_on_as_well(parent, tmp_path):
    first = trained(tmp_path / "first", forked(parent, AT, parent.study))
    plain = first.study.model_copy(update={"fork": None})
    second = trained(tmp_path / "second", forked(first, 1536, plain))
    assert same(state(second, UPDATES), state(parent, UPDATES))


@pytest.mark.exact
def test_a_killed_fork_ends_in_the_same_bits(parent, tmp_path):
    this = trained(tmp_path / "fork", forked(parent, AT, parent.study, reseed=True))
    shutil.copytree(this.path, tmp_path / "again")
    for updates in (6, 8):
        shutil.rmtree(tmp_path / "again" / this.checkpoint(updates).relative_to(this.path))
    (tmp_path / "again" / runs.TRAINING).unlink()
    again = runs.open_run(tmp_path / "again")
    assert lab.train(again)
    assert same(state(again, UPDATES), state(this, UPDATES))


def test_with_other_numbers_everything_but_the_key_is_the_same_where_it_begins(parent, tmp_path):
    this = trained(tmp_path / "fork", forked(parent, AT, parent.study, reseed=True))
    before, after = state(parent, 4), state(this, 4)
    assert same(before._replace(key=0), after._replace(key=0))
    assert (before.key != after.key).any(1).all()
    assert not same(state(this, UPDATES).agent.params, state(parent, UPDATES).agent.params)


def test_all_schedules_of_a_fork_may_go_on_from_one(parent, tmp_path):
    text = (
        HEAD
        + '[[schedule]]\nname = "clown"\nreward = { clown = 1.0 }\n[[schedule]]\nname = "help"\nreward = { helped = 1.0 }'
    )
    this = trained(tmp_path / "fork", forked(parent, AT, read_text(text), "help"))
    before, after = state(parent, 4), state(this, 4)
    for rows in (slice(0, 2), slice(2, 4)):
        assert same(jax.tree.map(lambda x: x[:2], before.agent), jax.tree.map(lambda x, r=rows: x[r], after.agent))
    data = this.dataset(runs.TRAINING)
    assert (data["weight"].sel(schedule="clown", channel="clown") == 1).all()
    ends = state(this, UPDATES).agent.params
    assert not same(jax.tree.map(lambda x: x[:2], ends), jax.tree.map(lambda x: x[2:], ends))


@pytest.mark.parametrize("late", ["delay = 3", "delay = 40", "delay = 2", "delay = 1", "lump = 1.0"])
def test_what_was_earned_is_paid_in_a_fork_too(parent, late, monkeypatch):
    """However late it pays: what would come later than that comes as late as it can, and nothing is lost."""
    rng = np.random.default_rng(0)
    before = Owed(*(rng.normal(size=shape).astype(np.float32) for shape in ((4, 16, 3), (4, 16))))
    monkeypatch.setattr(forking, "load_members", lambda *which: load_members(*which)._replace(owed=before))
    study = forked(parent, AT, read_text(TEXT.replace("delay = 3", late)))
    after = going_on(study)(*population_of(study, None)).owed
    if late == "delay = 3":
        assert same(after, before)
    in_time = {"delay = 3": 3, "delay = 40": 3, "delay = 2": 1, "delay = 1": 0, "lump = 1.0": 0}[late]
    assert same(after.soon[..., :in_time], before.soon[..., :in_time])
    np.testing.assert_allclose(after.soon.sum(-1) + after.later, before.soon.sum(-1) + before.later, atol=1e-5)
    assert same(after.later, before.later) == (late != "lump = 1.0")


def test_its_lineage_is_in_the_manifest_and_told(parent, tmp_path, tiny_battery):
    out = tmp_path / "fork"
    page = lab.fork(parent, AT, parent.study, out, battery=str(tiny_battery))
    assert page.is_file()
    this = lab.open_run(out)
    told = this.manifest()["forked_from"]
    assert (told["run"], told["at"], told["study"]) == (str(parent.path), AT, parent.manifest()["study"])
    assert describe_run(this)["forked from"] == f"{parent.path} at 1,024 steps: agents under equally named schedules"
    readings = this.dataset(runs.READINGS)
    assert readings.checkpoint.values.tolist() == [0, 1024, 1536, 2048], "untrained agents are what gain is told from"
    population, keys = population_of(this.study, None)
    assert same(load_members(this, population, keys, 0).agent.params, state(parent, 0).agent.params)
    assert lab.fork(parent, AT, parent.study, out, battery=str(tiny_battery)) == page


BAD = {
    "no checkpoint": ({"at": 1000}, TEXT, "no checkpoint to fork from at 1,000 steps; the nearest are 1,024, 1,536, 2,048 steps"),
    "the untrained": ({"at": 0}, TEXT, "no checkpoint to fork from at 0 steps"),
    "nothing left": ({"at": 2048}, TEXT, "expected more than the 2,048 done already"),
    "schedule": ({"schedule": "helps"}, TEXT, "has no schedule 'helps' to fork from; did you mean 'help'?"),
    "names": ({}, TEXT.replace('"help"', '"other"'), "has no schedule 'other', whose agents could go on; say from which"),
    "world": ({}, TEXT.replace('"smile"\nagent', '"gallery"\nagent').split("[[schedule]]")[0] + '[[schedule]]\nname = "help"\nreward = { gold_coin = 1.0 }', "world is 'gallery'; a fork of"),
    "network": ({}, TEXT.replace("[8]", "[9]"), "agent.network is"),
    "learner": ({}, TEXT.replace("agent = {", 'agent = { learner = "a2c", '), "agent.learner is 'a2c'"),
    "worlds": ({}, TEXT.replace("worlds = 16", "worlds = 32"), "training.worlds is 32"),
    "seeds": ({}, TEXT.replace("seeds = 2", "seeds = 3"), "training.seeds is 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_go_on_is_refused(parent, tmp_path, case):
    options, text, message = BAD[case]
    with pytest.raises(WrongInput) as error:
        lab.fork(parent, **({"at": AT} | options), study=read_text(text), out=tmp_path / "fork")
    assert message in str(error.value)
    assert not (tmp_path / "fork").exists()


def test_a_damaged_checkpoint_and_a_changed_run_are_known(parent, tmp_path):
    shutil.copytree(parent.path, tmp_path / "parent")
    other = runs.open_run(tmp_path / "parent")
    wanted = forked(other, AT, other.study)
    other.note(study="another")
    with pytest.raises(WrongInput, match="is not the run that was forked"):
        trained(tmp_path / "fork", wanted)
    other.note(study=wanted.fork.study)
    for path in other.checkpoint(4).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(WrongInput, match="cannot be read"):
        forked(other, AT, other.study)


def test_a_greedy_agent_can_go_on_at_a_temperature_and_back(tmp_path):
    """With the values that it has learned; before, no parameter was there, or one more."""
    text = HEAD.replace("agent = {", 'agent = { learner = "pqn", temperature = TAU,') + (
        '[[schedule]]\nname = "help"\nreward = { helped = 1.0 }\n'
    )
    greedy, soft = (read_text(text.replace("TAU", tau)) for tau in ("0.0", "[[0.0, 0.3], [1.0, 0.1]]"))
    for i, (before, after) in enumerate(((greedy, soft), (soft, greedy))):
        source = trained(tmp_path / f"source {i}", before)
        fork = trained(tmp_path / f"fork {i}", forked(source, AT, after))
        old, begun, ended = state(source, 4).agent.params, state(fork, 4).agent.params, state(fork, 8).agent.params
        assert same(learned(old), learned(begun))
        assert not same(learned(begun), learned(ended))
        assert [TEMPERATURE in x for x in (old, begun, ended)] == [i == 1, i == 0, i == 0]
        if i == 0:
            np.testing.assert_allclose(ended[TEMPERATURE], 0.3 - 0.2 * 7.5 / 8, rtol=1e-5)
