"""Policies that chisel did not train: those that are not JAX, layers of any form, and what does not fit."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from chisel.probing.outside import Pair, influence

ROWS = 256
RNG = np.random.default_rng(0)
FACTS = ("used", "idle")
GOALS = ("lamp", "bell")


def seen_of(flags, ways):
    return np.concatenate([flags, np.eye(4, dtype=np.float32)[ways]], 1).astype(np.float32)


FLAGS, WAYS = (RNG.random((ROWS, 2)) < 0.5), RNG.integers(0, 4, ROWS)
SEEN = seen_of(FLAGS, WAYS)
TOWARD = np.stack([np.eye(4, dtype=bool)[WAYS], np.eye(4, dtype=bool)[(WAYS + 1) % 4]], 1)


def facts(flags):
    return dict(zip(FACTS, flags.T, strict=True))


def edited(fact):
    flags = [FLAGS.copy(), FLAGS.copy()]
    for there, one in zip((True, False), flags, strict=True):
        one[:, FACTS.index(fact)] = there
    return Pair(seen_of(flags[0], WAYS), seen_of(flags[1], WAYS), TOWARD, facts(flags[0]), facts(flags[1]))


PAIRS = {fact: edited(fact) for fact in FACTS}


def policy(seen, put, numbers=np):
    """With `used`, a pull of 3 to the lamp. The layer is a picture of [2, 3]: both facts, and the four ways."""
    if numbers is np:
        assert isinstance(seen, np.ndarray)
        assert all(isinstance(x, np.ndarray) for x in put.values())
    picture = put.get("picture", seen.reshape(-1, 2, 3))
    plain = picture.reshape(-1, 6)
    return 3 * plain[:, :1] * plain[:, 2:], {"picture": picture}


def read(policy=policy, order=None, **options):
    rows = slice(None) if order is None else order
    pairs = PAIRS
    if order is not None:
        pairs = {
            name: Pair(*(x[rows] for x in pair[:3]), *({k: v[rows] for k, v in told.items()} for told in pair[3:]))
            for name, pair in PAIRS.items()
        }
    few = {"nulls": 40, "states": 64, "strengths": (1.0,), "layers": ["picture"], "callback": True} | options
    return influence(policy, SEEN[rows], facts(FLAGS[rows]), TOWARD[rows], pairs, GOALS, **few)


def test_a_policy_that_is_not_jax_is_read_as_one_that_is():
    called = read()
    compiled = read(lambda seen, put: policy(seen, put, jnp), callback=False)
    assert (
        set(called.data_vars)
        == set(compiled.data_vars)
        >= {"total_effect", "effect", "mediated", "erasure", "steering"}
    )
    for name in called.data_vars:
        np.testing.assert_allclose(called[name], compiled[name], atol=1e-4, err_msg=name)
    # Softmax of (3, 0, 0, 0) against a uniform policy: 3 nats.
    assert float(called.total_effect.sel(edit="used", goal="lamp")) == pytest.approx(3, abs=1e-4)
    assert float(called.effect_p.sel(feature="used", goal="lamp")) < 0.05
    assert not called.total_effect.sel(edit="idle").any()


def test_effects_do_not_depend_on_the_order_of_rows():
    """Sorted by a fact, the half that directions are fitted on used to be of one class: nothing passed, nothing steered."""
    order = np.argsort(FLAGS[:, 0], kind="stable")
    for found in (read(), read(order=order)):
        lamp = found.sel(layer="picture", feature="used", goal="lamp")
        # Over all states the fact is worth 3, along its own unit; and directions are told from 128 states.
        assert float(lamp.mediated) == pytest.approx(1, abs=0.1)
        assert float(lamp.steering.squeeze()) == pytest.approx(3, abs=0.3)
        assert float(found.erasure.sel(feature="used").squeeze()) > 0.1


@pytest.mark.parametrize("form", [int, float])
def test_facts_of_0_and_1_are_truth_values(form):
    """They used to be numbers, which no edit put in: effects were NaN."""
    pairs = {
        name: pair._replace(
            features_in={k: v.astype(form) for k, v in pair.features_in.items()},
            features_out={k: v.astype(form) for k, v in pair.features_out.items()},
        )
        for name, pair in PAIRS.items()
    }
    own = influence(policy, SEEN, facts(FLAGS.astype(form)), TOWARD, pairs, GOALS, callback=True, nulls=20)
    truth = influence(policy, SEEN, facts(FLAGS), TOWARD, PAIRS, GOALS, callback=True, nulls=20)
    np.testing.assert_allclose(own.effect, truth.effect)
    assert np.isfinite(own.effect).all()


def test_what_a_policy_raises_is_raised():
    def broken(seen, put):
        if len(seen) > 4:
            raise KeyError("weights")
        return policy(seen, put)

    with pytest.raises(KeyError, match="weights"):
        read(broken)


def ignoring(seen, put):
    logits, layers = policy(seen, {})
    return logits + 0.1 * bool(put), layers


def ignoring_where_some_are_forbidden(seen, put):
    logits, layers = ignoring(seen, put)
    return np.concatenate([logits[:, :3], np.full((len(seen), 1), -1e9)], 1), layers


def normalising(seen, put):
    logits, layers = policy(seen, put)
    return logits - logits.mean(0), layers


def counting(seen, put, calls=[]):  # noqa: B006
    calls.append(seen)
    logits, layers = policy(seen, put)
    return logits + (len(calls) > 2), layers


def not_finite(seen, put):
    logits, layers = policy(seen, put)
    return logits, {"picture": np.where(len(seen) > 4, np.nan, layers["picture"])}


@pytest.mark.parametrize(
    ("policy_", "options", "said"),
    [
        (ignoring, {}, "layer picture, it says logits that differ by 0.1"),
        (ignoring_where_some_are_forbidden, {}, "layer picture, it says logits that differ by 0.1"),
        (normalising, {}, r"of one observation alone it says logits that differ .*network.eval\(\)"),
        (normalising, {"layers": []}, "of one observation alone it says logits that differ"),
        (counting, {}, "of one observation alone it says logits that differ by 1 "),
        (not_finite, {}, "numbers of its layer picture are not finite"),
        (lambda seen, put: (policy(seen, put)[0] - np.array([0, 0, 0, np.inf]), policy(seen, put)[1]), {}, "give -1e"),
        (lambda seen, put: policy(np.asarray(seen), put), {"callback": False}, "callback=True"),
        (None, {}, "policy: expected a function .* found a NoneType"),
        (policy, {"layers": "picture"}, r"layers: expected a list of names, found 'picture'; give \['picture'\]"),
        (policy, {"layers": ["picture", "picture"]}, "layers: expected each name once, found 'picture' twice"),
        (policy, {"nulls": 0}, "nulls: expected a whole number from 1 on, found 0"),
        (policy, {"states": 0}, "states: expected a whole number from 1 on, found 0"),
        (policy, {"seed": -1}, "seed: expected a whole number from 0 on, found -1"),
        (lambda seen, put: (policy(seen, put)[0][:, :2], policy(seen, put)[1]), {}, r"expected logits \[n, actions\] = \(4, 4\)"),
        (lambda seen, put: policy(seen, put)[0], {}, r"expected \(logits, \{layer: activations\}\), found ndarray"),
        (policy, {"layers": ["pictures"]}, "returns no layer 'pictures'; did you mean 'picture'"),
    ],
)  # fmt: skip
def test_policies_that_do_not_fit_are_refused(policy_, options, said):
    with pytest.raises(ValueError, match=said):
        read(policy_, **options)


def paired(**parts):
    return {"pairs": PAIRS | {"used": PAIRS["used"]._replace(**parts)}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pairs": {}}, "one edit or more, found none"),
        ({"pairs": list(PAIRS.values())}, r"pairs: expected \{edit: Pair\} .* found a list"),
        ({"pairs": {"used": tuple(PAIRS["used"])}}, "pair 'used': expected a Pair, found a tuple"),
        ({"features": {}}, r"features: expected \{feature: \[n\]\} .* found none"),
        ({"goals": "lamp"}, r"goals: expected a list of names, found 'lamp'; give \['lamp'\]"),
        ({"observations": np.where(SEEN[0, 0] == SEEN, np.nan, SEEN)}, "observations: .* are not finite"),
        ({"observations": np.ma.masked_array(SEEN, SEEN > 0)}, "observations: expected a value everywhere"),
        ({"observations": SEEN[:1]}, "observations: expected two rows or more"),
        ({"toward": np.where(TOWARD, "True", "False")}, "toward: expected truth values .* found others, of <U5"),
        ({"toward": np.where(TOWARD, 0.7, np.nan)}, "toward: expected truth values .* found others, of float64"),
        (paired(put_in=SEEN[:, :3]), r"pair 'used', put_in: expected rows of the shape \(6,\), .* found \(3,\)"),
        (paired(put_in=SEEN + np.inf), "pair 'used', put_in: 1,536 of 1,536 numbers are not finite"),
        (paired(toward=TOWARD[:, :1]), r"pair 'used', toward: expected rows of the shape \(2, 4\), .* found \(1, 4\)"),
        (paired(toward=TOWARD * 0.5), "pair 'used', toward: expected truth values"),
        (paired(features_in=facts(np.where(FLAGS, np.inf, 0))), "pair 'used', features_in 'used': expected finite numbers"),
        (paired(features_out=facts(FLAGS.astype(str))), "pair 'used', features_out 'used': .* found strings"),
        (paired(features_in={name: [None] * ROWS for name in FACTS}), "features_in 'used': .* found 256 of 256 that are None"),
        ({"toward": TOWARD[:5]}, "toward: expected 256 rows"),
        ({"toward": TOWARD[:, 0]}, r"toward: expected \[n, goals, actions\]"),
        ({"features": facts(FLAGS) | {"used": np.where(FLAGS[:, 0], "yes", "no")}}, "feature 'used': .* found strings"),
        ({"pairs": PAIRS | {"idle": PAIRS["idle"]._replace(taken_out=SEEN[:5])}}, "pair 'idle', taken_out: expected 256 rows"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused(given, said):
    whole = {"observations": SEEN, "features": facts(FLAGS), "toward": TOWARD, "pairs": PAIRS, "goals": GOALS} | given
    with pytest.raises(ValueError, match=said):
        influence(policy, **whole, callback=True)


def test_features_of_pairs_may_come_in_another_order():
    turned = {name: pair._replace(features_in=dict(reversed(pair.features_in.items()))) for name, pair in PAIRS.items()}
    own, truth = (
        influence(policy, SEEN, facts(FLAGS), TOWARD, pairs, GOALS, callback=True, nulls=20)
        for pairs in (turned, PAIRS)
    )
    np.testing.assert_array_equal(own.effect, truth.effect)


def test_the_example_for_pytorch_is_python_that_hands_over_what_is_asked_for():
    """PyTorch is none of chisel's dependencies: the text is held to the contract, not run."""
    page = (Path(__file__).parents[2] / "docs" / "readings.md").read_text(encoding="utf-8")
    (text,) = [text for text in re.findall(r"```py\n(.*?)```", page, re.DOTALL) if "import torch" in text]
    compile(text, "example", "exec")
    for needed in ("def policy(observations, put)", "torch.no_grad()", ".eval()", "put[", ".numpy()", "callback=True"):
        assert needed in text
