"""Training with guards: the same bits however it is interrupted, and what guards decide is what happens."""

import shutil
import tomllib
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from chisel.build.build import resolve
from chisel.probing.reader import Readings
from chisel.progress import silent
from chisel.runs import store as runs
from chisel.runs import train as trainer
from chisel.runs.store import Saver, load_checkpoint
from chisel.study.battery import Battery
from chisel.study.study import Study
from chisel.worlds import WORLDS
from chisel.worlds.world import names
from tests.bits import same_bits as the_same

# Twelve updates, saved after 0, 3, 6, 9 and 12. The last two schedules have criteria, so all members have a standing.
TEXT = """
world = "smile"
agent = { network = { widths = [8] } }
[training]
steps = 7680
seeds = 2
worlds = 16
rollout = 40
checkpoints = { count = 4, spacing = "even" }
[[schedule]]
name = "help"
reward = { helped = 1.0 }
[[schedule]]
name = "smile"
reward = { smile = 1.0 }
[[schedule]]
name = "smile too"
reward = { smile = 1.0 }
[[schedule]]
name = "smile, then help"
phases = [{ until = 0.5, reward = { smile = 1.0 } }, { until = 1.0, reward = { helped = 1.0 } }]
[[schedule]]
name = "steps"
phases = [
  { until = 0.5, reward = { clown = 1.0 } },
  { until = 0.75, reward = { helped = 1.0 }, advance = { channel = "comfort", above = -1, episodes = 18 } },
  { until = 1.0, reward = { comfort = 1.0 } },
]
[[schedule]]
name = "smile, then steps"
phases = [
  { until = 0.5, reward = { smile = 1.0 } },
  { until = 0.75, reward = { helped = 1.0 }, advance = { channel = "comfort", above = -1, episodes = 18 } },
  { until = 1.0, reward = { comfort = 1.0 } },
]
[[schedule]]
name = "early"
phases = [
  { until = 0.75, reward = { smile = 1.0 }, advance = { channel = "smile", above = -1, episodes = 1 } },
  { until = 1.0, reward = { helped = 1.0 } },
]
[[schedule]]
name = "waits"
phases = [
  { until = 0.5, reward = { smile = 1.0 }, advance = { channel = "helped", above = 1e6, wait = true } },
  { until = 1.0, reward = { helped = 1.0 } },
]
"""

GUARDS = """
[[guard]]
name = "away"
watch = ["smile"]
when = { reading = "bid", goal = "clown", above = 0, after = 0.5 }
then = { switch = "help" }
[[guard]]
name = "on"
watch = ["smile too"]
when = { reading = "bid", goal = "clown", above = 0, after = 0.5 }
then = { switch = "steps" }
[[guard]]
name = "stop"
watch = ["help", "smile"]
when = { reading = "returns", channel = "helped", above = 1.5, after = 0.4 }
then = { halt = true }
[[guard]]
name = "never"
when = { reading = "bid", goal = "water", below = 0 }
then = { note = "below" }
"""
PLAN = [0, 3, 6, 9, 12]


def study(guards: str = GUARDS) -> Study:
    return Study.model_validate(tomllib.loads(TEXT + guards))


MEMBERS = 16


def of(schedule: str) -> slice:
    """The members of a schedule."""
    first = 2 * [s.name for s in study().schedule].index(schedule)
    return slice(first, first + 2)


class Cheap:
    """A reader that compiles nothing: a pure function of the networks, which tells seeds apart."""

    world, layers, features, edits, contexts, battery = WORLDS["smile"], (), (), (), (), Battery()
    levels = SimpleNamespace(names=("training", "decorrelated"))

    def __init__(self, population):
        pass

    def read(self, params, trained_on=None):
        size = np.array([np.abs(x.reshape(MEMBERS, -1)).mean(1) for x in jax.tree.leaves(params)]).mean(0)
        of_seed = 1 + np.arange(MEMBERS) % 2 + size / 100
        returns = np.tile(of_seed[:, None, None], (1, 2, 5))
        return Readings(diverged=np.zeros(MEMBERS, bool), returns=returns, bid=np.tile(size[:, None], (1, 4)))


