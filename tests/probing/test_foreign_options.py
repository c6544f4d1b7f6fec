"""What can be asked of `decode`: fewer measures, more handed back, own test rows, layers with places, no scales."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, r2_score, roc_auc_score

from chisel.probing import outside
from chisel.probing.decoding import Label
from chisel.probing.outside import MEASURES, decode
from chisel.probing.uncertainty import score_intervals

ROWS = 400
RNG = np.random.default_rng(1)
X = RNG.normal(size=(ROWS, 4)) * [1, 3, 0.3, 1] + [0, 5, -2, 0]
NOISY = X[:, 0] + 0.5 * RNG.normal(size=ROWS)
SIGN = NOISY > 0
KIND = np.array(list("abc"))[np.digitize(NOISY, [-0.5, 0.7])]
LABELS = {"sign": SIGN, "size": 1e6 + NOISY, "kind": KIND}
TEST = np.arange(0, ROWS, 4)
FIT = np.setdiff1d(np.arange(ROWS), TEST)


@pytest.mark.parametrize("measures", ["score", ("score", "transfer"), ("description_length",), ("skill",), ()])
def test_only_what_is_asked_for_is_computed(measures, monkeypatch):
    calls = []
    for name in ("checkpoints", "fitted"):
        real = getattr(outside, name)
        monkeypatch.setattr(outside, name, lambda *a, name=name, real=real, **k: calls.append(name) or real(*a, **k))
    data = decode({0: {"top": X}}, LABELS, measures=measures, baselines={"input": X[:, :1]})
    asked = {measures} if isinstance(measures, str) else set(measures)
    assert set(data.data_vars) == asked | ({"baseline_score"} if "skill" in asked else set())
    assert calls.count("checkpoints") == 1 + ("transfer" in asked)
    assert calls.count("fitted") == ("skill" in asked)


def test_each_measure_is_what_it_is_among_all():
    every = decode({0: {"top": X}}, LABELS, baselines={"input": X[:, :1]})
    assert set(every.data_vars) == {*MEASURES, "baseline_score"}
    for name in MEASURES:
        alone = decode({0: {"top": X}}, LABELS, baselines={"input": X[:, :1]}, measures=name)[name]
        np.testing.assert_allclose(alone, every[name], atol=1e-5)


def test_test_rows_can_be_given_as_a_mask_or_as_indices():
    rows = np.isin(np.arange(ROWS), TEST)
    one, other = (decode({0: {"top": X}}, LABELS, test=test, returned="predictions") for test in (rows, TEST))
    assert sorted(one.row.values) == TEST.tolist()
    xr.testing.assert_identical(one, other)


def both_ways(standardise):
    """Scores of scikit-learn's probes with the same penalty on the same rows; and of chisel, with all that is handed back."""
    data = decode(
        {3: {"top": X}}, LABELS, test=TEST, l2=0.05, standardise=standardise, measures="score",
        returned=("probes", "predictions", "accuracy"),
    ).isel(checkpoint=0, layer=0)  # fmt: skip
    centre, scale = (X[FIT].mean(0), X[FIT].std(0)) if standardise else (0.0, 1.0)
    return data, (X - centre) / scale, 1 / (len(FIT) * 0.05)


@pytest.mark.parametrize("standardise", [True, False])
def test_probes_and_predictions_are_those_of_scikit_learn(standardise):
    data, z, strength = both_ways(standardise)
    probe = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(z[FIT], SIGN[FIT])
    said = probe.decision_function(z[data.row.values])
    np.testing.assert_allclose(data.predictions.sel(column="sign"), said, atol=2e-3)
    truth = SIGN[data.row.values]
    assert float(data.score.sel(feature="sign")) == pytest.approx(roc_auc_score(truth, said), abs=1e-4)
    assert float(data.accuracy.sel(feature="sign")) == pytest.approx(accuracy_score(truth, said > 0), abs=0.011)
    line = Ridge(alpha=len(FIT) * 0.05, tol=1e-10).fit(z[FIT], LABELS["size"][FIT])
    np.testing.assert_allclose(data.predictions.sel(column="size"), line.predict(z[data.row.values]), atol=2e-3)
    expected = r2_score(LABELS["size"][data.row.values], line.predict(z[data.row.values]))
    assert float(data.score.sel(feature="size")) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(data.accuracy.sel(feature="size"))
    classes = data.predictions.sel(column=["kind=a", "kind=b", "kind=c"]).values.argmax(1)
    believed, truth = np.array(list("abc"))[classes], KIND[data.row.values]
    assert float(data.accuracy.sel(feature="kind")) == pytest.approx(accuracy_score(truth, believed))
    assert float(data.score.sel(feature="kind")) == pytest.approx(f1_score(truth, believed, average="macro"), abs=1e-6)


