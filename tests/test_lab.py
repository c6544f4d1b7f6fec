"""The order of work: a run that is killed, damaged or spread otherwise ends in the same bits."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from chisel import lab
from chisel.build.build import load_study
from chisel.runs import estimate
from chisel.runs import store as runs
from chisel.study.files import WrongInput
from tests.tiny import TINY_BATTERY, TINY_STUDY

RESULTS = ("training.nc", "readings.nc")


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A tiny study, run to its end without interruption: (study file, battery file, run folder, news)."""
    folder = tmp_path_factory.mktemp("reference")
    study, battery = folder / "tiny.toml", folder / "battery.toml"
    study.write_text(TINY_STUDY)
    battery.write_text(TINY_BATTERY)
    news = []
    page = lab.run(load_study(str(study)), folder / "run", str(battery), 2, news.append)
    assert page == folder / "run" / "report.html"
    return study, battery, folder / "run", news


def test_a_run_leaves_what_was_promised(reference):
    _, _, folder, news = reference
    assert {p.name for p in folder.iterdir()} == {
        "study.toml", "manifest.json", "checkpoints", "training.nc", "readings.nc", "report.html", ".lock",
    }  # fmt: skip
    run = lab.open_run(folder)
    training, readings = run.dataset("training.nc"), run.dataset("readings.nc")
    assert dict(training.sizes)["update"] == 8
    assert readings.checkpoint.values.tolist() == [0, 768, 1024, 1280, 2048]
    weight = training.weight.sel(schedule="smile, then help", channel="smile")
    np.testing.assert_array_equal(weight, [[1, 1, 1, 1, 0, 0, 0, 0]] * 2)  # of both seeds
    assert not np.isnan(readings.choice.sel(goal="water", rival="clown")).any()
    np.testing.assert_array_equal(training.random_return, readings.random_return.sel(levels="training")[:, 0, -1])
    assert (readings.random_return_error.sel(channel="helped") > 0).all()
    assert training.attrs["below_baseline"] == readings.attrs["below_baseline"]
    stages = [n.stage for n in news]
    assert stages.index("compiling") < stages.index("training") < stages.index("reading") < stages.index("drawing")
    last = [n for n in news if n.stage == "training"][-1]
    assert (last.done, last.total, last.unit) == (8192, 8192, "steps")


def test_a_finished_run_says_so(reference):
    study, battery, folder, _ = reference
    before, news = results(folder), []
    lab.run(load_study(str(study)), folder, str(battery), 2, news.append)
    assert [n.text for n in news] == [f"{folder} is finished already; nothing was left to do"]
    assert results(folder) == before


def command(reference, out):
    study, battery, _, _ = reference
    return [
        sys.executable,
        "-m",
        "chisel.terminal.cli",
        "run",
        str(study),
        "--battery",
        str(battery),
        "--out",
        str(out),
    ]


def test_killed_at_any_moment_the_same_command_gives_the_same_bits(reference, tmp_path):
    """`kill -9` before, between and after checkpoints, while reading, and while drawing."""
    out = tmp_path / "run"
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    moments = {
        "a first checkpoint": lambda: (out / "checkpoints").is_dir() and any((out / "checkpoints").iterdir()),
        "a checkpoint in the middle": lambda: len(list((out / "checkpoints").glob("0*8"))) >= 2,
        "readings begun": lambda: (out / "training.nc").is_file(),
        "readings taken": lambda: (out / "readings.nc").is_file(),
    }
    killed = []
    for name, reached in moments.items():
        process = subprocess.Popen(
            command(reference, out), env=os.environ | cache, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 120
        while process.poll() is None and not reached():
            assert time.monotonic() < until, f"never reached: {name}"
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed.append(name)
        process.wait()
    assert len(killed) >= 3, f"killed only at {killed}"
    subprocess.run(command(reference, out), env=os.environ | cache, check=True, capture_output=True)
    assert results(out) == results(reference[2])


def copied(reference, tmp_path):
    shutil.copytree(reference[2], tmp_path / "run")
    return tmp_path / "run"


def rerun(reference, folder, devices=2):
    news = []
    lab.run(load_study(str(reference[0])), folder, str(reference[1]), devices, news.append)
    return [n.text for n in news if n.stage == "note"]


@pytest.mark.parametrize("kind", ["missing", "truncated"])
def test_a_broken_checkpoint_is_trained_again_from_the_last_whole_one(reference, tmp_path, kind):
    folder = copied(reference, tmp_path)
    broken = lab.open_run(folder).checkpoint(4)
    if kind == "missing":
        shutil.rmtree(broken)
    else:
        for path in broken.rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WrongInput, match=r"trains it again"):
        lab.read(lab.open_run(folder), str(reference[1]))
    notes = rerun(reference, folder)
    assert any(str(broken) in n and "training goes on from 768 steps" in n for n in notes)
    assert results(folder) == results(reference[2])
    lab.read(lab.open_run(folder), str(reference[1]))
    assert results(folder) == results(reference[2])


