"""Which rows of somebody's data a probe is fitted on, and which it is tested on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from chisel.probing.given import NUMBER, TRUTH, as_array, is_missing, types_of


class Split(NamedTuple):
    """An order of all rows: the first `fitted` of them are fitted on, the others tested.

    Fields:
        order: [n]; indices of rows.
        fitted: how many are fitted on.
        group: [n]; the group of each row as given, numbered from 0.
    """

    order: Int[np.ndarray, " n"]
    fitted: int
    group: Int[np.ndarray, " n"]

    @property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows that are fitted on, and those that are tested."""
        return self.order[: self.fitted], self.order[self.fitted :]


def split_rows(
    columns: Float[np.ndarray, "n columns"], groups: ArrayLike | None, test: ArrayLike | None, seed: int
) -> Split:
    """Splits rows in two so that no group is in both, at random with a fixed key.

    The halves depend on which groups there are, how many rows and which labels they have, and on `seed`. Without groups
    every row is a group, and its place among the rows decides. Within a half, rows are shuffled, because an online code
    depends on their order.

    Args:
        columns: 0 or 1 for each class that should be in both halves; NaN where it does not apply.
        groups: [n]; None: every row is one.
        test: the rows to test on, as a mask [n] or as indices; None: about half of them are drawn.

    Raises:
        ValueError: groups or test rows do not fit the rows, a half is empty, or a group is in both.
    """
    rows = len(columns)
    group = _numbered(groups, rows)
    draw = np.random.default_rng(seed)
    if test is not None:
        tested = _mask(test, rows)
        both = np.intersect1d(group[tested], group[~tested])
        if len(both):
            raise ValueError(
                f"test: expected every group to be fitted on or tested, found {len(both)} groups in both; "
                "choose test rows by whole groups"
            )
    else:
        count = int(group.max()) + 1
        if count < 2:
            raise ValueError("groups: expected two or more, found one, and nothing is left to test on")
        first = _balanced(columns, group, count, draw)[group]
        tested = first if first.sum() < rows - first.sum() else ~first
    fitted, held_out = np.flatnonzero(~tested), np.flatnonzero(tested)
    order = np.concatenate([draw.permutation(fitted), draw.permutation(held_out)])
    return Split(order, len(fitted), group)


def _numbered(groups: ArrayLike | None, rows: int) -> np.ndarray:
    if groups is None:
        return np.arange(rows)
    # Of a list, NumPy would make strings of numbers and NaN among strings.
    array = as_array("groups", np.array(groups, object) if isinstance(groups, list | tuple) else groups)
    if array.shape != (rows,):
        raise ValueError(
            f"groups: expected {rows} rows, as many as there are labels, one group for each; "
            f"found the shape {array.shape}"
        )
    missing = sum(is_missing(one) for one in array) if array.dtype.kind in "OfmM" else 0
    if missing:
        raise ValueError(f"groups: expected a group for every row, found {missing} that are None, NaN or NaT")
    if array.dtype == object:
        found = types_of(array.tolist())
        if not all(isinstance(one, str) for one in array) and not all(isinstance(one, NUMBER) for one in array):
            raise ValueError(f"groups: expected all numbers or all strings, found {' and '.join(found)}")
        array = array.astype(str) if isinstance(array[0], str) else array  # Python numbers sort as they are
    return np.unique(array, return_inverse=True)[1].reshape(rows)


def _mask(test: ArrayLike, rows: int) -> np.ndarray:
    """Test rows as a mask."""
    array = as_array("test", test)
    if array.dtype == object and all(isinstance(one, TRUTH) for one in array.flat):
        array = array.astype(bool)
    if len(array) == rows > 2 and array.dtype != bool and array.dtype.kind in "iufO" and np.isin(array, (0, 1)).all():
        raise ValueError(
            f"test: expected a mask of {rows} truth values, or a list of indices; found {rows} numbers that are all "
            "0 or 1; if they are a mask, give test.astype(bool)"
        )
    if array.dtype == bool and array.shape == (rows,):
        mask = array
    elif array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
        if len(array) and not (-rows <= array.min() and array.max() < rows):
            raise ValueError(f"test: expected indices below {rows}, found {array.min()} to {array.max()}")
        mask = np.zeros(rows, bool)
        mask[array] = True
    else:
        raise ValueError(
            f"test: expected a mask of {rows} truth values, or a list of indices; "
            f"found the shape {array.shape} of {array.dtype}"
        )
    if not mask.any() or mask.all():
        raise ValueError(f"test: expected some of the {rows} rows and not all of them, found {int(mask.sum())}")
    return mask


def _balanced(columns: np.ndarray, group: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """Which groups belong to one of two halves that are as alike as can be in rows and classes.

    Groups come one after another, the largest first and equal ones in an order drawn at random; each goes to the half
    that has less of what it has (minimisation, Pocock & Simon 1975). So a rare class is in both halves, and one large
    group is weighed against many small ones.
    """
    there = np.concatenate([np.ones((len(group), 1)), columns == 1, columns == 0], 1).astype(np.float32)
    if count < len(group):
        each = np.zeros((count, there.shape[1]), np.float32)
        np.add.at(each, group, there)
    else:
        each = there[np.argsort(group)]
    share = each / np.maximum(each.sum(0), 1)
    order = draw.permutation(count)
    order = order[np.argsort(-each[order, 0], kind="stable")]
    ahead, first = np.zeros(share.shape[1], np.float32), np.zeros(count, bool)
    coins = draw.random(count) < 0.5
    for i in order:
        lead = ahead @ share[i]
        first[i] = coins[i] if lead == 0 else lead < 0
        ahead += share[i] if first[i] else -share[i]
    return first
