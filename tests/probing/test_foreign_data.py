"""What somebody's arrays may be like: any unit, any order of rows, any type of labels; and what is refused, and how."""

import json
import warnings

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

from chisel.probing.labels import FEW, read_labels
from chisel.probing.outside import LabelWarning, decode
from chisel.probing.rows import split_rows

ROWS = 600
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 5))
SIGN = X[:, 0] > 0


def score(x, y, **options):
    return float(decode({0: {"top": x}}, {"fact": y}, measures="score", **options).score.squeeze())


# Units and offsets


@pytest.mark.parametrize(
    "x",
    [X * 1e-7, X * 1e20, X + 1e8, X * 1e-200, X * 1e200, X * np.array([1e-20, 1e-3, 1.0, 1e9, 1e30]) + 1e-30],
    ids=["small", "large", "far", "tiny", "huge", "each"],
)
def test_scores_do_not_depend_on_the_unit_or_the_offset_of_activations(x):
    assert score(x, SIGN) == pytest.approx(score(X, SIGN), abs=1e-4)
    assert score(X, SIGN) > 0.99


@pytest.mark.parametrize(("offset", "unit"), [(1e7, 1.0), (0.0, 1e-30), (-1e12, 1.0), (0.0, 1e200)])
def test_scores_do_not_depend_on_the_unit_or_the_offset_of_numbers(offset, unit):
    z = X[:, 0] + 0.1 * X[:, 1]
    assert score(X, offset + unit * z) == pytest.approx(score(X, z), abs=1e-4)
    assert score(X, z) > 0.99


def test_probes_are_tried_on_other_checkpoints_in_the_unit_of_these():
    """Far from 0, where single precision has no digits left; a shift of what the probe reads must be seen."""
    far = X + 1e8
    found = decode({0: {"top": far}, 1: {"top": far + 10}}, {"size": X[:, 0]}, measures=("score", "transfer"))
    transfer = found.transfer.squeeze()
    own = [float(transfer.sel(checkpoint=i, fitted=i)) for i in (0, 1)]
    np.testing.assert_allclose(own, found.score.squeeze(), atol=1e-5)
    assert own[0] > 0.99
    # A constant error of 10 beside labels of variance 1: R² = 1 − 100, give or take the rows that are tested.
    assert float(transfer.sel(checkpoint=1, fitted=0)) == pytest.approx(-99, rel=0.2)


@pytest.mark.parametrize("shift", [1e4, 1e8, -1e12])
def test_ranks_are_the_same_at_a_checkpoint_that_is_shifted(shift):
    """However far: an area under the curve is of ranks. Of classes and numbers, the shift must be seen."""
    layers = {0: {"top": X}, 1: {"top": X + shift}}
    labels = {"sign": SIGN, "place": np.digitize(X[:, 1], [-0.5, 0.5]).astype(str), "size": X[:, 0]}
    found = decode(layers, labels, measures=("score", "transfer"))
    crossed = found.transfer.squeeze().sel(feature="sign")
    np.testing.assert_allclose(crossed, float(found.score.sel(feature="sign")[0, 0]), atol=1e-4)
    assert float(crossed.min()) > 0.99
    for name, most in (("place", 0.5), ("size", 0.0)):
        crossed = found.transfer.squeeze().sel(feature=name)
        assert max(float(crossed.sel(checkpoint=i, fitted=1 - i)) for i in (0, 1)) < most


@pytest.mark.parametrize("far", [np.int64(2**62), np.uint64(2**63 + 5), np.int64(-(2**63) + 2000)])
def test_whole_numbers_that_double_precision_cannot_tell_apart_are_told_apart(far):
    """All of such a layer is one number in double precision, and scored .5."""
    counts = np.round(X * 100).astype(np.int64)
    assert score(counts.astype(far.dtype) + far, SIGN) == pytest.approx(score(counts, SIGN), abs=1e-6)


