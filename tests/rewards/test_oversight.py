"""What an overseer reads, against what each kind of error is said to do."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from chisel.rewards.curve import constant, piecewise, stack
from chisel.rewards.oversight import UNCLIPPED, USUAL, Oversight, at, read

TIME, WORLDS = 200, 500
SAMPLES = TIME * WORLDS
MOST = 5  # channels of a test
KEYS = (jax.random.key(0), jax.random.key(1))
KINDS = ("miss", "false_alarm", "flip", "corrected", "event_noise", "noise", "clip", "gate")
ORDINARY = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).map(lambda x: x + 0.0)  # no minus before a zero
reading = jax.jit(read)


def observe(facts, seen=(1.0, 1.0), key=KEYS[0], **errors) -> np.ndarray:
    """Readings [samples, channels] of channels whose facts never change; errors are numbers, or one per channel.

    All kinds are always there, and channels enough for all, so that one program serves every test.
    """
    count = len(facts)
    now = {kind: np.full((MOST, 2) if kind == "gate" else MOST, getattr(USUAL, kind), np.float32) for kind in KINDS}
    for kind, x in errors.items():
        now[kind][:count] = x
    told = np.zeros((TIME, WORLDS, MOST), np.float32)
    told[..., :count] = facts
    open_ = np.broadcast_to(np.float32(seen), (TIME, WORLDS, 2))
    found = reading(Oversight(**now), key, told, open_)
    return np.asarray(found, float).reshape(SAMPLES, MOST)[:, :count]


def assert_mean(found: np.ndarray, meant, law: str) -> None:
    """Means per channel within 5 standard errors."""
    bound = 5 * found.std(0) / np.sqrt(len(found)) + 1e-6
    off = np.abs(found.mean(0) - meant)
    assert (off <= bound).all(), f"{law}: mean {found.mean(0)}, said to be {np.asarray(meant)}"


def assert_spread(found: np.ndarray, meant, law: str) -> None:
    """Standard deviations per channel within 5 standard errors, of what is normally distributed."""
    off = np.abs(found.std(0) - meant)
    assert (off <= 5 * np.asarray(meant) / np.sqrt(2 * len(found)) + 1e-6).all(), f"{law}: spread {found.std(0)}"


def read_as_event(event: bool, miss: float, false_alarm: float, flip: float) -> float:
    """The chance of it, from one error after another."""
    noticed = 1 - miss if event else false_alarm
    return noticed * (1 - flip) + (1 - noticed) * flip


# What each kind does in the mean

CONFUSIONS = [
    (0.3, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.1), (0.3, 0.2, 0.1), (0.6, 0.7, 0.4), (0.05, 0.5, 0.9),
    *product((0.0, 1.0), repeat=3),
]  # fmt: skip


@pytest.mark.parametrize(("miss", "false_alarm", "flip"), CONFUSIONS)
def test_misses_false_alarms_and_flips_of_events_of_size_1(miss, false_alarm, flip):
    found = observe([0.0, 1.0], miss=miss, false_alarm=false_alarm, flip=flip)
    p0, p1 = (read_as_event(event, miss, false_alarm, flip) for event in (False, True))
    assert p1 - p0 == pytest.approx((1 - miss - false_alarm) * (1 - 2 * flip))  # as `Oversight` says
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert_mean(found, [p0, p1], "P0 + (P1 - P0)x")
    for channel, chance in enumerate((p0, p1)):
        if chance in (0.0, 1.0):
            assert (found[:, channel] == chance).all(), "what is certain happens without exception"


SIZES = [-2.0, -0.025, 0.0, 0.5, 3.0]


def test_an_event_of_any_size_is_missed_as_a_whole():
    found = observe(SIZES, miss=0.3)
    assert all(set(np.unique(x)) == {0.0, np.float32(size)} for x, size in zip(found.T, SIZES, strict=True))
    assert_mean(found, 0.7 * np.array(SIZES), "E = (1 - miss)x")


def test_a_false_alarm_has_size_1_and_leaves_events_alone():
    found = observe(SIZES, false_alarm=0.2)
    assert_mean(found, np.array(SIZES) + 0.2 * (np.array(SIZES) == 0), "E = x + false_alarm where x = 0")
    events = np.array(SIZES) != 0
    assert (found[:, events] == np.float32(SIZES)[events]).all(), "a false alarm changed an event"


def test_an_event_that_is_missed_and_flipped_has_lost_its_size():
    found = observe(SIZES, miss=0.3, flip=0.2)
    events = np.array(SIZES) != 0
    assert_mean(found[:, events], 0.7 * 0.8 * np.array(SIZES)[events] + 0.3 * 0.2, "kept x + two errors that cancel")
    assert_mean(found[:, ~events], 0.2, "nothing turns round into an event of size 1")
    assert set(np.unique(found[:, -1])) == {0.0, 1.0, 3.0}


@pytest.mark.parametrize(("miss", "false_alarm", "flip"), [c for c in CONFUSIONS if c[0] + c[1] < 1 and c[2] < 0.5])
def test_a_correction_buys_the_mean_with_variance(miss, false_alarm, flip):
    """Wang et al. 2020: the mean is the fact, the variance that of the confusion over (P1 - P0)²."""
    found = observe([0.0, 1.0], miss=miss, false_alarm=false_alarm, flip=flip, corrected=1.0)
    p0, p1 = (read_as_event(event, miss, false_alarm, flip) for event in (False, True))
    assert_mean(found, [0.0, 1.0], "corrected, E = x")
    meant = np.sqrt([p * (1 - p) for p in (p0, p1)]) / (p1 - p0)
    np.testing.assert_allclose(found.std(0), meant, rtol=0.03, atol=1e-3)


def test_only_the_channels_that_say_so_are_corrected():
    found = observe([0.0, 1.0, 0.0, 1.0], miss=0.3, flip=0.1, corrected=[0, 0, 1, 1])
    assert set(np.unique(found[:, :2])) == {0.0, 1.0}
    assert_mean(found, [0.1, 0.7 * 0.9 + 0.3 * 0.1, 0.0, 1.0], "uncorrected beside corrected")


def test_event_noise_is_relative_and_leaves_steps_without_an_event_exact():
    found = observe(SIZES, event_noise=0.5)
    assert_mean(found, SIZES, "event_noise keeps the mean")
    assert_spread(found, 0.5 * np.abs(SIZES), "event_noise is relative to the size")
    assert (found[:, SIZES.index(0.0)] == 0).all(), "event_noise without an event"


def test_noise_is_the_same_whatever_happens_and_leaves_no_step_exact():
    found = observe(SIZES, noise=0.5)
    assert_mean(found, SIZES, "noise keeps the mean")
    assert_spread(found, np.full(len(SIZES), 0.5), "noise does not depend on the fact")
    assert (found != np.float32(SIZES)).mean() > 0.999, "steps without noise"


def test_a_clip_limits_both_sides_and_changes_nothing_within():
    assert observe(SIZES, clip=0.75)[0].tolist() == [-0.75, np.float32(-0.025), 0.0, 0.5, 0.75]


def test_the_mean_of_what_is_clipped_after_noise():
    """Of a normal distribution clipped at both ends: both tails at the limit, and the middle part."""
    facts, sigma, clip = np.array(SIZES), 0.8, 1.0
    a, b = (clip + facts) / sigma, (clip - facts) / sigma
    middle = facts * (norm.cdf(b) - norm.cdf(-a)) + sigma * (norm.pdf(a) - norm.pdf(b))
    meant = -clip * norm.cdf(-a) + middle + clip * norm.cdf(-b)
    assert_mean(observe(SIZES, noise=sigma, clip=clip), meant, "clip with noise")


def test_a_gate_takes_its_share_where_its_condition_fails():
    facts, strengths = [2.0, -1.0], [[0.25, 0.5], [1.0, 0.5]]
    for seen in product((0.0, 1.0), repeat=2):
        lost = np.array(strengths) * (1 - np.array(seen))
        assert observe(facts, seen, gate=strengths)[0].tolist() == (facts * (1 - lost).prod(1)).tolist(), seen


# The order


def test_flips_turn_round_what_misses_and_false_alarms_left():
    assert (observe([0.0], false_alarm=1.0, flip=1.0) == 0).all(), "a false alarm that is turned round is nothing"
    assert (observe([1.0], miss=1.0, flip=1.0) == 1).all(), "a miss that is turned round is an event"


def test_a_correction_comes_after_the_errors_that_it_undoes():
    found = np.unique(observe([0.0, 1.0], miss=0.3, false_alarm=0.1, corrected=1.0))
    np.testing.assert_allclose(found, [-0.1 / 0.6, 0.9 / 0.6], rtol=1e-5)


def test_event_noise_comes_after_the_correction():
    """Which leaves no reading at 0, so that every one of them is then noisy."""
    found = observe([0.0, 1.0], flip=0.2, corrected=1.0, event_noise=0.5)
    share = np.mean([len(np.unique(x)) for x in found.T]) / SAMPLES
    assert share > 0.9, "readings without event_noise"


def test_noise_comes_after_event_noise_and_is_not_multiplied_by_it():
    assert (observe([0.0], noise=0.5, event_noise=2.0) == observe([0.0], noise=0.5)).all()


@pytest.mark.parametrize(
    "errors", [{"noise": 2.0}, {"event_noise": 3.0}, {"flip": 0.4, "corrected": 1.0}], ids=lambda e: next(iter(e))
)
def test_a_clip_comes_after(errors):
    free = observe([0.0, 1.0], **errors)
    assert (np.abs(free) > 0.75).any()
    assert (observe([0.0, 1.0], **errors, clip=0.75) == np.clip(free, -0.75, 0.75)).all()


def test_a_gate_comes_after_the_clip():
    assert (observe([3.0], [0.0, 1.0], clip=2.0, gate=[0.5, 0.0]) == 1.0).all()


def test_outside_a_gate_nothing_is_read_at_all():
    errors = {"false_alarm": 0.9, "event_noise": 1.0, "noise": 5.0, "flip": 0.4, "corrected": 1.0}
    one = {"gate": [1.0, 0.0]}
    assert not observe(SIZES, [0.0, 1.0], **errors, **one).any(), "something is read outside the gate"
    assert (observe(SIZES, [1.0, 0.0], **errors, **one) == observe(SIZES, **errors)).all(), "it changes what it shows"


# Luck


def test_luck_is_drawn_anew_for_every_channel_step_world_and_kind():
    noise = observe([0.0, 0.0], noise=1.0).reshape(TIME, WORLDS, 2)
    events = observe([1.0, 1.0], event_noise=1.0).reshape(TIME, WORLDS, 2) - 1
    missed = observe([1.0, 1.0], miss=0.5).reshape(TIME, WORLDS, 2)
    pairs = {
        "kinds": (noise, events), "kinds, too": (missed, noise), "kinds, as well": (missed, events),
        "keys": (noise, observe([0.0, 0.0], noise=1.0, key=KEYS[1]).reshape(noise.shape)),
    }  # fmt: skip
    for name, x in {"noise": noise, "event_noise": events, "miss": missed}.items():
        neighbours = (x[..., 0], x[..., 1]), (x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x[1:, 1:], x[:-1, :-1])
        pairs |= {
            f"{what} of {name}": p
            for what, p in zip(("channels", "steps", "worlds", "corners"), neighbours, strict=True)
        }
    for what, (one, other) in pairs.items():
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size), f"luck shared by {what}"


def test_a_kind_does_not_change_what_another_draws():
    """Errors that come on top of others leave their luck to be seen."""
    kinds = {"miss": 0.3, "event_noise": 0.5, "noise": 0.25}
    missed = observe([1.0], miss=0.3)
    event, noise = (observe([1.0], **{kind: kinds[kind]}) - 1 for kind in ("event_noise", "noise"))
    np.testing.assert_allclose(observe([1.0], **kinds), missed * (1 + event) + noise, atol=1e-6)


CHANCE, SIZE = st.floats(0, 1, width=32, allow_subnormal=False), st.floats(0, 3, width=32, allow_subnormal=False)
ERRORS = {
    "miss": CHANCE, "false_alarm": CHANCE, "flip": CHANCE, "corrected": st.just(0.0), "event_noise": SIZE,
    "noise": SIZE, "clip": SIZE | st.just(UNCLIPPED), "gate": st.tuples(CHANCE, CHANCE),
}  # fmt: skip
CHANNELS = 3


def of_all(channels: int) -> st.SearchStrategy:
    """Every kind at once, [channels]."""
    each = {kind: st.lists(e, min_size=channels, max_size=channels) for kind, e in ERRORS.items()}
    return st.fixed_dictionaries(each)


def numbers(errors: dict) -> Oversight:
    return Oversight(**{kind: jnp.asarray(x, jnp.float32) for kind, x in errors.items()})


FACTS = arrays(np.float32, (4, 2, CHANNELS), elements=st.sampled_from([0.0, 1.0]) | ORDINARY)
GATES = arrays(np.float32, (4, 2, 2), elements=st.sampled_from([0.0, 1.0]))
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(of_all(CHANNELS), of_all(CHANNELS), FACTS, FACTS, GATES, SEEDS, st.integers(0, CHANNELS - 1))
def test_a_channel_does_not_change_what_is_read_of_another(one, other, facts, others, gates, seed, which):
    """Whatever is said of the others, and whatever happens in them."""
    for kind in KINDS:
        other[kind][which] = one[kind][which]
    others[..., which] = facts[..., which]
    found = [reading(numbers(e), jax.random.key(seed), f, gates) for e, f in ((one, facts), (other, others))]
    assert np.asarray(found[0][..., which]).tobytes() == np.asarray(found[1][..., which]).tobytes()


def usual(kind: str) -> np.ndarray:
    return np.full((CHANNELS, 2) if kind == "gate" else CHANNELS, getattr(USUAL, kind), np.float32)


@settings(max_examples=50, deadline=None)
@given(of_all(CHANNELS), st.sets(st.sampled_from(KINDS)), FACTS, GATES, SEEDS)
def test_a_kind_at_its_usual_value_is_a_kind_that_is_not_there(errors, made, facts, gates, seed):
    """Bit for bit, with any other kinds beside it, or with none: then the facts are read."""
    # Not compiled: there would be a program for every choice of kinds.
    some = {kind: errors[kind] for kind in made}
    key = jax.random.key(seed)
    alone = np.asarray(read(numbers(some), key, facts, gates))
    beside = np.asarray(read(numbers({kind: usual(kind) for kind in KINDS} | some), key, facts, gates))
    np.testing.assert_array_equal(beside, alone)
    assert (beside + 0.0).tobytes() == (alone + 0.0).tobytes(), "another number than without the kinds"
    if not made:
        assert beside.tobytes() == alone.tobytes() == facts.tobytes(), "not the facts"


@settings(max_examples=50, deadline=None)
@given(FACTS, GATES, SEEDS)
def test_compiled_too_all_kinds_at_their_usual_values_read_the_facts(facts, gates, seed):
    found = reading(numbers({kind: usual(kind) for kind in KINDS}), jax.random.key(seed), facts, gates)
    assert np.asarray(found).tobytes() == facts.tobytes()


def test_the_facts_of_a_world_are_the_same_numbers_when_nothing_is_misread():
    """Comfort is a minus zero where all is well; the minus may get lost, and nothing else."""
    facts = np.float32([[[-0.0, 0.0, -0.025]]])
    found = reading(numbers({kind: usual(kind) for kind in KINDS}), KEYS[0], facts, np.zeros((1, 1, 2), np.float32))
    assert (np.asarray(found) == facts).all()
    assert list(np.asarray(found).ravel()) == [0.0, 0.0, np.float32(-0.025)]


def test_at_one_moment_it_is_numbers():
    rise = stack([piecewise([(0.0, 0.0), (1.0, 0.5)]), constant(0.25)])
    gates = stack([stack([constant(1.0), constant(0.0)]), stack([piecewise([(0.5, 0.0), (0.5, 0.5)]), constant(1.0)])])
    found = [at(Oversight(miss=rise, gate=gates), progress) for progress in (0.25, 0.5)]
    assert [now.miss.tolist() for now in found] == [[0.125, 0.25], [0.25, 0.25]]
    assert [now.gate.tolist() for now in found] == [[[1, 0], [0, 1]], [[1, 0], [0.5, 1]]]
    assert all(getattr(found[0], kind) is None for kind in Oversight._fields if kind not in ("miss", "gate"))


def test_noise_of_a_channel_is_the_same_whichever_others_are_noisy():
    """Which channels may be noisy only says for which of them numbers are drawn."""
    facts, gates = jnp.ones((3, 4, MOST)), jnp.ones((3, 4, 0))
    noise = jnp.zeros(MOST).at[jnp.array([1, 3])].set(2.0)
    now = Oversight(noise=noise, event_noise=noise)
    some, every = (np.asarray(read(now, KEYS[0], facts, gates, noisy)) for noisy in ((1, 3), None))
    assert np.array_equal(some, every)
    assert (some[..., [0, 2, 4]] == 1).all()
    assert len(np.unique(some[..., [1, 3]])) == 24