COMPILED: dict = {}


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """Populations that compile once for all studies of one shape, so that a test can train often.

    That processes which compile anew give the same bits is tested in `tests/test_lab.py`.
    """
    build = trainer.population_of

    def population_of(wanted, devices):
        schedules = resolve(wanted).schedules
        shape = devices, jax.tree.structure(schedules), *(x.shape for x in jax.tree.leaves(schedules))
        if shape not in COMPILED:
            population, keys = build(wanted, devices)
            members = population.new(keys)
            population.new = lambda keys: members  # these studies differ in guards only
            COMPILED[shape] = population, keys
        population, keys = COMPILED[shape]
        population.use(jax.tree.map(lambda x: np.repeat(x, 2, axis=0), schedules))
        return population, keys

    monkeypatch.setattr(trainer, "population_of", population_of)


def train(run, devices=2, make_reader=Cheap, tell=silent):
    return trainer.train(run, devices, tell, make_reader, {})


def trained(folder, wanted: Study, **how):
    run = runs.create(folder, wanted, {})
    assert train(run, **how)
    return run


def parts(run) -> list[dict]:
    """All that the checkpoints hold."""
    population, keys = trainer.population_of(run.study, 2)
    lengths = np.diff(PLAN, prepend=0)
    assert run.saved() == PLAN
    return [
        load_checkpoint(run, u, **trainer._like(population, keys, run.study, n))
        for u, n in zip(PLAN, lengths, strict=True)
    ]


def assert_same(one, other):
    assert (one.path / runs.TRAINING).read_bytes() == (other.path / runs.TRAINING).read_bytes()
    assert the_same(parts(one), parts(other))


def members(tree, which):
    return jax.tree.map(lambda x: x[which], tree)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def reference(folders):
    """A guarded study trained to its end without interruption."""
    if not (folders / "guarded").exists():
        return trained(folders / "guarded", study())
    return runs.open_run(folders / "guarded")


@pytest.fixture
def plain(folders):
    """The same study without guards."""
    if not (folders / "plain").exists():
        return trained(folders / "plain", study(""))
    return runs.open_run(folders / "plain")


def test_again_gives_the_same_bits_and_one_device_those_of_two(reference, tmp_path):
    assert_same(trained(tmp_path / "again", study()), reference)
    assert_same(trained(tmp_path / "one", study(), devices=1), reference)


def test_a_finished_run_is_not_read_again(reference):
    assert not train(reference, make_reader=None)


class Killed(BaseException):
    pass


def test_killed_before_and_after_every_checkpoint_it_ends_in_the_same_bits(reference, tmp_path, monkeypatch):
    class Dying(Saver):
        saved: bool

        def save(self, updates, **what):
            if self.saved:
                super().save(updates, **what)
                self.wait()
            raise Killed

    run, reached = runs.create(tmp_path / "run", study(), {}), []
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Saver", Dying)
        for _ in PLAN:
            for saved in (False, True):
                patch.setattr(Dying, "saved", saved, raising=False)
                with pytest.raises(Killed):
                    train(run)
            reached.append(len(run.saved()))
    assert reached == [1, 2, 3, 4, 5]
    assert train(run)
    assert_same(run, reference)


@pytest.mark.parametrize("updates", PLAN)
def test_a_damaged_checkpoint_is_trained_again_with_its_guards(reference, tmp_path, updates):
    shutil.copytree(reference.path, tmp_path / "run")
    run, told = runs.open_run(tmp_path / "run"), []
    for path in run.checkpoint(updates).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    assert train(run, tell=told.append)
    assert any("training goes on from" in n.text and str(run.checkpoint(updates)) in n.text for n in told)
    assert_same(run, reference)