@pytest.mark.parametrize("standardise", [True, False])
def test_probes_handed_back_make_the_predictions(standardise):
    data, _, _ = both_ways(standardise)
    z = (X[data.row.values] - data.centre.values) * data.scale.values
    np.testing.assert_allclose(z @ data.weights.values + data.intercept.values, data.predictions, atol=1e-4)
    assert data.column_feature.values.tolist() == ["sign", "size", "kind", "kind", "kind"]
    assert (len(set(data.scale.values)) == 1) == (not standardise)


def test_units_without_a_scale_of_their_own_pay_by_their_unit():
    """A feature in a unit of small numbers is left out by a penalty on its weight, unless units are standardised."""
    small = np.stack([0.01 * X[:, 0], RNG.normal(size=ROWS)], 1)
    scores = [
        float(decode({0: {"top": small}}, {"size": NOISY}, l2=0.1, standardise=s, measures="score").score.squeeze())
        for s in (True, False)
    ]
    assert scores[0] > 0.7
    assert scores[1] < 0.1


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_absolute_penalties_without_scales_are_those_of_scikit_learn(unit):
    """In any unit: the penalty is on weights of what was given. (Numbers are in standard deviations while fitted.)"""
    y = NOISY / NOISY[FIT].std()
    options = {"test": TEST, "measures": "score", "returned": "predictions", "standardise": False}
    data = decode({0: {"top": X * unit}}, {"size": y}, l1=0.05 * unit, **options)
    line = Lasso(alpha=0.05 * unit, tol=1e-10, max_iter=50_000).fit(X[FIT] * unit, y[FIT])
    np.testing.assert_allclose(data.predictions.squeeze(), line.predict(X[data.row.values] * unit), atol=2e-3)


def test_layers_of_other_widths_end_in_nan():
    data = decode({0: {"low": X, "high": X[:, :2]}}, LABELS, measures="score", returned="probes")
    assert data.weights.dims == ("checkpoint", "layer", "unit", "column")
    assert np.isnan(data.weights.sel(layer="high")[0, 2:]).all()
    assert np.isfinite(data.weights.sel(layer="high")[0, :2]).all()
    assert np.isfinite(data.weights.sel(layer="low")).all()


# Layers with places


PICTURE = RNG.normal(size=(ROWS, 2, 3, 2))
PICTURE[:, 1, 2, 0] = X[:, 0]  # one channel at one place
FACT = {"fact": X[:, 0] > 0}


@pytest.mark.parametrize(
    ("spatial", "form", "layers"),
    [
        ("flatten", (ROWS, 2, 3, 2), {"conv": 0.97}),
        ("mean", (ROWS, 2, 3, 2), {"conv": None}),
        ("place", (ROWS, 2, 3, 2), {f"conv[{i},{j}]": 0.98 if (i, j) == (1, 2) else None for i in range(2) for j in range(3)}),
        ("flatten", (ROWS, 6, 2), {"conv": 0.97}),
        ("mean", (ROWS, 6, 2), {"conv": None}),
        ("place", (ROWS, 6, 2), {f"conv[{i}]": 0.98 if i == 5 else None for i in range(6)}),
    ],
)  # fmt: skip
def test_places_are_flattened_pooled_or_told_apart(spatial, form, layers):
    data = decode({0: {"conv": PICTURE.reshape(form)}}, FACT, spatial=spatial, measures="score")
    assert data.layer.values.tolist() == list(layers)
    for layer, least in layers.items():
        score = float(data.score.sel(layer=layer).squeeze())
        assert score > least if least else score < 0.85, layer


def test_the_mean_over_places_is_that_layer():
    pooled, own = (
        decode({0: {"conv": x}}, FACT, spatial="mean", measures="score").score for x in (PICTURE, PICTURE.mean((1, 2)))
    )
    np.testing.assert_allclose(pooled, own, atol=1e-5)


