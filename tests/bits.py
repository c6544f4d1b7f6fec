"""Whether two pytrees are the same bits: structure, dtypes, shapes and bytes."""

from typing import Any

import jax
import numpy as np


def assert_same_bits(one: Any, other: Any) -> None:
    """Values that compare equal need not be the same bits: 0.0 and −0.0, int32 and float32, NaNs of other payloads."""
    for name, a, b in _pairs(one, other):
        assert a.tobytes() == b.tobytes(), f"{name}: other bits"


def same_bits(one: Any, other: Any) -> bool:
    """Whether they are, of two pytrees of the same structure, dtypes and shapes.

    Other trees would differ whatever was computed, and `assert not same_bits(…)` could not fail: they are refused.
    """
    return all(a.tobytes() == b.tobytes() for _, a, b in _pairs(one, other))


def differ(one: Any, other: Any) -> bool:
    return not same_bits(one, other)


def _pairs(one: Any, other: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    assert jax.tree.structure(one) == jax.tree.structure(other), "trees of another structure"
    found = []
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b, name = _host(a), _host(b), jax.tree_util.keystr(path)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{name}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        found.append((name, a, b))
    return found


def _host(leaf: Any) -> np.ndarray:
    is_key = hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
