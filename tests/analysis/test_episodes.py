"""Pooled means per episode, against all episodes listed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chisel.analysis.episodes import pooled

TOTALS = st.lists(st.lists(st.floats(-100, 100), max_size=5), min_size=1, max_size=8)


@given(TOTALS)
def test_it_is_the_mean_of_all_episodes(updates):
    means = [np.mean(own) if own else np.nan for own in updates]
    every = [total for own in updates for total in own]
    found = pooled(means, [len(own) for own in updates])
    np.testing.assert_allclose(found, np.mean(every) if every else np.nan, atol=1e-9)


def test_counts_broadcast_and_any_axis_may_be_that_of_updates():
    means, counts = np.array([[1.0, 10.0], [3.0, 30.0], [np.nan, np.nan]]), np.array([3, 1, 0])
    np.testing.assert_allclose(pooled(means, counts[:, None], axis=0), [1.5, 15.0])
    np.testing.assert_allclose(pooled(means.T, counts), [1.5, 15.0])