def test_a_unit_alone_may_be_a_vector_and_any_type_of_number():
    for x in (X[:, 0], X[:, :1].astype(np.float16), (X[:, :1] * 100).astype(np.int16), X[:, :1] > 0):
        assert float(decode({0: {"top": x}}, FACT, measures="score").score.squeeze()) > 0.99


# Intervals


def covered(draw, truth, label, times=400, groups=None):
    """How often the interval holds the truth: the score of the same probe on all rows that could be drawn."""
    rng, hits, found = np.random.default_rng(5), 0, []
    for _ in range(times):
        out, y = draw(rng)
        own = np.arange(len(out)) if groups is None else groups
        low, high = score_intervals(out, y, (label,), own)[0]
        hits += low <= truth <= high
        found.append(high - low)
    return hits / times, np.mean(found)


BINARY, NUMBER = Label("fact", 0, 1, "binary"), Label("size", 0, 1, "continuous")


@pytest.mark.parametrize(("apart", "positives"), [(0.0, 60), (1.0, 60), (2.5, 60), (1.5, 12)])
def test_intervals_of_areas_hold_the_area(apart, positives):
    """Two normals: the area is Φ(d / √2) (e.g. Pepe 2003)."""

    def draw(rng):
        y = np.arange(120) < positives
        return (rng.normal(size=120) + apart * y)[:, None], y[:, None].astype(float)

    # 400 draws of .95 lie within .021 of it, 19 times in 20; the method is said to err on the safe side.
    share, _ = covered(draw, stats.norm.cdf(apart / np.sqrt(2)), BINARY)
    assert 0.925 <= share <= 0.99


def test_intervals_of_areas_are_wider_where_rows_come_in_groups():
    groups = np.repeat(np.arange(24), 5)

    def draw(rng):
        y = np.arange(120) < 60
        common = rng.normal(size=24)[groups]
        return (0.6 * rng.normal(size=120) + 0.8 * common + y)[:, None], y[:, None].astype(float)

    truth = stats.norm.cdf(1 / np.sqrt(2))
    share, wide = covered(draw, truth, BINARY, groups=groups)
    careless, narrow = covered(draw, truth, BINARY)
    assert share > 0.91
    assert careless < 0.85
    assert wide > 1.3 * narrow


def test_an_interval_of_a_perfect_area_is_not_empty():
    """As wide as Newcombe's (2006) for as many rows: his method 5 solved by hand, (1 − a)² = z² V(a) at 20 and 20."""
    y = np.arange(40) < 20
    low, high = score_intervals(y[:, None].astype(float), y[:, None].astype(float), (BINARY,), np.arange(40))[0]
    assert high == pytest.approx(1)
    variance = low * (1 - low) * (1 + 19 * ((1 - low) / (2 - low) + low / (1 + low))) / 400
    assert (1 - low) ** 2 == pytest.approx(stats.norm.ppf(0.975) ** 2 * variance, rel=1e-6)
    assert low < 0.95
    fewer, _ = score_intervals(y[:, None].astype(float), y[:, None].astype(float), (BINARY,), np.arange(40) // 5)[0]
    assert fewer < low


def test_intervals_of_explained_variance_hold_it():
    def draw(rng):
        x = rng.normal(size=120)
        return x[:, None], (x + 0.5 * rng.normal(size=120))[:, None]

    share, _ = covered(draw, 1 - 0.25 / 1.25, NUMBER)
    assert 0.91 <= share <= 0.98


def test_intervals_of_macro_f1_hold_it():
    """Three classes, each named rightly 7 times in 10 and else as either other: every class's F1 is .7."""

    def draw(rng):
        y = rng.integers(0, 3, 120)
        said = np.where(rng.random(120) < 0.7, y, (y + rng.integers(1, 3, 120)) % 3)
        return np.eye(3)[said], np.eye(3)[y]

    share, _ = covered(draw, 0.7, Label("kind", 0, 3, "categorical"))
    assert 0.91 <= share <= 0.98


def test_intervals_come_with_scores():
    groups = np.repeat(np.arange(80), 5)
    data = decode({0: {"top": X}}, LABELS, groups=groups, measures="score", returned="interval")
    assert (data.score_low < data.score).all()
    assert (data.score < data.score_high).all()
    assert (data.score_high <= 1).all()
    assert data.score_low.attrs["long_name"]
