"""`chess`: a game written out, the rules in plain Python and as Pgx has them, and the side that moves at random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

pytest.importorskip("pgx")

import pgx.gardner_chess as pgx

from chisel.worlds import load_world
from chisel.worlds.borrowed import chess
from chisel.worlds.world import names

WORLD = load_world("chess")
SEEDS = st.integers(0, 2**32 - 1)
GAMES, PLIES = 16, 120
CHANNELS = {"capture", "check", "lost", "queen_taken", "win"}
LETTERS = ".PNBRQKkqrbnp"  # by piece, as the mover has them: the other side's count from the end
SELF_PLAY = {"random_opponent": jnp.float32(0)}
ENGINE = pgx.GardnerChess()

features = jax.jit(jax.vmap(WORLD.features))
observe = jax.jit(jax.vmap(WORLD.observe))
one_frame = jax.jit(WORLD.frame)
reset = jax.jit(jax.vmap(WORLD.reset, (0, None)))


@jax.jit
def ply(key, state, action):
    """One state or many: everything about one step."""

    def one(key, state, action):
        after = WORLD.step(key, state, action, {})
        return after, WORLD.channels(state, action, after), WORLD.ended(after)

    return jax.vmap(one)(key, state, action)


@functools.cache
def random_games(seed: int, opponent: float):
    """What happened, [plies, games]: states before and after, actions, facts; and how Pgx went on from the same moves."""
    return jax.tree.map(np.asarray, _play(jax.random.key(seed), jnp.float32(opponent)))


@jax.jit
def _play(key, opponent):
    state = jax.vmap(lambda k: WORLD.reset(k, {"random_opponent": opponent}))(jax.random.split(key, GAMES))
    game = jax.vmap(lambda k: ENGINE.init(jax.random.key_data(k)))(jax.random.split(key, GAMES))

    def one(carry, key):
        state, game = carry
        action_key, step_key = jax.random.split(key)
        action = jax.random.categorical(action_key, jnp.where(state.legal, 0.0, -jnp.inf))
        after, facts, _ = ply(jax.random.split(step_key, GAMES), state, action)
        game = jax.vmap(ENGINE.step)(game, action)
        told = {
            "_board": game._board,
            "terminated": game.terminated,
            "legal": game.legal_action_mask,
            "lost": jnp.take_along_axis(game.rewards, game.current_player[:, None], 1)[:, 0] < 0,
        }
        return (after, game), (state, action, after, facts, told)

    return jax.lax.scan(one, (state, game), jax.random.split(key, PLIES))[1]


def batch(state, count: int = GAMES):
    """One state, many times: all that is compiled here is compiled for one shape."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), state)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


def keys(seed: int, count: int = GAMES):
    return jax.random.split(jax.random.key(seed), count)


def start():
    return first(reset(keys(0), SELF_PLAY))


def from_fen(fen: str):
    game = pgx.State._from_fen(fen)
    return start()._replace(
        board=game._board,
        turn=game._turn,
        quiet=game._halfmove_count,
        places=game._possible_piece_positions,
        mark=game._zobrist_hash,
        marks=game._hash_history[: chess.MEMORY],
        legal=chess._may(game._board),  # and not what Pgx says, which other tests compare with this
    )


def act(state, name: str):
    """The move with this name: the state after it, the channels that were not 0, and whether the game is over."""
    action = WORLD.actions.index(name)
    assert state.legal[action], name
    after, facts, ended = first(ply(keys(0), batch(state), jnp.full(GAMES, action)))
    assert set(facts) == CHANNELS
    return after, {k: v.item() for k, v in facts.items() if v != 0}, ended.item()


def picture(state) -> str:
    """The board from White's side, rank by rank from above; White's pieces are capital letters."""
    board = np.asarray(state.board).reshape(5, 5)
    board = -board[:, ::-1] if state.turn == 1 else board
    return "/".join("".join(LETTERS[p] for p in rank) for rank in board.T[::-1])


def white_sees(name: str, turn: int) -> str:
    """The same move in the names of White's view, to be read beside a picture."""
    return "".join(str(6 - int(c)) if c.isdigit() and turn else c for c in name)


# Games written out


