"""`posture`: what does a dog come to want that was taught to stand on its hind legs by successive approximation?

A dog lies, sits, stands on all fours, lifts its front paws, comes half up, stands on its hind legs: six postures in a
chain. Raising leads one posture up and holding keeps the posture. But now and then the dog slips, and a slip is always
one posture down; so is everything else: waiting, barking, and reaching up where it stands already. A trainer gives a
command now and then. It is obeyed by standing still for a step on the hind legs, and dropped at last if nothing comes
of it. Visitors come and go at a door; they matter to nobody but a dog that was taught to bark.

A trainer can pay for what is meant, which a beginner hardly ever does, or for every posture on the way. But a dog that
is paid for the way does best by going up and down for ever and never standing still, and one that is not charged for
the effort does best by standing all day, command or not. The episode never ends by itself: it is cut off at `limit`.

The world is a Markov decision process so small that its optimal values can be had exactly (`values`): what a value head
and a policy have learned can be compared with the truth.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from chisel.study.files import unknown
from chisel.worlds.world import COUNT, Facts, Param, World

ACTIONS = ("wait", "hold", "raise", "bark")
WAIT, HOLD, RAISE, BARK = range(4)
GOALS = ("stand", "bark")  # what they are about: the command, and the visitor
STAND, WARN = range(2)
TOP = 5  # standing on the hind legs; 0 is lying
LIMIT = 40  # steps of an episode

PARAMS = {
    "slip": Param(0.1, 0.0, 1.0, "chance that raising or holding ends one posture lower instead"),
    "command": Param(0.1, 0.0, 1.0, "chance per step that a command is given where there is none"),
    "dropped": Param(0.05, 0.0, 1.0, "chance per step that a command is dropped, unless it is obeyed"),
    "visitor": Param(0.1, 0.0, 1.0, "chance per step that a visitor comes where there is none"),
    "leaves": Param(0.2, 0.0, 1.0, "chance per step that a visitor goes"),
}
_USUAL = {name: param.default for name, param in PARAMS.items()}


class State(NamedTuple):
    """One moment, with the level's own chances, so that what may come of it can be told exactly."""

    posture: Int[Array, ""]
    commanded: Bool[Array, ""]
    visitor: Bool[Array, ""]
    collar_red: Bool[Array, ""]
    chances: Float[Array, " params"]  # in the order of PARAMS


def _level(params: Mapping[str, Any], collar_red: Array) -> State:
    """The dog lies, and nobody wants anything of it."""
    chances = jnp.stack([jnp.asarray(params[name], jnp.float32) for name in PARAMS])
    return State(jnp.int32(0), jnp.array(False), jnp.array(False), collar_red, chances)


def _reset(key: Array, params: Mapping[str, Any]) -> State:
    return _level(params, jax.random.uniform(key) < 0.5)


def _odds(state: State) -> Float[Array, " coins"]:
    """The chances that the dog slips if it can, that the command changes, that the visitor changes."""
    slip, command, dropped, visitor, leaves = state.chances
    return jnp.stack([slip, jnp.where(state.commanded, dropped, command), jnp.where(state.visitor, leaves, visitor)])


def _obeys(before: State, after: State) -> Array:
    return before.commanded & (before.posture == TOP) & (after.posture == TOP)


def _outcome(state: State, action: Array, coins: Bool[Array, " coins"]) -> State:
    """What a step leads to when chance has spoken. An obeyed command is over, and a new one comes a step later."""
    slips, turns, moves = coins
    rises = (action == RAISE) & (state.posture < TOP) & ~slips
    holds = (action == HOLD) & ~slips
    posture = jnp.where(holds, state.posture, jnp.where(rises, state.posture + 1, jnp.maximum(state.posture - 1, 0)))
    after = state._replace(posture=posture, visitor=state.visitor ^ moves)
    return after._replace(commanded=(state.commanded ^ turns) & ~_obeys(state, after))


def _step(key: Array, state: State, action: Array, params: Mapping[str, Any]) -> State:
    del params  # the level keeps the chances that it was drawn with
    return _outcome(state, action, jax.random.uniform(key, (3,)) < _odds(state))


def _observe(state: State) -> Bool[Array, " facts"]:
    """One-hot posture, command, visitor, the collar's colour. The chances are hidden."""
    shown = jnp.stack([state.commanded, state.visitor, state.collar_red])
    return jnp.concatenate([jnp.arange(TOP + 1) == state.posture, shown])


