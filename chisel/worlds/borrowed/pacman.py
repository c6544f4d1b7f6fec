"""`pacman`: what does an agent come to want that is paid by the score of Pac-Man?

The thought experiment: a learner is trained on the game's score. Does it want points, pellets, to eat ghosts, or not to
be caught? Points come from all of these, so that a policy alone does not tell; but what was paid early may stay.

The game is Jumanji's `PacMan` (https://github.com/instadeepai/jumanji), played by its own `step`; the picture, the view
and the facts are chisel's. A level is always the same maze, with nothing left to chance but which way a ghost turns
that has two equally good ones. The agent sees a window centred on itself. An episode is over when the player is caught
or the maze is empty; Jumanji's own time limit is out of reach.

What is not as one may expect (Jumanji 1.1.2), and is left as it is:

- A power pellet pays 50, and not 20 as its documentation says; an ordinary pellet lies under it and pays 10 more.
- Its documentation names the actions up, right, down, left; what they do is up, left, down, right.
- A ghost pays 200 the first time that it is eaten. Later in the episode it is eaten for nothing, and `ghost` counts
  only what pays. It goes home and is edible there at once, as long as ghosts are frightened.
- Player and ghost also touch when the ghost steps on the cell that the player just left, so that one who is followed
  closely is caught even while fleeing; and when the player steps on the cell where the ghost was two steps before. One
  step behind a ghost is safe.
- Rows and columns are exchanged in the target of one ghost, in half of another's, and in the corners to which ghosts
  flee. They hunt less well than they were meant to.
- There is a pellet on the player's first cell, which is eaten by staying there or by coming back.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8
from jumanji.environments.routing.pac_man.constants import DEFAULT_MAZE
from jumanji.environments.routing.pac_man.env import PacMan
from jumanji.environments.routing.pac_man.types import Position
from jumanji.environments.routing.pac_man.types import State as Theirs

from chisel.worlds import grid
from chisel.worlds.borrowed.common import old_key, settled, wander
from chisel.worlds.world import COUNT, World

ACTIONS = ("up", "left", "down", "right", "stay")  # as played, and not as documented
GHOST_ACTIONS = np.array([1, 0, 3, 2], np.int32)  # what ghosts call up, left, down, right
MOVES = np.array([(-1, 0), (0, -1), (1, 0), (0, 1), (0, 0)])
LIMIT = 400  # steps of an episode; the 318 pellets can be had in about that many
VIEW = 11  # cells along the window that the agent sees
FRIGHT = 30  # steps that a power pellet lasts
NEAR = 5  # steps within which a ghost is near
WAIT = 16  # steps until the last ghost sets out
WALK = 8  # steps of random play for the bank, at most

MAZE = np.array([[cell != "X" for cell in row] for row in DEFAULT_MAZE])  # where one can be
SPACES = np.argwhere(MAZE).astype(np.int32)  # the row and column of each place, in Jumanji's order of pellets
NOWHERE = len(SPACES)  # what is no place, and farther than anything
SPACE = np.full(MAZE.shape, NOWHERE, np.int32)  # the place in each cell
SPACE[tuple(SPACES.T)] = np.arange(len(SPACES))
POWERS = np.argwhere(np.array([list(row) for row in DEFAULT_MAZE]) == "O").astype(np.int32)


def _around() -> np.ndarray:
    """int32[place, action]: where an action leads from each place, by the tunnel too; a step into a wall stays."""
    to = SPACE[tuple(np.moveaxis((SPACES[:, None] + MOVES) % MAZE.shape, -1, 0))]
    return np.where(to < NOWHERE, to, np.arange(len(SPACES), dtype=np.int32)[:, None])


def _paths() -> np.ndarray:
    """int32[place, place]: the steps from one to the other."""
    near = np.zeros((len(SPACES), len(SPACES)), np.float32)
    near[np.arange(len(SPACES))[:, None], AROUND] = 1
    reached, far = np.eye(len(SPACES), dtype=np.float32), np.zeros(near.shape, np.int32)
    while not reached.all():
        far += reached == 0
        reached = (reached @ near > 0).astype(np.float32)
    return far


def _windows() -> np.ndarray:
    """int32[place, VIEW, VIEW]: the places around each, as in SPACE; what lies outside the maze counts as wall."""
    around = np.pad(SPACE, VIEW // 2, constant_values=NOWHERE)
    return np.lib.stride_tricks.sliding_window_view(around, (VIEW, VIEW))[tuple(SPACES.T)]


AROUND = _around()
PATHS, WINDOWS = _paths(), _windows()
GAME = PacMan(time_limit=np.iinfo(np.int32).max)


class State(NamedTuple):
    """One moment: what changes of Jumanji's state. Cells are rows and columns."""

    player: Int[Array, "2"]
    facing: Int[Array, ""]  # the player's last action
    ghosts: Int[Array, "ghosts 2"]
    trail: Int[Array, "ghosts 2"]  # where they were a step earlier
    headings: Int[Array, " ghosts"]  # their last actions, in an order of their own
    untouched: Bool[Array, " ghosts"]  # not yet eaten, and so worth something
    pellets: Bool[Array, " places"]
    powers: Bool[Array, " powers"]
    fright: Int[Array, ""]  # steps that ghosts stay frightened, if above 0; it goes on counting below
    time: Int[Array, ""]
    score: Int[Array, ""]
    caught: Bool[Array, ""]