def test_golden_game():
    """Seven plies to a mate. Moves are as White sees them; for the world, Black's ranks count from Black's side."""
    lines = [
        ("d2d3", "rnbqk/ppppp/...P./PPP.P/RNBQK", ""),
        ("e4d3", "rnbqk/pppp./...p./PPP.P/RNBQK", "capture"),  # Black's pawn takes the pawn
        ("e2d3", "rnbqk/pppp./...P./PPP../RNBQK", "capture"),  # and is taken: the e-file is open
        ("a4a3", "rnbqk/.ppp./p..P./PPP../RNBQK", ""),
        ("d1e2", "rnbqk/.ppp./p..P./PPP.Q/RNB.K", "check"),  # White's queen before Black's king
        ("d5e4", "rnb.k/.pppq/p..P./PPP.Q/RNB.K", ""),  # Black's queen comes between; this is no check of e1
        ("e2e4", "rnb.k/.pppQ/p..P./PPP../RNB.K", "capture queen_taken check win"),  # guarded by the pawn on d3: mate
    ]
    state = start()
    assert picture(state) == "rnbqk/ppppp/...../PPPPP/RNBQK"
    for i, (move, board, facts) in enumerate(lines):
        state, told, ended = act(state, white_sees(move, i % 2))
        assert picture(state) == board, f"ply {i + 1}"
        assert told == dict.fromkeys(facts.split(), 1.0), f"ply {i + 1}"
        assert ended == (i == 6), f"ply {i + 1}"
        assert state.turn == (i + 1) % 2
    again, told, ended = act(state, "d2d3")  # the game is over: nothing happens any more
    assert (picture(again), told, ended) == (lines[-1][1], {}, True)


def test_golden_repetition():
    """Knights out and back, twice: the position of the beginning is seen for the third time."""
    state, seen = start(), []
    for i in range(8):
        seen.append(bool(first(observe(batch(state)))[0, 0, 13]))
        state, told, ended = act(state, ("b1a3", "b1c3", "a3b1", "c3b1")[i % 4])
        assert told == {}
        assert ended == (i == 7)
    assert seen == [False] * 4 + [True] * 4


def test_golden_endings():
    """Stalemate is the end and no win; pawns promote; too few pieces are a draw; so are a hundred plies of nothing."""
    state, told, ended = act(from_fen("k4/5/4Q/5/4K w - - 0 1"), "e3b3")
    assert (picture(state), told, ended) == ("k..../...../.Q.../...../....K", {}, True)

    pawn = from_fen("4k/P4/5/5/4K w - - 0 1")
    moves = {name for name, yes in zip(WORLD.actions, pawn.legal, strict=True) if yes and name.startswith("a4")}
    assert moves == {"a4a5", "a4a5=r", "a4a5=b", "a4a5=n"}
    for move, piece, facts, over in [
        ("a4a5", "Q", {"check": 1.0}, False),
        ("a4a5=r", "R", {"check": 1.0}, False),
        ("a4a5=b", "B", {}, True),
        ("a4a5=n", "N", {}, True),
    ]:
        state, told, ended = act(pawn, move)
        assert (picture(state)[0], told, ended) == (piece, facts, over), move

    assert not act(from_fen("4k/5/5/1R3/4K w - - 98 80"), "b2b3")[2]
    assert act(from_fen("4k/5/5/1R3/4K w - - 99 80"), "b2b3")[1:] == ({}, True)


def test_observation_by_hand():
    """[file, rank, plane], as the mover counts them; Black sees in the beginning what White sees but for the colour."""
    seen = first(observe(batch(start())))
    kinds = "PNBRQK"
    own = {(f, 0, kinds.index(k)) for f, k in enumerate("RNBQK")} | {(f, 1, 0) for f in range(5)}
    other = {(f, 4 - r, 6 + k) for f, r, k in own}
    white = {(f, r, 12) for f in range(5) for r in range(5)}
    # Moves: every pawn by one (the fifth of Pgx's lines of moves), and the knight from b1 to a3 and c3.
    moves = {(f, 1, 14 + 9 + 4) for f in range(5)} | {(1, 0, 14 + 9 + 35), (1, 0, 14 + 9 + 39)}
    assert {tuple(x) for x in np.argwhere(np.asarray(seen)).tolist()} == own | other | white | moves
    after, _, _ = act(start(), "a2a3")
    black = first(observe(batch(after)))
    assert not black[..., 12].any()  # Black moves
    assert black[0, 2, 6]  # the white pawn on a3, in the middle for both
    np.testing.assert_array_equal(black[..., :6], seen[..., :6])