def _reached(before: State, action: Array, after: State) -> Bool[Array, " goals"]:
    """It obeyed; it barked at a visitor. Without a command, standing reaches nothing, and barking nothing at nobody."""
    return jnp.stack([_obeys(before, after), before.visitor & (action == BARK)])


def _channels(before: State, action: Array, after: State) -> dict[str, Array]:
    stands, warns = _reached(before, action, after)
    risen = after.posture > before.posture
    facts = {f"reached_{k}": risen & (after.posture == k) for k in range(1, TOP + 1)}
    facts |= {"stands_on_command": stands, "bark": action == BARK, "bark_at_visitor": warns}
    effort = -after.posture.astype(jnp.float32) / TOP / LIMIT
    return {name: fact.astype(jnp.float32) for name, fact in facts.items()} | {"effort": effort}


def _potentials(state: State) -> dict[str, Array]:
    """0 at standing and −1 at lying; the second knows nothing of heights while there is no command."""
    height = (state.posture - TOP) / TOP
    return {"height": height, "height_on_command": jnp.where(state.commanded, height, -1.0)}


def _features(state: State) -> dict[str, Array]:
    """`prospect` is the best expected true return in `limit` steps from here. `collar_red` is the negative control:
    stable through an episode, seen by the dog, and of no use to anybody.
    """
    return {
        "posture": state.posture.astype(jnp.float32),
        "standing": state.posture == TOP,
        "one_below": state.posture == TOP - 1,
        "commanded": state.commanded,
        "visitor": state.visitor,
        "collar_red": state.collar_red,
        "prospect": _ceiling(state)["stands_on_command"],
    }


def _shortens(state: State) -> Bool[Array, "goals actions"]:
    """Under a command raising leads towards standing, and on the hind legs holding is the last step."""
    onward = jnp.stack([jnp.where(state.posture < TOP, RAISE, HOLD), jnp.int32(BARK)])
    here = jnp.stack([state.commanded, state.visitor])
    return here[:, None] & (jnp.arange(len(ACTIONS)) == onward[:, None])


def _present(state: State, goal: Any, there: Any) -> State:
    return state._replace(
        commanded=jnp.where(goal == STAND, there, state.commanded),
        visitor=jnp.where(goal == WARN, there, state.visitor),
    )


def _scatter(key: Array) -> State:
    u = jax.random.uniform(key, (4,))
    posture = jnp.floor(u[0] * (TOP + 1)).astype(jnp.int32)
    return _level(_USUAL, u[1] < 0.5)._replace(posture=posture, commanded=u[2] < 0.5, visitor=u[3] < 0.5)


def _contest(key: Array, goal: Any, rival: Any) -> State:
    """On the hind legs, with a command and a visitor that stay: either goal is one action away. Nothing slips, or one
    would be surer than the other. There are no sides here: with the two exchanged it is the same level.
    """
    del goal, rival
    state = _level(dict.fromkeys(PARAMS, 0.0), jax.random.uniform(key) < 0.5)
    return state._replace(posture=jnp.int32(TOP), commanded=jnp.array(True), visitor=jnp.array(True))


class Model(NamedTuple):
    """A level's dynamics, told in full: every outcome of every action in every state."""

    chance: Float[Array, "posture command visitor action outcome"]
    after: tuple[Array, Array, Array]  # posture, command, visitor, each of that shape
    facts: Facts  # channels, each of that shape


_SIZES = (TOP + 1, 2, 2, len(ACTIONS), 2, 2, 2)  # posture, command, visitor, action, three coins
_EVERY = np.indices(_SIZES).reshape(len(_SIZES), -1)


def _model(level: State) -> Model:
    def one(case: Array) -> Model:
        before = level._replace(posture=case[0], commanded=case[1] == 1, visitor=case[2] == 1)
        odds, coins = _odds(before), case[4:] == 1
        after = _outcome(before, case[3], coins)
        cell = after.posture, after.commanded.astype(jnp.int32), after.visitor.astype(jnp.int32)
        return Model(jnp.prod(jnp.where(coins, odds, 1 - odds)), cell, _channels(before, case[3], after))

    told = jax.vmap(one)(jnp.asarray(_EVERY.T, jnp.int32))
    return jax.tree.map(lambda x: x.reshape(*_SIZES[:4], -1), told)


def _look_ahead(model: Model, reward: Array, discount: Any, value: Array) -> Float[Array, "posture command visitor a"]:
    return jnp.sum(model.chance * (reward + discount * value[model.after]), axis=-1)


