"""Probes of one array of activations for labels of every kind, and their scores: arrays in, arrays out.

The first rows are fitted on and the others tested; which rows are where is settled before (`chisel.probing.rows`).
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


class Plan(NamedTuple):
    """What programs are compiled for.

    Fields:
        labels: what the columns of labels are.
        fitted: how many rows, the first ones, are fitted on.
        measures: what is asked for.
        standardise: each unit gets a scale of its own, so that the penalty does not depend on its unit.
    """

    labels: tuple[Label, ...]
    fitted: int
    measures: tuple[str, ...] = ("score", "description_length", "selectivity")
    standardise: bool = True


class Task(NamedTuple):
    """What probes are fitted to, and how."""

    truth: Float[Array, "n columns"]
    binary: Bool[Array, " columns"]
    l2: float
    l1: float | None


@partial(jax.jit, static_argnames="plan")
def fitted(x: Float[Array, "n units"], task: Task, plan: Plan) -> linear.Probe:
    """The probe of a layer."""
    x, truth = x[: plan.fitted], task.truth[: plan.fitted]
    if task.l1 is not None:
        return linear.fit_sparse(x, truth, task.binary, task.l1, standardise=plan.standardise)
    return linear.fit(x, truth, task.binary, task.l2, standardise=plan.standardise)


@partial(jax.jit, static_argnames="plan")
def scored(
    probe: linear.Probe, x: Float[Array, "n units"], truth: Float[Array, "n columns"], plan: Plan
) -> Float[Array, " labels"]:
    """The score of a probe on every label: AUC, R², or macro-F1."""
    return judged(linear.predict(probe, x[plan.fitted :]), truth[plan.fitted :], plan.labels)


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


@partial(jax.jit, static_argnames="plan")
def read(
    x: Float[Array, "n units"], task: Task, control: Float[Array, "n columns"] | None, plan: Plan
) -> tuple[linear.Probe, dict[str, Float[Array, " labels"]]]:
    """A layer's probe, with those of the measures that are asked for.

    Args:
        control: labels of the control task; None where there is none.
    """
    probe = fitted(x, task, plan)
    score = scored(probe, x, task.truth, plan)
    found = {"score": score} if "score" in plan.measures else {}
    if "description_length" in plan.measures:
        seen, truth = x[: plan.fitted], task.truth[: plan.fitted]
        bits = controls.description_length(seen, truth, task.binary, task.l2, plan.standardise)
        # Of a class, those of all its columns, told one after another.
        found["description_length"] = jnp.stack([jnp.sum(bits[k.first : k.end]) for k in plan.labels])
    if control is not None and "selectivity" in plan.measures:
        told = scored(fitted(x, task._replace(truth=control), plan), x, control, plan)
        found["selectivity"] = score - told
    return probe, found
