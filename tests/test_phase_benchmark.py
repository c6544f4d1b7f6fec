"""The benchmark of phases: which parts are run, which are told, and what its table says beside random play."""

import json

import numpy as np
import pytest

from benchmarks.phases.__main__ import chosen, finished, suite
from benchmarks.phases.table import READINGS, learned, table
from tests.findings.test_effects import planted

RANDOM = 0.31


def part(mean, seeds=6, random=True):
    """A part in `smile` whose learner has this return in the mean, a little more in cells that begin well."""
    found = planted(weights=(0.02, 0.01, 0.0), seeds=seeds, arms=False)
    own = found["returns"]
    scatter = np.linspace(-0.02, 0.02, seeds)[:, None, None, None]
    found["returns"] = (own.dims, np.broadcast_to(scatter + mean, own.shape).copy())
    found["returns"][:4] += 0.02
    if random:
        lead = ("levels", "channel")
        found["random_return"] = (lead, np.full((2, 1), RANDOM))
        found["random_return_error"] = (lead, np.full((2, 1), 0.01))
    told = {"true_channels": json.dumps(["helped"]), "channel_ranges": json.dumps({"helped": [0, None]})}
    return found.assign_attrs(told | {"random_plays": 8})


def saved(tmp_path, **parts):
    for name, readings in parts.items():
        folder = tmp_path / name.replace("_", "-")
        folder.mkdir()
        readings.to_netcdf(folder / "readings.nc", engine="scipy")
        (folder / "report.html").touch()
    return finished(tmp_path, suite(2))


def test_a_world_has_a_row_of_random_play_and_learners_below_it_have_no_shares(tmp_path):
    runs = saved(tmp_path, smile_ppo=part(0.8), smile_dqn=part(0.1), smile_other=part(0.8, random=False))
    assert next(iter(runs)) == "smile/ppo"
    lines = [line.split(" | ") for line in table(runs)[2:]]
    assert lines[0][0] == "| smile, **random play**"
    assert lines[0][2] == "0.31 ± 0.02; ceiling 1.00"
    of = {name: [line for line in lines if line[0] == f"| smile, {name}"] for name in ("ppo", "dqn", "other")}
    assert all([line[1] for line in own] == list(READINGS["smile"]) for own in of.values())
    assert of["ppo"][0][2].startswith("0.81 (0.")
    assert "below" not in " ".join(of["ppo"][0])
    assert of["ppo"][0][3].startswith("+0.02")
    assert of["dqn"][0][2].endswith("; **below random play**, below it in 8 of 8 cells")
    assert [line[3] for line in of["dqn"] if "same in all" not in line[3]] == ["not read: below random play"] * 3
    assert "below" not in " ".join(of["other"][0]), "what was not read is not judged"


def test_a_learner_of_which_some_cells_are_below():
    readings = part(0.8)
    readings["returns"][:2, :, -1] = 0.05 + np.linspace(0, 0.02, 6)[:, None, None]
    found = learned(readings)
    assert not found.below
    assert found.cells == (2, 8)


def test_parts_are_chosen_by_world_learner_or_both():
    names = list(suite(2))
    assert chosen(None, names) == names
    assert chosen(["smile"], names) == [n for n in names if n.startswith("smile/")]
    assert chosen(["ppo"], names) == [n for n in names if n.endswith("/ppo")]
    assert chosen(["maze/ppo", "vault/ppo"], names) == ["maze/ppo", "vault/ppo"]
    with pytest.raises(SystemExit, match="--only pppo: expected"):
        chosen(["pppo"], names)


def test_results_of_other_learners_are_kept(tmp_path):
    for name in ("vault-ppo", "smile-retired", "smile-ppo", "unrelated"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").touch()
    (tmp_path / "maze-ppo").mkdir()  # not finished
    assert list(finished(tmp_path, suite(2))) == ["smile/ppo", "smile/retired", "vault/ppo"]
