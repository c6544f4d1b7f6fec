"""When readings rise, whether they stay, and how fast they fade."""

import numpy as np
import pytest

from chisel.analysis.onset import half_life, spell

NEVER = np.nan


@pytest.mark.parametrize(
    ("above", "onset", "offset"),
    [
        ([0, 1, 1, 1, 1], 1, NEVER),
        ([1, 1, 1, 1, 1], 0, NEVER),
        ([1, 1, 1, 0, 1], 15, NEVER),  # at the end what lasts until then counts
        ([0, 0, 0, 0, 0], NEVER, NEVER),
        ([0, 1, 1, 0, 0], 1, 7),  # came and went
        ([1, 0, 0, 0, 0], 0, 1),
        ([0, 1, 0, 1, 0], 7, 15),  # the longer in steps: 8 against 2
        ([1, 1, 1, 0, 0], 0, 7),
    ],
)
def test_what_came_and_stayed_and_what_came_and_went(above, onset, offset):
    found = spell(np.array(above, bool), [0, 1, 3, 7, 15])
    np.testing.assert_equal([float(x) for x in found], [float(onset), float(offset)])


def test_one_checkpoint_by_chance_does_not_hide_a_long_stay():
    above = np.zeros((2, 3, 12), bool)
    above[..., 2:8] = above[..., 10] = True
    found = spell(above, 10 * np.arange(12))
    assert found.onset.shape == found.offset.shape == (2, 3)
    assert (found.onset == 20).all()
    assert (found.offset == 80).all()


def test_nothing_can_begin_in_one_checkpoint():
    with pytest.raises(ValueError, match="two or more"):
        spell([True], [0])


@pytest.mark.parametrize("life", [3.0, 10.0])
def test_the_half_life_of_what_fades_evenly(life):
    at = np.arange(0.0, 80.0)
    values = 5 * 0.5 ** (np.maximum(at - 20, 0) / life)
    assert float(half_life(values, at, 20)) == pytest.approx(life, abs=0.1)


@pytest.mark.parametrize(("noise", "early"), [(0.1, 0.1), (0.3, 0.2)])
def test_noise_does_not_make_half_lives_of_first_crossings(noise, early):
    """Noise of a tenth or a third of the height, 150 checkpoints. The first reading below half of the first one comes
    a fifth too early in the median, or in a third of the time that it should take."""
    at, life = np.arange(0.0, 300.0, 2.0), 40.0
    chance = np.random.default_rng(0)
    values = 0.5 ** (at / life) + noise * chance.normal(size=(400, len(at)))
    found = np.median(half_life(values, at, 0))
    assert found == pytest.approx(life, rel=early), f"{found:.1f} where {life} is right"
    crossed = np.median([at[np.argmax(row <= row[0] / 2)] for row in values])
    assert crossed <= life * (1 - 2 * early), "the first crossing would do as well: this test shows nothing"


def test_what_was_before_does_not_count_and_what_grows_does_not_fade():
    at = [0, 10, 20, 30]
    assert float(half_life([0.1, 4.0, 2.0, 0.0], at, 10)) == 10
    assert float(half_life([9.0, 4.0, 5.0, 6.0], at, 10)) == np.inf
    assert np.isnan(half_life([9.0, -4.0, -5.0, -6.0], at, 10))
    assert float(half_life([9.0, 4.0, 1.0, 6.0], at, 10)) == np.inf  # it came back
    assert float(half_life([9.0, 4.0, 1.0, 0.0], at, 10)) == pytest.approx(10 * 2 / 3)


def test_checkpoints_that_were_not_read_are_no_checkpoints():
    at, values = [0, 10, 20, 30, 40], [4.0, 4.0, np.nan, 3.0, 1.0]
    kept = [0, 1, 3, 4]
    assert half_life(values, at, 10) == half_life(np.array(values)[kept], np.array(at)[kept], 10)
    assert np.isnan(half_life([4.0, np.nan, 3.0, 1.0], [0, 10, 20, 30], 10))


def test_half_lives_begin_at_a_checkpoint():
    with pytest.raises(ValueError, match="the nearest is 10"):
        half_life([1.0, 2.0], [0, 10], 8)
