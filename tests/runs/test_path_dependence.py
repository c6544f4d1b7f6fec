"""Path dependence of a run, from its folder to numbers with names."""

import json
import shutil

import jax
import numpy as np
import pytest
import xarray as xr

from chisel import lab
from chisel.analysis.paths import js_distance
from chisel.build.build import load_study
from chisel.probing.bank import make_bank
from chisel.probing.paths import action_probabilities
from chisel.runs import path_dependence as paths
from chisel.runs.path_dependence import paths as path_dependence
from chisel.runs.store import READINGS, create
from chisel.runs.train import load_members, population_of
from chisel.study.files import WrongInput
from tests.tiny import TINY_STUDY

AGAIN = '[[schedule]]\nname = "help again"\nreward = { helped = 1.0 }\n'
BATTERY = 'readings = ["bid"]\nbank = { layouts = 32 }\nreturns = { episodes = 4 }\n'
SAME, APART = "help | help again", "help | smile, then help"


def trained(folder, text):
    """A run, trained and read; and the battery it was read with."""
    (folder / "tiny.toml").write_text(text)
    (folder / "battery.toml").write_text(BATTERY)
    battery = str(folder / "battery.toml")
    run = create(folder / "run", load_study(str(folder / "tiny.toml")), {"battery": battery})
    lab.train(run, battery, 2)
    lab.read(run, battery, 2)
    return run, battery


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two schedules that are the same under two names, and a third; three seeds."""
    text = TINY_STUDY.replace("seeds = 2", "seeds = 3").replace(
        '[[schedule]]\nname = "smile', f'{AGAIN}[[schedule]]\nname = "smile'
    )
    run, battery = trained(tmp_path_factory.mktemp("finished"), text)
    news = []
    return (
        run,
        battery,
        path_dependence(run, battery, devices=2, tell=news.append),
        [n.text for n in news if n.stage == "note"],
    )


def changed(finished, tmp_path, change):
    """The same run with other readings."""
    shutil.copytree(finished[0].path, tmp_path / "run")
    run = lab.open_run(tmp_path / "run")
    run.write_dataset(READINGS, change(run.dataset(READINGS)))
    return run


def test_every_number_has_a_name_and_a_unit_and_survives_a_file(finished, tmp_path):
    data = finished[2]
    named = {"schedule", "seed", "other_schedule", "other_seed", "pair", "first", "second", "channel", "goal"}
    for name, value in data.variables.items():
        assert name in named or (value.attrs["long_name"] and value.attrs["units"]), name
    assert data.pair.values.tolist() == [SAME, APART, "help again | smile, then help"]
    assert (str(data.second.sel(pair=SAME).values), data.sizes["alpha"]) == ("help again", 11)
    data.to_netcdf(tmp_path / "paths.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "paths.nc", engine="scipy") as again:
        xr.testing.assert_identical(again.load(), data)
    assert (data.attrs["states"], data.attrs["episodes"], data.attrs["world"]) == (32, 4, "smile")


def test_members_are_matched_at_their_own_checkpoints_and_never_untrained(finished):
    run, _, data, _ = finished
    readings = run.dataset(READINGS).returns.sel(levels="training", channel="helped")
    trained_ = readings.isel(checkpoint=slice(1, None))
    assert data.attrs["target"] == pytest.approx(float(trained_.mean("seed").max("checkpoint").min()))
    assert data.attrs["untrained_return"] == pytest.approx(float(readings.isel(checkpoint=0).mean()))
    np.testing.assert_array_equal(data.matched_return, readings.sel(checkpoint=data.matched_checkpoint))
    nearest = abs(trained_ - data.attrs["target"]).min("checkpoint")
    np.testing.assert_allclose(abs(data.matched_return - data.attrs["target"]), nearest, atol=1e-6)
    assert (data.matched_checkpoint > 0).all()
    assert data.attrs["spread"] == float(data.matched_return.max() - data.matched_return.min())


def test_who_is_not_matched_is_named(finished):
    _, _, data, notes = finished
    missed = json.loads(data.attrs["not_matched"])
    for schedule in data.schedule.values:
        for seed in data.seed.values:
            far = abs(data.matched_return.sel(schedule=schedule, seed=seed) - data.attrs["target"])
            assert (f"{schedule}, seed {seed}" in missed) == bool(far > data.attrs["tolerance"])
    assert any(note.startswith(f"returns were not matched in {len(missed)} of 9 members") for note in notes)
    assert any("hardly above the untrained agents'" in note for note in notes) == (
        data.attrs["target"] - data.attrs["untrained_return"]
        < 0.1 * (data.attrs["highest_return"] - data.attrs["untrained_return"])
    )


def test_schedules_that_are_the_same_leave_the_same_agents(finished):
    """Bit for bit, so that nothing lies between them; they stay, and are counted."""
    _, _, data, notes = finished
    same, other = data.sel(pair=SAME), data.sel(pair=APART)
    assert same.same_matched.all()
    assert same.same_last.all()
    assert (same.same_until == 2048).all()
    assert (data.attrs["same_pairs_matched"], data.attrs["same_pairs_last"]) == (
        int(data.same_matched.sum()), int(data.same_last.sum()),
    )  # fmt: skip
    for seed in range(3):
        at = {"schedule": "help", "other_schedule": "help again", "seed": seed, "other_seed": seed}
        assert float(data.distance.sel(at)) == 0
    assert (float(same.divergence), float(same.divergence_p)) == (pytest.approx(0, abs=1e-12), 1)
    assert (same.loss_barrier == 0).all()
    assert (same.bid_barrier == 0).all()
    assert (other.bid_barrier > 0).any()
    assert (other.same_until == 0).all(), "they part with the first update"
    assert any("agents of" in note and "3 in the end" in note for note in notes)


def test_distances_are_of_policies_that_differ(finished):
    data = finished[2]
    flat = data.distance.values.reshape(9, 9)
    np.testing.assert_array_equal(flat, flat.T)
    assert (np.diag(flat) == 0).all()
    assert ((data.within > 0) & (data.within < 1)).all()
    assert int(data.rearrangements[0]) == 4
    assert int(data.overall_rearrangements) == 36
    assert (data.divergence_low <= data.divergence).all()


def test_distances_are_of_the_agents_at_their_matched_checkpoints(finished):
    run, _, data, _ = finished
    population, keys = population_of(run.study, 2)
    seen = make_bank(population.plan.world, 32).observations

    def policy(schedule, seed):
        """Of a member as it was saved, by its number in the population."""
        at = data.matched_checkpoint.sel(schedule=schedule, seed=seed)
        members = load_members(run, population, keys, int(at) // run.study.training.batch).agent.params
        number = ["help", "help again", "smile, then help"].index(schedule) * 3 + seed
        own = jax.tree.map(lambda x: x[number], members)
        return np.asarray(action_probabilities(population.plan.agent.network, own, seen))

    mine, theirs = ("help", 0), ("smile, then help", 1)
    found = data.distance.sel(schedule=mine[0], seed=mine[1], other_schedule=theirs[0], other_seed=theirs[1])
    assert float(found) == pytest.approx(float(js_distance(policy(*mine), policy(*theirs)).mean()), rel=1e-3)


def test_lines_end_at_the_agents_that_were_read(finished):
    run, _, data, _ = finished
    last = run.dataset(READINGS).isel(checkpoint=-1)
    for pair in data.pair:
        for end, schedule in ((0.0, data.first), (1.0, data.second)):
            own, here = last.sel(schedule=schedule.sel(pair=pair).item()), data.sel(pair=pair, alpha=end)
            np.testing.assert_allclose(here.returns, own.returns.sel(levels="training"), atol=1e-5)
            np.testing.assert_allclose(here.bid, own.bid, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(here.loss, -own.returns.sel(levels="training", channel="helped"), atol=1e-5)


def test_only_the_pairs_that_are_asked_for_count(finished, monkeypatch):
    run, battery, whole, _ = finished
    data = path_dependence(run, battery, pairs=[("smile, then help", "help")], points=3, devices=2)
    assert data.schedule.values.tolist() == ["help", "smile, then help"]
    assert json.loads(data.attrs["schedules_left_out"]) == ["help again"]
    there, back = whole.sel(pair=APART), data.isel(pair=0)
    np.testing.assert_allclose(back.loss_middle, there.loss_middle, atol=1e-5)
    np.testing.assert_allclose(back.loss.values[:, ::-1], there.loss.sel(alpha=[0, 0.5, 1]), atol=1e-5)
    assert float(data.overall_divergence) == pytest.approx(float(back.divergence))
    news = []
    monkeypatch.setattr(paths, "FIRST", 2)
    first = path_dependence(run, battery, points=3, devices=2, tell=news.append)
    assert first.pair.values.tolist() == [SAME]
    assert any("the first 2 schedules; left out: 'smile, then help'" in n.text for n in news)


def test_who_has_diverged_is_left_out(finished, tmp_path):

    def lose(readings):
        readings["diverged"].loc[{"schedule": "help", "seed": 1, "checkpoint": readings.checkpoint[1:]}] = True
        return readings

    found = path_dependence(changed(finished, tmp_path, lose), finished[1], points=3, devices=2)
    assert np.isnan(found.matched_checkpoint.sel(schedule="help", seed=1))
    assert np.isnan(found.distance.sel(schedule="help", seed=1)).all()
    assert np.isnan(found.loss.sel(pair=APART, seed=1)).all()
    assert not np.isnan(found.loss.sel(pair="help again | smile, then help")).any()
    assert found.rearrangements.values.tolist() == [2, 2, 4]
    assert not np.isnan(found.divergence).any()
    assert "help, seed 1" in json.loads(found.attrs["not_matched"])


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ({"schedule": "help"}, "all agents of 'help' have diverged"),
        ({"seed": [0, 1]}, "of all but one seed have diverged"),
    ],
)
def test_where_too_many_have_diverged_nothing_is_compared(finished, tmp_path, lost, message):
    def lose(readings):
        readings["diverged"].loc[lost] = True
        return readings

    with pytest.raises(WrongInput, match=message):
        path_dependence(changed(finished, tmp_path, lose), finished[1], devices=2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pairs": [("help", "smile then help")]}, r"pairs\[0\]: unknown schedule 'smile then help'; did you mean 'smile, then help'"),
        ({"pairs": [("help", "help")]}, r"pairs\[0\] is \('help', 'help'\); expected two different schedules"),
        ({"pairs": [("help", "help again"), ("help again", "help")]}, r"pairs\[1\]: 'help again' and 'help' are given twice"),
        ({"pairs": []}, "expected one or more"),
        ({"points": 10}, "points=10: expected an odd number of at least 3; try 11"),
        ({"battery": "vaules"}, "did you mean 'values'"),
    ],
)  # fmt: skip
def test_what_was_asked_wrongly_is_refused(finished, asked, message):
    with pytest.raises(WrongInput, match=message):
        path_dependence(finished[0], **({"battery": finished[1], "devices": 2} | asked))


def test_what_cannot_be_compared_is_refused(finished, tmp_path):
    for name, fewer, message in (
        ("a", {"schedule": [0]}, "has one schedule, 'help'"), ("b", {"seed": [0]}, "has one seed"),
    ):  # fmt: skip
        run = changed(finished, tmp_path / name, lambda readings, fewer=fewer: readings.isel(fewer).drop_encoding())
        with pytest.raises(WrongInput, match=message):
            path_dependence(run, finished[1], devices=2)
    (run.path / READINGS).unlink()
    with pytest.raises(WrongInput, match=r"has no readings\.nc yet"):
        path_dependence(run, finished[1], devices=2)


def test_a_world_without_goals_has_no_bids_and_says_why(tmp_path):
    text = TINY_STUDY.replace('"smile"', '"gymnax:CartPole-v1"').replace("helped =", "reward =")
    run, battery = trained(tmp_path, text.replace("smile =", "reward ="))
    news = []
    data = path_dependence(run, battery, points=3, devices=2, tell=news.append)
    assert not {"bid", "bid_barrier", "goal"} & set(data.variables)
    assert json.loads(data.attrs["left_out"]) == {"bid": "the world names no goals"}
    assert any(n.text == "bid is not measurable here: the world names no goals" for n in news)
    assert (data.loss < 0).all()
    assert data.same_last.all(), "both schedules pay for the same"
