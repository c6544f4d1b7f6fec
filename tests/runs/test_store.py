"""The run folder: what is written is whole, what is damaged is known."""

import numpy as np
import pytest
import xarray as xr

from chisel.runs.store import FORMAT, Broken, Saver, alone, clear_unfinished, create, load_checkpoint, open_run
from chisel.study.files import WrongInput
from chisel.study.study import Study
from tests.bits import assert_same_bits


def small(**training):
    return Study.model_validate(
        {
            "world": "smile",
            "training": {"steps": 4096, "seeds": 1} | training,
            "schedule": [{"name": "help", "reward": {"helped": 1.0}}],
        }
    )


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "run", small(), {"battery": "values"})


STATE = {"a": np.float32([[-0.0, 1, 2], [3, np.nan, 5]]), "b": (np.array([1, 2], np.int32),)}
METRICS = {"paid": np.zeros((2, 0), np.float32)}
PARTS = {"state": STATE, "metrics": METRICS}


def save(run, *updates):
    saver = Saver(run)
    for u in updates:
        saver.save(u, **PARTS)
    saver.close()


def test_a_checkpoint_comes_back_bit_for_bit(run):
    save(run, 0, 2)
    assert run.saved() == [0, 2]
    assert_same_bits(load_checkpoint(run, 2, **PARTS), PARTS)


def files(run, updates):
    return [p for p in run.checkpoint(updates).rglob("*") if p.is_file() and p.stat().st_size > 0]


def test_every_truncated_or_missing_file_is_noticed(run):
    save(run, 0)
    whole = {p: p.read_bytes() for p in files(run, 0)}
    noticed = 0
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
        try:
            state = load_checkpoint(run, 0, **PARTS)["state"]
            np.testing.assert_array_equal(state["a"], STATE["a"])  # the file held nothing that matters
        except Broken as error:
            noticed += str(run.checkpoint(0)) in str(error)
        path.write_bytes(data)
    assert noticed > 0
    with pytest.raises(Broken, match="is missing"):
        load_checkpoint(run, 2, **PARTS)


def test_a_checkpoint_that_is_not_what_was_saved_is_noticed(run, monkeypatch):
    import chisel.runs.store

    with monkeypatch.context() as patch:
        patch.setattr(chisel.runs.store, "_digest", lambda arrays: np.zeros(32, np.uint8))
        save(run, 0)
    with pytest.raises(Broken, match="not what was saved"):
        load_checkpoint(run, 0, **PARTS)