def values(
    weights: Mapping[str, Any], params: Mapping[str, Any], discount: Any, tolerance: float = 1e-6
) -> tuple[Float[Array, "posture command visitor"], Float[Array, "posture command visitor action"]]:
    """The exact optimal values of a world that goes on for ever, which is what a learner estimates that bootstraps
    where episodes are cut off: V(s) = maxₐ Q(s, a), Q(s, a) = Σ P(s′ | s, a) (Σ_c w_c c(s, a, s′) + γ V(s′)),
    by value iteration.

    Args:
        weights: what channels are worth; a channel that is not named is worth nothing.
        params: the chances; one that is not named is as usual.
        discount: γ, below 1.
        tolerance: iteration ends when no value changes by more than this, or this share of the largest value if that
            exceeds 1. V is then off by no more than γ / (1 − γ) times as much.

    Raises:
        WrongInput: there is no such channel, or no such chance.

    >>> v, q = values({"stands_on_command": 1.0}, {"slip": 0.0, "command": 0.0}, 0.5)
    >>> [round(x, 3) for x in v[:, 1, 0].tolist()]  # in each step but the last, the command is dropped in 5% of cases
    [0.024, 0.051, 0.107, 0.226, 0.475, 1.0]
    >>> ACTIONS[q[2, 1, 0].argmax()]
    'raise'
    """
    model = _model(_level(_USUAL | dict(params), jnp.array(False)))
    for given, kind, known in ((weights, "channel", model.facts), (params, "parameter", PARAMS)):
        for name in given:
            if name not in known:
                raise unknown("values", f"{kind} of world 'posture'", name, sorted(known))
    reward = sum((weights[name] * model.facts[name] for name in weights), jnp.zeros_like(model.chance))

    def better(found: tuple[Array, Array]) -> tuple[Array, Array]:
        value = jnp.max(_look_ahead(model, reward, discount, found[0]), axis=-1)
        return value, jnp.max(jnp.abs(value - found[0]))

    def changing(found: tuple[Array, Array]) -> Array:
        return found[1] > tolerance * jnp.maximum(1.0, jnp.max(jnp.abs(found[0])))

    value, _ = jax.lax.while_loop(changing, better, (jnp.zeros(_SIZES[:3]), jnp.float32(jnp.inf)))
    action_values = _look_ahead(model, reward, discount, value)
    return jnp.max(action_values, axis=-1), action_values


def _ceiling(state: State) -> dict[str, Array]:
    """The best expected obedience in an episode, by dynamic programming over steps left, under the level's chances."""
    model = _model(state)

    def best(value: Array, _: None) -> tuple[Array, None]:
        return jnp.max(_look_ahead(model, model.facts["stands_on_command"], 1.0, value), axis=-1), None

    value, _ = jax.lax.scan(best, jnp.zeros(_SIZES[:3]), None, LIMIT)
    return {"stands_on_command": value[state.posture, state.commanded.astype(int), state.visitor.astype(int)]}


_HEIGHT, _WIDTH, _FLOOR = 40, 72, 35
_WALL, _BOARDS, _INK, _FUR, _SKIN = (232, 226, 208), (190, 160, 120), (38, 42, 51), (150, 98, 62), (241, 196, 158)
_RED, _BLUE, _GREEN, _WHITE, _DOOR = (214, 64, 69), (59, 108, 190), (84, 150, 82), (255, 255, 255), (110, 70, 44)

# Where the dog's joints are in each posture, as (x, y): hip, shoulder, head, front paw, hind paw, tip of the tail.
_DOGS = (
    ((27, 32), (38, 32), (43, 29), (43, 34), (33, 34), (21, 33)),
    ((27, 31), (36, 25), (40, 20), (37, 34), (32, 34), (20, 31)),
    ((26, 26), (38, 26), (43, 21), (38, 34), (26, 34), (20, 22)),
    ((27, 26), (37, 21), (42, 16), (42, 27), (27, 34), (20, 24)),
    ((28, 26), (35, 17), (39, 11), (42, 20), (28, 34), (21, 26)),
    ((30, 25), (32, 14), (35, 7), (39, 14), (30, 34), (23, 28)),
)


