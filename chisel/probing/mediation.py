"""What passes through a layer: activations moved along what the layer holds of a concept, and what that does to bids.

The direction of a feature is its *pattern*: how the layer moves with the feature while all other features stay as they
are, the feature's row in the regression of the activations on all features at once. A probe's weights are a filter
instead, which also point away from whatever disturbs the reading (Haufe et al. 2014), and moving along them moves the
network to where it never is. The patterns of all features that one edit puts in span the *concept* of that edit: of a
clown, that it is there, to the left, above, three steps away.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chisel.probing.matrix import NULL, least_squares, lengths

Onward = Callable[[Array], Array]  # activations [states, units] in place of a layer's own -> logits [states, actions]


def patterns(x: Float[Array, "n units"], z: Float[Array, "n features"]) -> Float[Array, "features units"]:
    """How activations move when one feature rises by 1: the rows of the least-squares regression x ~ 1 + all z.

    A feature counts at its mean where it does not apply (NaN). One that never varies has a row of zeros; features that
    make up each other share what they do: the least-norm solution, in standard deviations (`matrix.least_squares`).
    """
    known = ~jnp.isnan(z)
    mean = jnp.sum(jnp.where(known, z, 0.0), 0) / jnp.maximum(jnp.sum(known, 0), 1)
    least = NULL * lengths(jnp.where(known, z, 0.0))
    z = jnp.where(known, z - mean, 0.0)
    with jax.default_matmul_precision("highest"):
        return least_squares(z - jnp.mean(z, 0), x - jnp.mean(x, 0), least)[0]


class Passing(NamedTuple):
    """States with an edit put in and out, at one layer.

    Fields:
        before, after: [edits, states, units] activations without, and with.
    """

    before: Float[Array, "edits states units"]
    after: Float[Array, "edits states units"]


def orthonormal(rows: Float[Array, "*many rank units"]) -> Float[Array, "*many rank units"]:
    """Directions of length 1 at right angles that span the same, one after another (Gram & Schmidt, twice).

    What the ones before span already becomes zeros, as zeros do.
    """
    done: list[Array] = []
    for i in range(rows.shape[-2]):
        rest = rows[..., i, :]
        least = 1e-4 * jnp.linalg.norm(rest, axis=-1, keepdims=True)
        for other in done * 2:
            rest = rest - jnp.sum(rest * other, -1, keepdims=True) * other
        length = jnp.linalg.norm(rest, axis=-1, keepdims=True)
        done.append(jnp.where(length > least, rest / jnp.where(length > least, length, 1.0), 0.0))
    return jnp.stack(done, -2)


def passed(move: Float[Array, "states units"], basis: Float[Array, "rank units"]) -> Float[Array, "states units"]:
    """The part of a move that lies in the subspace of an orthonormal basis.

    >>> import jax.numpy as jnp
    >>> basis = orthonormal(jnp.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    >>> passed(jnp.array([[1.0, 2.0, 3.0]]), basis).tolist()
    [[1.0, 2.0, 0.0]]
    """
    return (move @ basis.T) @ basis


def size(move: Float[Array, "states units"]) -> Float[Array, ""]:
    """The root mean square length of a move."""
    return jnp.sqrt(jnp.mean(jnp.sum(move**2, -1)))


def stretched(move: Float[Array, "states units"], far: Array) -> Float[Array, "states units"]:
    """A move made as long as `far`, in the root mean square; none stays none."""
    own = size(move)
    return move * jnp.where(own > 0, far / jnp.where(own > 0, own, 1.0), 0.0)


class Mediated(NamedTuple):
    """How bids move when an edit reaches the rest of the network only along its concept, and along chance.

    Fields:
        along: b(h₀ + P (h₁ − h₀)) − b(h₀), with P the projection on the concept.
        chance: the same with random subspaces of the same rank, in which activations are moved equally far.
    """

    along: Float[Array, "edits states goals"]
    chance: Float[Array, "draws edits states goals"]


def mediated(
    passing: Passing,
    concepts: Float[Array, "edits rank units"],
    drawn: Float[Array, "draws rank units"],
    moved: Callable[[Array, Array], Array],
) -> Mediated:
    """What passes along a concept, and what would along any subspace.

    Args:
        concepts: an orthonormal basis of each edit's features, filled up with zeros.
        drawn: the same of random directions; as many of them count as the concept has.
        moved: (edit, activations [states, units]) -> the change of every bid [states, goals].
    """

    def of_edit(edit: Array) -> tuple[Array, Array]:
        before, concept = passing.before[edit], concepts[edit]
        move = passing.after[edit] - before
        part = passed(move, concept)
        far, counted = size(part), jnp.any(concept != 0, 1, keepdims=True)

        def one(directions: Array) -> Array:
            return moved(edit, before + stretched(passed(move, jnp.where(counted, directions, 0.0)), far))

        return moved(edit, before + part), jax.lax.map(one, drawn)

    along, chance = jax.lax.map(of_edit, jnp.arange(len(passing.before)))
    return Mediated(along, jnp.moveaxis(chance, 1, 0))


def steering(
    h: Float[Array, "states units"],
    rows: Float[Array, "features units"],
    strengths: Float[Array, " strengths"],
    moved: Callable[[Array], Array],
) -> Float[Array, "features strengths goals"]:
    """The mean change of every bid when activations are moved along a feature's pattern.

    Args:
        rows: patterns as they are, so that a strength of 1 is what the feature itself does to the layer.
        strengths: of both signs: adding often does less than taking away.
        moved: (activations) -> the change of every bid [states, goals]; NaN where it has none.
    """

    def one(row: Array) -> Array:
        return jax.lax.map(lambda strength: jnp.nanmean(moved(h + strength * row), 0), strengths)

    return jax.lax.map(one, rows)