@pytest.mark.parametrize(
    "x",
    [
        X.astype(np.float32).astype(">f4"),
        np.asfortranarray(X),
        X.astype(object),
        pd.DataFrame(X),
        pd.DataFrame(X).astype("Float64"),
        np.ma.masked_array(X),
        X.tolist(),
    ],
)  # fmt: skip
def test_activations_may_be_of_any_make(x):
    assert score(x, SIGN) == pytest.approx(score(X, SIGN), abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 1, 2, 3])
def test_activations_that_are_not_finite_are_refused(value, row):
    """Wherever they are: fitted on, or only tested."""
    bad = X.copy()
    bad[row, 1:3] = value
    with pytest.raises(
        ValueError, match=r"checkpoint 7, layer top: 2 of 3,000 activations are not finite .* in 1 of 600"
    ):
        decode({7: {"top": bad}}, {"fact": SIGN}, measures="score")
    with pytest.raises(ValueError, match=r"baseline input: 2 of 3,000"):
        decode({7: {"top": X}}, {"fact": SIGN}, baselines={"input": bad})


def test_units_that_never_vary_count_for_nothing():
    """Nor do those that vary by rounding only."""
    idle = 1e6 + np.spacing(1e6) * RNG.integers(0, 2, (ROWS, 1))
    assert score(np.concatenate([X, idle], 1), SIGN) == pytest.approx(score(X, SIGN), abs=1e-5)
    assert score(np.concatenate([0 * X, idle], 1), SIGN) == 0.5


# The order of rows


SIZES = np.array([400, *[30] * 6, 20])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["label", "group", "nothing"])
def test_groups_of_unequal_size_are_split_well_in_whatever_order(seed, by):
    """Sorted by label, halves used to be cut to rows of one class."""
    groups = RNG.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    order = {"label": np.argsort(SIGN, kind="stable"), "group": np.argsort(groups), "nothing": np.arange(ROWS)}[by]
    assert score(X[order], SIGN[order], groups=groups[order], seed=seed) > 0.985


@pytest.mark.parametrize("grouped", [True, False])
def test_readings_do_not_depend_on_the_order_of_rows(grouped):
    """With groups the same rows are fitted on; without, other halves are drawn, and scores differ by chance."""
    groups = np.repeat(np.arange(60), 10)
    noisy = X[:, 0] + 0.5 * X[:, 1] ** 2
    labels = {"fact": noisy > 0, "size": noisy, "kind": np.array(list("abc"))[np.digitize(noisy, [-0.5, 0.7])]}
    plain = decode({0: {"top": X}}, labels, groups=groups if grouped else None, inputs=X)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(ROWS)
        other = decode(
            {0: {"top": X[order]}},
            {name: values[order] for name, values in labels.items()},
            groups=groups[order] if grouped else None,
            inputs=X[order],
        )
        # AUC and R² of 300 rows have standard errors of about .02; three of the difference of two. What a code costs
        # hangs on the few rows that are told first.
        np.testing.assert_allclose(other.score, plain.score, atol=1e-4 if grouped else 0.085)
        np.testing.assert_allclose(other.description_length[0, 0, :1], plain.description_length[0, 0, :1], atol=0.3)


def test_halves_belong_to_groups_and_not_to_places():
    groups = np.array([f"layout {i}" for i in RNG.integers(0, 40, ROWS)])
    columns = SIGN[:, None].astype(float)
    first = {*groups[split_rows(columns, groups, None, 3).halves[0]]}
    for _ in range(5):
        order = RNG.permutation(ROWS)
        own = split_rows(columns[order], groups[order], None, 3)
        assert {*groups[order][own.halves[0]]} == first
        assert not first & {*groups[order][own.halves[1]]}
    assert {*groups[split_rows(columns, groups, None, 4).halves[0]]} != first