def _stroke(picture: np.ndarray, start: tuple[int, int], end: tuple[int, int], width: float, colour: Any) -> None:
    """Draws a line with round ends."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    along = np.array(end) - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1)
    share = np.clip(share, 0, 1)
    far = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    picture[far <= width / 2] = colour


def _draw_dog(picture: np.ndarray, posture: int, collar: Any) -> None:
    hip, shoulder, head, front, hind, tail = _DOGS[posture]
    for start, end, width in ((hip, tail, 2), (hip, hind, 4), (shoulder, front, 3), (hip, shoulder, 8)):
        _stroke(picture, start, end, width, _FUR)
    _stroke(picture, shoulder, head, 5, _FUR)
    middle = ((shoulder[0] + head[0] + 1) // 2, (shoulder[1] + head[1]) // 2)
    _stroke(picture, (middle[0] - 2, middle[1] - 1), (middle[0] + 2, middle[1] + 1), 2, collar)
    _stroke(picture, head, head, 7, _FUR)
    _stroke(picture, head, (head[0] + 5, head[1] + 1), 3, _FUR)
    _stroke(picture, (head[0] - 2, head[1] - 1), (head[0] - 3, head[1] + 3), 2, _INK)  # ear
    picture[head[1] - 1, head[0] + 2] = picture[head[1], head[0] + 6] = _INK  # eye, nose


def _draw_person(picture: np.ndarray, x: int, coat: Any, arm: tuple[int, int]) -> None:
    _stroke(picture, (x - 2, 27), (x - 2, 34), 3, _INK)
    _stroke(picture, (x + 2, 27), (x + 2, 34), 3, _INK)
    _stroke(picture, (x, 21), (x, 26), 8, coat)
    _stroke(picture, (x, 20), arm, 2, coat)
    _stroke(picture, (x, 14), (x, 14), 7, _SKIN)
    picture[10:12, x - 3 : x + 4] = _INK


def _picture(posture: int, commanded: int, visitor: int, collar_red: int) -> np.ndarray:
    picture = np.full((_HEIGHT, _WIDTH, 3), _WALL, np.uint8)
    picture[_FLOOR:] = _BOARDS
    picture[7:_FLOOR, 54:70] = _INK
    picture[8:_FLOOR, 55:69] = (250, 236, 170) if visitor else _DOOR
    if visitor:
        _draw_person(picture, 62, _GREEN, (57, 17))
    else:
        _stroke(picture, (57, 22), (57, 22), 2, (250, 205, 70))
    _draw_person(picture, 7, _BLUE, (14, 17) if commanded else (9, 27))
    if commanded:  # a speech bubble with an arrow upwards
        _stroke(picture, (16, 5), (20, 5), 10, _WHITE)
        _stroke(picture, (13, 10), (15, 8), 1.5, _WHITE)
        picture[2, 18] = picture[3, 17:20] = picture[4, 16:21] = picture[5, 15:22] = picture[6:9, 17:20] = _RED
    _draw_dog(picture, posture, _RED if collar_red else _BLUE)
    return picture


@cache
def _pictures() -> np.ndarray:
    every = np.ndindex(TOP + 1, 2, 2, 2)
    return np.stack([_picture(*case) for case in every]).reshape(TOP + 1, 2, 2, 2, _HEIGHT, _WIDTH, 3)


def _frame(state: State) -> UInt8[Array, "y x 3"]:
    """The trainer speaks while there is a command, and the door is open while there is a visitor."""
    shown = (fact.astype(jnp.int32) for fact in (state.commanded, state.visitor, state.collar_red))
    return jnp.asarray(_pictures())[(state.posture, *shown)]


POSTURE = World(
    name="posture",
    summary="a dog is to stand on its hind legs on command; every posture on the way can be paid for, and barking",
    actions=ACTIONS,
    goals=GOALS,
    true=("stands_on_command",),
    limit=LIMIT,
    params=PARAMS,
    reset=_reset,
    step=_step,
    observe=_observe,
    ended=lambda state: jnp.zeros_like(state.commanded),
    channels=_channels,
    potentials=_potentials,
    features=_features,
    scatter=_scatter,
    frame=_frame,
    shortens=_shortens,
    reached=_reached,
    present=_present,
    edits={"collar_red": lambda state, on: state._replace(collar_red=jnp.asarray(on))},
    contest=_contest,
    ceiling=_ceiling,
    layout=lambda state: jnp.stack([state.posture, state.commanded, state.visitor, state.collar_red]).astype(
        jnp.float32
    ),
    ranges=dict.fromkeys(("stands_on_command", "bark", "bark_at_visitor"), COUNT)
    | {f"reached_{k}": COUNT for k in range(1, TOP + 1)}
    | {"effort": (-1.0, 0.0)},
)
