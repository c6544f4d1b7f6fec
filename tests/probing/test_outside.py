"""Networks that chisel did not train: arrays, and policies that can be called."""

import inspect

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from chisel.probing.bank import make_bank
from chisel.probing.outside import Pair, decode, influence
from chisel.probing.policies import _bank
from chisel.study.battery import Battery, load_battery
from tests.probing.switches import FACTS, GOALS, built, say, switches

N = 800


def numbers(width, seed=0):
    return np.random.default_rng(seed).normal(size=(N, width)).astype(np.float32)


def test_scores_are_those_of_scikit_learn():
    """A truth value, and a class among three; on the same halves with the same penalty."""
    x = numbers(6)
    truth = x[:, 0] + 0.5 * numbers(1, 1)[:, 0] > 0
    kinds = np.array(["red", "green", "blue"])[np.argmax(x[:, 1:4] + 0.5 * numbers(3, 2), 1)]
    tested = np.arange(0, N, 2)
    fitted = tested + 1
    data = decode({5: {"top": x}}, {"truth": truth, "kind": kinds}, test=tested, l2=0.02).isel(checkpoint=0, layer=0)
    centre, scale = x[fitted].mean(0), x[fitted].std(0)
    z = (x - centre) / scale

    def sure(y):
        probe = LogisticRegression(C=1 / (len(fitted) * 0.02), tol=1e-10, max_iter=5000).fit(z[fitted], y[fitted])
        return probe.decision_function(z[tested])

    assert float(data.score.sel(feature="truth")) == pytest.approx(roc_auc_score(truth[tested], sure(truth)), abs=1e-4)
    names = np.unique(kinds)
    believed = names[np.argmax([sure(kinds == name) for name in names], 0)]
    expected = f1_score(kinds[tested], believed, average="macro")
    assert float(data.score.sel(feature="kind")) == pytest.approx(expected, abs=1e-4)
    assert data.kind.values.tolist() == ["binary", "categorical"]


def test_skill_is_over_the_best_baseline_and_labelled_throughout():
    x = numbers(4)
    layers = {"low": x[:, :2], "high": np.stack([x[:, 0] * x[:, 1], x[:, 2]], 1)}
    facts = {"product": x[:, 0] * x[:, 1] > 0, "size": x[:, 2]}
    data = decode({0: layers, 10: layers}, facts, baselines={"input": x, "nothing": numbers(2, 9)})
    assert dict(data.sizes) == {"checkpoint": 2, "fitted": 2, "layer": 2, "feature": 2, "baseline": 2}
    assert {"score", "skill", "selectivity", "description_length", "transfer", "baseline_score"} <= set(data.data_vars)
    at = data.isel(checkpoint=0)
    assert float(at.skill.sel(layer="high", feature="product")) > 0.4
    assert float(at.skill.sel(layer="high", feature="size")) == pytest.approx(0, abs=0.02)
    assert float(data.baseline_score.sel(baseline="input", feature="size")) > 0.98
    assert float(at.description_length.sel(layer="high", feature="product")) < 0.5
    for name in data.data_vars:
        assert data[name].attrs["long_name"], name


def test_the_same_code_transfers_and_a_turned_one_does_not():
    x = numbers(6)
    turned = x @ np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    data = decode({0: {"top": x}, 1: {"top": x}, 2: {"top": turned}}, {"fact": x[:, 0] > 0}).isel(layer=0, feature=0)
    assert (data.score > 0.99).all(), "the information is there at every checkpoint"
    own = [float(data.transfer.sel(checkpoint=c, fitted=c)) for c in range(3)]
    np.testing.assert_allclose(own, data.score, atol=1e-6)
    assert float(data.transfer.sel(checkpoint=1, fitted=0)) > 0.99
    assert float(data.transfer.sel(checkpoint=2, fitted=0)) < 0.9, "a probe read another code as if it were its own"


