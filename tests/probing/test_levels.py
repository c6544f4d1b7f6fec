"""Levels that agents are evaluated on: whose they are, what can be reached in them, and that the data say so."""

import json

import jax
import numpy as np
import pytest
import xarray as xr

from chisel import lab
from chisel.agents.networks import Form, make_network
from chisel.build.build import levels_vary, load_study
from chisel.probing.battery import check_battery
from chisel.probing.dataset import dataset
from chisel.probing.reader import Reader
from chisel.runs import store as runs
from chisel.runs.train import level_params
from chisel.study.battery import Battery, load_battery
from chisel.study.files import WrongInput
from chisel.worlds import WORLDS
from chisel.worlds.world import World, defaults, names
from tests.bits import assert_same_bits

MAZE, GALLERY, SMILE = WORLDS["maze"], WORLDS["gallery"], WORLDS["smile"]
EPISODES = 16


def network_of(world: World):
    return make_network(names(world).observation, len(world.actions), Form((8,)))


def reader_of(world: World, more: dict | None = None, params: dict | None = None, **asked) -> Reader:
    raw = {"readings": ["returns"], "bank": {"layouts": 32}, "returns": {"episodes": EPISODES}, "levels": more or {}}
    numbers = defaults(world) | (params or {})
    return Reader(Battery.model_validate(raw), world, network_of(world), numbers, members=2, devices=1, **asked)


def untrained(world: World):
    nets = [network_of(world).init(jax.random.key(i)) for i in range(2)]
    return jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *nets)


def told(reader: Reader, trained_on: np.ndarray | None = None) -> xr.Dataset:
    """A dataset of two schedules with one seed at one checkpoint."""
    each = None if trained_on is None else trained_on[:, None]
    rows = [reader.read(untrained(reader.world), trained_on)]
    return dataset(reader, rows, ["a", "b"], 1, [0], batch=256, updates=8, trained_on=each).isel(seed=0, checkpoint=0)


def row(world: World, **params: float) -> list[float]:
    numbers = defaults(world) | params
    return [numbers[name] for name in sorted(numbers)]


def test_every_member_is_read_on_the_levels_that_it_trains_on():
    """Member by member the same bits as where those levels are the whole study's; the others are as they were."""
    own = np.array([row(MAZE), row(MAZE, corner=7.0, together=0.0)], np.float32)
    data = told(reader_of(MAZE, varied=True), own)
    usual = told(reader_of(MAZE))
    other = told(reader_of(MAZE, params={"corner": 7.0, "together": 0.0}))
    for schedule, alone in (("a", usual), ("b", other)):
        trained_on, meant = data.returns.sel(levels="training"), alone.returns.sel(levels="study")
        assert_same_bits(trained_on.sel(schedule=schedule).values, meant.sel(schedule=schedule).values)
    for name in ("study", "decorrelated"):
        assert_same_bits(data.returns.sel(levels=name).values, usual.returns.sel(levels=name).values)
    assert (data.returns.sel(levels="training", schedule="b") != data.returns.sel(levels="study", schedule="b")).any()
    np.testing.assert_array_equal(data.level_param.sel(levels="training"), own)
    np.testing.assert_array_equal(data.level_param.sel(levels="study"), np.array([row(MAZE)] * 2, np.float32))
    assert data.level_param.sel(levels="decorrelated").isnull().all()


def test_where_nothing_varies_training_is_the_study():
    data = told(reader_of(MAZE))
    for name in ("returns", "ceiling", "present", "level_param"):
        np.testing.assert_array_equal(data[name].sel(levels="training"), data[name].sel(levels="study"))


SETS = {"all": {"gold_coin": 1.0}, "none": {"gold_coin": 0.0, "silver_coin": 0.0}}


