"""What is refused of somebody's arrays, and how it is said."""

import numpy as np
import pandas as pd
import pytest

from chisel.probing.outside import decode

ROWS = 600
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5))
SIGN = X[:, 0] > 0


class Tensor:
    """As one of PyTorch that is part of a graph, or lies on another device."""

    shape = (ROWS, 5)

    def __array__(self, *_, **__):
        raise RuntimeError("use tensor.detach().numpy() instead")


@pytest.mark.parametrize(
    ("activations", "said"),
    [
        ({}, "found no checkpoint"),
        ({0: {}}, "checkpoint 0: expected one layer or more, found none"),
        ({0: X}, r"checkpoint 0: expected \{layer: \[n, units\]\}, found a ndarray of the shape \(600, 5\)"),
        (X, r"expected \{checkpoint: .* found a ndarray"),
        ({"top": X}, "checkpoint top: expected .* name the layer"),
        (((i, {"top": X}) for i in range(2)), "found a generator.* without calling it"),
        (lambda: iter([{"top": X}]), "the function yields a dict"),
        (lambda: None, "a function that returns a NoneType"),
        (lambda: iter([(0, {"top": X}), (0, {"top": X})]), "checkpoint 0: expected each once"),
        ({0: {"top": X[:5]}}, "checkpoint 0, layer top: expected 600 rows"),
        ({0: {"top": np.full((ROWS, 2), "x")}}, "checkpoint 0, layer top: expected numbers, found <U1"),
        ({0: {"top": X[:, :0]}}, "checkpoint 0, layer top: expected one unit or more"),
        ({0: {"top": X.T}}, r"layer top: expected 600 rows.* found the shape \(5, 600\); .* give its transpose"),
        ({0: {"top": None}}, "checkpoint 0, layer top: expected an array .* found a NoneType"),
        ({0: {"top": Tensor()}}, r"layer top: .* found a Tensor of the shape .*use tensor.*; of PyTorch, give"),
        ({0: {"top": [[1, 2], [3]] * 300}}, "checkpoint 0, layer top: expected an array, found a list"),
        ({0: {"top": np.ma.masked_array(X, X > 3)}}, r"layer top: expected a value everywhere, found \d of 3,000 masked"),
        ({0: {"top": pd.DataFrame({"a": X[:, 0], "b": "x"})}}, "layer top: .* found 600 of 1,200 that are of the type str"),
        ({0: {"top": np.ones((ROWS, 2), "timedelta64[s]")}}, "checkpoint 0, layer top: expected numbers, found timedelta64"),
        ({0: {"top": X}, "last": {"top": X}}, "checkpoints: expected names that are all .* found 'last' beside 0"),
        ({(0, 1): {"top": X}}, r"checkpoint: expected a string or a number for its name, found \(0, 1\)"),
        ({np.nan: {"top": X}}, "checkpoint: expected a string or a number for its name, found nan"),
        (lambda: iter([([1], {"top": X})]), r"checkpoint: expected a string or a number for its name, found \[1\]"),
    ],
)  # fmt: skip
def test_activations_of_another_form_are_refused(activations, said):
    with pytest.raises(ValueError, match=said):
        decode(activations, {"fact": SIGN}, measures="score")


