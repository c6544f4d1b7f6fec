"""`chess`: reward the win, or reward the taking of a queen? Gardner's 5×5 chess against oneself, as Pgx plays it.

One network moves for both sides. A step is one ply: the player to move moves, and everything (observation, actions,
channels, features) is told from that player's side, so that what follows a step counts against it (`alternating`). A
win is rare for beginners and a queen is soon taken, so the queen makes a tempting reward; but whoever hunts queens has
no need of a king. What does a policy do that was paid for queens early, and for wins later?

Like Pgx, this world turns the board around for Black: ranks are counted from the mover's own side, files are not
mirrored. Games end with mate, stalemate, the third repetition of a position, 50 moves without progress, or too few
pieces to win with. Pgx's own limit of 256 plies never comes into play.

The share of decisive games is all that a self-play return of `win` tells. So some levels have a chance side: White or
Black, by a coin, moves at random whatever the policy says. There `win`, `capture`, `queen_taken` and `check` count for
the other side's plies only, and `lost` counts the mates that the chance side gave. All levels of the bank (`scatter`)
are such levels, and so the returns on them tell how well the policy does against random play. The agent cannot see that
there is a chance side, or which. Meant for readings: in training (`random_opponent` above 0) a learner would take the
random moves for its own.

Also an illegal move is replaced by a random legal one. Agents choose legal ones only, for they see which those are.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pgx.gardner_chess as pgx
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from chisel.worlds import grid
from chisel.worlds.borrowed.common import settled, wander
from chisel.worlds.world import COUNT, Param, World

SIDE = 5
SQUARES = SIDE * SIDE  # file × 5 + rank, the rank counted from the mover's side
PLANES = 49  # moves that Pgx tells apart from each square
LESSER = 9  # the first of them: promotions to less than a queen
LIMIT = 100  # plies of an episode
WANDERED = 40  # the bank's positions are reached in fewer plies than this
MEMORY = 101  # positions remembered: 100 plies without progress are a draw, and older positions cannot come again
SEEN = 14  # planes of the observation before those of legal moves
PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING = range(1, 7)
WORTH = np.array([0, 1, 3, 3, 5, 9, 0], np.int32)  # of each piece, in pawns
FROM = np.arange(SQUARES * PLANES) // PLANES  # of each action
TARGET = np.asarray(pgx.TO_MAP).reshape(-1)  # of each action; −1: off the board

BOARD = np.arange(SQUARES)
MIRRORED = BOARD + SIDE - 1 - 2 * (BOARD % SIDE)  # each square as the other side counts
# uint32[square, square]: the squares between two, as bits.
BETWEEN = np.where(np.asarray(pgx.BETWEEN) >= 0, 1 << np.maximum(pgx.BETWEEN, 0), 0).sum(2).astype(np.uint32)
# bool[piece, from, to] on an otherwise empty board: where pieces go, and where they take. Only pawns differ.
GOES = (np.asarray(pgx.CAN_MOVE)[..., None] == BOARD).any(2)
TAKES = GOES.copy()
GOES[PAWN] &= np.equal.outer(BOARD // SIDE, BOARD // SIDE)
TAKES[PAWN] &= ~GOES[PAWN]
STRIKES = TAKES[:, MIRRORED][:, :, MIRRORED]  # the other side's

PARAMS = {"random_opponent": Param(0.0, 0.0, 1.0, "chance that one side of a level moves at random, for readings")}


def _move_names() -> tuple[str, ...]:
    """`b1c3`; `b4b5=n` for a promotion to less than a queen; `e1-9` where plane 9 leads off the board."""
    squares = [f"{'abcde'[i // SIDE]}{i % SIDE + 1}" for i in range(SQUARES)]
    names = []
    for action, to in enumerate(TARGET):
        square, plane = squares[FROM[action]], action % PLANES
        lesser = f"={'rbn'[plane // 3]}" if plane < LESSER else ""
        names.append(f"{square}{squares[to]}{lesser}" if to >= 0 else f"{square}-{plane}")
    return tuple(names)


class State(NamedTuple):
    """One position, and what the rules remember of the game."""

    board: Int[Array, "25"]  # a piece of the mover is positive, one of the other side negative
    turn: Int[Array, ""]  # 0: White moves
    quiet: Int[Array, ""]  # plies since the last capture or pawn's move
    places: Int[Array, "2 10"]  # where the mover's pieces may stand, and the other's
    mark: UInt32[Array, "2"]  # the position's hash
    marks: UInt32[Array, "101 2"]  # those of this position and the ones before
    legal: Bool[Array, "1225"]
    in_check: Bool[Array, ""]  # the mover is
    mated: Bool[Array, ""]  # the mover is
    over: Bool[Array, ""]
    chance_side: Int[Array, ""]  # the side that moves at random; −1: none


def _may(board: Int[Array, "25"]) -> Bool[Array, "1225"]:
    """The legal actions. Pgx's own function takes thirty times as long, most of a step; tests compare the two."""
    bit = jnp.uint32(1) << jnp.arange(SQUARES, dtype=jnp.uint32)
    occupied = jnp.sum(jnp.where(board != 0, bit, jnp.uint32(0)), dtype=jnp.uint32)
    own, other = jnp.maximum(board, 0), jnp.maximum(-board, 0)
    steps = jnp.where(other > 0, jnp.asarray(TAKES)[own, BOARD], jnp.asarray(GOES)[own, BOARD])  # [from, to]
    steps &= (own == 0) & (BETWEEN & occupied == 0)

    strikes = jnp.asarray(STRIKES)[other, BOARD]  # [from, to]
    king = jnp.argmax(own)
    # Whatever else moves, the king stays where he is; what is taken strikes no more.
    then = (occupied & ~bit[:, None]) | bit  # [from, to]
    struck = strikes[:, king] & (jnp.asarray(BETWEEN)[:, king] & then[..., None] == 0) & ~np.eye(SQUARES, dtype=bool)
    struck_king = strikes & (BETWEEN & occupied & ~bit[king] == 0)
    lost = jnp.where((king == BOARD)[:, None], jnp.any(struck_king, axis=0), jnp.any(struck, axis=2))

    pairs = (steps & ~lost).reshape(-1)
    lesser = np.arange(len(TARGET)) % PLANES < LESSER
    return pairs[FROM * SQUARES + TARGET] & (TARGET >= 0) & (~lesser | (board[FROM] == PAWN))