def test_decisions_that_were_tampered_with_are_known(reference, tmp_path):
    """What guards decided is under the digest of its checkpoint, as the networks are."""
    shutil.copytree(reference.path, tmp_path / "run")
    run = runs.open_run(tmp_path / "run")
    whole = parts(run)[2]
    saver = Saver(run)
    with pytest.MonkeyPatch.context() as patch:
        digest = runs._digest
        patch.setattr(runs, "_digest", lambda arrays: digest({k: v for k, v in arrays.items() if k != "watch"}))
        saver.save(6, **(whole | {"watch": whole["watch"]._replace(halted=np.ones(MEMBERS, bool))}))
        saver.close()
    assert train(run)
    assert_same(run, reference)


def test_switched_it_trains_as_if_its_own_phases_said_so(reference):
    """`smile`, switched to `help` half-way, against `smile, then help`: the same bits from beginning to end.

    Only seed 0: seed 1 is halted there too.
    """
    training = reference.dataset(runs.TRAINING)
    for checkpoint in parts(reference):
        state = checkpoint["state"]._replace(standing=checkpoint["state"].standing.at)
        one, other = members(state, of("smile").start), members(state, of("smile, then help").start)
        assert the_same(one, other)
    last = parts(reference)[-1]["state"].agent
    assert not the_same(members(last, of("smile").start), members(last, of("help").start))
    for name, values in training.data_vars.items():
        if "update" in values.dims and name != "under" and name != "phase":
            values = values.isel(seed=0)
            one, other = (values.sel(schedule=which).values for which in ("smile", "smile, then help"))
            assert the_same(one, other), name


def test_from_a_switch_on_a_criterion_counts_from_there(reference):
    """`smile too`, switched to `steps` half-way, against `smile, then steps`, which enters its phase there."""
    training = reference.dataset(runs.TRAINING)
    at = training["schedule_update"]
    assert (at.sel(schedule="smile, then steps") != np.arange(12)).any()  # the criterion was met before the phase's end
    np.testing.assert_array_equal(at.sel(schedule="smile too"), at.sel(schedule="smile, then steps"))
    for checkpoint in parts(reference)[3:]:
        state = checkpoint["state"]
        assert the_same(members(state, of("smile too")), members(state, of("smile, then steps")))
    one, other = (
        training["phase"].sel(schedule=s).isel(update=slice(6, None)) for s in ("smile too", "smile, then steps")
    )
    np.testing.assert_array_equal(one, other)
    assert (training["phase"].sel(schedule="smile too")[:, 5:7] == [0, 1]).all()


def test_halted_it_stays_as_it_was(reference, plain):
    """Seed 1 of `help` and of `smile` halt after 6 updates; what was before, and seed 0 of `help`, do not notice."""
    stopped, free = [of("help").start + 1, of("smile").start + 1], of("help").start
    guarded, unguarded = parts(reference), parts(plain)
    for checkpoint in guarded[3:]:
        assert the_same(members(checkpoint["state"], stopped), members(guarded[2]["state"], stopped))
        assert not the_same(members(checkpoint["state"], free), members(guarded[2]["state"], free))
    for one, other in zip(guarded, unguarded, strict=True):
        assert the_same(members(one["state"], free), members(other["state"], free))
    assert the_same(guarded[2]["state"].agent, unguarded[2]["state"].agent)
    training = reference.dataset(runs.TRAINING)
    rows = training.sel(schedule=["help", "smile"], seed=1).isel(update=slice(6, None))
    for name, values in rows.data_vars.items():
        if "update" in values.dims and name != "under":
            wanted = {"episodes": 0, "schedule_update": -1, "phase": -1}.get(name, np.nan)
            np.testing.assert_array_equal(values, np.full(values.shape, wanted), name)
    before = training.isel(update=slice(0, 6)).drop_dims(["guard", "checkpoint"])
    assert before.identical(plain.dataset(runs.TRAINING).isel(update=slice(0, 6)).assign_attrs(before.attrs))


