"""Pooled means against the episodes themselves, one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chisel.analysis.episodes import pooled

EPISODES = st.lists(st.lists(st.integers(-5, 5), max_size=6), min_size=1, max_size=8)


@given(EPISODES)
def test_it_is_the_mean_over_all_episodes_however_they_are_grouped(groups):
    counts = np.array([len(group) for group in groups])
    means = np.array([np.mean(group) if group else np.nan for group in groups])
    every = [x for group in groups for x in group]
    found = pooled(means, counts)
    assert np.isnan(found) if not every else np.isclose(found, np.mean(every))


def test_it_maps_over_leading_axes():
    means, counts = np.array([[1.0, 0.0], [np.nan, 2.0], [np.nan, np.nan]]), np.array([[1, 3], [0, 2], [0, 0]])
    np.testing.assert_array_equal(pooled(means, counts), [0.25, 2.0, np.nan])
