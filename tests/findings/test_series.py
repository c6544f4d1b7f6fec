"""Numbers in the shape that is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from chisel.findings.payments import stays
from chisel.findings.series import BINS, batch_of, binned, step_edges, stretches
from chisel.training.rollout import at_random, begin, collect
from chisel.worlds import load_world
from chisel.worlds.world import defaults, names
from tests.report.small import BATCH, training


def test_stretches_are_means_over_episodes():
    """An update with 9 episodes counts nine times as much as one with 1; one without counts nothing."""
    total = np.array([1.0, 0.0, np.nan] * 40)
    data = training(updates=120, seeds=1)
    data["total"] = (("schedule", "seed", "update", "channel"), total[None, None, :, None] * [[[[1.0, 10.0]]]])
    data["episodes"] = (("schedule", "seed", "update"), np.array([1, 9, 0] * 40)[None, None])
    drawn, middles = binned(data.isel(update=slice(0, 3)))
    assert middles.tolist() == [0.5 * BATCH, 1.5 * BATCH, 2.5 * BATCH]
    np.testing.assert_array_equal(drawn.sel(channel="helped").values[0, 0], [1, 0, np.nan])
    drawn, _ = binned(data)
    assert drawn.sizes["bin"] == BINS
    pairs = [(1.0, 0.0), (np.nan, 1.0), (0.0, np.nan)] * 20
    meant = [0.1 if pair == (1.0, 0.0) else np.nansum(pair) for pair in pairs]
    np.testing.assert_allclose(drawn.sel(channel="helped").values[0, 0], meant)
    np.testing.assert_allclose(drawn.sel(channel="smile").values[0, 0], 10 * np.array(meant))


def test_the_maze_with_two_environments_is_drawn_as_it_is():
    """Random play; of whole episodes, each counted once. The mean of means would be a sixth too low."""
    world, steps, updates = load_world("maze", "test"), 32, 4000
    params = {k: jnp.float32(v) for k, v in defaults(world).items()}
    channels = names(world).channels

    def one(playing, key):
        playing, seen = collect(world, at_random(world), key, playing, params, steps)
        return playing, seen.episodes

    def play(key):
        start = begin(world, key, 2, len(channels), params)
        return jax.lax.scan(one, start, jax.random.split(key, updates))[1]

    found = jax.tree.map(np.asarray, jax.jit(play)(jax.random.key(0)))
    member = ("schedule", "seed", "update")
    data = xr.Dataset(
        {"total": ((*member, "channel"), found.totals[None, None]), "episodes": (member, found.finished[None, None])},
        {"update": np.arange(updates), "steps": ("update", (np.arange(updates) + 1) * 2 * steps)},
    )
    cheese = channels.index("cheese")
    drawn = binned(data)[0].values[0, 0, cheese]
    every = (found.finished * np.nan_to_num(found.totals[:, cheese])).sum() / found.finished.sum()
    assert drawn.mean() == pytest.approx(every, abs=0.005)
    assert np.nanmean(found.totals[:, cheese]) < 0.9 * every


def of_fork(start: int, updates: int = 10) -> xr.Dataset:
    """A fork that goes on after so many updates."""
    data = training(updates=updates, earned=0.5)
    return data.assign_coords(
        update=start + np.arange(updates), steps=("update", (start + np.arange(updates) + 1) * BATCH)
    ).assign_attrs(steps=(start + updates) * BATCH)


@pytest.mark.parametrize("start", [0, 7, 2**26])
def test_a_fork_begins_where_it_goes_on(start):
    """Its steps are counted from there, also beyond 32 bits, and its updates are as long as others."""
    data = of_fork(start)
    assert batch_of(data) == BATCH
    assert step_edges(data).tolist() == [(start + i) * BATCH for i in range(11)]
    assert stretches(data, np.ones(10)) == [(start * BATCH, 1.0), ((start + 10) * BATCH, 1.0)]
    (whole,) = stays(data, "one")
    assert whole.steps.tolist() == [10 * BATCH] * 2
    assert whole.earned[0, 0] == 0.5 * 10 * BATCH
