"""Readings of networks that chisel did not train: of arrays, or of any policy that can be called.

    decode      activations and labels           -> scores and their controls
    influence   a policy, and edited observations -> effects, what passes, erasure, steering

Both return a labelled dataset with the same names as `readings.nc`. `docs/readings.md` says what they assume of data.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from chisel.probing import controls, linear
from chisel.probing.dataset import described
from chisel.probing.decoding import Kind, Plan, Task, fitted, read, scored
from chisel.probing.given import check_arrays, check_count, check_penalty
from chisel.probing.labels import Labels, LabelWarning, Unit, read_labels, unit_of, unscored
from chisel.probing.layers import (
    Checkpoints,
    Layers,
    Spatial,
    Standard,
    arranged,
    check_spatial,
    checkpoints,
    moved,
    of_raw,
    standardised,
)
from chisel.probing.policies import Pair, influence
from chisel.probing.rows import Split, split_rows
from chisel.probing.uncertainty import accuracies, score_intervals
from chisel.study.battery import L2
from chisel.study.files import nearest

__all__ = ["MEASURES", "RETURNED", "LabelWarning", "Pair", "decode", "influence"]

MEASURES = ("score", "description_length", "selectivity", "transfer", "skill")
RETURNED = ("probes", "predictions", "accuracy", "interval")


def decode(
    activations: Checkpoints,
    labels: Mapping[str, ArrayLike],
    *,
    kinds: Mapping[str, Kind] | None = None,
    baselines: Layers | None = None,
    groups: ArrayLike | None = None,
    test: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    measures: Sequence[str] | None = None,
    returned: Sequence[str] = (),
    spatial: Spatial = "flatten",
    standardise: bool = True,
    l2: float | None = None,
    l1: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Linear probes of anybody's activations.

    Args:
        activations: {checkpoint: {layer: [n, units]}}; or a function that yields (checkpoint, {layer: …}) one after
            another whenever it is called, so that no more than one checkpoint is in memory. It is called once, and once
            more for `transfer`.
        labels: {feature: [n]}: truth values (binary); strings (categorical); or numbers (NaN: does not apply). Numbers
            of two values are binary; whole numbers are categorical if there are at most 20 of them, each in 10 rows or
            more on average; all others are continuous. The attribute `assumed` says so, and a warning where something
            else may have been meant.
        kinds: {feature: "binary", "categorical" or "continuous"} for labels that are meant otherwise.
        baselines: {name: [n, …]}, such as the raw input or an untrained network's activations. `skill` is the score
            less the best of theirs.
        groups: [n], rows that belong together, such as the states of one layout. No group is both fitted and tested:
            half of them are for each, alike in rows and classes as far as can be. Without it every row is a group.
        test: the rows to test on, a mask [n] or indices; all others are fitted on.
        inputs: [n, …], what is sorted into types for the control task; by default the first baseline. Without either
            there is no `selectivity`.
        measures: what to compute, of `MEASURES`; by default all that can be. `score` alone is fastest.
        returned: what else to hand back, of `RETURNED`.
        spatial: of layers [n, height, width, channels] and [n, time, channels]: "flatten", every channel at every place
            is a unit; "mean", channels in the mean over places; "place", a layer for each place, such as `conv[0,2]`.
        standardise: give every unit a scale of its own, so that the penalty does not depend on units of measurement.
        l2, l1: the penalty, on squared or on absolute weights; by default l2 = 0.01. Below 0.001 see `linear.fit`.
            Numbers among labels are in standard deviations while they are fitted.

    Returns:
        `score` (AUC, R², or macro-F1), `description_length`, `selectivity` and `skill` (checkpoint, layer, feature),
        `baseline_score` (baseline, feature), and `transfer`, the score of a probe fitted at another checkpoint
        (checkpoint, fitted, layer, feature). If asked for: *probes*: `weights` (checkpoint, layer, unit, column),
        `intercept`, and `centre` and `scale` of units: the readout is ((x − centre) · scale) @ weights + intercept;
        *predictions*: that readout (log-odds of classes) for the test rows (checkpoint, layer, row, column);
        *accuracy*: the share of test rows whose class it gets right; *interval*: `score_low`, `score_high`, 95 %
        intervals over test groups. A column is a feature, or a class of one.

        A label that is constant, or of which a half has fewer than 5 rows of either class, is warned of and NaN.

    Raises:
        ValueError: lengths differ, layers differ between checkpoints, activations are not finite, both penalties are
            given, there are fewer than two groups, or something is not of the form above.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    >>> found = decode({0: {"top": 0 * x}, 1: {"top": x}}, {"sign": x[:, 1] > 0}, baselines={"input": x[:, 2:]})
    >>> bool(found.skill.sel(checkpoint=1, layer="top", feature="sign") > 0.4), list(found.transfer.dims)
    (True, ['checkpoint', 'fitted', 'layer', 'feature'])
    """
    if l1 is not None and l2 is not None:
        raise ValueError("l1 and l2: expected one of them")
    l1, l2, seed = check_penalty("l1", l1), check_penalty("l2", l2), check_count("seed", seed)
    check_spatial(spatial)
    check_arrays("baselines", baselines)
    asked = _asked(measures, returned, bool(baselines), inputs is not None)
    told = read_labels(labels, kinds)
    split = split_rows(np.where(told.binary, told.matrix, np.nan), groups, test, seed)
    none, doubtful = unscored(told, *split.halves)
    _warn(told, none, doubtful)
    unit = unit_of(told, split.halves[0])
    truth = jnp.asarray(((told.matrix[split.order] - unit.centre) / unit.scale).astype(np.float32))
    task = Task(truth, jnp.asarray(told.binary), L2 if l2 is None else l2, l1)
    plan = Plan(told.known, split.fitted, ("score", *(m for m in MEASURES[1:3] if m in asked)), standardise)
    work = _Work(asked, told, unit, split, task, None, plan, spatial)
    with jax.default_matmul_precision("highest"):
        given = {name: work.shown(f"baseline {name}", values) for name, values in (baselines or {}).items()}
        if "selectivity" in asked:
            sorted_by, _ = next(iter(given.values())) if inputs is None else work.shown("inputs", inputs)
            keys = jax.random.split(jax.random.key(seed))
            types = controls.types(keys[0], sorted_by)
            work = work._replace(control=controls.control_labels(keys[1], types, truth, task.binary))
        found = _read_all(work, activations)
        data = _labelled(work, found)
        if "transfer" in asked:
            data = data.assign_coords(fitted=list(found))
            data["transfer"] = (("checkpoint", "fitted", "layer", "feature"), _transferred(work, activations, found))
        if "skill" in asked:
            scores = np.array([scored(fitted(z, work.priced(of), plan), z, truth, plan) for z, of in given.values()])
            data = data.assign_coords(baseline=list(given)).assign(baseline_score=(("baseline", "feature"), scores))
            data["skill"] = data["score"] - data["baseline_score"].max("baseline")
    data = data if "score" in asked else data.drop_vars("score")
    for name in [name for name, values in data.data_vars.items() if "feature" in values.dims]:
        data[name] = data[name].where(~data.feature.isin(list(none)))
    told_of = {"assumed": told.assumed, "unscored": none, "doubtful": doubtful}
    return described(data.assign_attrs({name: json.dumps(value) for name, value in told_of.items()}))