@pytest.mark.parametrize("positives", [2, 3, 10, 301])
def test_both_halves_have_a_share_of_every_class(positives):
    rare = np.arange(ROWS) < positives
    other = RNG.random(ROWS) < 0.3
    split = split_rows(np.stack([rare, other], 1).astype(float), None, None, 0)
    assert sorted(split.order) == list(range(ROWS)), "rows were lost"
    assert split.fitted == ROWS // 2
    for column in (rare, other):
        shares = [column[half].sum() for half in split.halves]
        assert abs(shares[0] - shares[1]) <= 2


def test_the_larger_part_is_fitted_on_and_rows_are_shuffled_within_it():
    groups = np.repeat(np.arange(len(SIZES)), SIZES)
    split = split_rows(np.zeros((ROWS, 0)), groups, None, 0)
    assert split.fitted == 400
    assert (np.diff(split.halves[0]) < 0).mean() == pytest.approx(0.5, abs=0.1)


# Kinds of labels


def kinds_of(labels, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = decode({0: {"top": X}}, labels, measures="score", **options)
    return data, [str(one.message) for one in caught if one.category is LabelWarning]


COUNT = np.round(X[:, 0] * 50).astype(int)


def test_whole_numbers_of_many_values_are_numbers():
    """They used to be 200 classes, with a macro-F1 of 0."""
    data, (said,) = kinds_of({"count": COUNT})
    assert data.kind.values.tolist() == ["continuous"]
    assert float(data.score.squeeze()) > 0.99
    assert "count: whole numbers" in said
    assert "kinds={'count': ...}" in said
    assert "continuous" in json.loads(data.attrs["assumed"])["count"]


@pytest.mark.parametrize(
    ("values", "kind", "warned"),
    [
        (SIGN, "binary", False),
        (SIGN.astype(float), "binary", False),
        (SIGN.astype(int), "binary", False),
        (np.where(np.arange(ROWS) < 50, np.nan, SIGN), "binary", False),
        (2 * SIGN.astype(int) - 1, "binary", True),
        (np.digitize(X[:, 0], [-0.5, 0.5]), "categorical", True),
        (np.digitize(X[:, 0], np.linspace(-1, 1, 60)), "continuous", True),
        (X[:, 0], "continuous", False),
        (np.where(SIGN, "yes", "no"), "categorical", False),
        ([bool(one) for one in SIGN], "binary", False),
        (["yes" if one else "no" for one in SIGN], "categorical", False),
    ],
)  # fmt: skip
def test_kinds_are_told_from_values(values, kind, warned):
    data, said = kinds_of({"fact": values})
    assert data.kind.values.tolist() == [kind]
    assert len(said) == warned
    assert float(data.score.squeeze()) > 0.7


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (SIGN.astype(ml_dtypes.bfloat16), "binary"),
        (X[:, 0].astype(ml_dtypes.bfloat16), "continuous"),
        ([np.array(one) for one in X[:, 0]], "continuous"),
        ([np.array(one) for one in SIGN], "binary"),
        (np.where(SIGN, "yes", "no").astype(np.dtypes.StringDType()), "categorical"),
        ([10**30 * int(one) for one in SIGN], "binary"),
        (pd.Series(SIGN, dtype="boolean"), "binary"),
    ],
)  # fmt: skip
def test_labels_may_be_of_any_make(values, kind):
    known = read_labels({"fact": values})
    assert known.known[0].kind == kind
    truth = X[:, 0] if kind == "continuous" else SIGN
    rounding = 2**-8 * np.abs(truth)  # of bfloat16
    assert (np.abs(known.matrix[:, -1] - truth) <= rounding).all()


def test_classes_in_floating_point_are_doubted():
    """As classes are that do not apply everywhere: R² of them, in silence, may not be what was meant."""
    classes = np.where(np.arange(ROWS) % 9 == 0, np.nan, np.digitize(X[:, 0], [-0.5, 0.5]))
    data, (said,) = kinds_of({"fact": classes})
    assert data.kind.values.tolist() == ["continuous"]
    assert "fact: whole numbers in floating point, 3 different ones, taken for numbers" in said
    assert not kinds_of({"fact": classes + 0.25})[1]
    assert not kinds_of({"fact": classes}, kinds={"fact": "continuous"})[1]


