"""Instruments that are broken on purpose: each must be caught by a test of known answers."""

import functools
import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from chisel.probing import causes, choice, mediation, outside, reader, verdict
from chisel.runs import store as run
from tests.probing import test_battery, test_choice, test_mediation, test_outside
from tests.probing import test_known_answers as known
from tests.probing.switches import built
from tests.runs import test_store


def caught(test) -> bool:
    try:
        test()
    except AssertionError:
        return True
    return False


@pytest.fixture
def broken(monkeypatch):
    """Readings of the network that was built by hand, taken anew with what is broken, as far as a test asks for them."""

    def readings_with(*asked):
        anew = functools.cache(lambda: known.readings(built(), asked=asked, layouts=256))
        monkeypatch.setattr(known, "independent", anew)
        return monkeypatch

    return readings_with


def test_a_probe_split_by_state_instead_of_by_layout(monkeypatch):
    split = outside.split_rows
    monkeypatch.setattr(outside, "split_rows", lambda columns, groups, *rest: split(columns, None, *rest))
    assert caught(test_outside.test_no_layout_is_both_fitted_and_tested)


def test_a_null_of_the_wrong_rank(monkeypatch):
    """All directions that were drawn, where the concept has fewer."""
    real = mediation.mediated

    def careless(passing, concepts, drawn, moved):
        full = real(passing, jnp.where(concepts == 0, drawn[0], concepts), drawn, moved)
        return real(passing, concepts, drawn, moved)._replace(chance=full.chance)

    monkeypatch.setattr(test_mediation, "mediated", careless)
    assert caught(test_mediation.test_random_moves_are_of_the_rank_of_the_concept_and_equally_far)


def test_a_bank_with_correlated_features(broken):
    """The whole bank made of the correlated world: the tool must warn."""
    correlated = functools.partial(known.readings, alike=0.9)
    broken("score").setattr(known, "independent", functools.cache(lambda: correlated(built(), asked=["score"])))
    assert caught(known.test_a_correlated_bank_is_warned_of)


def test_steering_with_the_wrong_sign(broken):
    steering = causes.steering
    broken("steering").setattr(
        causes, "steering", lambda h, rows, strengths, moved: steering(h, -rows, strengths, moved)
    )
    assert caught(known.test_steering_goes_where_it_is_steered)


def test_effects_with_in_and_out_exchanged(broken):
    moves = causes.influence.moves
    broken("total_effect").setattr(
        causes.influence, "moves", lambda a, b, shortens, greedy=False: -moves(a, b, shortens, greedy=greedy)
    )
    assert caught(known.test_the_effect_of_a_fact_is_its_pull_on_its_goal)


def test_directions_that_are_those_of_other_features(broken):
    patterns = causes.patterns
    broken("mediated").setattr(causes, "patterns", lambda x, z: jnp.roll(patterns(x, z), 1, 0))
    assert caught(known.test_all_of_the_effect_passes_along_the_fact)


def test_distances_of_the_wrong_sign(monkeypatch):
    real = choice.circumstances
    monkeypatch.setattr(test_choice, "circumstances", lambda *told: real(*told).at[..., 0].multiply(-1))
    assert caught(lambda: test_choice.test_whoever_goes_for_what_is_near_is_told_that_steps_cost(1))
    assert caught(test_choice.test_circumstances_are_how_much_farther_the_second_goal_is_and_on_which_side_the_first)


@pytest.fixture
def built_anew(monkeypatch):
    """A reader that is made with what is broken, for tests that share one."""
    monkeypatch.setattr(test_battery, "untrained", functools.cache(test_battery.untrained.__wrapped__))
    return monkeypatch


def test_a_second_bank_that_is_the_first(built_anew):
    real = reader.make_bank
    built_anew.setattr(reader, "make_bank", lambda world, layouts, seed, again=False: real(world, layouts, seed))
    assert caught(test_battery.test_the_second_bank_is_of_other_states)


def test_an_observation_control_at_one_penalty(built_anew):
    built_anew.setattr(reader, "STRONGER", (1.0,))
    assert caught(test_battery.test_the_observation_control_gets_the_best_of_four_penalties)


@pytest.mark.parametrize(
    ("blind_to", "what"),
    [("group", "another group"), ("name", "another name"), ("shape", "another shape of the same bytes"),
     ("dtype", "another dtype of the same bytes")],
)  # fmt: skip
def test_a_digest_that_is_blind(monkeypatch, blind_to, what):
    def digest(arrays):
        sha = hashlib.sha256()
        for group in sorted(arrays):
            for name in sorted(arrays[group]):
                array = np.ascontiguousarray(arrays[group][name])
                told = {"group": group, "name": name, "shape": array.shape, "dtype": array.dtype} | {blind_to: ""}
                sha.update("".join(str(x) for x in told.values()).encode() + array.tobytes())
        return np.frombuffer(sha.digest(), np.uint8)

    monkeypatch.setattr(run, "_digest", digest)
    assert caught(lambda: test_store.test_a_digest_is_of_names_dtypes_shapes_and_bytes(what))


def test_p_values_that_are_not_corrected():
    """Each finding against its own nulls only."""

    def alone(found, nulls, two_sided=True):
        centre, spread = nulls.mean(0), nulls.std(0)
        t, of_nulls = abs(found - centre) / spread, abs(nulls - centre) / spread
        return verdict.Tested(t, (1 + (of_nulls >= t).sum(0)) / (len(nulls) + 1))

    kept = test_mediation.max_t
    test_mediation.max_t = alone
    try:
        assert caught(test_mediation.test_of_nothing_one_in_twenty_families_has_a_finding)
    finally:
        test_mediation.max_t = kept


def test_a_verdict_that_trusts_what_is_decodable():
    """Without the effect: everything that is read well would be called an influence."""
    _, data = known.independent()
    after = data.isel(checkpoint=1)
    lenient = {f for f in after.feature.values if float(after.gain_low.sel(feature=f)) > 0}
    assert {"idle", "twin"} < lenient  # what the other conditions are for
    assert not {f for f, _ in known.found(data)} & {"idle", "twin"}
    assert np.asarray(after.verdict).sum() == len(known.TRUTH)
