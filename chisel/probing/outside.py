"""Readings of networks that chisel did not train: of arrays, or of any policy that can be called.

    decode      activations and labels           -> scores and their controls
    influence   a policy, and edited observations -> effects, what passes, erasure, steering

Both return a labelled dataset with the same names as `readings.nc`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from numpy.typing import ArrayLike

from chisel.agents.networks import Output
from chisel.probing import controls, linear
from chisel.probing.bank import Bank, Edits, putting_in
from chisel.probing.causes import Inquiry, causes, erasures, steered
from chisel.probing.dataset import described
from chisel.probing.decoding import Kind, Label, Task, fitted, read, scored
from chisel.probing.defaults import L2, NULLS, STATES, STRENGTHS

Layers = Mapping[str, ArrayLike]  # {layer: [n, units]}
Checkpoints = Mapping[Any, Layers] | Callable[[], Iterable[tuple[Any, Layers]]]


def decode(
    activations: Checkpoints,
    labels: Mapping[str, ArrayLike],
    *,
    baselines: Layers | None = None,
    groups: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    l2: float | None = None,
    l1: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Linear probes of anybody's activations.

    Args:
        activations: {checkpoint: {layer: [n, units]}}; or a function that yields (checkpoint, {layer: …}) one after
            another whenever it is called, so that no more than one checkpoint is in memory.
        labels: {feature: [n]}: truth values; numbers (NaN: does not apply); or words or whole numbers, which are
            classes.
        baselines: {name: [n, d]}, such as the raw input or an untrained network's activations. `skill` is the score
            less the best of theirs.
        groups: [n], rows that belong together, such as the states of one layout. No group is both fitted and tested:
            half of them are for each. Without it every row is a group.
        inputs: [n, d], what is sorted into types for the control task; by default the first baseline. Without either
            there is no `selectivity`.
        l2, l1: the penalty, on squared or on absolute weights; by default l2 = 0.01. Below 0.001 see `linear.fit`.

    Returns:
        `score` (AUC, R², or macro-F1), `description_length`, `selectivity` and `skill` (checkpoint, layer, feature),
        `baseline_score` (baseline, feature), and `transfer`, the score of a probe fitted at another checkpoint
        (checkpoint, fitted, layer, feature).

    Raises:
        ValueError: lengths differ, layers differ between checkpoints, both penalties are given, or there are fewer than
            two groups.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    >>> found = decode({0: {"top": 0 * x}, 1: {"top": x}}, {"sign": x[:, 1] > 0}, baselines={"input": x[:, 2:]})
    >>> bool(found.skill.sel(checkpoint=1, layer="top", feature="sign") > 0.4), list(found.transfer.dims)
    (True, ['checkpoint', 'fitted', 'layer', 'feature'])
    """
    if l1 is not None and l2 is not None:
        raise ValueError("l1 and l2: expected one of them")
    y, known = _columns(labels)
    order = _halves(groups, len(y), seed)
    binary = np.repeat([k.kind != "continuous" for k in known], [k.end - k.first for k in known])
    task = Task(jnp.asarray(y[order]), jnp.asarray(binary), L2 if l2 is None else l2, l1)

    def shown(name: str, values: ArrayLike) -> Array:
        array = np.asarray(values, np.float32)
        if len(array) != len(y):
            raise ValueError(f"{name}: expected {len(y)} rows, as many as there are labels, found {len(array)}")
        return jnp.asarray(array.reshape(len(array), -1)[order])

    def each() -> Iterator[tuple[Any, dict[str, Array]]]:
        """Checkpoint after checkpoint, its rows in order."""
        for at, layers in activations.items() if isinstance(activations, Mapping) else activations():
            yield at, {name: shown(f"checkpoint {at}, layer {name}", values) for name, values in layers.items()}

    given = {name: shown(f"baseline {name}", values) for name, values in (baselines or {}).items()}
    sorted_by = shown("inputs", inputs) if inputs is not None else next(iter(given.values()), None)
    with jax.default_matmul_precision("highest"):
        keys = jax.random.split(jax.random.key(seed))
        control = None
        if sorted_by is not None:
            control = controls.control_labels(keys[1], controls.types(keys[0], sorted_by), task.truth, task.binary)
        layers: dict[str, int] = {}
        at: list[Any] = []
        probes: list[dict[str, linear.Probe]] = []
        found: list[list[dict[str, np.ndarray]]] = []
        for checkpoint, xs in each():
            widths = {name: x.shape[1] for name, x in xs.items()}
            if at and widths != layers:
                raise ValueError(
                    f"checkpoint {checkpoint}: expected the layers {layers}, with as many units, found {widths}"
                )
            layers = widths
            found_of = {name: read(x, task, control, known) for name, x in xs.items()}
            at.append(checkpoint)
            probes.append({name: probe for name, (probe, _) in found_of.items()})
            found.append([jax.tree.map(np.asarray, measures) for _, measures in found_of.values()])
        transfer = [
            [[scored(probe[name], xs[name], task.truth, known) for name in layers] for probe in probes]
            for _, xs in each()
        ]
        of_baselines = [scored(fitted(x, task), x, task.truth, known) for x in given.values()]

    dims = ("checkpoint", "layer", "feature")
    names = [label.name for label in known]
    data = xr.Dataset(coords={"checkpoint": at, "fitted": at, "layer": list(layers), "feature": names})
    data = data.assign_coords(kind=("feature", [label.kind for label in known]))
    for name in found[0][0]:
        data[name] = (dims, np.array([[measures[name] for measures in row] for row in found], np.float32))
    data["transfer"] = (("checkpoint", "fitted", "layer", "feature"), np.array(transfer))
    if given:
        data = data.assign_coords(baseline=list(given))
        data["baseline_score"] = (("baseline", "feature"), np.array(of_baselines))
        data["skill"] = data["score"] - data["baseline_score"].max("baseline")
    return described(data)


