"""The bank: policy-independent states on which every checkpoint of every member is read.

Features vary independently in it, so that a probe cannot pass off one for another, and it is split in half by layout,
so that no layout is both fitted and tested.

Independent draws are correlated by chance, in 2,048 layouts by up to 0.07 or so among a hundred pairs of facts, and no
two things lie on one cell, which correlates them a little. So layouts are drawn in excess and chosen a few at a time,
the few that leave all that was chosen so far least correlated: rerandomisation (Morgan & Rubin 2012) in small steps. It
looks at the layout only, and never at a network.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from chisel.worlds.world import State, World, names, vector


class Bank(NamedTuple):
    """States with the truth about them. `layouts` of them; the first half is fitted on, the second tested.

    Fields:
        observations: [layouts, …].
        features: [layouts, features]; 0 or 1 for a binary one; NaN where a feature does not apply.
        shortens: [layouts, goals, actions]; the actions that shorten the path to each goal. None if nobody knows.
        edits: the states of the test half with things put in and out. None where the world cannot do that.
    """

    observations: Array
    features: Float[Array, "layouts features"]
    shortens: Bool[Array, "layouts goals actions"] | None
    edits: "Edits | None"


class Edits(NamedTuple):
    """States with something put in, and taken out: each goal's object, then what else a world can edit.

    They are the bank's test half, so that what was fitted on the other half can be tried on them.

    Fields:
        put_in, taken_out: [edits, layouts, …] observations.
        shortens_in: in the states where it is put in.
        contexts: binary features, 0 or 1, in the states where it is taken out.
        edit_of: the edit that puts each feature in; −1 where none does.
        switched: where it does: it makes the feature true, or, for a number, makes it apply.
    """

    put_in: Array
    taken_out: Array
    shortens_in: Bool[Array, "edits layouts goals actions"]
    contexts: Float[Array, "edits layouts contexts"]
    edit_of: Int[Array, " features"]
    switched: Bool[Array, "features layouts"]


FEW, CANDIDATES = 8, 32  # layouts chosen at once, and sets to choose from
SAMPLE = 32  # rounds of draws to standardise with


def make_states(world: World, layouts: int, seed: int = 0, again: bool = False) -> State:
    """The states of the bank, [layouts, …]: as uncorrelated as can be in what `world.layout` tells."""
    key = jax.random.fold_in(jax.random.key(0xBA5 if again else 0xBA4), seed)
    layout = world.layout
    if layout is None:
        return jax.jit(jax.vmap(world.scatter))(jax.random.split(key, layouts))

    @jax.jit
    def draw(key: Array) -> tuple[State, Array]:
        states = jax.vmap(world.scatter)(jax.random.split(key, CANDIDATES * FEW))
        return states, jax.vmap(layout)(states)

    sample_key, draw_key = jax.random.split(key)
    sample = np.concatenate([draw(k)[1] for k in jax.random.split(sample_key, SAMPLE)])
    centre, scale = sample.mean(0), sample.std(0)
    scale[scale == 0] = np.inf
    so_far, chosen = 0.0, []
    for round_key in jax.random.split(draw_key, -(-layouts // FEW)):
        states, facts = jax.tree.map(np.asarray, draw(round_key))
        told = np.append((facts - centre) / scale, np.ones((len(facts), 1)), axis=1)  # so that means are balanced too
        sets = told.reshape(CANDIDATES, FEW, -1)
        products = so_far + sets.swapaxes(1, 2) @ sets
        apart = products * (1 - np.eye(products.shape[-1]))
        best = int(np.argmin((apart**2).sum((1, 2))))
        so_far = products[best]
        chosen.append(jax.tree.map(lambda x, i=best: x[i * FEW : (i + 1) * FEW], states))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:layouts], *chosen)


def make_bank(world: World, layouts: int, seed: int = 0, again: bool = False) -> Bank:
    """The bank of a world; the same for the same seed, whatever is read on it.

    Args:
        again: the second bank, other states, on which every verdict is repeated.
    """

    def build(states: State) -> Bank:
        return Bank(
            observations=jax.vmap(world.observe)(states),
            features=jax.vmap(lambda state: vector(world.features(state)))(states),
            shortens=None if world.shortens is None else jax.vmap(world.shortens)(states),
            edits=_edits(world, jax.tree.map(lambda x: x[layouts // 2 :], states)),
        )

    return jax.jit(build)(make_states(world, layouts, seed, again))


def edit_names(world: World) -> tuple[str, ...]:
    """What can be put in and taken out, in the order of `Edits`: goals, by their names, and features."""
    return (*world.goals, *world.edits)


def _edits(world: World, states: Any) -> Edits | None:
    present, shortens = world.present, world.shortens
    if present is None or shortens is None:
        return None
    known = names(world)

    def edited(there: bool) -> Any:
        goals = jax.vmap(lambda g: jax.vmap(lambda state: present(state, g, there))(states))
        flags = [jax.vmap(lambda state, e=edit: e(state, there))(states) for edit in world.edits.values()]
        return jax.tree.map(
            lambda of_goals, *x: jnp.concatenate([of_goals, *(v[None] for v in x)]),
            *(goals(jnp.arange(len(world.goals))), *flags),
        )

    put_in, taken_out = edited(True), edited(False)
    observe, tell = (jax.vmap(jax.vmap(f)) for f in (world.observe, lambda state: vector(world.features(state))))
    told_in, told_out = tell(put_in), tell(taken_out)  # [edits, layouts, features]
    binary = jnp.array(known.binary, bool)
    named = np.array([[name == edit for name in known.features] for edit in edit_names(world)], bool)
    edit_of, switched = putting_in(told_in, told_out, binary, named)
    return Edits(
        observe(put_in),
        observe(taken_out),
        jax.vmap(jax.vmap(shortens))(put_in),
        jnp.where(told_out > 0.5, 1.0, 0.0)[..., np.flatnonzero(known.binary)],
        edit_of,
        switched,
    )


def putting_in(
    told_in: Float[Array, "edits layouts features"],
    told_out: Float[Array, "edits layouts features"],
    binary: Bool[np.ndarray | Array, " features"],
    named: Bool[np.ndarray, "edits features"],
) -> tuple[Int[Array, " features"], Bool[Array, "features layouts"]]:
    """The edit that puts each feature in, and where it does: `edit_of` and `switched` of `Edits`.

    It is the edit that is called as the feature is, if it puts it in anywhere; else the one that does so in most
    layouts (of as many the first); −1 where none does.

    Args:
        told_in, told_out: features with each edit put in, and taken out.
        named: whether an edit is called as the feature is.
    """
    on = jnp.where(binary, (told_in > 0.5) & ~(told_out > 0.5), jnp.isnan(told_out) & ~jnp.isnan(told_in))
    often = jnp.sum(on, 1)  # [edits, features]
    first = often + on.shape[1] * (named & (often > 0))
    edit_of = jnp.where(jnp.any(often > 0, 0), jnp.argmax(first, 0), -1)
    return edit_of, jnp.moveaxis(jnp.take_along_axis(on, edit_of[None, None, :], 0)[0], -1, 0)