class _Work(NamedTuple):
    """What is done to every layer."""

    asked: frozenset[str]
    labels: Labels
    unit: Unit  # of numbers among the labels
    split: Split
    task: Task
    control: Float[Array, "n columns"] | None
    plan: Plan
    spatial: Spatial

    def shown(self, title: str, values: ArrayLike) -> tuple[Float[Array, "n units"], Standard]:
        """One array as a single layer, its rows in order, standardised."""
        (_, x), *_ = arranged(title, title, values, len(self.split.order), "flatten")
        return self.standardised(title, x)

    def standardised(self, title: str, x: np.ndarray) -> tuple[Float[Array, "n units"], Standard]:
        """A layer as it is fitted."""
        z, standard = standardised(title, x, self.split.order, self.split.fitted, self.plan.standardise)
        return jnp.asarray(z), standard

    def priced(self, standard: Standard) -> Task:
        """The task with its penalty, which is on weights of units as they were given unless these are standardised."""
        if standard.common is None:
            return self.task
        l1 = self.task.l1 and self.task.l1 * standard.common
        return self.task._replace(l2=self.task.l2 * standard.common**2, l1=l1)


class _Layer(NamedTuple):
    """What was found in one layer of one checkpoint: [feature] each, and readouts of the test rows if need be."""

    standard: Standard
    probe: linear.Probe  # of the standardised layer
    measures: dict[str, np.ndarray]
    out: Float[np.ndarray, "tested columns"]