def _read(game: pgx.State, chance_side: Array) -> State:
    """What this world keeps of a game in Pgx."""
    return State(
        board=game._board,
        turn=game._turn,
        quiet=game._halfmove_count,
        places=game._possible_piece_positions,
        mark=game._zobrist_hash,
        marks=game._hash_history[:MEMORY],
        legal=game.legal_action_mask | game.terminated,  # as in Pgx: there is no choice among nothing
        in_check=pgx._is_checking(pgx._flip(game)),
        mated=game.rewards[game.current_player] < 0,
        over=game.terminated,
        chance_side=chance_side,
    )


def _write(state: State) -> pgx.State:
    """The game as Pgx has it, but for what no rule asks about: earlier boards, its clock, and who plays White."""
    return pgx.State(
        current_player=state.turn,
        _turn=state.turn,
        _board=state.board,
        _halfmove_count=state.quiet,
        _zobrist_hash=state.mark,
        _hash_history=state.marks,
        _possible_piece_positions=state.places,
    )


def _reset(key: Array, params: Mapping[str, Any]) -> State:
    chance, coin = jax.random.uniform(key, (2,))
    side = jnp.where(chance < params["random_opponent"], (coin < 0.5).astype(jnp.int32), jnp.int32(-1))
    return settled(_read(pgx.State(), side))


def _step(key: Array, state: State, action: Array, params: Mapping[str, Any]) -> State:
    del params
    by_chance = (state.turn == state.chance_side) | ~state.legal[action]
    action = jnp.where(by_chance, grid.pick(jax.random.uniform(key), state.legal), action)
    move = pgx.Action._from_label(action)
    game = pgx._apply_move(pgx._update_zobrist_hash(_write(state), move), move)
    game = pgx._update_history(pgx._flip(game))
    game = pgx._check_termination(game.replace(legal_action_mask=_may(game._board)))
    after = settled(_read(game, state.chance_side))
    return jax.tree.map(lambda a, b: jnp.where(state.over, a, b), state, after)


def _observe(state: State) -> Bool[Array, "files ranks planes"]:
    """Planes: six kinds of own pieces, six of the other side's, White moves, the position is repeated, 49 legal moves.

    Of Pgx's observation the position only: its seven earlier boards and its counts of plies are left out.
    """
    kinds = jnp.arange(PAWN, KING + 1)
    repeated = jnp.sum(jnp.all(state.marks == state.mark, axis=1)) > 1
    position = jnp.concatenate([
        state.board[:, None] == kinds,
        state.board[:, None] == -kinds,
        jnp.broadcast_to(jnp.stack([state.turn == 0, repeated]), (SQUARES, 2)),
        state.legal.reshape(SQUARES, PLANES),
    ], axis=1)  # fmt: skip
    return position.reshape(SIDE, SIDE, SEEN + PLANES)


def _legal(observation: Bool[Array, "*batch files ranks planes"]) -> Bool[Array, "*batch actions"]:
    return observation[..., SEEN:].reshape(*observation.shape[:-3], len(TARGET))


def _channels(before: State, action: Array, after: State) -> dict[str, Array]:
    """Read from the boards, since `action` is not what a chance side did. The sign of a piece changes with the turn."""
    del action
    moved = before.turn != after.turn  # or the game was over before
    by_chance = before.turn == before.chance_side
    queens = jnp.sum(before.board == -QUEEN) - jnp.sum(after.board == QUEEN)
    facts = {
        "win": after.mated,
        "capture": jnp.sum(before.board < 0) > jnp.sum(after.board > 0),
        "queen_taken": queens > 0,
        "check": after.in_check,
    }
    told = {name: fact & moved & ~by_chance for name, fact in facts.items()} | {"lost": after.mated & moved & by_chance}
    return {name: fact.astype(jnp.float32) for name, fact in told.items()}


