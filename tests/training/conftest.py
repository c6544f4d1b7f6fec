"""A world that can be played with pencil and paper."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from chisel.worlds.world import Param, World


class State(NamedTuple):
    """A tally that runs up to a target; the level is a number that tells one reset from another."""

    tally: Any
    target: Any
    level: Any
    luck: Any  # drawn anew at every step, and not seen by the agent


@functools.cache
def make(limit: int) -> World:
    """Action 1 counts one up, action 0 waits; at the target it is over. Nothing is kept from one step to the next."""

    def reset(key, params):
        level = jax.random.uniform(key, minval=1.0, maxval=2.0)
        return State(jnp.int32(0), jnp.round(params["target"]).astype(jnp.int32), level, jnp.float32(0))

    def step(key, state, action, params):
        tally = jnp.where(state.tally < state.target, state.tally + action, state.tally)
        return state._replace(tally=tally, luck=jax.random.uniform(key) * params["luck"])

    def ended(state):
        return state.tally >= state.target

    def channels(before, action, after):
        del action
        counted = (after.tally - before.tally).astype(jnp.float32)
        return {"counted": counted, "finished": ended(after) * 1.0, "luck": after.luck, "time": jnp.float32(0.25)}

    def shortens(state):
        return jnp.array([[False, True]]) & ~ended(state)

    return World(
        name="counting",
        summary="count up to the target",
        actions=("wait", "count"),
        goals=("target",),
        true=("counted",),
        limit=limit,
        params={"luck": Param(1.0, 0.0, 1.0, "size of the luck"), "target": Param(3.0, 1.0, 9.0, "when it is over")},
        reset=reset,
        step=step,
        observe=lambda state: jnp.stack([state.tally * 1.0, state.target * 1.0, state.level]),
        ended=ended,
        channels=channels,
        potentials=lambda state: {"far": (state.tally - state.target) * 1.0, "level": state.level},
        features=lambda state: {"even": state.tally % 2 == 0},
        shortens=shortens,
        reached=lambda before, action, after: ended(after)[None],
        present=lambda state, goal, there: state,
        scatter=lambda key: reset(key, {"target": 3.0}),
        contest=lambda key, goal, rival: reset(key, {"target": 3.0}),
        ceiling=lambda state: {"counted": (state.target - state.tally) * 1.0},
        frame=lambda state: jnp.zeros((8, 8, 3), jnp.uint8),
        brief=2,  # so that no level is ever dealt twice in a rollout, and tests can tell levels apart
    )


@pytest.fixture(scope="session")
def counting() -> Callable[[int], World]:
    """`counting(limit)`: the world; the same one for the same limit."""
    return make
