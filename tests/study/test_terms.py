"""What a reward table may say: amounts, tables of a channel, gates; and sentences for what it may not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chisel.build.build import load_study
from chisel.rewards.curve import piecewise
from chisel.study.files import WrongInput
from chisel.study.terms import ChannelPart, GatePart, channel_part, gates_of, value_at, values
from tests.studies import amounts

TICKS = np.arange(65) / 64


@settings(max_examples=60, deadline=None)
@given(amounts(-5, 5))
def test_an_amount_is_the_curve_through_its_knots(amount):
    """Also at jumps, and before the first knot and after the last."""
    told = ChannelPart(weight=amount).weight
    knots = [(0.0, told)] if isinstance(told, float) else list(told)
    curve = piecewise(knots)
    np.testing.assert_allclose([value_at(told, t) for t in TICKS], jax.vmap(curve)(jnp.asarray(TICKS)), atol=1e-5)
    assert values(told) == [v for _, v in knots]


def test_a_term_in_full():
    plain = channel_part(2.0)
    assert plain == ChannelPart(weight=2.0) == channel_part(plain)
    assert plain.model_dump() == {
        "weight": 2.0, "miss": 0.0, "false_alarm": 0.0, "flip": 0.0, "corrected": False, "event_noise": 0.0,
        "noise": 0.0, "clip": None, "gate": None, "delay": 0.0, "lump": 0.0,
    }  # fmt: skip
    assert ChannelPart().weight == 1.0


def test_a_condition_alone_is_a_gate_that_takes_all():
    short, long = ChannelPart(gate="not carrying"), ChannelPart(gate={"feature": "carrying", "strength": [[0, 0.5]]})
    assert short.gate == GatePart(feature="not carrying", strength=1.0)
    assert list(gates_of([1.0, short, ChannelPart(), long, short])) == ["not carrying", "carrying", "not carrying"]


CHANCE = amounts(0, 1)


@settings(max_examples=150, deadline=None)
@given(CHANCE, CHANCE, CHANCE)
def test_only_what_still_tells_an_event_from_none_is_corrected(miss, false_alarm, flip):
    """Looked at on a fine grid, and just before every knot: curves are straight in between."""
    part = ChannelPart(miss=miss, false_alarm=false_alarm, flip=flip)
    knots = {t for kind in (part.miss, part.false_alarm, part.flip) if not isinstance(kind, float) for t, _ in kind}
    grid = sorted({*TICKS, *(t - 1e-9 for t in knots if t > 0)})
    rows = [[value_at(kind, t) for kind in (part.miss, part.false_alarm, part.flip)] for t in grid]
    told = np.array([min(1 - m - a, 1 - 2 * f) for m, a, f in rows])
    wrong = any(values(part.miss) + values(part.false_alarm) + values(part.flip))
    fine = wrong and told.min() > 1e-6
    if wrong and abs(told.min()) <= 1e-6:  # on the edge itself rounding decides
        return
    try:
        ChannelPart(miss=miss, false_alarm=false_alarm, flip=flip, corrected=True)
    except ValidationError:
        assert not fine
    else:
        assert fine


# What cannot be meant

BEFORE = """world = "smile"

[training]
steps = 16384