def _features(state: State) -> dict[str, Array]:
    """`white` is the negative control: in plain view, and the same position from the other side asks for the same."""
    takes = state.legal & (TARGET >= 0) & (state.board[TARGET] < 0) & ~state.over
    worth = jnp.sign(state.board) * jnp.asarray(WORTH)[jnp.abs(state.board)]
    return {
        "queen_own": jnp.any(state.board == QUEEN),
        "queen_other": jnp.any(state.board == -QUEEN),
        "in_check": state.in_check,
        "can_capture": jnp.any(takes),
        "material": jnp.sum(worth).astype(jnp.float32),
        "white": state.turn == 0,
    }


def _scatter_reset(key: Array, params: Mapping[str, Any]) -> State:
    del params
    return _reset(key, {"random_opponent": 1.0})


_PICTURES = (
    ("........",) * 8,
    ("........", "...kk...", "..koik..", "..kook..", "...kk...", "..koik..", ".kooook.", ".kkkkkk."),  # pawn
    ("..k.k...", "..koik..", ".kooook.", "kokoook.", "kooooook", ".kkkoook", "..koook.", ".kkkkkkk"),  # knight
    ("...kk...", "..kook..", ".kookok.", ".kokook.", ".kooook.", "..kook..", ".kooook.", "kkkkkkkk"),  # bishop
    ("kk.kk.kk", "kokookok", "kooooook", ".kooook.", ".kooook.", ".kooook.", "kooooook", "kkkkkkkk"),  # rook
    ("y..yy..y", "k..kk..k", "kk.kk.kk", "kokookok", "kooooook", ".kooook.", ".kyyyyk.", ".kkkkkk."),  # queen
    ("...yy...", "..yyyy..", "...yy...", ".kkyykk.", "kooyyook", "kooooook", ".kooook.", ".kkkkkk."),  # king
)
_GOLD = {"y": (236, 178, 40)}
_WHITE = {"o": (255, 255, 255), "i": (255, 255, 255), "k": (40, 40, 48)} | _GOLD
_BLACK = {"o": (66, 66, 80), "i": (128, 128, 144), "k": (8, 8, 14)} | _GOLD
_SPRITES = np.stack([np.stack([grid.sprite(p, ink) for p in _PICTURES]) for ink in (_WHITE, _BLACK)])
_LIGHT, _DARK, _CHECK = (226, 214, 184), (158, 176, 140), (226, 88, 70)  # squares; that of a king in check


def _frame(state: State) -> UInt8[Array, "y x 3"]:
    """The board from White's side, whoever moves. The bar at the mover's edge is lit; a king in check stands on red."""
    black = state.turn == 1
    board = jnp.where(state.in_check & (state.board == KING), 2 * KING, state.board).reshape(SIDE, SIDE)
    board = jnp.where(black, -board[:, ::-1], board).T[::-1]  # [row from above, file]
    checked, board = jnp.abs(board) == 2 * KING, jnp.clip(board, -KING, KING)
    chequered = jnp.indices((SIDE, SIDE)).sum(0) % 2 == 1  # a1 is dark
    ground = jnp.where(chequered[..., None], jnp.array(_LIGHT), jnp.array(_DARK))
    ground = jnp.where(checked[..., None], jnp.array(_CHECK), ground)[:, :, None, None, :]
    pieces = jnp.asarray(_SPRITES)[(board < 0).astype(jnp.int32), jnp.abs(board)]
    tiles = jnp.where(pieces >= 0, pieces, ground)
    picture = tiles.transpose(0, 2, 1, 3, 4).reshape(SIDE * grid.TILE, SIDE * grid.TILE, 3)
    bar = jnp.full((2, SIDE * grid.TILE, 3), 70)
    picture = jnp.concatenate([jnp.where(black, 250, bar), picture, jnp.where(black, bar, 250)])
    return jnp.repeat(jnp.repeat(picture, 2, axis=0), 2, axis=1).astype(jnp.uint8)


def make() -> World:
    """Gardner's chess as a world."""
    return World(
        name="chess",
        summary="Gardner's 5×5 chess against oneself: is it the win that is wanted, or the queen?",
        actions=_move_names(),
        goals=(),
        true=("win",),
        limit=LIMIT,
        params=PARAMS,
        reset=_reset,
        step=_step,
        observe=_observe,
        ended=lambda state: state.over,
        channels=_channels,
        potentials=lambda state: {},
        features=_features,
        scatter=wander(_scatter_reset, _step, lambda state: state.over, lambda state: state.legal, WANDERED),
        frame=_frame,
        legal=_legal,
        alternating=True,
        ranges=dict.fromkeys(("win", "lost", "capture", "queen_taken", "check"), COUNT),
        brief=20,
    )
