"""What is said of a run, on numbers that are known."""

import numpy as np
import pytest

from chisel.build.build import load_study
from chisel.runs import store as run
from chisel.terminal import describe
from tests.report.small import by_phase, training
from tests.tiny import TINY_STUDY

GUARD = """
[[guard]]
name = "stop"
watch = ["help"]
when = { reading = "bid", goal = "clown", above = 0.5 }
then = { halt = true }
"""


@pytest.fixture
def made(tmp_path):
    """A run of the tiny study, and of what follows it, that has written these numbers."""

    def make(data, more=""):
        (tmp_path / "study.toml").write_text(TINY_STUDY + more)
        this = run.create(tmp_path / "run", load_study(str(tmp_path / "study.toml")), {"backend": "cpu"})
        if data is not None:
            this.write_dataset(run.TRAINING, data)
        return describe.describe_run(this)

    return make


def trained(phase, **more):
    return training(("help", "smile, then help"), phase=phase, earned=[0.5, 0.25], weight=1.0, **more)


def test_what_was_paid_is_told_in_all_and_by_phase(made):
    phase = np.concatenate([np.zeros((1, 2, 10), int), by_phase((4,), (2,))])
    phase[0, :, 8:] = -1
    said = made(trained(phase))
    assert said["paid"].splitlines() == [
        "help: 600; phase 1 (to 800 steps) 600",
        "smile, then help: 750; phase 1 (to 200–400 steps) 225; phase 2 (to the end) 525",
    ]
    assert "guards" not in said


def test_of_many_schedules_it_is_not_told_what_was_paid(made, monkeypatch):
    monkeypatch.setattr(describe, "MOST", 1)
    assert "paid" not in made(trained(np.zeros((2, 2, 10), int)))


def test_before_training_nothing_is_told_of_it(made):
    assert not {"guards", "paid"} & set(made(None, GUARD))


@pytest.mark.parametrize(
    ("fired", "said"),
    [
        ([300, 600], "stop – help, 2 of 2 seeds (95 % interval 16 to 100 %), at 300–600 steps"),
        ([np.nan, 600], "stop – help, 1 of 2 seeds (95 % interval 1 to 99 %), at 600 steps"),
        ([np.nan, np.nan], "none acted"),
    ],
)
def test_guards_that_acted_are_told(made, fired, said):
    dims = ("guard", "schedule", "seed")
    data = trained(np.zeros((2, 2, 10), int)).assign_coords(checkpoint=[0, 300, 600])
    data = data.assign(
        guard_seen=((*dims, "checkpoint"), np.full((1, 2, 2, 3), 0.7)),
        guard_fired=(dims, np.array([[fired, [np.nan, np.nan]]])),
    )
    assert made(data, GUARD)["guards"] == said