def _asked(measures: Sequence[str] | None, returned: Sequence[str], baselines: bool, inputs: bool) -> frozenset[str]:
    """What is to be computed and handed back."""
    chosen = MEASURES if measures is None else (measures,) if isinstance(measures, str) else tuple(measures)
    more = (returned,) if isinstance(returned, str) else tuple(returned)
    for title, names, valid in (("measures", chosen, MEASURES), ("returned", more, RETURNED)):
        for name in names:
            if name not in valid:
                raise ValueError(
                    f"{title}: expected some of {', '.join(valid)}, found {name!r}; {nearest(str(name), valid)}"
                )
    lacking = {"skill": "baselines"} if not baselines else {}
    if not baselines and not inputs:
        lacking["selectivity"] = "inputs or baselines"
    for name, what in lacking.items():
        if measures is not None and name in chosen:
            raise ValueError(f"measures: {name} is told from {what}; expected them, found none")
    return frozenset(chosen) - frozenset(lacking) | frozenset(more)


def _warn(labels: Labels, unscored: Mapping[str, str], doubtful: Mapping[str, str]) -> None:
    """One warning of all labels that may be meant otherwise, or have no score."""
    lines = [f"{name}: {labels.assumed[name]}; if not so, say kinds={{{name!r}: ...}}" for name in labels.doubtful]
    lines += [f"{name}: not scored (NaN). {why}" for name, why in unscored.items()]
    lines += [f"{name}: {why}" for name, why in doubtful.items()]
    if lines:
        warnings.warn("labels\n" + "\n".join(lines), LabelWarning, stacklevel=3)


def _parts(work: _Work, checkpoint: Any, layers: Layers) -> Iterator[tuple[str, str, np.ndarray]]:
    """Layer after layer of a checkpoint: what errors call it, its name, and its activations."""
    for name, values in layers.items():
        title = f"checkpoint {checkpoint}, layer {name}"
        for part, x in arranged(title, str(name), values, len(work.split.order), work.spatial):
            yield title, part, x


def _read_all(work: _Work, activations: Checkpoints) -> dict[Any, dict[str, _Layer]]:
    """Every layer of every checkpoint, one in memory at a time."""
    found: dict[Any, dict[str, _Layer]] = {}
    wanted: dict[str, int] = {}
    for checkpoint, layers in checkpoints(activations):
        if checkpoint in found:
            raise ValueError(f"checkpoint {checkpoint}: expected each once, found it twice")
        found[checkpoint] = {}
        for title, name, x in _parts(work, checkpoint, layers):
            if name in found[checkpoint]:
                raise ValueError(f"checkpoint {checkpoint}: expected layers of different names, found {name!r} twice")
            found[checkpoint][name] = _read(work, title, x)
        widths = {name: len(layer.standard.centre) for name, layer in found[checkpoint].items()}
        wanted = wanted or widths
        _check_layers(checkpoint, wanted, widths)
        found[checkpoint] = {name: found[checkpoint][name] for name in wanted}  # in one order, whatever that given
    return found