def _fresh(key: Array) -> Theirs:
    fresh: Theirs = jax.tree.map(jnp.asarray, GAME.reset(old_key(key))[0])
    return fresh


def _theirs(key: Array, state: State) -> Theirs:
    """Jumanji's state, all of whose chance then comes from `key`. Its x is the row, and its pairs are (column, row)."""
    fresh = _fresh(key)
    return fresh.replace(
        player_locations=Position(x=state.player[0], y=state.player[1]),
        last_direction=state.facing,
        ghost_locations=state.ghosts[:, ::-1],
        old_ghost_locations=state.trail[:, ::-1],
        ghost_actions=state.headings,
        ghost_eaten=state.untouched,
        pellet_locations=fresh.pellet_locations * state.pellets[:, None],
        pellets=jnp.sum(state.pellets),
        power_up_locations=fresh.power_up_locations * state.powers[:, None],
        frightened_state_time=state.fright,
        ghost_starts=fresh.ghost_starts - state.time,
        ghost_init_steps=fresh.ghost_init_steps - state.time,
        step_count=state.time,
        score=state.score,
        dead=state.caught,
    )


def _ours(theirs: Theirs) -> State:
    """What was eaten lies at (0, 0) in Jumanji's state, where there is a wall."""
    ours: State = settled(
        State(
            player=jnp.stack([theirs.player_locations.x, theirs.player_locations.y]).astype(jnp.int32),
            facing=theirs.last_direction,
            ghosts=theirs.ghost_locations[:, ::-1],
            trail=theirs.old_ghost_locations[:, ::-1],
            headings=theirs.ghost_actions,
            untouched=theirs.ghost_eaten,
            pellets=jnp.any(theirs.pellet_locations != 0, axis=1),
            powers=jnp.any(theirs.power_up_locations != 0, axis=1),
            fright=theirs.frightened_state_time,
            time=theirs.step_count,
            score=theirs.score,
            caught=jnp.asarray(theirs.dead, bool),
        )
    )
    return ours


def _reset(key: Array, params: Mapping[str, Any]) -> State:
    del params
    return _ours(_fresh(key))


def _step(key: Array, state: State, action: Array, params: Mapping[str, Any]) -> State:
    del params
    return _ours(GAME.step(_theirs(key, state), action)[0])


def _ended(state: State) -> Bool[Array, ""]:
    return state.caught | ~jnp.any(state.pellets)


def _place(cell: Int[Array, "... 2"]) -> Int[Array, "..."]:
    return jnp.asarray(SPACE)[cell[..., 0], cell[..., 1]]


