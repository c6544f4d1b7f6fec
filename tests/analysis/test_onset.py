"""When readings rise for good, and how fast they fade."""

import numpy as np
import pytest

from chisel.analysis.onset import half_life, onset


def test_an_onset_is_for_good():
    at = [0, 1, 3, 7]
    assert onset([False, True, True, True], at) == 1
    assert onset([True, True, True, True], at) == 0
    assert onset([True, False, False, True], at) == 7
    assert np.isnan(onset([True, True, True, False], at))
    assert onset(np.ones((2, 3, 4), bool), at).shape == (2, 3)


def test_nothing_can_begin_in_one_checkpoint():
    with pytest.raises(ValueError, match="two or more"):
        onset([True], [0])


@pytest.mark.parametrize("life", [3.0, 10.0])
def test_the_half_life_of_what_fades_evenly(life):
    at = np.arange(0.0, 80.0)
    values = 5 * 0.5 ** (np.maximum(at - 20, 0) / life)
    assert float(half_life(values, at, 20)) == pytest.approx(life, abs=0.1)


def test_what_was_before_does_not_count_and_what_grows_does_not_fade():
    at = [0, 10, 20, 30]
    assert float(half_life([0.1, 4.0, 2.0, 0.0], at, 10)) == 10
    assert float(half_life([9.0, 4.0, 5.0, 6.0], at, 10)) == np.inf
    assert np.isnan(half_life([9.0, -4.0, -5.0, -6.0], at, 10))
    assert float(half_life([9.0, 4.0, 1.0, 6.0], at, 10)) == pytest.approx(10 * 2 / 3)  # the first time


def test_half_lives_begin_at_a_checkpoint():
    with pytest.raises(ValueError, match="the nearest is 10"):
        half_life([1.0, 2.0], [0, 10], 8)
