"""Probes of one array of activations for labels of every kind, and their scores: arrays in, arrays out.

The first half of the rows is fitted and the second tested; which rows are where is settled before
(`chisel.probing.outside`).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from chisel.probing import controls, judging, linear

Kind = Literal["binary", "categorical", "continuous"]


class Label(NamedTuple):
    """A label among the columns of the matrix of all labels: `first` up to before `end`, one for each class."""

    name: str
    first: int
    end: int
    kind: Kind


class Task(NamedTuple):
    """What probes are fitted to, and how."""

    truth: Float[Array, "n columns"]
    binary: Bool[Array, " columns"]
    l2: float
    l1: float | None


@jax.jit
def fitted(x: Float[Array, "n units"], task: Task) -> linear.Probe:
    """The probe of a layer."""
    half = len(x) // 2
    if task.l1 is not None:
        return linear.fit_sparse(x[:half], task.truth[:half], task.binary, task.l1)
    return linear.fit(x[:half], task.truth[:half], task.binary, task.l2)


@partial(jax.jit, static_argnames="labels")
def scored(
    probe: linear.Probe, x: Float[Array, "n units"], truth: Float[Array, "n columns"], labels: tuple[Label, ...]
) -> Float[Array, " labels"]:
    """The score of a probe on every label: AUC, R², or macro-F1."""
    half = len(x) // 2
    return judged(linear.predict(probe, x[half:]), truth[half:], labels)


def judged(out: Array, truth: Array, labels: tuple[Label, ...]) -> Float[Array, " labels"]:
    """How good readouts are. Labels of one kind and of as many classes are judged together, by one program."""
    found = jnp.full(len(labels), jnp.nan)
    batches: dict[tuple[Kind, int], list[int]] = {}
    for i, label in enumerate(labels):
        batches.setdefault((label.kind, label.end - label.first), []).append(i)
    for (kind, width), batch in batches.items():
        columns = np.array([labels[i].first for i in batch])[:, None] + np.arange(width)
        ours, theirs = (jnp.moveaxis(x[:, columns], 0, 1) for x in (out, truth))  # [batch, n, width]
        if kind == "categorical":
            scores = jax.vmap(judging.macro_f1)(ours, theirs)
        elif kind == "binary":
            scores = judging.auc(ours[..., 0], theirs[..., 0])
        else:
            scores = jax.vmap(judging.r2)(ours[..., 0], theirs[..., 0])
        found = found.at[np.array(batch)].set(scores)
    return found


@partial(jax.jit, static_argnames=("labels", "measures"))
def read(
    x: Float[Array, "n units"],
    task: Task,
    control: Float[Array, "n columns"] | None,
    labels: tuple[Label, ...],
    measures: tuple[str, ...] = ("score", "description_length", "selectivity"),
) -> tuple[linear.Probe, dict[str, Float[Array, " labels"]]]:
    """A layer's probe, with those of the measures that are asked for.

    Args:
        control: labels of the control task; None where there is none.
    """
    half = len(x) // 2
    probe = fitted(x, task)
    score = scored(probe, x, task.truth, labels)
    found = {"score": score} if "score" in measures else {}
    if "description_length" in measures:
        bits = controls.description_length(x[:half], task.truth[:half], task.binary, task.l2)
        # Of a class, those of all its columns, told one after another.
        found["description_length"] = jnp.stack([jnp.sum(bits[k.first : k.end]) for k in labels])
    if control is not None and "selectivity" in measures:
        told = scored(fitted(x, task._replace(truth=control)), x, control, labels)
        found["selectivity"] = score - told
    return probe, found