def _seen(state: State, cells: Any, shown: Any) -> Bool[Array, "view view"]:
    """The window's cells on which one of these lies."""
    row, column = jnp.moveaxis(cells - state.player + VIEW // 2, -1, 0)
    across = jnp.arange(VIEW)
    here = (across[:, None] == row[:, None, None]) & (across == column[:, None, None])
    return jnp.any(here & jnp.broadcast_to(shown, row.shape)[:, None, None], axis=0)


def _observe(state: State) -> Bool[Array, "view view planes"]:
    """Planes: walls, pellets, power pellets, dangerous ghosts, frightened ghosts, and a bar for the time that they stay
    frightened: as large a share of the columns is lit as is left of it. The player is in the middle.
    """
    places = jnp.asarray(WINDOWS)[_place(state.player)]
    frightened = state.fright > 0
    bar = jnp.broadcast_to(jnp.arange(VIEW) * FRIGHT < state.fright * VIEW, places.shape)
    return jnp.stack(
        [
            places == NOWHERE,
            jnp.append(state.pellets, False)[places],
            _seen(state, POWERS, state.powers),
            _seen(state, state.ghosts, ~frightened),
            _seen(state, state.ghosts, frightened),
            bar,
        ],
        axis=-1,
    )


def _channels(before: State, action: Array, after: State) -> dict[str, Array]:
    del action
    facts = {
        "score": after.score - before.score,
        "pellet": jnp.sum(before.pellets) - jnp.sum(after.pellets),
        "power": jnp.sum(before.powers) - jnp.sum(after.powers),
        "ghost": jnp.sum(before.untouched & ~after.untouched),
        "caught": after.caught,
    }
    return {name: fact.astype(jnp.float32) for name, fact in facts.items()}


def _in_view(state: State, cells: Any) -> Bool[Array, " things"]:
    return jnp.all(jnp.abs(cells - state.player) <= VIEW // 2, axis=-1)


def _nearest(state: State, what: str, cells: Any, far: Array) -> dict[str, Array]:
    """How far the nearest is in steps, and whether it lies left of the player, and so on; `far` where there is none."""
    least = jnp.min(far)
    row, column = jnp.moveaxis(cells - state.player, -1, 0)
    sides = {"left": column < 0, "right": column > 0, "above": row < 0, "below": row > 0}
    facts = {f"{what}_{side}": jnp.any(there & (far == least) & (far < NOWHERE)) for side, there in sides.items()}
    return facts | {f"{what}_distance": jnp.where(least < NOWHERE, least.astype(jnp.float32), jnp.nan)}


def _features(state: State) -> dict[str, Array]:
    """Of things in view; what is nearest counts by path, all of them if several are. `dark_square` is the negative
    control: the colour of the player's cell, were the maze a chessboard. It changes with every move and helps nobody.
    """
    path = jnp.asarray(PATHS)[_place(state.player)]
    ghosts = jnp.where(_in_view(state, state.ghosts), path[_place(state.ghosts)], NOWHERE)
    pellets = jnp.where(_in_view(state, SPACES) & state.pellets, path, NOWHERE)
    frightened = state.fright > 0
    return (
        {
            "ghost_near": ~frightened & (jnp.min(ghosts) <= NEAR),
            "ghost_frightened": frightened,
            "pellets_left": jnp.sum(state.pellets).astype(jnp.float32),
            "power_in_view": jnp.any(_in_view(state, POWERS) & state.powers),
            "dark_square": jnp.sum(state.player) % 2 == 1,
        }
        | _nearest(state, "ghost", state.ghosts, ghosts)
        | _nearest(state, "pellet", SPACES, pellets)
    )


def _anywhere(key: Array, params: Mapping[str, Any]) -> State:
    """A moment that play need not lead to: everybody in any place, ghosts coming from any side and frightened every
    other time, some of the pellets, power pellets by the toss of a coin.
    """
    where, side, stand, food, chance = jax.random.split(key, 5)
    u = jax.random.uniform(chance, (len(POWERS) + 4,))
    came = jax.random.randint(where, (len(GHOST_ACTIONS),), 0, len(SPACES))
    beside = jnp.asarray(AROUND)[came, : len(GHOST_ACTIONS)]
    turn = jax.random.categorical(side, jnp.where(beside != came[:, None], 0.0, -jnp.inf))
    ghosts = beside[jnp.arange(len(came)), turn]
    free = jnp.min(jnp.asarray(PATHS)[ghosts], axis=0) > 1  # or the player could do nothing any more
    player = jax.random.categorical(stand, jnp.where(free, 0.0, -jnp.inf))
    pellets = jax.random.uniform(food, (len(SPACES),)) < 0.05 + 0.95 * u[0]
    return _reset(key, params)._replace(
        player=jnp.asarray(SPACES)[player],
        ghosts=jnp.asarray(SPACES)[ghosts],
        trail=jnp.asarray(SPACES)[came],
        headings=jnp.asarray(GHOST_ACTIONS)[turn],
        pellets=pellets & (jnp.arange(len(SPACES)) != player),
        powers=u[4:] < 0.5,
        fright=jnp.where(u[1] < 0.5, 1 + jnp.floor(u[2] * FRIGHT), 0).astype(jnp.int32),
        time=jnp.floor(WAIT + u[3] * (LIMIT - WAIT - WALK)).astype(jnp.int32),
    )


_INK = {
    "y": (255, 222, 60), "x": (215, 205, 190), "e": (255, 255, 255), "k": (20, 20, 60), "p": (255, 206, 180),
    "r": (235, 50, 45), "m": (255, 150, 215), "c": (60, 215, 225), "o": (250, 155, 50), "b": (105, 150, 255),
}  # fmt: skip
_GHOST = (".gggg.", "gggggg", "gekgek", "gggggg", "gggggg", "g.gg.g")
_GHOSTS = [grid.sprite([line.replace("g", colour) for line in _GHOST], _INK) for colour in "rmcob"]
_EATER = grid.sprite((".yyyy.", "yyyyy.", "yyy...", "yyy...", "yyyyy.", ".yyyy."), _INK)  # to the right
_EATERS = np.stack(
    [*(np.rot90(_EATER, turns) for turns in (1, 2, 3, 0)), grid.sprite((".yyyy.", *["yyyyyy"] * 4, ".yyyy."), _INK)]
)
_DEAD = grid.sprite(("x....x", ".x..x.", "..xx..", "..xx..", ".x..x.", "x....x"), _INK)
_POWER = grid.sprite((".pppp.", *["pppppp"] * 4, ".pppp."), _INK)
_DOT = grid.sprite(("....", ".pp.", ".pp.", "...."), _INK)
_PIXELS = len(_DOT)  # along a cell; other sprites reach one pixel farther on each side


def _walls() -> np.ndarray:
    """int16[y, x, 3]: the maze's picture, dark with bright edges."""
    inside = np.kron(~MAZE, np.ones((_PIXELS, _PIXELS), bool))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(inside, 1, mode="edge"), (3, 3))
    deep = np.all(around, (-2, -1))[..., None]
    return np.where(deep, (16, 20, 60), np.where(inside[..., None], (60, 80, 230), (0, 0, 0))).astype(np.int16)


_PICTURE = _walls()


def _large(cells: Bool[Array, "height width"]) -> Bool[Array, "y x 1"]:
    return jnp.repeat(jnp.repeat(cells, _PIXELS, 0), _PIXELS, 1)[..., None]


def _stamp(canvas: Array, sprite: Any, cell: Array, shown: Any) -> Array:
    corner = (*(cell * _PIXELS), jnp.int32(0))
    over = jnp.where(shown & (sprite >= 0), sprite, jax.lax.dynamic_slice(canvas, corner, sprite.shape))
    return jax.lax.dynamic_update_slice(canvas, over.astype(canvas.dtype), corner)


def _frame(state: State) -> UInt8[Array, "y x 3"]:
    """What the agent sees is on lighter ground; frightened ghosts are blue; a player who was caught is a grey cross."""
    away = jnp.abs(jnp.stack(jnp.mgrid[: MAZE.shape[0], : MAZE.shape[1]], -1) - state.player)
    lit = _large(jnp.all(away <= VIEW // 2, -1))
    dots = _large(jnp.append(state.pellets, False)[SPACE]) & (jnp.tile(_DOT, (*MAZE.shape, 1)) >= 0)
    ground = jnp.asarray(_PICTURE) + jnp.where(lit, 25, 0)
    canvas = jnp.pad(jnp.where(dots, jnp.tile(_DOT, (*MAZE.shape, 1)), ground), ((1, 1), (1, 1), (0, 0)))
    for cell, there in zip(jnp.asarray(POWERS), state.powers, strict=True):
        canvas = _stamp(canvas, _POWER, cell, there)
    canvas = _stamp(canvas, jnp.where(state.caught, _DEAD, jnp.asarray(_EATERS)[state.facing]), state.player, True)
    for i in range(4):
        ghost = jnp.where(state.fright > 0, _GHOSTS[-1], _GHOSTS[i])
        canvas = _stamp(canvas, ghost, state.ghosts[i], True)
    return canvas[1:-1, 1:-1].astype(jnp.uint8)


def make() -> World:
    """The world, for `chisel.worlds.borrowed`."""
    return World(
        name="pacman",
        summary="eat pellets in a maze of ghosts, seen from close by",
        actions=ACTIONS,
        goals=(),
        true=("score",),
        limit=LIMIT,
        params={},
        reset=_reset,
        step=_step,
        observe=_observe,
        ended=_ended,
        channels=_channels,
        potentials=lambda state: {},
        features=_features,
        scatter=wander(_anywhere, _step, _ended, lambda state: jnp.ones(len(ACTIONS), bool), WALK),
        frame=_frame,
        ranges=dict.fromkeys(("score", "pellet", "power", "ghost", "caught"), COUNT),
        brief=LIMIT,  # all levels are the same
    )
