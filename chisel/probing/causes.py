"""Causal readings of one network: what edits of the world's state do to bids, and what of it passes through a layer.

Everything is asked of `Say`, a function from observations to logits and activations that can be given other activations
on the way. So it serves chisel's networks and anybody else's.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from chisel.agents.networks import Output
from chisel.probing import influence
from chisel.probing.bank import Bank, Edits
from chisel.probing.erasure import divergence, erase, leace, random_directions
from chisel.probing.mediation import Passing, mediated, orthonormal, passed, patterns, size, steering, stretched
from chisel.probing.verdict import max_t
from chisel.study.battery import NULLS

Say = Callable[..., Output]  # (observations, put={layer: activations}) -> Output


class Inquiry(NamedTuple):
    """What is asked.

    Fields:
        layers: what is intervened on.
        columns: of the bank's features, those that are asked about.
        edit_of: of all the bank's features, the edit that puts each in; −1 for none.
        states: of the test half, on which what is held against nulls is measured.
        nulls: draws of each null.
        greedy: see `influence.bids`.
        follow: whether effects are followed through layers.
        gating: whether effects are told apart by context.
    """

    layers: tuple[str, ...]
    columns: np.ndarray
    edit_of: np.ndarray
    states: int
    nulls: int = NULLS
    greedy: bool = False
    follow: bool = True
    gating: bool = True


KEY = 0xCA5


def causes(
    say: Say, activations: dict[str, Array], bank: Bank, inquiry: Inquiry, always: Bool[np.ndarray, " edits"]
) -> dict[str, Array]:
    """Total effects, gating, and effects mediated by layers, with their corrected p values.

    Args:
        activations: of the bank's observations.
        always: edits of what is always there, which have no effect to speak of: NaN.

    Returns:
        `total_effect` [edit, goal]; `effect`, `effect_null`, `effect_p` [feature, goal]; `gating` [context, edit, goal]
        and `mediated` (a share of the effect) and `mediated_p` [layer, feature, goal].
    """
    edits, asked = bank.edits, inquiry.columns
    assert edits is not None
    edit_of, switched = edits.edit_of[asked], edits.switched[asked]
    with_it, without = say(edits.put_in), say(edits.taken_out)
    moved = influence.moves(with_it.logits, without.logits, edits.shortens_in, inquiry.greedy)
    moved = jnp.where(always[:, None, None], jnp.nan, moved)
    found = {"total_effect": influence.total_effects(moved)}
    if not len(asked):
        return found
    found["effect"] = influence.feature_effects(moved, edit_of, switched)
    if inquiry.gating:
        found["gating"] = influence.gating(moved, edits.contexts)

    few = slice(inquiry.states)
    seen = switched[:, few]
    of_features = partial(influence.feature_effects, edit_of=edit_of, switched=seen)
    here = of_features(moved[:, few])
    logits = with_it.logits[:, few], without.logits[:, few]
    key, draws = jax.random.key(KEY), inquiry.nulls
    nulls = influence.elsewhere(*logits, edits.shortens_in[:, few], key, draws, of_features, inquiry.greedy)
    found["effect_p"], found["effect_null"] = max_t(here, nulls).p, jnp.mean(nulls, 0)
    if not inquiry.follow:
        return found

    shares, sided, drawn = [], [], []
    mean = jax.vmap(lambda values, where: influence.mean_where(values, where[:, None]))
    of_edits = [np.flatnonzero(inquiry.edit_of == edit) for edit in range(len(always))]
    most = max(len(of) for of in of_edits)
    for i, layer in enumerate(inquiry.layers):
        h = activations[layer]
        half = len(h) // 2
        rows = patterns(h[:half], bank.features[:half])
        concepts = orthonormal(jnp.stack([jnp.pad(rows[of], ((0, most - len(of)), (0, 0))) for of in of_edits]))
        chance = random_directions(jax.random.fold_in(jax.random.key(KEY), i), h[:half], most * inquiry.nulls)
        drawn_here = orthonormal(chance.reshape(inquiry.nulls, most, -1))
        passing = Passing(without.activations[layer][:, few], with_it.activations[layer][:, few])
        moving = partial(_moved_by, say, layer, edits, few, without, inquiry)
        every = mediated(passing, concepts, drawn_here, moving)
        along = mean(every.along[edit_of], seen)
        shares.append(along / jnp.where(here == 0, jnp.nan, here))
        sided.append(jnp.sign(here) * along)
        drawn.append(jnp.sign(here) * jax.lax.map(lambda one: mean(one[edit_of], seen), every.chance))
    found["mediated"] = jnp.stack(shares)
    found["mediated_p"] = max_t(jnp.stack(sided), jnp.stack(drawn, 1), two_sided=False).p
    return found


def _moved_by(
    say: Say, layer: str, edits: Edits, few: slice, without: Output, inquiry: Inquiry, edit: Array, h: Array
) -> Float[Array, "states goals"]:
    """What it does to bids to give a layer other activations in the states where an edit is taken out."""
    shortens = edits.shortens_in[edit][few]
    logits = say(edits.taken_out[edit][few], put={layer: h}).logits
    return influence.moves(logits[None], without.logits[edit][None, few], shortens[None], inquiry.greedy)[0]


def erasures(say: Say, activations: dict[str, Array], bank: Bank, inquiry: Inquiry) -> dict[str, Array]:
    """What a policy does after what a layer tells of a feature has been erased (`erasure.leace`).

    Returns:
        `erasure` [layer, feature]: KL from the policy as it is; `erasure_null`: the 95th percentile of that over random
        directions in which activations are moved equally far; `erasure_bid` [layer, feature, goal]: how bids change.
    """
    found: dict[str, list[Array]] = {"erasure": [], "erasure_null": [], "erasure_bid": []}
    half = len(bank.features) // 2
    few = slice(half, half + inquiry.states)
    observations = bank.observations[few]
    plain = say(observations).logits
    for i, layer in enumerate(inquiry.layers):
        h = activations[layer]
        asked = bank.features[:half, inquiry.columns]
        draws = random_directions(jax.random.fold_in(jax.random.key(KEY + 1), i), h[:half], inquiry.nulls)

        def one(z: Array, layer: str = layer, h: Array = h, draws: Array = draws) -> tuple[Array, Array, Array]:
            own = h[few]
            eraser = leace(h[:half], z[:, None])
            change = erase(eraser, own) - own
            far = size(change)

            def put(x: Array) -> Array:
                return say(observations, put={layer: x}).logits

            def by_chance(direction: Array) -> Array:
                part = -passed(own - eraser.centre, direction[None])
                return jnp.mean(divergence(plain, put(own + stretched(part, far))))

            without = put(own + change)
            bids = _change(plain, without, bank, few, inquiry)
            return jnp.mean(divergence(plain, without)), jnp.quantile(jax.lax.map(by_chance, draws), 0.95), bids

        for name, value in zip(found, jax.lax.map(one, asked.T), strict=True):
            found[name].append(value)
    return {name: jnp.stack(values) for name, values in found.items()}


def steered(
    say: Say, activations: dict[str, Array], bank: Bank, inquiry: Inquiry, strengths: tuple[float, ...]
) -> dict[str, Array]:
    """How bids change when a layer is moved along a feature's pattern: `steering` [layer, feature, strength, goal]."""
    found, half = [], len(bank.features) // 2
    few = slice(half, half + inquiry.states)
    observations = bank.observations[few]
    plain = say(observations).logits
    for layer in inquiry.layers:
        h = activations[layer]
        rows = patterns(h[:half], bank.features[:half])[inquiry.columns]

        def moved(x: Array, layer: str = layer) -> Array:
            return _bids(say(observations, put={layer: x}).logits, bank, few, inquiry) - _bids(
                plain, bank, few, inquiry
            )

        found.append(steering(h[few], rows, jnp.asarray(strengths, jnp.float32), moved))
    return {"steering": jnp.stack(found)}


def _bids(logits: Array, bank: Bank, few: slice, inquiry: Inquiry) -> Float[Array, "states goals"]:
    assert bank.shortens is not None
    return influence.bids(logits[:, None, :], bank.shortens[few], inquiry.greedy)


def _change(plain: Array, other: Array, bank: Bank, few: slice, inquiry: Inquiry) -> Float[Array, " goals"]:
    return jnp.nanmean(_bids(other, bank, few, inquiry) - _bids(plain, bank, few, inquiry), 0)