def test_a_battery_names_distributions_and_each_has_its_own_ceiling_and_presences():
    """A level's ceiling in the gallery is 1 with a gold coin and 0 without; nothing but the coins differs."""
    data = told(reader_of(GALLERY, SETS, {"gold_coin": 0.5}))
    assert data.levels.values.tolist() == ["training", "study", "decorrelated", "all", "none"]
    best = data.ceiling.sel(channel="gold_coin", schedule="a")
    gold = data.present.sel(goal="gold_coin", schedule="a")
    assert (best.sel(levels="all"), best.sel(levels="none")) == (1, 0)
    assert (gold.sel(levels="all"), gold.sel(levels="none")) == (1, 0)
    assert 0 < gold.sel(levels="study") < 1
    np.testing.assert_array_equal(best, gold)
    assert data.present.sel(goal="silver_coin", levels="none").sum() == 0
    assert data.level_param.sel(levels="none", param_name="walls", schedule="a") == np.float32(
        GALLERY.params["walls"].default
    )
    assert (data.returns.sel(channel="gold_coin", levels="none") == 0).all()
    assert (data.returns.sel(channel="gold_coin") <= data.ceiling.sel(channel="gold_coin")).all()
    said = json.loads(data.attrs["levels"])
    assert said["none"] == "levels with gold_coin = 0, silver_coin = 0, the rest as in `study`"
    assert list(said) == data.levels.values.tolist()


def test_only_half_of_decorrelated_levels_have_the_thing_and_the_data_say_so():
    """Each goal is there with a chance of one half: 16 levels have 2 to 14 of them but once in 2,000."""
    found = told(reader_of(MAZE)).isel(schedule=0)
    share = found.present.sel(levels="decorrelated")
    assert 2 / EPISODES <= share.sel(goal="cheese") <= 14 / EPISODES
    assert share.sel(goal="corner") == 1  # a place
    assert found.present.sel(levels="study").values.tolist() == [1, 1, 1]
    assert found.ceiling.sel(levels="decorrelated", channel="cheese") == share.sel(goal="cheese")


def test_what_more_a_battery_asks_for_leaves_the_rest_as_it_is():
    """Bit for bit, on every distribution."""
    few, many = told(reader_of(GALLERY)), told(reader_of(GALLERY, SETS))
    same = many.returns.sel(levels=few.levels)
    xr.testing.assert_identical(few.returns, same)
    assert_same_bits(few.returns.values, same.values)


def test_ceilings_are_the_mean_over_the_very_levels_that_are_played():
    reader = reader_of(SMILE, {"far": {"clown_distance": 4.0, "full_cup": 1.0}})
    found = told(reader).ceiling.sel(channel="helped", schedule="a")
    for i, name in enumerate(reader.levels.names[1:]):
        states = [jax.tree.map(lambda x, i=i, j=j: x[i, j], reader.subject.levels.states) for j in range(EPISODES)]
        best = [float(SMILE.ceiling(state)["helped"]) for state in states]
        np.testing.assert_allclose(found.sel(levels=name), np.mean(best), rtol=1e-6)


# What a battery may name

WRONG = {
    "parameter": ("far = { clown_distanc = 3 }", 2, "levels.far: unknown parameter of world 'smile' 'clown_distanc'; did you mean 'clown_distance'"),
    "bounds": ("far = { clown_distance = 99 }", 2, "levels.far.clown_distance is 99; expected between 1 and 6"),
    "own": ("training = { clown = 1 }", 2, "levels.training: every battery plays these already (levels as the schedule"),
    "nothing": ("far = {}", 2, "levels.far is {}; expected"),
    "number": ("clown = 1", 2, "levels.clown is 1; expected"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), WRONG.values(), ids=WRONG)
def test_levels_that_cannot_be_are_refused_by_their_place(tmp_path, text, line, says):
    path = tmp_path / "mine.toml"
    path.write_text(f"[levels]\n{text}\n")
    with pytest.raises(WrongInput) as error:
        check_battery(load_battery(str(path))[0], str(path), SMILE, network_of(SMILE))
    assert f"mine.toml, line {line}: {says}" in str(error.value)


# Whose levels members train on