[[schedule]]
name = "mine"
[schedule.reward]
clown = 1.0
"""
TABLE = BEFORE + "[schedule.reward.helped]\n"
BETWEEN = "a chance is between 0 and 1, found"
GATES = "did you mean 'person_watched' or 'person_above' or 'person_thirsty'?"
NEAR = "did you mean 'shape.near_water' or 'shape.near_clown' or 'shape.near_person'?"
GUIDES = "did you mean 'shape.near_person' or 'shape.near_water' or 'shape.near_clown'?"
STILL = "what is read must still tell an event from none: at progress"
WANTED = "expected miss + false_alarm < 1 and flip < 0.5"
KNOWN = ("known: 'clip', 'corrected', 'delay', 'event_noise', 'false_alarm', 'flip', 'gate', 'lump', 'miss', 'noise', "
         "'weight'")  # fmt: skip
OBSERVED = "a potential is known and not observed; expected a number or knots, found a table"

# What stands in the table of `helped`, whose last line is wrong, and what is said about which key of it.
IN_TABLE = {
    "chance above": ("miss = 1.5", ".miss", f"{BETWEEN} 1.5; the nearest is 1"),
    "chance below": ("noise = 1.0\nfalse_alarm = -0.5", ".false_alarm", f"{BETWEEN} -0.5; the nearest is 0"),
    "chance in a knot": ("flip = [[0.0, 0.0], [1.0, 1.25]]", ".flip", f"{BETWEEN} 1.25; the nearest is 1"),
    "noise": ("noise = -1", ".noise", "a size is at least 0, found -1; the nearest is 0"),
    "event noise": ("event_noise = [[0, -0.5]]", ".event_noise", "a size is at least 0, found -0.5; the nearest is 0"),
    "clip": ("clip = -2.0", ".clip", "a size is at least 0, found -2; the nearest is 0"),
    "delay": ("delay = -3", ".delay", "a number of steps is at least 0, found -3; the nearest is 0"),
    "lump": ("lump = 1.5", ".lump", "a share is between 0 and 1, found 1.5; the nearest is 1"),
    "strength": ('gate = { feature = "carrying", strength = 2 }', ".gate.strength", "a share is between 0 and 1, found 2; the nearest is 1"),
    "order": ("noise = [[0.5, 1], [0.1, 2]]", ".noise", "knots must be in order of progress, found [0.5, 0.1]; in order they are [0.1, 0.5]"),
    "progress": ("noise = [[0.5, 1], [1.5, 2]]", ".noise", "progress runs from 0 to 1, found [1.5]"),
    "truth": ("weight = true", ".weight", "expected a number or knots [[progress, value], ...], found True"),
    "no knots": ("weight = []", ".weight", "expected a number or knots [[progress, value], ...], found []"),
    "infinite": ("miss = inf", ".miss", "expected a number or knots [[progress, value], ...], found inf"),
    "feature": ('gate = "persn_watched"', ".gate", f"unknown feature of world 'smile' 'persn_watched'; {GATES}"),
    "not a feature": ('gate = "not persn_watched"', ".gate", f"unknown feature of world 'smile' 'persn_watched'; {GATES}"),
    "number": ('gate = "clown_distance"', ".gate", "'clown_distance' is a number and not true or false; did you mean 'clown_right' or 'clown_above' or 'clown_nearest'?"),
    "nothing to correct": ("noise = 1.0\ncorrected = true", ".corrected", "there is nothing to correct: miss, false_alarm and flip are 0"),
    "not invertible": ("miss = 0.5\nfalse_alarm = 0.5\ncorrected = true", ".corrected", f"{STILL} 0 miss + false_alarm is 1; {WANTED}"),
    "in the middle": ("flip = [[0, 0.1], [0.5, 0.6], [1, 0.1]]\ncorrected = true", ".corrected", f"{STILL} 0.5 flip is 0.6; {WANTED}"),
    "in the middle of two": ("miss = [[0, 0.9], [1, 0]]\nfalse_alarm = [[0, 0], [0.5, 0.6], [1, 0]]\ncorrected = true", ".corrected", f"{STILL} 0.5 miss + false_alarm is 1.05; {WANTED}"),
    "before a jump": ("flip = [[0, 0.1], [0.5, 0.7], [0.5, 0.1]]\ncorrected = true", ".corrected", f"{STILL} 0.5 flip is 0.7; {WANTED}"),
}  # fmt: skip
# A line of a reward table, and all that is said.
IN_REWARD = {
    "channel": ("hlped = { miss = 0.5 }", ": unknown channel of world 'smile' 'hlped'; did you mean 'helped'?"),
    "bare potential": ("near_water = 1.0", ": 'near_water' is a potential; did you mean 'shape.near_water'?"),
    "potential": ('"shape.x" = 1.0', f": unknown potential of world 'smile' 'shape.x'; {NEAR}"),
    "approach": ('"approach.x" = 1.0', f": unknown potential of world 'smile' 'approach.x'; {NEAR.replace('shape', 'approach')}"),
    "shaped channel": ('"shape.helped" = 1.0', f": unknown potential of world 'smile' 'shape.helped' ('helped' is a channel, which tells of a step; only potentials of a state keep optimal policies); {GUIDES}"),
    "shaped feature": ('"shape.carrying" = 1.0', f": unknown potential of world 'smile' 'shape.carrying' ('carrying' is a feature and not a potential); {GUIDES}"),
    "shaped table": ('"shape.near_water" = { weight = 1.0 }', f".shape.near_water: {OBSERVED}"),
    "approach table": ('"approach.near_water" = { noise = 1.0 }', f".approach.near_water: {OBSERVED}"),
    "text": ('helped = "much"', ".helped: expected a number or knots [[progress, value], ...], found 'much'"),
    "truth": ("helped = true", ".helped: expected a number or knots [[progress, value], ...], found True"),
    "nothing": ("helped = []", ".helped: expected a number or knots [[progress, value], ...], found []"),
    "three": ("helped = [[0.0, 1.0, 2.0]]", ".helped: expected a number or knots [[progress, value], ...], found [[0.0, 1.0, 2.0]]"),
}  # fmt: skip
UNKNOWN = {
    "near": ("mis = 0.1", "'mis' in schedule 'mine'.reward.helped; did you mean 'miss' or 'noise'?"),
    "far": ("channel = 0.1", f"'channel' in schedule 'mine'.reward.helped; {KNOWN}"),
    "gate": ('gate = { feature = "carrying", strenth = 1 }', "'strenth' in schedule 'mine'.reward.helped.gate; did you mean 'strength'?"),
}  # fmt: skip
CASES = {
    **{k: (TABLE + text, f"schedule 'mine'.reward.helped{key}: {says}") for k, (text, key, says) in IN_TABLE.items()},
    **{f"reward: {k}": (BEFORE + text, f"schedule 'mine'.reward{says}") for k, (text, says) in IN_REWARD.items()},
    **{f"unknown: {k}": (TABLE + text, f"unknown key {says}") for k, (text, says) in UNKNOWN.items()},
}


@pytest.mark.parametrize(("text", "says"), CASES.values(), ids=CASES)
def test_what_cannot_be_meant_is_refused_in_a_sentence_with_its_line(tmp_path, text, says):
    """The whole sentence. What is wrong stands in the last line."""
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as error:
        load_study(str(path))
    assert re.sub(r", line \d+: ", ": ", str(error.value), count=1) == f"{path}: {says}"
    assert str(error.value).startswith(f"{path}, line {len(text.splitlines())}: ")


@pytest.mark.parametrize("right", ["miss = 1.0", "flip = [[0, 0.1], [0.5, 0.1], [0.5, 0.4]]\ncorrected = true", "lump = 1",
                                   "clip = 0", 'gate = "not person_watched"', "weight = -3"])  # fmt: skip
def test_what_can_be_meant_is_taken(tmp_path, right):
    path = tmp_path / "study.toml"
    path.write_text(TABLE + right)
    assert isinstance(load_study(str(path)).schedule[0].reward["helped"], ChannelPart)


@given(st.text())
def test_a_gate_that_names_nothing_is_refused(text):
    """Only what is empty cannot be the name of a feature of some world."""
    if text:
        assert ChannelPart(gate=text).gate.feature == text
    else:
        with pytest.raises(ValidationError):
            ChannelPart(gate=text)