def _check_layers(checkpoint: Any, wanted: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Refuses a checkpoint that has other layers, or layers of other widths, than were seen before."""
    if found != wanted:
        raise ValueError(
            f"checkpoint {checkpoint}: expected the layers {dict(wanted)}, with as many units, found {dict(found)}"
        )


def _read(work: _Work, title: str, x: np.ndarray) -> _Layer:
    z, standard = work.standardised(title, x)
    probe, measures = read(z, work.priced(standard), work.control, work.plan)
    out = np.zeros((0, 0), np.float32)
    if work.asked & {"predictions", "accuracy", "interval"}:
        out = np.asarray(linear.predict(probe, z[work.plan.fitted :]))
    return _Layer(standard, jax.tree.map(np.asarray, probe), jax.tree.map(np.asarray, measures), out)


def _transferred(work: _Work, activations: Checkpoints, found: Mapping[Any, dict[str, _Layer]]) -> np.ndarray:
    """Scores of every checkpoint's probes on every other: [checkpoint, fitted, layer, feature]."""
    scores: dict[Any, list[np.ndarray]] = {}
    ranked = np.repeat([k.kind == "binary" for k in work.labels.known], [k.end - k.first for k in work.labels.known])
    wanted = {name: len(layer.standard.centre) for name, layer in next(iter(found.values())).items()}
    for checkpoint, layers in checkpoints(activations, least=0):
        of_layers, widths = {}, {}
        for title, name, x in _parts(work, checkpoint, layers):
            widths[name] = x.shape[1]
            if wanted.get(name) != x.shape[1]:
                break
            z, standard = work.standardised(title, x)
            probes = [moved(of_raw(own[name].probe, own[name].standard), standard) for own in found.values()]
            # Areas are of ranks: what is added to all readouts changes none, but would take their last digits.
            probes = [probe._replace(intercept=jnp.where(ranked, 0.0, probe.intercept)) for probe in probes]
            each = [np.asarray(scored(probe, z, work.task.truth, work.plan)) for probe in probes]
            of_layers[name] = np.stack(each)
        _check_layers(f"{checkpoint}, gone through again for transfer", wanted, widths)
        scores[checkpoint] = [of_layers[name] for name in wanted]
    if list(scores) != list(found):
        raise ValueError(
            "activations: transfer goes through all checkpoints twice; "
            f"expected {list(found)} again, found {list(scores)}"
        )
    return np.moveaxis(np.array(list(scores.values())), 1, 2)


def _labelled(work: _Work, found: Mapping[Any, dict[str, _Layer]]) -> xr.Dataset:
    """Measures with their names, and what else was asked for."""
    known, rows = work.labels.known, list(found.values())
    data = xr.Dataset(coords={"checkpoint": list(found), "layer": list(rows[0]), "feature": [k.name for k in known]})
    data = data.assign_coords(kind=("feature", [k.kind for k in known]))
    dims = ("checkpoint", "layer", "feature")

    def every(of: Callable[[_Layer], Any]) -> np.ndarray:
        return np.array([[of(layer) for layer in row.values()] for row in rows])

    for name in next(iter(rows[0].values())).measures:
        data[name] = (dims, every(partial(_measure, name)))
    tested = work.split.halves[1]
    truth = work.labels.matrix[tested]
    if "accuracy" in work.asked:
        data["accuracy"] = (dims, every(lambda layer: accuracies(layer.out, truth, known)))
    if "interval" in work.asked:
        group = work.split.group[tested]
        of_standard = np.asarray(work.task.truth)[work.plan.fitted :]
        limits = every(lambda layer: score_intervals(layer.out, of_standard, known, group))
        data["score_low"], data["score_high"] = ((dims, limits[..., i]) for i in range(2))
    if work.asked & {"probes", "predictions"}:
        data = data.assign_coords(_column_names(work.labels))
    if "predictions" in work.asked:
        values = every(lambda layer: layer.out * work.unit.scale + work.unit.centre)
        data = data.assign_coords(row=tested).assign(predictions=(("checkpoint", "layer", "row", "column"), values))
    return data.assign(_probes(work, rows)) if "probes" in work.asked else data


def _measure(name: str, layer: _Layer) -> np.ndarray:
    return layer.measures[name]


def _column_names(labels: Labels) -> dict[str, Any]:
    """A column is a feature, or a class of one."""
    features = [k.name for k in labels.known for _ in range(k.first, k.end)]
    several = [k.kind == "categorical" for k in labels.known for _ in range(k.first, k.end)]
    pairs = zip(features, labels.classes, several, strict=True)
    names = [f"{feature}={one}" if many else feature for feature, one, many in pairs]
    return {"column": names, "column_feature": ("column", features)}


def _probes(work: _Work, rows: Sequence[Mapping[str, _Layer]]) -> dict[str, Any]:
    """Probes of activations and labels as they were given; layers of fewer units than the widest end in NaN."""
    widest = max(len(layer.standard.centre) for layer in rows[0].values())
    each: dict[str, list[np.ndarray]] = {name: [] for name in ("centre", "scale", "weights", "intercept")}
    for layer in (layer for row in rows for layer in row.values()):
        raw = of_raw(layer.probe, layer.standard)
        raw = raw._replace(
            weights=raw.weights * work.unit.scale, intercept=raw.intercept * work.unit.scale + work.unit.centre
        )
        for name, value in raw._asdict().items():
            fill = [
                (0, widest - len(value)) if name != "intercept" and axis == 0 else (0, 0) for axis in range(value.ndim)
            ]
            each[name].append(np.pad(value, fill, constant_values=np.nan))
    more = {"centre": ("unit",), "scale": ("unit",), "weights": ("unit", "column"), "intercept": ("column",)}
    lead = (len(rows), len(rows[0]))
    return {
        name: (("checkpoint", "layer", *more[name]), np.reshape(values, (*lead, *np.shape(values)[1:])))
        for name, values in each.items()
    }
