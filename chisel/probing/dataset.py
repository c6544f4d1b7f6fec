"""Readings put together into one labelled dataset."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from chisel.analysis.onset import half_life, spell
from chisel.analysis.statistics import t_interval
from chisel.probing.reader import Reader, Readings
from chisel.probing.verdict import LEVEL, verdict
from chisel.worlds.world import names


def dataset(
    reader: Reader,
    rows: list[Readings],
    schedules: list[str],
    seeds: int,
    checkpoints: list[int],
    batch: int,
    updates: int,
    edges: Sequence[int] = (),
    trained_on: np.ndarray | None = None,
    first_seed: int = 0,
) -> xr.Dataset:
    """All readings of a study, labelled.

    Args:
        rows: one `Readings` per checkpoint, [schedules × seeds, …]; the first checkpoint is the untrained network.
        checkpoints: updates done at each.
        batch, updates: environment steps of an update, and updates in all.
        edges: updates at which phases end, each a checkpoint.
        trained_on: [schedules × seeds, checkpoints, params] the numbers of the levels that members trained on, as the
            reader was told them; by default the study's.
        first_seed: the number of the first seed.
    """
    dims = {name: own for name, own in DIMENSIONS.items() if getattr(rows[0], name) is not None}

    def shaped(name: str) -> np.ndarray:
        values = np.stack([getattr(row, name) for row in rows], axis=1)  # [members, checkpoints, …]
        return values.reshape(len(schedules), seeds, *values.shape[1:])

    every = {
        "schedule": schedules,
        "seed": np.arange(first_seed, first_seed + seeds, dtype=np.int32),
        "checkpoint": np.array(checkpoints, np.int64) * batch,
    } | coordinates(reader)
    used = {"schedule", "seed", "checkpoint", *(dim for own in dims.values() for dim in own)}
    data = xr.Dataset(
        {name: (("schedule", "seed", "checkpoint", *own), shaped(name)) for name, own in dims.items()},
        coords={name: values for name, values in every.items() if name in used},
    ).assign_coords(progress=("checkpoint", np.array(checkpoints) / updates))
    data = _with_levels(data, reader, trained_on)
    data = _with_controls(data, reader) if "score" in dims else data
    data = _with_verdicts(data) if reader.judges else data
    data = _with_times(data, [edge * batch for edge in edges])
    data = data.drop_vars([name for name in data.data_vars if str(name).endswith(("_blocks", "_blocks_again"))])
    told = {"left_out": json.dumps(reader.left_out), "levels": json.dumps(reader.battery.distributions)}
    return described(data.assign_attrs(told), reader.network.greedy)


def coordinates(reader: Reader) -> dict[str, Any]:
    """The names along every dimension of what a reader reads."""
    goals = list(reader.world.goals)
    return {
        "layer": list(reader.layers),
        "feature": list(reader.features),
        "goal": goals,
        "rival": goals,
        "edit": list(reader.edits),
        "context": list(reader.contexts),
        "strength": list(reader.battery.steering.strengths),
        "levels": list(reader.levels.names),
        "channel": list(names(reader.world).channels),
    }


def _with_levels(data: xr.Dataset, reader: Reader, trained_on: np.ndarray | None) -> xr.Dataset:
    """What is known of the levels that returns are of: ceilings, parameters, and what is there how often."""
    lead = ("schedule", "seed", "checkpoint")
    sizes = tuple(data.sizes[name] for name in lead)
    found = reader.levels.facts(trained_on, sizes[0] * sizes[1], sizes[2])
    known = {
        "ceiling": ("channel", list(names(reader.world).channels), found.ceiling),
        "level_param": ("param_name", reader.levels.params, found.params),
        "present": ("goal", list(reader.world.goals), found.present),
    }
    if "returns" in data:
        chance = reader.levels.random_play(trained_on, sizes[0] * sizes[1], sizes[2])
        known |= {
            "random_return": ("channel", list(names(reader.world).channels), np.asarray(chance.mean)),
            "random_return_error": ("channel", list(names(reader.world).channels), np.asarray(chance.error)),
        }
        data = data.assign_attrs(random_plays=reader.levels.plays)
    for name, (dim, labels, values) in known.items():
        if labels and values is not None:
            whole = values.reshape(*sizes, *values.shape[2:])
            data = data.assign_coords({dim: labels}).assign({name: ((*lead, "levels", dim), whole)})
    return data


def _with_controls(data: xr.Dataset, reader: Reader) -> xr.Dataset:
    """Scores beside their controls; skill and gain with their intervals over blocks of test layouts."""
    data = data.assign_coords(probe=("feature", ["logistic" if b else "ridge" for b in reader.binary]))
    observed = reader.observation_scores()
    data["observation_score"] = ("feature", observed.score)
    data["untrained_score"] = data["score"].isel(checkpoint=0, drop=True)
    in_observation = (
        xr.DataArray(observed.score, dims="feature"),
        xr.DataArray(observed.blocks, dims=("feature", "block")),
    )
    for again in ("", "_again") if "score_again" in data else ("",):
        score, blocks = data[f"score{again}"], data[f"score_blocks{again}"]
        untrained = score.isel(checkpoint=0), blocks.isel(checkpoint=0)
        data[f"gain_low{again}"] = _limits(score, blocks, *untrained)[1]
        if again:
            continue
        data["gain"] = _limits(score, blocks, *untrained)[0]
        better = observation_is_better(in_observation[0], untrained[0])
        baseline = (xr.where(better, *both) for both in zip(in_observation, untrained, strict=True))
        for name, values in zip(("skill", "skill_low", "skill_high"), _limits(score, blocks, *baseline), strict=True):
            data[name] = values
    for name in [name for name in ("skill_low", "skill_high", "gain_low", "gain_low_again") if name in data]:
        # Two AUCs differ by 1 at most. What is cut off no difference can be, so that the level is kept.
        data[name] = xr.where(data["probe"] == "logistic", data[name].clip(-1.0, 1.0), data[name]).transpose(
            *data[name].dims
        )
    if "control_score" in data:
        data["selectivity"] = data["score"] - data["control_score"]
    return data.drop_vars("control_score", errors="ignore")


def observation_is_better(observation: Any, untrained: Any) -> Any:
    """Which control a score must exceed to be skill, for guards as for tables: the better of the two, as far as they
    are known; the observation where they are equal.
    """
    return (observation >= untrained) | np.isnan(untrained)


def _limits(
    score: xr.DataArray, blocks: xr.DataArray, other: xr.DataArray, other_blocks: xr.DataArray
) -> list[xr.DataArray]:
    """How much better a score is than another on the same layouts, and its limits: a t interval over blocks of them."""
    better = (score - other).transpose(*score.dims)
    found = t_interval((blocks - other_blocks).transpose(*blocks.dims).values)
    half = xr.DataArray((found.high - found.low) / 2, dims=score.dims)
    return [better, better - half, better + half]


def _with_verdicts(data: xr.Dataset) -> xr.Dataset:
    """Which features are decision-influences, on both banks: (…, layer, feature, goal)."""
    lead = ("schedule", "seed", "checkpoint")
    dims = (*lead, "layer", "feature", "goal")

    def of_bank(again: str) -> np.ndarray:
        return verdict(
            data[f"gain_low{again}"].transpose(*lead, "layer", "feature").values,
            data[f"effect{again}"].transpose(*lead, "feature", "goal").values,
            data[f"effect_null{again}"].transpose(*lead, "feature", "goal").values,
            data[f"effect_p{again}"].transpose(*lead, "feature", "goal").values,
            data[f"mediated_p{again}"].transpose(*dims).values,
        )

    data["verdict"] = (dims, of_bank("") & of_bank("_again"))
    return data


def _with_times(data: xr.Dataset, edges: list[int]) -> xr.Dataset:
    """From when until when readings were above their nulls, and how long bids last after phases end."""
    steps = data.checkpoint.values

    def since_when(name: str, holds: xr.DataArray) -> None:
        rows = holds.transpose(..., "checkpoint")
        for end, values in spell(rows.values, steps)._asdict().items():
            data[f"{name}_{end}"] = xr.DataArray(values, dims=rows.dims[:-1])

    if len(steps) > 1:
        if "skill_low" in data:
            since_when("skill", data["skill_low"] > 0)
            since_when("gain", data["gain_low"] > 0)
        if "effect_p" in data:
            since_when("effect", data["effect_p"] <= LEVEL)
        if "verdict" in data:
            since_when("verdict", data["verdict"].any("layer"))
    ends = [edge for edge in edges if edge in steps]
    if "bid" in data and ends:
        bids = data["bid"].transpose(..., "checkpoint")
        found = np.stack([half_life(bids.values, steps, edge) for edge in ends], -1)
        data["half_life"] = xr.DataArray(found, dims=(*bids.dims[:-1], "phase_edge"), coords={"phase_edge": ends})
    return data


def with_transfer(data: xr.Dataset, reader: Reader, probes: list[Any], params: Iterable[Any]) -> xr.Dataset:
    """A dataset with the scores of probes at checkpoints other than those they were fitted at.

    Args:
        probes: one for each checkpoint, as `Reader.probes` returns them.
        params: of the networks at each checkpoint, one after another.
    """
    every = jax.tree.map(lambda *x: np.stack(x, axis=1), *probes)
    found = np.stack([reader.transferred(x, every) for x in params], axis=1)  # [members, checkpoint, fitted, …]
    lead = tuple(data.sizes[name] for name in ("schedule", "seed"))
    dims = ("schedule", "seed", "checkpoint", "fitted", "layer", "feature")
    data["transfer"] = (dims, found.reshape(*lead, *found.shape[1:]))
    return described(data.assign_coords(fitted=data.checkpoint.values), reader.network.greedy)


# The dimensions of each reading beside (schedule, seed, checkpoint).
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "diverged": (),
    "layer_diverged": ("layer",),
    "score": ("layer", "feature"),
    "shuffled_score": ("layer", "feature"),
    "score_blocks": ("layer", "feature", "block"),
    "control_score": ("layer", "feature"),
    "description_length": ("layer", "feature"),
    "bid": ("goal",),
    "total_effect": ("edit", "goal"),
    "effect": ("feature", "goal"),
    "effect_null": ("feature", "goal"),
    "effect_p": ("feature", "goal"),
    "gating": ("context", "edit", "goal"),
    "mediated": ("layer", "feature", "goal"),
    "mediated_p": ("layer", "feature", "goal"),
    "erasure": ("layer", "feature"),
    "erasure_null": ("layer", "feature"),
    "erasure_bid": ("layer", "feature", "goal"),
    "steering": ("layer", "feature", "strength", "goal"),
    "choice": ("goal", "rival"),
    "neither": ("goal", "rival"),
    "utility": ("goal",),
    "effort": (),
    "deviance": (),
    "intransitive": (),
    "returns": ("levels", "channel"),
    "score_again": ("layer", "feature"),
    "score_blocks_again": ("layer", "feature", "block"),
    "effect_again": ("feature", "goal"),
    "effect_null_again": ("feature", "goal"),
    "effect_p_again": ("feature", "goal"),
    "mediated_p_again": ("layer", "feature", "goal"),
}


_MEANINGS: dict[str, tuple[str, str]] = {
    "diverged": ("whether activations or outputs contain NaN or infinity; readings are NaN then", "1"),
    "layer_diverged": ("whether activations of the layer contain NaN or infinity", "1"),
    "score": ("held-out AUC (binary) or R² (continuous) of a linear probe", "1"),
    "shuffled_score": ("control: the same with labels shuffled over layouts", "1"),
    "observation_score": ("control: the same probe on the raw observation, at the best of four penalties", "1"),
    "untrained_score": ("control: the same probe on the untrained network of the same seed", "1"),
    "skill": ("score less the better of the observation and untrained controls: what training added", "1"),
    "skill_low": ("lower limit of skill: 95 % t interval over 8 blocks of test layouts", "1"),
    "skill_high": ("upper limit of skill: 95 % t interval over 8 blocks of test layouts", "1"),
    "gain": ("score less that of the untrained network of the same seed", "1"),
    "gain_low": ("lower limit of gain: 95 % t interval over 8 blocks of test layouts", "1"),
    "selectivity": ("score less that of a control task: a random label for each type of input", "1"),
    "description_length": (
        "online code of the labels, each; numbers to a hundredth of their standard deviation",
        "bit",
    ),
    "transfer": ("score of a probe that was fitted at another checkpoint", "1"),
    "score_low": ("lower limit of the score: 95 % interval over groups of test rows", "1"),
    "score_high": ("upper limit of the score: 95 % interval over groups of test rows", "1"),
    "accuracy": ("share of test rows of which the probe names the right class; NaN of numbers", "1"),
    "predictions": ("readout of the probe for a test row: log-odds of a class, or a number", "1"),
    "weights": ("of the probe, on standardised units: ((x − centre) · scale) @ weights + intercept", "1"),
    "intercept": ("of the probe", "1"),
    "centre": ("what is taken off each unit of a layer before the probe", "1"),
    "scale": ("what each unit of a layer is then multiplied by", "1"),
    "baseline_score": ("the same probe on what the network is compared with", "1"),
    "bid": ("mean log-odds of the actions that shorten the path to the goal", "nat"),
    "total_effect": ("mean bid with the edited goal's object put in, less with it taken out", "nat"),
    "effect": ("mean bid with a feature put in, less with it taken out, where an edit does that", "nat"),
    "effect_null": ("mean effect on bids for goals as they lie in other layouts", "nat"),
    "effect_null_again": ("the same on the second bank", "nat"),
    "effect_p": ("p value of effect, against bids for goals of other layouts, corrected over all (max-T)", "1"),
    "gating": ("total effect where a context holds, less where it does not", "nat"),
    "mediated": ("share of the effect that passes along the concept of the edit that puts the feature in", "1"),
    "mediated_p": ("p value of mediated, against random subspaces, moved equally far, corrected over all (max-T)", "1"),
    "erasure": ("KL from the policy to the same after LEACE erasure of the feature at the layer", "nat"),
    "erasure_null": ("95th percentile of erasure over random directions moved equally far", "nat"),
    "erasure_bid": ("change of the mean bid after LEACE erasure", "nat"),
    "steering": ("change of the mean bid when the layer is moved along the feature's pattern", "nat"),
    "choice": ("share of two-goal levels in which the goal is reached before its rival", "1"),
    "neither": ("share of two-goal levels in which none of the two is reached", "1"),
    "utility": ("log-odds of choosing a goal, as one number for each that explains choices best", "nat"),
    "effort": ("what a step of path distance is worth in choices", "nat/step"),
    "deviance": ("misfit of utilities per spare pair of goals: about 1 if one number per goal is enough", "1"),
    "intransitive": ("triples of goals that are chosen in a circle", "1"),
    "returns": ("mean of each channel's sum over an episode on levels of that distribution, unweighted", "1"),
    "ceiling": ("best reachable mean return of a channel on the very levels played; NaN where not known", "1"),
    "present": ("share of the levels played in which the goal is there", "1"),
    "level_param": ("number of the level distribution that the levels are of; NaN: drawn in another way", "1"),
    "random_return": ("mean of each channel's sum over an episode of random play on the same levels", "1"),
    "random_return_error": ("standard error of random_return over chance, the levels held fixed", "1"),
    "half_life": ("how long after a phase the bid has halved; infinite: not by the end, NaN: there was none", "step"),
    **{
        f"{name}_{end}": (f"{when} {holds}; NaN: {never}", "step")
        for name, holds in (
            ("gain", "gain is above 0"),
            ("skill", "skill is above 0"),
            ("effect", "the effect is above its null"),
            ("verdict", "the verdict holds at some layer"),
        )
        for end, when, never in (
            ("onset", "the first checkpoint, of the spell that lasts or else the longest, at which", "at none"),
            ("offset", "the first checkpoint after that spell, at which it is no longer true that", "none so far"),
        )
    },
    "verdict": ("whether the feature is a decision-influence on the goal, on both banks", "1"),
    "score_again": ("score on the second bank", "1"),
    "gain_low_again": ("lower limit of gain on the second bank", "1"),
    "effect_again": ("effect on the second bank", "nat"),
    "effect_p_again": ("p value of effect on the second bank", "1"),
    "mediated_p_again": ("p value of mediated on the second bank", "1"),
    "checkpoint": ("environment steps of each member", "step"),
    "progress": ("share of training done", "1"),
}


# Of a network that chooses the action of the highest value.
_GREEDY_MEANINGS: dict[str, tuple[str, str]] = {
    "bid": ("mean of the highest value of actions that shorten the path to the goal, less that of others", "return"),
    "total_effect": ("mean bid with the edited goal's object put in, less with it taken out", "return"),
    **{
        name: (_MEANINGS[name][0], "return")
        for name in ("effect", "effect_null", "effect_null_again", "gating", "erasure_bid", "steering", "effect_again")
    },
}


def described(data: xr.Dataset, greedy: bool = False) -> xr.Dataset:
    """A dataset in which every reading says what it is and in which unit."""
    meanings = _MEANINGS | (_GREEDY_MEANINGS if greedy else {})
    for name in [name for name in meanings if name in data.variables]:
        meaning, units = meanings[name]
        data[name].attrs = {"long_name": meaning, "units": units}
    return data