def test_a_note_changes_nothing(plain, tmp_path):
    note = GUARDS.partition('then = { switch = "help" }')[0] + 'then = { note = "seen" }\n'
    told = []
    run = trained(tmp_path / "run", study(note), tell=told.append)
    training = run.dataset(runs.TRAINING)
    assert training["guard_fired"].sel(schedule="smile").values.tolist() == [[3840, 3840]]
    assert training.drop_dims(["guard", "checkpoint"]).identical(plain.dataset(runs.TRAINING))
    for one, other in zip(parts(run), parts(plain), strict=True):
        assert the_same(one["state"], other["state"])
        assert the_same(one["metrics"], other["metrics"])
    (text,) = [n.text for n in told if n.stage == "note"]
    assert text.startswith("guard at 3,840 steps: bid (goal clown) above 0 in 2 of 16 members (mean 0.")
    assert text.endswith("): seen")


def test_what_guards_saw_and_did_is_recorded(reference):
    training = reference.dataset(runs.TRAINING)
    fired = training["guard_fired"]
    steps = {"away": {"smile": [3840, 3840]}, "on": {"smile too": [3840, 3840]}}
    steps["stop"] = {"help": [np.nan, 3840], "smile": [np.nan, 3840]}  # guards of one checkpoint act in turn
    for guard in ("away", "on", "stop", "never"):
        for schedule in training["schedule"].values:
            wanted = steps.get(guard, {}).get(schedule, [np.nan, np.nan])
            np.testing.assert_array_equal(fired.sel(guard=guard, schedule=schedule), wanted)
    read = [Cheap(None).read(p["state"].agent.params).bid[:, 0] for p in parts(reference)]
    seen = training["guard_seen"].sel(guard="never").transpose("checkpoint", "schedule", "seed").values.reshape(5, -1)
    stopped = [of("help").start + 1, of("smile").start + 1]
    wanted = np.array(read, np.float32)
    wanted[0] = np.nan  # before training nobody looks
    wanted[2:, stopped] = np.nan  # this guard comes after the one that halts
    np.testing.assert_array_equal(seen, wanted)


def test_what_was_in_force_is_recorded(reference):
    training = reference.dataset(runs.TRAINING)
    weight, first = training["weight"], training.isel(seed=0)
    zeros = dict.fromkeys(names(WORLDS["smile"]).channels, 0.0)

    def paid(schedule: str) -> list[str]:
        """Which channel each update paid for."""
        rows = weight.sel(schedule=schedule, seed=0)
        assert (rows.sum("channel") == 1).all()
        return rows["channel"].values[rows.argmax("channel").values].tolist()

    assert set(zeros) == set(weight["channel"].values)
    assert paid("smile") == paid("smile, then help") == ["smile"] * 6 + ["helped"] * 6
    assert first["under"].sel(schedule="smile").values.tolist() == [1] * 6 + [0] * 6
    assert first["under"].sel(schedule="smile too").values.tolist() == [2] * 6 + [4] * 6
    assert first["phase"].sel(schedule="smile").values.tolist() == [0] * 12
    assert first["phase"].sel(schedule="smile, then help").values.tolist() == [0] * 6 + [1] * 6
    assert first["schedule_update"].sel(schedule="smile").values.tolist() == list(range(12))


def test_what_was_achieved_moves_the_schedule_and_is_recorded(reference):
    training = reference.dataset(runs.TRAINING)
    for seed in range(2):
        rows = training.sel(schedule="early").isel(seed=seed)
        met = int(np.argmax(rows["episodes"].values > 0))  # any mean of the channel is above −1
        assert met < 8
        assert rows["schedule_update"].values.tolist() == [*range(met + 1), *range(9, 9 + 11 - met)]
        assert rows["phase"].values.tolist() == [0] * (met + 1) + [1] * (11 - met)
        assert rows["weight"].sel(channel="smile").values.tolist() == [1] * (met + 1) + [0] * (11 - met)
        assert rows["weight"].sel(channel="helped").values.tolist() == [0] * (met + 1) + [1] * (11 - met)
    rows = training.sel(schedule="waits")
    assert (rows["schedule_update"] == [*range(6), *[5] * 6]).all()
    assert (rows["phase"] == 0).all()
    assert (rows["weight"].sel(channel="smile") == 1).all()
