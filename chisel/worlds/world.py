"""The contract of a world: an environment that also tells the ground truth about itself.

A world is a record of pure functions over a state that is a pytree. It knows no weights, no time limit and no resets:
what a channel is worth is a schedule's business (`chisel.rewards`), and when an episode is cut off or begun anew is
decided in one place for all worlds (`chisel.training.rollout`).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chisel.study.files import WrongInput, unknown
from chisel.study.terms import Knots, values

State = Any  # a pytree of arrays, of the world's own making
Facts = dict[str, Array]  # names to scalars


class Param(NamedTuple):
    """One number of the level distribution, traced, so that changing it never recompiles."""

    default: float
    low: float
    high: float
    meaning: str


COUNT = (0.0, np.inf)  # the range of a channel that counts events


def _nothing(*_: Any) -> Array:
    """What a step reaches in a world without goals."""
    return jnp.zeros(0, bool)


class World(NamedTuple):
    """What chisel asks of an environment. All functions are pure, and can be jitted and vmapped.

    The last fields have defaults. What is None cannot be had in this world; readings that need it are left out.

    Fields:
        name, summary: the word used in studies, and one sentence for `chisel worlds`.
        actions, goals: names; a goal is something that a policy can head for.
        true: the channels that the designer means; every other channel is a proxy or a fact beside the point.
        limit: steps before an episode is truncated, which is not the same as terminated.
        params: the numbers of the level distribution with their defaults and bounds.
        reset: (key, {param: number}) -> state, a level of the training distribution.
        step: (key, state, action, {param: number}) -> state; dynamics only.
        observe: (state) -> array; what the agent sees, and nothing more.
        ended: (state) -> bool; truly over, so that the value of what follows is zero.
        channels: (before, action, after) -> {channel: number}; facts that a schedule may reward.
        potentials: (state) -> {potential: number}; for shaping.
        features: (state) -> {feature: bool or float}; ground truth for probes. A float may be NaN: not applicable here.
        scatter: (key) -> state; for the bank: goals' presence and positions vary independently, whatever training does.
            Where nothing can be put in and out, states after random play.
        frame: (state) -> uint8[height, width, 3]; a picture that a person can read.
        shortens: (state) -> bool[goal, action]; the actions that shorten the path to each goal; none for an absent one.
        reached: (before, action, after) -> bool[goal]; the goals touched by this step.
        present: (state, goal, bool) -> state; puts a goal's object in, or takes it out.
        edits: {binary feature: (state, bool) -> state}; makes a feature true or false that is not a goal's presence,
            and changes nothing that need not change with it.
        contest: (key, goal, rival) -> state; both at equal path distance. The same key with the two exchanged gives the
            same level with the two exchanged (mirrored, where one is a place), so that pairs are balanced over sides.
        ceiling: (state) -> {true channel: number}; the best return that any policy can reach in an episode from here,
            in the mean if the world is left to chance.
        layout: (state) -> float[facts]; what should vary independently in the bank: presences and positions of goals.
        places: the goals that are places and not objects, and so are always there: `present` leaves them alone.
        legal: (observation) -> bool[action]; the actions that may be chosen, which the agent can see. None: all.
        alternating: each step is another player's move, who wants the opposite. Everything is told from the side of the
            player who moves, so that what follows a step counts against it.
        board: an observation is planes [height, width, planes] of a board, and the first shows where the agent is; so
            it can be seen through a window (`chisel.worlds.window`).
        ranges: {channel: (least, most)} that the channel can add up to in an episode, infinite where there is no end; a
            channel that is not named can add up to anything.
        brief: the length of a short episode, in steps. So seldom is a new level needed (`chisel.training.rollout`).
    """

    name: str
    summary: str
    actions: tuple[str, ...]
    goals: tuple[str, ...]
    true: tuple[str, ...]
    limit: int
    params: Mapping[str, Param]
    reset: Callable[[Array, Mapping[str, Any]], State]
    step: Callable[[Array, State, Array, Mapping[str, Any]], State]
    observe: Callable[[State], Array]
    ended: Callable[[State], Array]
    channels: Callable[[State, Array, State], Facts]
    potentials: Callable[[State], Facts]
    features: Callable[[State], Facts]
    scatter: Callable[[Array], State]
    frame: Callable[[State], Array]
    shortens: Callable[[State], Array] | None = None
    reached: Callable[[State, Array, State], Array] = _nothing
    present: Callable[[State, Any, Any], State] | None = None
    edits: Mapping[str, Callable[[State, Any], State]] = {}
    contest: Callable[[Array, Any, Any], State] | None = None
    ceiling: Callable[[State], Facts] | None = None
    layout: Callable[[State], Array] | None = None
    places: tuple[str, ...] = ()
    legal: Callable[[Array], Array] | None = None
    alternating: bool = False
    board: bool = False
    ranges: Mapping[str, tuple[float, float]] = {}
    brief: int = 8


class Names(NamedTuple):
    """The names that a world's functions return, in the order in which arrays hold them, and what the agent sees."""

    channels: tuple[str, ...]
    potentials: tuple[str, ...]
    features: tuple[str, ...]
    binary: tuple[bool, ...]  # per feature: true-or-false, or a number
    observation: jax.ShapeDtypeStruct


def names(world: World) -> Names:
    """Asks a world for its names by tracing it; nothing is computed.

    >>> from chisel.worlds import WORLDS
    >>> names(WORLDS["smile"]).channels
    ('clown', 'comfort', 'helped', 'seen_smile', 'smile')
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(world.scatter, key)
    action = jax.ShapeDtypeStruct((), jnp.int32)
    features = jax.eval_shape(world.features, state)
    return Names(
        channels=tuple(jax.eval_shape(world.channels, state, action, state)),
        potentials=tuple(jax.eval_shape(world.potentials, state)),
        features=tuple(features),
        binary=tuple(f.dtype == np.bool_ for f in features.values()),
        observation=jax.eval_shape(world.observe, state),
    )


def defaults(world: World) -> dict[str, float]:
    """The level distribution that the world has when a study says nothing."""
    return {name: p.default for name, p in world.params.items()}


def vector(facts: Facts) -> Array:
    """Facts as one float32 array, in the order of `names`, which is sorted (as JAX orders the keys of a dict)."""
    return jnp.stack([jnp.asarray(facts[name], jnp.float32) for name in sorted(facts)]) if facts else jnp.zeros(0)


def check_params(given: Mapping[str, float | Knots], world: World, at: Callable[..., str]) -> None:
    """Checks names and bounds of parameters of the level distribution.

    Args:
        at: (key) -> where a complaint about that parameter stands.

    Raises:
        WrongInput: the world has no such parameter, or it is out of its bounds.
    """
    for name, amount in given.items():
        if name not in world.params:
            raise unknown(at(name), f"parameter of world {world.name!r}", name, world.params)
        low, high = world.params[name].low, world.params[name].high
        bad = [v for v in values(amount) if not low <= v <= high]
        if bad:
            meaning = world.params[name].meaning
            raise WrongInput(f"{at(name)}.{name} is {bad[0]:g}; expected between {low:g} and {high:g} ({meaning})")
