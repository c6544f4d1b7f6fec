"""What training reported, as data: steps are counted in 64 bits, on the host, in files and on charts."""

import tomllib

import jax
import numpy as np
import pytest
import xarray as xr

from chisel.build.build import resolve
from chisel.findings.series import binned
from chisel.rewards.schedule import in_force
from chisel.runs import store as runs
from chisel.study.files import WrongInput, validate
from chisel.study.study import MOST_UPDATES, Study
from chisel.training.member import Metrics
from chisel.training.record import record
from tests.tiny import TINY_STUDY

MOST_32 = 2**31 - 1


def study(**training) -> Study:
    raw = tomllib.loads(TINY_STUDY)
    raw["training"] |= training
    return validate(raw, Study, "mine.toml")


def recorded(of: Study, start: int, updates: int) -> xr.Dataset:
    """What is recorded of updates in which nothing happened."""
    resolved, members = resolve(of), len(of.schedule) * of.training.seeds
    plan, rows = resolved.plan, (members, updates)
    channels, measures = resolved.schedules.reward.times.shape[1], len(plan.agent.measures)
    zeros = Metrics(
        np.zeros((*rows, channels), np.float32),
        np.zeros(rows, np.int32),
        *np.zeros((2, *rows), np.float32),
        np.zeros((*rows, channels), np.float32),
        np.zeros(rows, np.float32),
        np.zeros(rows, np.int32),
        np.zeros((*rows, measures), np.float32),
    )
    under = np.zeros(rows, np.int32)
    return record(plan, resolved.schedules, [s.name for s in of.schedule], of.training.seeds, zeros, under, start)


def test_every_number_is_recorded_under_its_name():
    """All differ; of a member that was halted (−1 on its own clock) nothing was in force."""
    of = study()
    resolved, seeds, updates, start = resolve(of), of.training.seeds, 3, 5
    plan, members = resolved.plan, len(of.schedule) * seeds
    channels, draw = resolved.schedules.reward.times.shape[1], np.random.default_rng(0)
    at = np.array([[0, 1, -1], [0, 7, 3], [4, -1, 0], [2, 5, 6]], np.int32)
    sizes = [(channels,), (), (), (), (channels,), (), None, (len(plan.agent.measures),)]
    every = Metrics(*(at if size is None else draw.random((members, updates, *size), np.float32) for size in sizes))
    under = np.repeat(np.arange(members) // seeds, updates).reshape(members, updates)
    under[0, 1] = 1  # it was forked
    data = record(plan, resolved.schedules, [s.name for s in of.schedule], seeds, every, under, start)

    def found(name):
        return data[name].values.reshape(members, updates, *data[name].shape[3:])

    named = {"total": "totals", "episode_steps": "steps", "schedule_update": "at"}
    for name in ("total", "episodes", "episode_steps", "paid", "earned", "guidance", "schedule_update"):
        np.testing.assert_array_equal(found(name), getattr(every, named.get(name, name)), err_msg=name)
    for i, name in enumerate(plan.agent.measures):
        np.testing.assert_array_equal(found(name), every.measures[..., i], err_msg=name)
    np.testing.assert_array_equal(found("under"), under)
    assert data["update"].values.tolist() == [5, 6, 7]
    assert data.steps.values.tolist() == [of.training.batch * done for done in (6, 7, 8)]
    fields = {"weight": "reward", "learning_rate": "learning_rate", "entropy_weight": "entropy", "param": "params"}
    for member, update in np.ndindex(members, updates):
        own = jax.tree.map(lambda x: x[under[member, update]], resolved.schedules)  # noqa: B023
        now = in_force(own, at[member, update])
        for name, field in fields.items():
            meant = np.asarray(getattr(now, field)) * (np.nan if at[member, update] < 0 else 1)
            np.testing.assert_allclose(found(name)[member, update], meant, rtol=1e-6, err_msg=name)
    assert np.nanmin(found("learning_rate")) != np.nanmin(found("entropy_weight")) > 0


def test_steps_do_not_wrap_beyond_32_bits(tmp_path):
    """Update 1,048,574 at 2,048 steps each ends at 2,147,481,600; the third after it beyond 2^31. Through a file too."""
    of = study(steps=2048 * 2**21, worlds=64, rollout=32)
    data = recorded(of, start=1_048_574, updates=4)
    meant = [2_147_481_600, 2_147_483_648, 2_147_485_696, 2_147_487_744]
    assert data.steps.values.tolist() == meant
    assert data.steps.dtype == np.int64
    run = runs.create(tmp_path / "run", study(), {})
    run.write_dataset("training.nc", data)
    back = run.dataset("training.nc")
    assert back.identical(data.drop_vars([n for n, x in data.variables.items() if not x.size]))
    assert back.steps.dtype == np.int64
    with xr.open_dataset(run.path / "training.nc") as plain:  # without chisel
        assert plain.steps.values.tolist() == meant


def test_charts_are_drawn_at_steps_beyond_32_bits():
    data = recorded(study(steps=2048 * 2**21, worlds=64, rollout=32), start=1_048_574, updates=4)
    _, middles = binned(data)
    assert middles[-1] == (2_147_485_696 + 2_147_487_744) / 2


def test_a_study_of_ten_billion_steps_is_one_and_its_checkpoints_are_counted_right():
    of = study(steps=10_000_007_168, worlds=64, rollout=32)
    assert of.checkpoint_updates[-1] * of.training.batch == 10_000_007_168 > MOST_32
    assert study(steps=4_294_967_296, worlds=64, rollout=32).training.updates == 2**21


def test_more_updates_than_single_precision_tells_apart_are_refused():
    with pytest.raises(WrongInput, match=r"training\.steps.*8388609 updates.*expected at most 17179869184 steps"):
        study(steps=(MOST_UPDATES + 1) * 2048, worlds=64, rollout=32)


@pytest.mark.parametrize("updates", [MOST_UPDATES, MOST_UPDATES - 1, 8_000_003])
def test_phase_edges_fall_between_two_updates_up_to_the_most(updates):
    """Progress and edges in single precision, as `in_force` has them, for the two updates beside random edges."""
    edges = np.random.default_rng(0).integers(1, updates, 20_000)
    times = (edges / updates).astype(np.float32)
    before, after = ((edges + shift).astype(np.float32) / np.float32(updates) for shift in (-0.5, 0.5))
    assert (before < times).all()
    assert (after >= times).all()


def test_returns_are_pooled_by_episodes_and_not_by_updates():
    """One update with a short episode that found it, and one with three that did not: a quarter, and not a half."""
    size = {"schedule": 1, "seed": 1, "update": 120, "channel": 1}
    totals = np.tile([1.0, 0.0], 60).reshape(tuple(size.values()))
    data = xr.Dataset(
        {
            "total": (tuple(size), totals),
            "episodes": (("schedule", "seed", "update"), np.tile([1, 3], 60).reshape(1, 1, 120)),
        },
        coords={"channel": ["cheese"], "steps": ("update", np.arange(1, 121)), "schedule": ["a"], "seed": [0]},
    )
    found, middles = binned(data)
    assert len(middles) == 60
    np.testing.assert_allclose(found.values.ravel(), 0.25)