def test_no_layout_is_both_fitted_and_tested():
    """Labels by chance, one for each layout, and activations that tell layouts apart: nothing can be known of new ones."""
    chance = np.random.default_rng(0)
    layouts = np.repeat(np.arange(N // 8), 8)
    names = chance.normal(size=(N // 8, 64)).astype(np.float32)
    x = names[layouts] + 0.1 * chance.normal(size=(N, 64)).astype(np.float32)
    y = (chance.random(N // 8) < 0.5)[layouts]
    by_layout = float(decode({0: {"top": x}}, {"label": y}, groups=layouts).score.squeeze())
    by_state = float(decode({0: {"top": x}}, {"label": y}).score.squeeze())
    assert abs(by_layout - 0.5) < 0.15, f"what cannot be known was scored {by_layout:.2f}: layouts leak into the test"
    assert by_state > 0.9  # which is how that would look


def test_checkpoints_may_come_one_after_another():
    """From a function, as often as it is asked, so that no more than one is in memory."""
    x, calls = numbers(3), []

    def each():
        for checkpoint in (0, 1):
            calls.append(checkpoint)
            yield checkpoint, {"top": x * (checkpoint + 1)}

    fact = {"fact": x[:, 0] > 0}
    given = decode({0: {"top": x}, 1: {"top": 2 * x}}, fact)
    np.testing.assert_allclose(decode(each, fact).score, given.score)
    assert calls == [0, 1, 0, 1]


def test_absolute_penalties_leave_few_weights():
    x = numbers(30)
    fact = {"fact": x[:, 0] + numbers(1, 5)[:, 0] > 0}
    scores = [float(decode({0: {"top": x}}, fact, **kind).score.squeeze()) for kind in ({"l1": 0.1}, {"l2": 1e-6})]
    assert scores[0] > scores[1], "29 idle units were not left alone"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"l1": 0.1, "l2": 0.1}, "expected one of them"),
        ({"groups": np.zeros(N)}, "expected two or more"),
        ({"groups": np.zeros(3)}, "expected 800 rows"),
        ({"baselines": {"input": np.zeros((3, 2))}}, "baseline input: expected 800 rows"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, said):
    x = numbers(2)
    with pytest.raises(ValueError, match=said):
        decode({0: {"top": x}}, {"fact": x[:, 0] > 0}, **wrong)


def test_layers_are_the_same_at_every_checkpoint():
    x = numbers(2)
    with pytest.raises(ValueError, match="checkpoint 1: expected the layers"):
        decode({0: {"top": x}, 1: {"bottom": x}}, {"fact": x[:, 0] > 0})


def test_layers_may_come_in_another_order_at_another_checkpoint():
    """Layers were told apart by their place: scores of `low` went to `high` wherever the two came the other way."""
    x = numbers(4)
    low, high = x[:, 1:3], x[:, :3]
    given = [{"low": low, "high": high}, {"high": high, "low": low}]
    again = iter([[0, 1], [1, 0]])  # and in another order still when gone through again

    def every():
        return enumerate(given[i] for i in next(again))

    options = {"measures": ("score", "transfer"), "returned": ("probes", "predictions", "accuracy", "interval")}
    data = decode(every, {"fact": x[:, 0] > 0}, **options)
    assert float(data.score.sel(checkpoint=0, layer="high").squeeze()) > 0.98
    assert float(data.score.sel(checkpoint=0, layer="low").squeeze()) < 0.6
    for name in ("score", "weights", "predictions", "accuracy", "score_low"):
        np.testing.assert_array_equal(data[name].sel(checkpoint=1), data[name].sel(checkpoint=0), err_msg=name)
    for fitted in (0, 1):
        for checkpoint in (0, 1):
            one = data.transfer.sel(fitted=fitted, checkpoint=checkpoint)
            np.testing.assert_allclose(one, data.score.sel(checkpoint=0), atol=1e-6)


@pytest.mark.parametrize("second", [{"low": numbers(2)}, {"low": numbers(2), "high": numbers(3)}, {}])
def test_layers_are_the_same_when_gone_through_again(second):
    first = {"low": numbers(2), "high": numbers(4)}
    passes = iter([first, second])
    with pytest.raises(ValueError, match=r"checkpoint 7.*expected"):
        decode(lambda: [(7, next(passes))], {"fact": first["low"][:, 0] > 0}, measures=("score", "transfer"))


# A policy


def read_switches(**options):
    world, network = switches(), say(built())
    bank = make_bank(world, 512)
    edits = [*GOALS, *FACTS]
    e = bank.edits
    pairs = {}
    for name in FACTS:
        i = edits.index(name)
        # The truth about edited states, told anew from what is seen.
        seen_in, seen_out = (np.asarray(x[i]) for x in (e.put_in, e.taken_out))
        pairs[name] = Pair(seen_in, seen_out, np.asarray(e.shortens_in[i]), facts_of(seen_in), facts_of(seen_out))

    def policy(seen, put):
        out = network(seen, put)
        return out.logits, out.activations

    observations = np.asarray(bank.observations)
    return influence(policy, observations, facts_of(observations), np.asarray(bank.shortens), pairs, GOALS, **options)


def facts_of(seen):
    bits = np.asarray(seen)[:, : 2 * len(FACTS)].reshape(len(seen), len(FACTS), 2)
    return dict(zip(FACTS, (bits[..., 0] ^ bits[..., 1]).T.astype(bool), strict=True))


def test_what_moves_a_policy_is_found():
    data = read_switches(layers=["hidden"]).isel(layer=0)
    assert float(data.total_effect.sel(edit="used", goal="lamp")) == pytest.approx(5, abs=0.02)
    assert not data.total_effect.sel(edit="idle").any()
    assert float(data.gating.sel(context="context", edit="gated", goal="bell")) > 4
    moving = (data.effect_p <= 0.05) & (data.mediated_p <= 0.05)
    found = {(f, g) for f in FACTS for g in GOALS if moving.sel(feature=f, goal=g)}
    assert found == {("used", "lamp"), ("gated", "bell"), ("context", "bell")}
    assert float(data.erasure.sel(feature="used")) > float(data.erasure_null.sel(feature="used"))
    assert float(data.steering.sel(feature="used", goal="lamp", strength=1.0)) > 1
    for name in data.data_vars:
        assert data[name].attrs["long_name"], name


def test_without_layers_effects_only():
    data = read_switches()
    assert set(data.data_vars) == {"total_effect", "effect", "effect_null", "effect_p", "gating"}


def test_a_feature_belongs_to_the_edit_of_its_name_as_in_a_world():
    """Though another edit puts it in more often; a feature that no edit is called after belongs to the one that does
    so most; one that none puts in, to none."""
    off, always, once = np.zeros(4, bool), np.ones(4, bool), np.arange(4) == 2
    facts = {"own": once, "left": once, "never": off}
    without = dict.fromkeys(facts, off)
    x, toward = np.zeros((4, 2)), np.zeros((4, 1, 2), bool)
    pairs = {
        "own": Pair(x, x, toward, facts, without),
        "big": Pair(x, x, toward, {"own": always, "left": always, "never": off}, without),
    }
    found = _bank(x, facts, toward, pairs).edits
    assert found.edit_of.tolist() == [0, 1, -1]
    assert found.switched[:2].tolist() == [once.tolist(), always.tolist()]


def test_foreign_networks_and_batteries_have_the_same_defaults():
    given = {name: p.default for name, p in inspect.signature(influence).parameters.items()}
    usual = Battery()
    assert (given["states"], given["nulls"]) == (usual.influence.states, usual.influence.nulls)
    assert given["strengths"] == usual.steering.strengths
    shipped = load_battery("values")[0].model_dump()
    for part in ("influence", "decode", "steering", "bank", "choice", "returns"):
        assert shipped[part] == usual.model_dump()[part], "the standard battery writes out something else"


def test_pairs_tell_of_the_same_features():
    x = np.zeros((4, 2))
    pair = Pair(x, x, np.zeros((4, 1, 2)), {"other": np.zeros(4, bool)}, {"other": np.zeros(4, bool)})
    with pytest.raises(ValueError, match=r"pair 'edit': expected the features \['fact'\]"):
        influence(lambda seen, put: None, x, {"fact": np.zeros(4, bool)}, np.zeros((4, 1, 2)), {"edit": pair}, ["goal"])