class Pair(NamedTuple):
    """The same states with something put in, and taken out.

    Fields:
        put_in, taken_out: [n, …] observations.
        toward: [n, goals, actions], the actions that lead to each goal, where it is put in.
        features_in, features_out: {feature: [n]}, the truth about both; the features of `influence`.
    """

    put_in: ArrayLike
    taken_out: ArrayLike
    toward: ArrayLike
    features_in: Mapping[str, ArrayLike]
    features_out: Mapping[str, ArrayLike]


def influence(
    policy: Callable[..., tuple[Any, Mapping[str, Any]]],
    observations: ArrayLike,
    features: Mapping[str, ArrayLike],
    toward: ArrayLike,
    pairs: Mapping[str, Pair],
    goals: Sequence[str],
    *,
    layers: Sequence[str] = (),
    greedy: bool = False,
    nulls: int = NULLS,
    states: int = STATES,
    strengths: Sequence[float] = STRENGTHS,
) -> xr.Dataset:
    """What moves a policy that chisel did not train.

    Args:
        policy: (observations, put={layer: activations}) -> (logits, {layer: activations}). It must go on from
            activations that it is given instead of its own, and be made of JAX operations.
        observations: [n, …]; directions are fitted on the first half, and erasure and steering tried on the second.
        features: {feature: [n]} of the observations; NaN where one does not apply.
        toward: [n, goals, actions], the actions that lead to each goal.
        pairs: edits by name.
        layers: those that are intervened on; none: effects of edits only.
        greedy: the policy tells action values (`chisel.probing.influence.bids`).
        nulls, states: draws of every null, and states on which they are drawn.
        strengths: of steering.

    Returns:
        `total_effect`, `effect`, `gating`, with `layers` also `mediated`, `erasure` and `steering`, and p values.

    Raises:
        ValueError: shapes do not agree, or a pair tells of other features.
    """
    names = list(features)
    for edit, pair in pairs.items():
        for told in (pair.features_in, pair.features_out):
            if list(told) != names:
                raise ValueError(f"pair {edit!r}: expected the features {names}, found {list(told)}")
    bank = _bank(observations, features, toward, pairs)
    assert bank.edits is not None
    inquiry = Inquiry(
        layers=tuple(layers),
        columns=np.arange(len(names)),
        edit_of=np.asarray(bank.edits.edit_of),
        states=min(states, len(bank.features) // 2),
        nulls=nulls,
        greedy=greedy,
        follow=bool(layers),
    )

    def say(seen: Array, put: Mapping[str, Array] | None = None) -> Output:
        logits, activations = policy(seen, put=put or {})
        return Output(logits, jnp.zeros(logits.shape[:-1]), dict(activations))

    @jax.jit
    def read(bank: Bank) -> dict[str, Array]:
        activations = say(bank.observations).activations
        found = causes(say, activations, bank, inquiry, np.zeros(len(pairs), bool))
        if layers:
            found |= erasures(say, activations, bank, inquiry)
            found |= steered(say, activations, bank, inquiry, tuple(strengths))
        return found

    coords: dict[str, list[Any]] = {
        "layer": list(layers),
        "feature": names,
        "goal": list(goals),
        "edit": list(pairs),
        "context": [name for name in names if _binary(features[name])],
        "strength": list(strengths),
    }
    return described(_labelled(read(bank), coords), greedy=greedy)


def _labelled(found: Mapping[str, Array], coords: dict[str, list[Any]]) -> xr.Dataset:
    from chisel.probing.dataset import DIMENSIONS

    used = {dim for name in found for dim in DIMENSIONS[name]}
    data = {name: (DIMENSIONS[name], np.asarray(value)) for name, value in found.items()}
    return xr.Dataset(data, coords={dim: values for dim, values in coords.items() if dim in used})


def _binary(values: ArrayLike) -> bool:
    return np.asarray(values).dtype == bool


def _bank(
    observations: ArrayLike, features: Mapping[str, ArrayLike], toward: ArrayLike, pairs: Mapping[str, Pair]
) -> Bank:
    def told(facts: Mapping[str, ArrayLike]) -> np.ndarray:
        return np.stack([np.asarray(x, np.float32) for x in facts.values()], -1)

    def stacked(get: Callable[[Pair], Any]) -> Array:
        return jnp.stack([jnp.asarray(get(pair)) for pair in pairs.values()])

    binary = np.array([_binary(values) for values in features.values()])
    told_in = np.stack([told(pair.features_in) for pair in pairs.values()])  # [edits, n, features]
    told_out = np.stack([told(pair.features_out) for pair in pairs.values()])
    named = np.array([[name == edit for name in features] for edit in pairs])
    edit_of, switched = putting_in(jnp.asarray(told_in), jnp.asarray(told_out), binary, named)
    edits = Edits(
        put_in=stacked(lambda pair: pair.put_in),
        taken_out=stacked(lambda pair: pair.taken_out),
        shortens_in=stacked(lambda pair: np.asarray(pair.toward, bool)),
        contexts=jnp.asarray((told_out > 0.5).astype(np.float32)[..., np.flatnonzero(binary)]),
        edit_of=edit_of,
        switched=switched,
    )
    return Bank(jnp.asarray(observations), jnp.asarray(told(features)), jnp.asarray(toward, bool), edits)


def _columns(labels: Mapping[str, ArrayLike]) -> tuple[np.ndarray, tuple[Label, ...]]:
    """All labels as one matrix, a column for each class, and what its columns are."""
    columns: list[np.ndarray] = []
    known: list[Label] = []
    for name, values in labels.items():
        array, first = np.asarray(values), len(columns)
        if array.dtype == bool:
            columns.append(array.astype(np.float32))
            kind: Kind = "binary"
        elif np.issubdtype(array.dtype, np.floating):
            columns.append(array.astype(np.float32))
            kind = "continuous"
        else:
            columns += [(array == one).astype(np.float32) for one in np.unique(array)]
            kind = "categorical"
        known.append(Label(name, first, len(columns), kind))
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise ValueError(f"labels: expected one length, found {sorted(lengths)}")
    return np.stack(columns, 1), tuple(known)


def _halves(groups: ArrayLike | None, rows: int, seed: int) -> np.ndarray:
    """An order of rows in which the first half is fitted and the second tested, and no group is in both.

    Where groups do not divide evenly, rows of the larger half are left out.
    """
    own = np.arange(rows) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(own) != rows:
        raise ValueError(f"groups: expected {rows} rows, as many as there are labels, found {len(own)}")
    count = own.max() + 1
    if count < 2:
        raise ValueError("groups: expected two or more, or nothing is left to test on")
    chosen = np.random.default_rng(seed).permutation(count)[: count // 2]
    fitted = np.isin(own, chosen)
    first, second = np.flatnonzero(fitted), np.flatnonzero(~fitted)
    size = min(len(first), len(second))
    return np.concatenate([first[:size], second[:size]])
