"""Effects of phases, on readings in which the answer is planted."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

from chisel.findings.effects import effects, factorial, measured
from chisel.report.effect_rows import further, in_words, rows, said

PHASES, GOALS, STEPS = ["early", "mid", "late"], ["water", "clown"], 4000
SIGNS = {"noise": 0.0, "freeze": -1.0, "zero": -2.0}


def planted(
    weights: tuple[float, ...] = (0.3, 0.1, 0.05),
    seeds: int = 6,
    conditions: tuple[str, ...] = ("good", "bad"),
    lengths: tuple[int, ...] = (1000, 1000, 1000),
    together: float = 0.0,
    arms: bool = True,
    noise: float = 0.01,
) -> xr.Dataset:
    """Readings of a study in which every phase adds its weight to the bid for the clown, at the first condition twice.

    With k conditions the i-th adds (k − 1 − 2 i) / (k − 1) weights, so that the first less the last is two of them. The
    choice of the clown is half of the bid; what is of the water never moves. `together` is added where the first and
    last phase are under the same condition, and taken off where not. Early is worth more than late: order matters.
    """
    chance, names = np.random.default_rng(1), PHASES[: len(weights)]
    last, cells, told, bids = len(conditions) - 1, {}, {}, []
    for place in product(range(len(conditions)), repeat=len(names)):
        cells[" ".join(conditions[c] for c in place)] = list(place)
        level = [(last - 2 * c) / last for c in place]
        bids.append(level @ np.array(weights) + together * level[0] * level[-1])
    base = next(iter(cells))
    for kind, phase in product(SIGNS, names) if arms else []:
        told[f"{kind} in {phase}"] = {"kind": kind, "phase": phase, "base": base}
        bids.append(bids[0] + SIGNS[kind] * weights[names.index(phase)])
    schedules = [*cells, *told]
    lead, sizes = ("schedule", "seed", "checkpoint"), (len(schedules), seeds, 2)
    clown = np.zeros(sizes)
    clown[..., 1] = np.array(bids)[:, None] + noise * chance.normal(size=sizes[:2]) + chance.normal(size=seeds)
    flat = np.ones_like(clown)
    lone = np.where(np.eye(2, dtype=bool), np.nan, 1.0)
    data: dict[str, Any] = {
        "bid": ((*lead, "goal"), np.stack([flat, clown], -1), {"units": "nat"}),
        "choice": ((*lead, "goal", "rival"), np.stack([flat, clown / 2], -1)[..., None] * lone, {"units": "1"}),
        "total_effect": ((*lead, "edit", "goal"), np.stack([clown, 3 * clown], -1)[..., None, :], {"units": "nat"}),
        "returns": ((*lead, "levels", "channel"), np.stack([clown, flat], -1)[..., None], {"units": "1"}),
        "ceiling": (("levels", "channel"), np.ones((2, 1))),
        "skill": ((*lead, "layer", "feature"), np.stack([clown, clown + np.nan], -1)[..., None, :], {"units": "1"}),
    }
    half = np.full((len(schedules), seeds, 2, 2), np.nan)
    half[..., 1, 0], half[..., 1, 1] = 500.0, np.where(np.arange(seeds) % 2, 700.0, np.inf)
    data["half_life"] = (("schedule", "seed", "goal", "phase_edge"), half[..., : len(names)])
    ends = np.cumsum(lengths)[: len(names)].tolist()
    attrs = {"phases": names, "conditions": conditions, "lengths": lengths[: len(names)], "cells": cells, "arms": told}
    coords = {"schedule": schedules, "seed": np.arange(seeds), "checkpoint": [0, STEPS], "goal": GOALS, "rival": GOALS}
    coords |= {"edit": ["clown"], "levels": ["training", "decorrelated"], "channel": ["helped"], "layer": ["one"]}
    coords |= {"feature": ["known", "unknown"], "phase_edge": ends[:2]}
    return xr.Dataset(data, coords, {"factorial": json.dumps(attrs | {"washout": 1000}), "steps": STEPS})


def bid(found: xr.Dataset) -> xr.Dataset:
    return found.sel(measure="bid for clown")


def test_every_reading_becomes_measures_of_the_last_checkpoint():
    readings = planted()
    found = measured(readings)
    assert found.measure.values.tolist() == [
        *("choice of water", "choice of clown", "bid for water", "bid for clown"),
        *("effect of clown", "return of helped", "skill"),
    ]
    end = readings["bid"].sel(goal="clown", checkpoint=STEPS)
    for name, factor in {"bid for clown": 1, "choice of clown": 0.5, "effect of clown": 3, "skill": 1}.items():
        np.testing.assert_allclose(found.sel(measure=name), factor * end)
    np.testing.assert_allclose(found.sel(measure="return of helped"), end)  # training levels; the others are all 1
    about = found.sel(measure="effect of clown")
    assert [str(about[k].values) for k in ("reading", "of", "units")] == ["total_effect", "clown", "nat"]


def test_what_never_moves_or_was_not_measured_is_left_out():
    readings = planted()
    readings["skill"][:] = np.nan
    found = effects(readings)
    assert set(found.measure.values) == {"choice of clown", "bid for clown", "effect of clown", "return of helped"}
    assert found["outcome"].dims == ("measure", "cell", "seed")


def test_planted_main_effects_and_shares_are_found_within_their_intervals():
    weights = np.array([0.3, 0.1, 0.05])
    found = bid(effects(planted(), level=0.999))  # of all of them, with this one draw of noise
    assert found["main"].dims == ("phase", "against", "seed")
    np.testing.assert_allclose(found["main_mean"].sel(against="bad"), 2 * weights, atol=0.02)
    assert bool(((found["main_low"] < 2 * weights[:, None]) & (2 * weights[:, None] < found["main_high"])).all())
    share = weights**2 / (weights**2).sum()
    for name in ("first", "total", "shapley"):
        np.testing.assert_allclose(found[name], share, atol=0.02)
        assert bool(((found[f"{name}_low"] < share) & (share < found[f"{name}_high"])).all())
    assert float(found["variance"]) == pytest.approx((weights**2).sum(), rel=0.05)
    assert bool((abs(found["interaction_mean"]) < 0.02).all())


def test_a_seeds_own_level_is_no_noise():
    found = bid(effects(planted()))
    assert float(found["outcome"].std("seed").mean()) > 0.3
    assert float(found["main_high"].max() - found["main_low"].max()) < 0.05
    assert float(found["moved"]) > 0.99


def test_a_planted_interaction_has_its_name_and_sign():
    found = bid(effects(planted(together=0.2)))
    assert found["set"].values.tolist() == ["early × mid", "early × late", "mid × late", "early × mid × late"]
    np.testing.assert_allclose(found["interaction_mean"], [0, 0.4, 0, 0], atol=0.02)
    alone = bid(effects(planted(together=-0.2)))["interaction_mean"].sel(set="early × late")
    assert float(alone) == pytest.approx(-0.4, abs=0.02)


def test_order_is_the_first_condition_earlier_less_later():
    found = bid(effects(planted()))
    assert found["pair"].values.tolist() == ["early, mid", "early, late", "mid, late"]
    np.testing.assert_allclose(found["order_mean"], [0.4, 0.5, 0.1], atol=0.02)
    np.testing.assert_allclose(found["order"].mean("seed"), found["order_mean"])


def test_phases_that_are_not_equally_long_have_no_order():
    found = effects(planted(lengths=(1000, 500, 1000)))
    assert found["pair"].values.tolist() == ["early, late"]
    assert "not equally long" in found.attrs["notes"]
    assert "order" not in effects(planted(lengths=(1000, 500, 200)))
    assert "not equally long" not in effects(planted()).attrs["notes"]


def test_arms_are_compared_with_their_base_in_each_seed():
    readings = planted()
    found = bid(effects(readings))
    raw = measured(readings).sel(measure="bid for clown")
    np.testing.assert_allclose(
        found["arm_effect"].sel(arm="zero in mid"), raw.sel(schedule="zero in mid") - raw.sel(schedule="good good good")
    )
    mean = found["arm_effect_mean"]
    assert float(mean.sel(arm="freeze in early")) == pytest.approx(-0.3, abs=0.02)
    assert float(mean.sel(arm="zero in late")) == pytest.approx(-0.1, abs=0.02)
    floor = abs(found["arm_effect"].isel(arm=(found["kind"] == "noise").values)).mean()
    assert 0 < float(found["noise"]) == pytest.approx(float(floor))
    assert "arm_effect" not in effects(planted(arms=False))
    assert "drifts" in found.attrs["notes"]


def test_half_lives_are_medians_over_cells_that_turn_and_nothing_follows_the_last_phase():
    readings = planted(seeds=5, lengths=(1000, 1000, 2000))
    for schedule, (early, mid, _) in json.loads(readings.attrs["factorial"])["cells"].items():
        if early == mid:  # what fed the bid goes on
            readings["half_life"].loc[{"schedule": schedule, "phase_edge": 1000}] = np.inf
    found = effects(readings)
    clown = found.sel(goal="clown")
    np.testing.assert_equal(clown["half_life"].values, [500.0, np.inf, np.nan])  # three of five never halve
    np.testing.assert_equal(clown["halved"].values, [1.0, 0.4, np.nan])
    assert found["half_life"].sel(goal="water").isnull().all()


def test_three_conditions_are_compared_with_the_first():
    found = effects(planted((0.3, 0.1), conditions=("good", "odd", "bad")))
    mean = bid(found)["main_mean"]
    np.testing.assert_allclose(mean.sel(phase="early"), [0.3, 0.6], atol=0.02)
    assert mean.against.values.tolist() == ["odd", "bad"]
    assert found["condition"].sel(cell="good bad").values.tolist() == ["good", "bad"]
    assert "interaction" not in found
    assert "two conditions only" in found.attrs["notes"]
    (sentence,) = (s for s in said(found) if s.startswith("bid for clown"))
    assert ": early against odd +0.30" in sentence
    assert ", early against bad +0.60" in sentence
    assert sentence.count("%") == 2


def test_a_member_without_a_reading_takes_its_seed_out():
    readings, at = planted(), {"schedule": "bad bad bad", "seed": 2, "goal": "clown"}
    readings["bid"].loc[at] = np.nan
    found, full = effects(readings), effects(planted())
    assert np.isnan(bid(found)["main"].sel(seed=2)).all()
    assert np.isfinite(bid(found)["main"].drop_sel(seed=2)).all()
    rest = effects(planted().isel(seed=[0, 1, 3, 4, 5]))
    for name in ("shapley", "shapley_high", "main_mean", "variance"):
        np.testing.assert_allclose(bid(found)[name], bid(rest)[name])
        np.testing.assert_allclose(found[name].sel(measure="skill"), full[name].sel(measure="skill"))


def test_one_seed_has_effects_and_no_intervals():
    found = effects(planted(seeds=1))
    assert float(bid(found)["main_mean"][0, 0]) == pytest.approx(0.6, abs=0.05)
    assert bid(found)["main_low"].isnull().all()
    assert found["shapley"].isnull().all()
    assert "Shapley" not in said(found)[0]
    assert not [x for x in further(found) if x.clear]


def test_where_cells_differ_by_noise_alone_there_are_no_shares():
    readings = planted(seeds=2)
    readings["bid"][:, 1] = -readings["bid"][:, 0]  # what one seed says, the other takes back
    found = effects(readings)
    assert float(bid(found)["variance"]) < 0
    assert bid(found)["shapley"].isnull().all()
    assert float(bid(found)["moved"]) == 0
    assert found["shapley"].sel(measure="skill").notnull().all()
    assert 'make them differ: bid for clown"' in found.attrs["notes"]


def test_the_most_moved_come_first():
    readings = planted(noise=0.0)
    shaken = np.random.default_rng(1).normal(size=readings["bid"].shape)
    readings["bid"] += 0.5 * shaken
    readings["returns"] += 0.1 * shaken[..., None, 1:]
    found = effects(readings)
    order = found.measure.values.tolist()
    assert order.index("skill") < order.index("return of helped") < order.index("bid for clown")
    assert np.diff(found["moved"]).max() <= 0


def test_rows_say_what_the_dataset_says():
    found = effects(planted(together=0.2))
    listed = rows(found, most=2)
    assert [(r.measure, r.phase) for r in listed] == list(product(found.measure.values[:2], PHASES))
    own = found.sel(measure=listed[4].measure, phase="mid")
    assert listed[4].main == tuple(own[f"main_{k}"].sel(against="bad") for k in ("mean", "low", "high"))
    assert listed[4].share == tuple(own[f"shapley{k}"] for k in ("", "_low", "_high"))


def test_interactions_are_listed_where_they_are_clear_and_all_else_is():
    found = effects(planted(together=0.2, noise=0.05))
    listed, own = further(found, most=1), found.isel(measure=0)
    clear = ((own["interaction_low"] > 0) | (own["interaction_high"] < 0)).values
    assert [x.name for x in listed if x.kind == "interaction"] == own["set"].values[clear].tolist()
    assert own["set"].values[clear].tolist() == ["early × late"]
    assert [x.name for x in listed if x.kind == "order"] == ["early, mid", "early, late", "mid, late"]
    assert [x.name for x in listed if x.kind == "noise"] == [f"noise in {p}" for p in PHASES]
    assert {x.kind for x in listed if x.clear} >= {"interaction", "order", "freeze", "zero"}
    assert not any(x.clear for x in listed if x.value.low <= 0 <= x.value.high)


def test_a_sentence_tells_effects_and_shares():
    found = effects(planted())
    (sentence,) = [s for s in said(found) if s.startswith("bid for clown: ")]
    first, second = (r for r in rows(found, 99)[:] if r.measure == "bid for clown" and r.phase != "late")
    assert f"early {in_words(first.main)}, mid {in_words(second.main)}, late +0." in sentence
    assert sentence.endswith("; Shapley shares 88 %, 10 %, 2 %")
    assert "*" not in sentence


@pytest.mark.parametrize(("seeds", "few"), [(4, True), (6, False)])
def test_few_seeds_are_called_few(seeds, few):
    assert ("cannot give p below 0.125" in effects(planted(seeds=seeds)).attrs["notes"]) == few


def test_effects_can_be_kept_in_a_file(tmp_path):
    found = effects(planted())
    found.to_netcdf(tmp_path / "effects.nc")
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "effects.nc"), found)


def test_what_is_no_factorial_is_refused():
    plain = planted()
    del plain.attrs["factorial"]
    assert factorial(plain) is None
    with pytest.raises(ValueError, match="not a factorial"):
        effects(plain)
    with pytest.raises(ValueError, match=r"lacking: bad good bad$"):
        effects(planted().drop_sel(schedule="bad good bad"))


def test_a_study_that_moved_nothing_has_no_measures():
    found = effects(planted((0.0, 0.0), noise=0.0, arms=False))
    assert found.sizes["measure"] == 0
    assert rows(found) == said(found) == []
