"""What tests take for the same bits."""

import numpy as np
import pytest

from tests.bits import assert_same_bits, differ, same_bits

ONE = {"a": np.array([0.0, np.nan], np.float32), "b": (np.int32(1),)}


@pytest.mark.parametrize("a", [[-0.0, np.nan], [0.0, -np.nan], [1.0, np.nan], [0.0, 0.0]])
def test_values_that_compare_equal_need_not_be_the_same_bits(a):
    other = ONE | {"a": np.array(a, np.float32)}
    assert differ(ONE, other)
    with pytest.raises(AssertionError, match="other bits"):
        assert_same_bits(ONE, other)


@pytest.mark.parametrize(
    "other",
    [
        ONE | {"a": np.array([0.0, np.nan], np.float64)},
        ONE | {"a": np.array([[0.0, np.nan]], np.float32)},
        ONE | {"b": (np.uint32(1),)},
        ONE | {"b": [np.int32(1)]},
        {"a": ONE["a"], "c": ONE["b"]},
    ],
)
@pytest.mark.parametrize("compared", [assert_same_bits, same_bits, differ])
def test_trees_that_are_not_alike_are_neither_the_same_nor_others(compared, other):
    with pytest.raises(AssertionError):
        compared(ONE, other)


def test_a_copy_is_the_same():
    copy = {"a": ONE["a"].copy(), "b": (np.int32(1),)}
    assert_same_bits(ONE, copy)
    assert same_bits(ONE, copy)