def test_a_function_that_can_be_called_only_once_is_refused_where_it_takes_two():
    once = iter([(0, {"top": X})])
    with pytest.raises(ValueError, match=r"twice; expected \[0\] again, found \[\]"):
        decode(lambda: once, {"fact": SIGN}, measures=("score", "transfer"))
    once = iter([(0, {"top": X})])
    assert decode(lambda: once, {"fact": SIGN}, measures="score").sizes["checkpoint"] == 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, "with one feature or more, found none"),
        (SIGN, r"expected \{feature: \[n\]\}"),
        ({"fact": SIGN[:, None]}, r"label 'fact': expected \[n\].* found the shape \(600, 1\); give its only column"),
        ({"fact": np.stack([SIGN, SIGN], 1)}, "give each column a name of its own"),
        ({"fact": [None, *SIGN[1:]]}, r"label 'fact': .* found 1 of 600 that are None"),
        ({"fact": [None, *["a"] * 599]}, r"label 'fact': .* found 1 of 600 that are None"),
        ({"fact": [np.nan, *["a"] * 599]}, "label 'fact': .* found 1 of 600 that are None or NaN"),
        ({"fact": [1, *["a"] * 599]}, "label 'fact': expected truth values, numbers or strings, found int and str"),
        ({"fact": X[:, 0] + 1j}, "label 'fact': .* found complex128"),
        ({"fact": np.where(SIGN, np.inf, 0)}, "label 'fact': expected finite numbers"),
        ({"fact": np.ma.masked_array(X[:, 0], SIGN)}, r"label 'fact': expected a value everywhere, found \d+ of 600 masked"),
        ({"fact": pd.Series([None, *SIGN[1:]], dtype="boolean")}, r"label 'fact': .* found 1 of 600 that are None"),
        ({"fact": [pd.NaT, *X[1:, 0]]}, r"label 'fact': .* found 1 of 600 that are None"),
        ({"fact": np.ones(ROWS, "timedelta64[s]")}, r"label 'fact': .* found timedelta64\[s\]"),
        ({"fact": (one for one in SIGN)}, "label 'fact': .* found a generator; give a list of it"),
        ({"fact": X[:, 0].astype(str)}, "label 'fact': .* found 600 different ones in 600 rows; they are numbers"),
        ({"fact": [f"row {i}" for i in range(ROWS)]}, "label 'fact': .* found 600 different ones in 600 rows$"),
        ({"fact": SIGN[:1]}, "labels: expected two rows or more, .* found 1"),
        ({"fact": []}, "labels: expected two rows or more, .* found 0"),
        ({3: SIGN}, "labels: expected names that are strings, found 3; e.g. '3'"),
        (pd.DataFrame({"fact": SIGN}), r"found a DataFrame; give dict\(labels.items\(\)\)"),
        ({"fact": SIGN, "other": SIGN[:5]}, "expected one length, found {'fact': 600, 'other': 5}"),
    ],
)  # fmt: skip
def test_labels_of_another_form_are_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        decode({0: {"top": X}}, labels, measures="score")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kinds": {"fcat": "binary"}}, "no label 'fcat'; did you mean 'fact'"),
        ({"kinds": {"fact": "number"}}, "expected 'fact' to be one of binary, categorical, continuous"),
        ({"kinds": {"size": "binary"}}, "label 'size': expected two values"),
        ({"kinds": {"word": "continuous"}}, "label 'word': .* found strings"),
        ({"measures": ("scor",)}, "found 'scor'; did you mean 'score'"),
        ({"measures": ("skill",)}, "skill is told from baselines"),
        ({"measures": ("selectivity",)}, "selectivity is told from inputs or baselines"),
        ({"returned": ("probe",)}, "found 'probe'; did you mean 'probes'"),
        ({"test": np.zeros(ROWS, bool)}, "test: expected some of the 600 rows and not all"),
        ({"test": [0, 600]}, "test: expected indices below 600"),
        ({"test": np.zeros(5)}, "test: expected a mask of 600 truth values"),
        ({"test": np.arange(5), "groups": np.repeat(np.arange(300), 2)}, "found 1 groups in both"),
        ({"test": SIGN.astype(int)}, r"test: .* found 600 numbers that are all 0 or 1; .* give test.astype\(bool\)"),
        ({"groups": [None] * ROWS}, "groups: .* found 600 that are None, NaN or NaT"),
        ({"groups": ["a", np.nan] * 300}, "groups: .* found 300 that are None, NaN or NaT"),
        ({"groups": np.array(["NaT", "2020"] * 300, "datetime64[D]")}, "groups: .* found 300 that are None, NaN or NaT"),
        ({"groups": [1, "1"] * 300}, "groups: expected all numbers or all strings, found int and str"),
        ({"groups": np.ma.masked_array(np.arange(ROWS), SIGN)}, r"groups: expected a value everywhere, found \d+ of 600"),
        ({"baselines": X}, r"baselines: expected \{name: .* found a ndarray of the shape \(600, 5\)"),
        ({"kinds": "binary"}, r"kinds: expected \{label: kind\}, found 'binary'"),
        ({"l2": -1}, "l2: expected a number from 0 on, found -1"),
        ({"l2": np.nan}, "l2: expected a number from 0 on, found nan"),
        ({"l1": "0.1"}, "l1: expected a number from 0 on, found '0.1'"),
        ({"seed": 1.5}, "seed: expected a whole number from 0 on, found 1.5"),
        ({"spatial": "max"}, "spatial: expected one of flatten, mean, place"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options, said):
    labels = {"fact": SIGN, "size": X[:, 0], "word": np.where(SIGN, "yes", "no")}
    with pytest.raises(ValueError, match=said):
        decode({0: {"top": X.reshape(ROWS, 5, 1)}}, labels, **{"measures": "score", **options})


def test_options_are_checked_where_nothing_asks_for_them():
    with pytest.raises(ValueError, match="spatial: expected one of flatten, mean, place, found 'MEAN'"):
        decode({0: {"top": X}}, {"fact": SIGN}, measures="score", spatial="MEAN")