def test_few_rows_for_each_whole_number_make_no_classes():
    few = np.arange(60) % 15  # 4 rows each
    assert read_labels({"count": few}).known[0].kind == "continuous"
    assert read_labels({"count": np.tile(few, 10)}).known[0].kind == "categorical"


def test_kinds_can_be_said():
    classes = np.digitize(X[:, 0], [-0.5, 0.5])
    asked = {"count": "continuous", "sign": "categorical", "word": "binary"}
    data, said = kinds_of({"count": classes, "sign": SIGN, "word": np.where(SIGN, "yes", "no")}, kinds=asked)
    assert dict(zip(data.feature.values.tolist(), data.kind.values.tolist(), strict=True)) == asked
    assert not said
    assert json.loads(data.attrs["assumed"]) == {}
    assert score(X, np.where(SIGN, "yes", "no"), kinds={"fact": "binary"}) == pytest.approx(score(X, SIGN))


def test_classes_that_do_not_apply_everywhere_are_left_out_of_their_score():
    classes = np.digitize(X[:, 0], [-0.5, 0.5]).astype(float)
    some = np.where(RNG.random(ROWS) < 0.2, np.nan, classes)
    whole, part = (score(X, y, kinds={"fact": "categorical"}) for y in (classes, some))
    assert part == pytest.approx(whole, abs=0.06)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.arange(ROWS) < 2, "fact: not scored .* 1 are fitted on and 1 tested"),
        (np.arange(ROWS) >= 2 * FEW - 2, f"fact: not scored .* {FEW - 1} are fitted on and {FEW - 1} tested"),
        (np.zeros(ROWS, bool), "fact: not scored .* constant"),
        (np.full(ROWS, "same"), "fact: not scored .* constant"),
        (np.full(ROWS, 0.1), "fact: not scored .* constant: 0.1"),
        (np.where(np.arange(ROWS) < 7, X[:, 0], np.nan), "fact: not scored .* too few rows"),
        (np.full(ROWS, np.nan), "fact: not scored .* too few rows"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_scored_are_said_and_nan(values, said):
    with pytest.warns(LabelWarning, match=said):
        data = decode({0: {"top": X}}, {"fact": values, "sign": SIGN}, baselines={"input": X}, returned="interval")
    for name, found in data.data_vars.items():
        assert np.isnan(found.sel(feature="fact")).all(), name
        assert np.isfinite(found.sel(feature="sign")).all(), name
    assert list(json.loads(data.attrs["unscored"])) == ["fact"]


def test_as_many_rows_of_a_class_as_it_takes_are_scored():
    data, said = kinds_of({"fact": np.arange(ROWS) < 2 * FEW})
    assert not said
    assert np.isfinite(data.score).all()


def test_classes_that_are_rare_are_said():
    words = np.where(SIGN, "yes", "no").astype("U5")
    words[:3] = "maybe"
    data, (said,) = kinds_of({"word": words})
    assert "['maybe']" in said
    assert float(data.score.squeeze()) > 0.5


def test_a_step_that_is_an_array_names_a_checkpoint():
    data = decode(lambda: [(np.array(7), {"top": X})], {"fact": SIGN}, measures="score")
    assert data.checkpoint.values.tolist() == [7]


def test_two_rows_are_read_to_no_score():
    """Description lengths of one row ended in an error of JAX."""
    with pytest.warns(LabelWarning, match="not scored"):
        data = decode({0: {"top": X[:2]}}, {"fact": SIGN[:2]}, baselines={"input": X[:2]})
    assert np.isnan(data.score).all()


def test_truth_values_as_objects_are_a_mask_and_numbers_as_objects_groups():
    half = np.arange(ROWS) < ROWS // 2
    assert score(X, SIGN, test=half.astype(object)) == score(X, SIGN, test=half)
    groups = np.repeat(np.arange(60.0), 10)
    assert score(X, SIGN, groups=groups.astype(object)) == score(X, SIGN, groups=groups)