@pytest.mark.exact
def test_one_device_or_two_give_the_same_bits(reference, tmp_path):
    study, battery, folder, _ = reference
    lab.run(load_study(str(study)), tmp_path / "one", str(battery), devices=1)
    assert results(tmp_path / "one") == results(folder)


def test_another_battery_is_read_again(reference, tmp_path):
    folder = copied(reference, tmp_path)
    battery = tmp_path / "other.toml"
    battery.write_text(reference[1].read_text().replace("layouts = 32", "layouts = 64"))
    lab.run(load_study(str(reference[0])), folder, str(battery), 2)
    assert (folder / "training.nc").read_bytes() == (reference[2] / "training.nc").read_bytes()
    assert (folder / "readings.nc").read_bytes() != (reference[2] / "readings.nc").read_bytes()


def test_killed_between_reading_and_drawing_no_page_of_older_readings_is_left(reference, tmp_path, monkeypatch):
    folder = copied(reference, tmp_path)
    battery = tmp_path / "other.toml"
    battery.write_text(reference[1].read_text().replace("layouts = 32", "layouts = 64"))

    def killed(*args):
        raise KeyboardInterrupt

    study, before = load_study(str(reference[0])), (folder / "report.html").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(lab, "report", killed)
        with pytest.raises(KeyboardInterrupt):
            lab.run(study, folder, str(battery), 2)
    assert not (folder / "report.html").exists()
    lab.run(study, folder, str(battery), 2)
    assert (folder / "report.html").read_bytes() != before


def test_wrong_input_leaves_nothing_behind(reference, tmp_path):
    study = load_study(str(reference[0]))
    bad = tmp_path / "bad.toml"
    bad.write_text('decode = { layers = ["hiden_1"] }')
    with pytest.raises(WrongInput, match=r"decode\.layers: unknown layer 'hiden_1'; did you mean 'hidden_1'"):
        lab.run(study, tmp_path / "out", str(bad))
    misnamed = study.model_copy(update={"true": ["helpd"]})  # built in Python, so that no file has been checked
    with pytest.raises(WrongInput, match="study: true: unknown channel 'helpd'; did you mean 'helped'"):
        lab.run(misnamed, tmp_path / "out", str(reference[1]))
    with pytest.raises(WrongInput, match="expected at least 1"):
        lab.run(study, tmp_path / "out", devices=0)
    assert not (tmp_path / "out").exists()


def test_another_study_in_the_folder_is_left_alone(reference, tmp_path):
    folder = copied(reference, tmp_path)
    before = results(folder)
    with pytest.raises(WrongInput, match=r"training\.seeds is 2 there and 3 here"):
        lab.run(load_study(str(reference[0])).replaced(seeds=3), folder, str(reference[1]))
    assert results(folder) == before


def test_check_counts_without_writing(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = estimate.check(load_study(str(reference[0])), devices=2, measure=False)
    assert (plan.members, plan.updates, plan.steps, plan.devices) == (4, 8, 8192, 2)
    assert plan.checkpoints == [0, 768, 1024, 1280, 2048]
    size = sum(p.stat().st_size for p in (reference[2] / "checkpoints").rglob("*") if p.is_file())
    assert 0.1 * plan.disk < size < 10 * plan.disk
    assert list(tmp_path.iterdir()) == []
    assert runs.runs_in(tmp_path) == []


def test_a_world_of_which_little_is_known_is_trained_read_and_reported(tmp_path):
    """No goals, no features, no level parameters: what is left is what happened."""
    text = (
        TINY_STUDY.replace('"smile"', '"gymnax:CartPole-v1"')
        .replace("helped =", "reward =")
        .replace("smile =", "reward =")
    )
    (tmp_path / "tiny.toml").write_text(text)
    (tmp_path / "battery.toml").write_text("bank = { layouts = 16 }\nreturns = { episodes = 2 }\n")
    news = []
    page = lab.run(
        load_study(str(tmp_path / "tiny.toml")), tmp_path / "run", str(tmp_path / "battery.toml"), 2, news.append
    )
    run = lab.open_run(tmp_path / "run")
    training, readings = run.dataset("training.nc"), run.dataset("readings.nc")
    assert "param" not in training
    assert np.isfinite(training["paid"]).all()
    assert (readings["returns"] > 0).all()
    assert not {"bid", "total_effect", "choice", "score", "skill"} & set(readings)
    assert any("bid is not measurable here" in told.text for told in news)
    assert "Not measurable here" in page.read_text()