A = {"state": {".one": np.arange(3, dtype=np.int32), ".two": np.ones(3, np.int32)}, "metrics": {".x": np.zeros(2)}}
OTHERS = {
    "a value": A | {"state": A["state"] | {".two": np.array([1, 1, 2], np.int32)}},
    "names exchanged": A | {"state": {".one": A["state"][".two"], ".two": A["state"][".one"]}},
    "another name": A | {"state": {".one": A["state"][".one"], ".three": A["state"][".two"]}},
    "another group": {"state": A["state"], "metric": A["metrics"]},
    "another dtype of the same bytes": A | {"state": A["state"] | {".two": A["state"][".two"].view(np.float32)}},
    "another shape of the same bytes": A | {"state": A["state"] | {".two": A["state"][".two"].reshape(3, 1)}},
    "0 and -0": A | {"metrics": {".x": -A["metrics"][".x"]}},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_digest_is_of_names_dtypes_shapes_and_bytes(what):
    import chisel.runs.store

    assert (
        chisel.runs.store._digest(A).tolist()
        == chisel.runs.store._digest({k: dict(v) for k, v in reversed(A.items())}).tolist()
    )
    assert chisel.runs.store._digest(A).tolist() != chisel.runs.store._digest(OTHERS[what]).tolist()


def test_saving_again_replaces(run):
    save(run, 0)
    (run.checkpoint(0) / "of an earlier save").write_text("x")
    save(run, 0)
    assert not (run.checkpoint(0) / "of an earlier save").exists()
    np.testing.assert_array_equal(load_checkpoint(run, 0, **PARTS)["state"]["a"], STATE["a"])


def test_same_study_opens_another_is_refused(run):
    assert create(run.path, small(), {}).study == run.study
    with pytest.raises(WrongInput, match=r"training\.seeds is 1 there and 2 here"):
        create(run.path, small(seeds=2), {})
    assert open_run(run.path).study == small()


def test_folders_that_cannot_be_runs_are_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    with pytest.raises(WrongInput, match="other things in it"):
        create(tmp_path / "notes", small(), {})
    with pytest.raises(WrongInput, match="cannot be written to"):
        create(tmp_path / "notes" / "a.txt" / "run", small(), {})
    with pytest.raises(WrongInput, match="is not a run"):
        open_run(tmp_path / "notes")
    assert [p.name for p in tmp_path.rglob("*")] == ["notes", "a.txt"]


@pytest.mark.parametrize("last", ["manifest.json", "study.toml"])
def test_killed_while_the_folder_is_made_the_same_command_goes_on(tmp_path, monkeypatch, last):
    import chisel.runs.store

    class Killed(BaseException):
        pass

    def kill(source, target):
        if target.name == last:
            raise Killed
        return replace(source, target)

    replace = chisel.runs.store.os.replace
    with monkeypatch.context() as patch:
        patch.setattr(chisel.runs.store.os, "replace", kill)
        with pytest.raises(Killed):
            create(tmp_path / "run", small(), {})
    assert list((tmp_path / "run").iterdir())  # something was left
    create(tmp_path / "run", small(), {})
    assert open_run(tmp_path / "run").manifest()["seeds"] == [0]


@pytest.mark.parametrize("other", [1, 99])
def test_another_format_is_refused(run, other):
    run.note(format=other)
    with pytest.raises(WrongInput, match=f"run format {other}; this chisel knows {FORMAT}"):
        open_run(run.path)


def test_a_checkpoint_has_exactly_the_parts_that_are_asked_for(run):
    """Of a study with guards and of one without: neither passes for the other."""
    save(run, 0)
    with pytest.raises(Broken, match="cannot be read"):
        load_checkpoint(run, 0, **PARTS, watch={"fired": np.zeros(2, np.int32)})
    with pytest.raises(Broken, match=r"cannot be read|not what was saved"):
        load_checkpoint(run, 0, state=STATE)


def test_two_processes_do_not_share_a_run(run):
    with alone(run.path), pytest.raises(WrongInput, match="another process"), alone(run.path):
        pass
    with alone(run.path):
        pass
    (run.path / ".lock").unlink()
    (run.path / ".lock").mkdir()  # stands for any reason why it cannot be opened
    with pytest.raises(WrongInput, match="cannot be written to"), alone(run.path):
        pass


def test_equal_datasets_give_equal_bytes(run):
    data = xr.Dataset({"x": (("schedule", "seed"), np.arange(4.0).reshape(2, 2))}, coords={"schedule": ["é", "b"]})
    run.write_dataset("a.nc", data)
    run.write_dataset("b.nc", data.copy(deep=True))
    assert (run.path / "a.nc").read_bytes() == (run.path / "b.nc").read_bytes()
    xr.testing.assert_identical(run.dataset("a.nc"), data)
    with pytest.raises(WrongInput, match=r"has no readings\.nc yet"):
        run.dataset("readings.nc")


def test_what_a_killed_process_left_is_cleared(run):
    save(run, 0)
    half = run.checkpoints / "000000004096.orbax-checkpoint-tmp-7"
    half.mkdir()
    (run.path / ".training.nc.writing").write_text("x")
    clear_unfinished(run)
    assert run.saved() == [0]
    assert not half.exists()
    assert not (run.path / ".training.nc.writing").exists()