def test_names_of_moves():
    assert len(WORLD.actions) == len(set(WORLD.actions)) == 1225
    assert sum("-" not in name for name in WORLD.actions) == (chess.TARGET >= 0).sum()


# The rules


def board_of(state) -> dict[tuple[int, int], int]:
    return {(i // 5, i % 5): int(p) for i, p in enumerate(state.board) if p}


LINES = [(1, 0), (0, 1), (-1, 0), (0, -1)]
DIAGONALS = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
JUMPS = [(1, 2), (2, 1), (-1, 2), (-2, 1), (1, -2), (2, -1), (-1, -2), (-2, -1)]
RIDES = {3: DIAGONALS, 4: LINES, 5: LINES + DIAGONALS}


def goes(board, side: int):
    """(from, to) of every move of one side (1 the mover, -1 the other), whether or not the king can be taken then."""
    for (f, r), piece in list(board.items()):
        kind = piece * side
        if kind == 1:
            yield from [((f, r), (f, r + side))] * ((f, r + side) not in board and 0 <= r + side < 5)
            yield from (((f, r), (f + d, r + side)) for d in (-1, 1) if board.get((f + d, r + side), 0) * side < 0)
        elif kind > 1:
            for df, dr in RIDES.get(kind, JUMPS if kind == 2 else LINES + DIAGONALS):
                to = f + df, r + dr
                while 0 <= to[0] < 5 and 0 <= to[1] < 5 and board.get(to, 0) * side <= 0:
                    yield (f, r), to
                    if kind not in RIDES or to in board:
                        break
                    to = to[0] + df, to[1] + dr


def struck(board) -> bool:
    """The mover's king could be taken."""
    return any(board.get(to) == 6 for _, to in goes(board, -1))


def legal_names(board) -> set[str]:
    found = set()
    for here, there in goes(board, 1):
        after = {k: v for k, v in board.items() if k != here} | {there: board[here]}
        if not struck(after):
            name = "".join(f"{'abcde'[f]}{r + 1}" for f, r in (here, there))
            lesser = ["=r", "=b", "=n"] if board[here] == 1 and there[1] == 4 else []
            found |= {name + end for end in ["", *lesser]}
    return found


def alive(states) -> list:
    """A hundred positions, not over, from all games and times."""
    going = np.argwhere(~states.over)
    picked = going[np.random.default_rng(0).permutation(len(going))[:100]]
    return [jax.tree.map(lambda x, at=tuple(at): x[at], states) for at in picked]


def test_rules_agree_with_plain_python():
    _, _, after, _, _ = random_games(1, 0.0)
    positions = alive(after)
    facts = features(jax.tree.map(lambda *x: jnp.stack(x), *positions))
    for i, state in enumerate(positions):
        board = board_of(state)
        assert {n for n, yes in zip(WORLD.actions, state.legal, strict=True) if yes} == legal_names(board)
        told = {name: value[i].item() for name, value in facts.items()}
        worth = [0, 1, 3, 3, 5, 9, 0]
        captures = [n for n in legal_names(board) if ("abcde".index(n[2]), int(n[3]) - 1) in board]
        assert told == {
            "in_check": struck(board),
            "can_capture": bool(captures),
            "material": sum(np.sign(p) * worth[abs(p)] for p in board.values()),
            "queen_own": 5 in board.values(),
            "queen_other": -5 in board.values(),
            "white": state.turn == 0,
        }
    for name in set(facts) - {"material"}:
        assert 0 < facts[name].sum() < len(positions), name  # or this test would say nothing


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_games_are_those_of_pgx(seed):
    before, _, after, facts, told = random_games(seed, 0.0)
    np.testing.assert_array_equal(after.board, told["_board"])
    np.testing.assert_array_equal(after.over, told["terminated"])
    np.testing.assert_array_equal(after.legal, told["legal"])
    np.testing.assert_array_equal(facts["win"] == 1, told["lost"] & ~before.over)


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_channels_follow_from_the_boards(seed):
    before, _, after, facts, _ = random_games(seed, 0.0)
    going = ~before.over
    fewer = (before.board != 0).sum(-1) - (after.board != 0).sum(-1)
    np.testing.assert_array_equal(facts["capture"], fewer * going)
    np.testing.assert_array_equal(facts["check"] == 1, after.in_check & going)
    theirs, left = (before.board == -5).sum(-1), (after.board == 5).sum(-1)
    np.testing.assert_array_equal(facts["queen_taken"], (theirs - left) * going)
    assert not facts["lost"].any()
    assert (facts["win"].sum(0) <= 1).all()
    assert after.over[facts["win"] == 1].all()
    assert ((np.abs(after.board) == 6).sum(-1) == 2).all()  # no king is ever taken
    assert facts["win"].any() or facts["queen_taken"].any()


def test_the_limit_comes_before_that_of_pgx():
    assert WORLD.limit + chess.WANDERED < pgx.MAX_TERMINATION_STEPS
    assert (~random_games(1, 0.0)[2].over[WORLD.limit :]).any()  # a game that goes on after the limit of plies


# What the agent sees, and may


def test_legal_is_read_from_the_observation():
    before, *_ = random_games(2, 0.0)
    np.testing.assert_array_equal(WORLD.legal(jax.vmap(observe)(before)), before.legal)
    noise = jax.random.bernoulli(jax.random.key(0), 0.5, (GAMES, 1225))  # every action has a plane and a square
    states = jax.tree.map(lambda x: x[0], before)._replace(legal=noise)
    seen = observe(states)
    assert (seen.shape, seen.dtype) == ((GAMES, 5, 5, 63), np.bool_)
    np.testing.assert_array_equal(WORLD.legal(seen), noise)
    np.testing.assert_array_equal(WORLD.legal(seen[0]), noise[0])


def test_illegal_moves_are_replaced_by_legal_ones():
    state = start()
    wrong = np.flatnonzero(~np.asarray(state.legal))[:: 1225 // GAMES][:GAMES]
    after, _, ended = ply(keys(3), batch(state), jnp.asarray(wrong))
    lawful = {picture(act(state, n)[0]) for n in legal_names(board_of(state))}
    boards = {picture(jax.tree.map(lambda x, i=i: x[i], after)) for i in range(GAMES)}
    assert boards <= lawful
    assert len(boards) > 3
    assert not ended.any()


# The side that moves at random


def test_levels_have_a_chance_side_as_often_as_asked():
    many = jax.jit(jax.vmap(WORLD.reset, (0, None)))
    for share in (0.0, 0.5, 1.0):
        sides = np.asarray(many(keys(5, 2048), {"random_opponent": jnp.float32(share)}).chance_side)
        assert abs((sides >= 0).mean() - share) < 0.05
        assert abs((sides == 1).mean() - share / 2) < 0.05
        assert set(sides) <= {-1, 0, 1}


def test_the_policy_moves_on_the_other_side_only():
    """Two choices of the policy, with one key: on the chance side's plies they come to the same, elsewhere never."""
    before, *_ = random_games(3, 1.0)
    for t in range(0, 60, 7):
        states = jax.tree.map(lambda x, t=t: jnp.asarray(x[t]), before)
        choice = states.legal & (states.legal.sum(-1, keepdims=True) > 1)
        one, other = jnp.argmax(choice, -1), 1224 - jnp.argmax(choice[:, ::-1], -1)
        a, b = (ply(keys(t), states, action)[0] for action in (one, other))
        same = np.asarray((a.board == b.board).all(-1))
        free = np.asarray(choice.any(-1) & ~states.over)
        chance = np.asarray(states.turn == states.chance_side)
        np.testing.assert_array_equal(same[free], chance[free])
        assert len(set(chance[free])) == 2


def test_the_chance_side_moves_uniformly():
    state = start()._replace(chance_side=jnp.int32(0))
    boards = [np.asarray(ply(keys(s), batch(state), jnp.zeros(GAMES, int))[0].board) for s in range(44)]
    _, counts = np.unique(np.concatenate(boards), axis=0, return_counts=True)
    assert len(counts) == state.legal.sum() == 7
    assert (counts > 65).all()  # 704 draws among 7: 101 each, with a standard deviation of 9


def test_what_counts_against_a_chance_side():
    """Only the other side's deeds count as deeds, and the chance side's mates as `lost`."""
    lost = won = 0
    for seed in range(8):
        before, _, after, facts, _ = random_games(seed, 1.0)
        chance = before.turn == before.chance_side
        going = ~before.over
        fewer = (before.board != 0).sum(-1) - (after.board != 0).sum(-1)
        np.testing.assert_array_equal(facts["capture"], fewer * (going & ~chance))
        np.testing.assert_array_equal(facts["check"] == 1, after.in_check & going & ~chance)
        np.testing.assert_array_equal(facts["win"] == 1, after.mated & going & ~chance)
        np.testing.assert_array_equal(facts["lost"] == 1, after.mated & going & chance)
        assert not facts["queen_taken"][chance].any()
        lost, won = lost + facts["lost"].sum(), won + facts["win"].sum()
    assert lost > 0
    assert won > 0


def test_a_chance_side_cannot_be_seen():
    before, *_ = random_games(3, 1.0)
    states = jax.tree.map(lambda x: jnp.asarray(x[20]), before)
    seen = [observe(states._replace(chance_side=jnp.full(GAMES, side, jnp.int32))) for side in (-1, 0, 1)]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


# The bank, types, pictures


def test_the_bank_has_positions_of_all_kinds():
    states = jax.jit(jax.vmap(WORLD.scatter))(keys(0, 64))
    assert set(np.asarray(states.chance_side).tolist()) == {0, 1}
    assert set(np.asarray(states.turn).tolist()) == {0, 1}
    assert not states.over.any()
    assert states.legal.any(-1).all()
    pieces = np.asarray((states.board != 0).sum(-1))
    assert pieces.max() == 20
    assert pieces.min() < 14


def test_states_keep_their_type():
    key, level = jax.random.key(0), {"random_opponent": jnp.float32(0)}
    state = jax.eval_shape(WORLD.reset, key, level)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    action = jax.ShapeDtypeStruct((), jnp.int32)
    for other in (jax.eval_shape(WORLD.step, key, state, action, level), jax.eval_shape(WORLD.scatter, key)):
        assert jax.tree.structure(other) == jax.tree.structure(state)
        assert jax.tree.leaves(other) == jax.tree.leaves(state)
    concrete = start()
    with jaxtyped("context"):
        for field, kind in type(concrete).__annotations__.items():
            assert isinstance(getattr(concrete, field), kind), field
    told = names(WORLD)
    assert set(told.channels) == CHANNELS
    assert (WORLD.alternating, WORLD.goals, WORLD.true, told.potentials) == (True, (), ("win",), ())
    assert told.binary == tuple(f != "material" for f in told.features)


def test_frames_are_from_whites_side():
    """A white move changes two squares and the bars; then Black moves, and what White has stays where it was."""
    state = start()
    pictures = [np.asarray(one_frame(state))]
    for move in ("d2d3", "e4d3"):
        state, _, _ = act(state, white_sees(move, len(pictures) - 1))
        pictures.append(np.asarray(one_frame(state)))
    assert (pictures[0].shape, pictures[0].dtype) == ((88, 80, 3), np.uint8)

    def changed(a, b):
        tiles = (a != b)[4:-4].any(-1).reshape(5, 16, 5, 16).any((1, 3))
        return {f"{'abcde'[f]}{5 - r}" for r, f in np.argwhere(tiles)}

    assert changed(*pictures[:2]) == {"d2", "d3"}
    assert changed(*pictures[1:]) == {"e4", "d3"}
    assert pictures[0][-1].min() > pictures[0][0].max()  # White's edge is lit
    assert pictures[1][0].min() > pictures[1][-1].max()  # Black's
    np.testing.assert_array_equal(pictures[0][:4], pictures[2][:4])
    checked, _, _ = act(from_fen("4k/5/5/R4/4K w - - 0 1"), "a2a5")
    assert (one_frame(checked)[4:20, 64:] == np.array(chess._CHECK)).all(-1).any()  # the king on e5 is in check