STUDY = """
world = "maze"
agent = { network = { widths = [8] } }
[training]
steps = 2048
seeds = 2
worlds = 16
rollout = 16
checkpoints = { count = 2, spacing = "even" }
[[schedule]]
name = "corner"
reward = { cheese = 1.0 }
[[schedule]]
name = "away"
phases = [
  { until = 0.5, reward = { cheese = 1.0 } },
  { until = 1.0, reward = { cheese = 1.0 }, world_params = { corner = [[0.5, 3.0], [1.0, 7.0]] } },
]
[[guard]]
when = { reading = "returns", channel = "cheese", below = 9 }
then = { note = "seen" }
[[guard]]
when = { reading = "returns", channel = "cheese", levels = "anywhere", below = 9 }
then = { note = "seen there" }
"""


def test_a_run_says_on_which_levels_each_number_is(tmp_path):
    """The last checkpoint is of the levels of the last of 8 updates, in the middle of which the corner is
    3 + 4 · (15/16 − 1/2) / (1/2) = 6.5 wide; a guard sees the same.
    """
    study, battery = tmp_path / "study.toml", tmp_path / "battery.toml"
    study.write_text(STUDY)
    battery.write_text(
        f'readings = ["returns"]\nlevels = {{ anywhere = {{ corner = 7 }} }}\nbank = {{ layouts = 32 }}\n'
        f"returns = {{ episodes = {EPISODES} }}\n"
    )
    this = runs.create(tmp_path / "run", load_study(str(study)), {})
    lab.train(this, str(battery))
    lab.read(this, str(battery))
    training, data = this.dataset(runs.TRAINING), this.dataset(runs.READINGS)
    assert data.checkpoint.values.tolist() == [0, 1024, 2048]
    corner = data.level_param.sel(param_name="corner")
    np.testing.assert_allclose(corner.sel(levels="training", schedule="away"), [[1, 1, 6.5]] * 2, rtol=1e-6)
    assert (corner.sel(levels="study") == 1).all()
    assert (corner.sel(levels="anywhere") == 7).all()
    for number, name in enumerate(("training", "anywhere")):
        seen = training["guard_seen"].isel(guard=number, checkpoint=slice(1, None))
        read = data["returns"].sel(levels=name, channel="cheese").isel(checkpoint=slice(1, None))
        np.testing.assert_array_equal(seen.transpose(*read.dims), read)
    away = data.returns.sel(schedule="away", channel="cheese", checkpoint=2048)
    assert (away.sel(levels="training") != away.sel(levels="study")).any()


def test_levels_vary_by_schedule_or_by_progress(tmp_path):
    plain = STUDY.split("[[guard]]")[0].replace(", world_params = { corner = [[0.5, 3.0], [1.0, 7.0]] }", "")
    head = 'world = "maze"\nworld_params = {{ corner = {} }}'
    cases = {plain: False, STUDY: True}
    cases |= {
        plain.replace('world = "maze"', head.format(x)): y for x, y in (("7.0", False), ("[[0, 1.0], [1, 7.0]]", True))
    }
    for text, varies in cases.items():
        (tmp_path / "study.toml").write_text(text)
        assert levels_vary(load_study(str(tmp_path / "study.toml"))) == varies


def test_a_checkpoint_has_the_levels_of_the_update_that_it_ends_and_a_halted_member_its_last():
    """By hand: a fork from update 2 to 6, one parameter; the second member is halted after update 3 (from 0)."""
    params = np.array([[[2.0, 3.0, 4.0, 5.0], [2.5, 3.5, np.nan, np.nan]]])[..., None]
    training = xr.Dataset(
        {"param": (("schedule", "seed", "update", "param_name"), params)},
        coords={"update": [2, 3, 4, 5], "param_name": ["x"]},
    )
    found = level_params(training, [0, 2, 3, 4, 6])[..., 0]
    np.testing.assert_array_equal(found, [[2, 2, 2, 3, 5], [2.5, 2.5, 2.5, 3.5, 3.5]])
    without = training.drop_vars("param").assign(paid=training["param"].isel(param_name=0, drop=True))
    assert level_params(without, [0, 6]).shape == (2, 2, 0)
