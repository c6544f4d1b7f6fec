"""A world of switches and a network built by hand, of which it is known what it represents, what it uses and for what.

Each fact is the exclusive or of two bits that are seen, so that no linear probe reads it from the observation.

- `used` moves the policy towards the lamp.
- `gated` moves it towards the bell, but only if `context` holds.
- `idle` is there to be read in the network and moves nothing.
- `twin` is the same; in the correlated world it nearly always is as `used` is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chisel.agents.networks import Network, Output
from chisel.worlds.world import World

FACTS = ("used", "gated", "context", "idle", "twin")
GOALS = ("lamp", "bell")
ACTIONS = 4
PULL = 5.0
IDLE = 51  # units that nothing uses: in a layer of few units a random direction overlaps with all of them
WIDTH = len(FACTS) + len(GOALS) * ACTIONS + IDLE


class State(NamedTuple):
    bits: Any  # [facts, 2]
    direction: Any  # [goals], the action that leads there
    here: Any  # [goals]


def _scatter(alike, key):
    bits, directions, here, same = jax.random.split(key, 4)
    bits = jax.random.bernoulli(bits, 0.5, (len(FACTS), 2))
    used = bits[0, 0] ^ bits[0, 1]
    twin = jnp.where(jax.random.bernoulli(same, alike), used, bits[4, 0] ^ bits[4, 1])
    bits = bits.at[4, 0].set(twin ^ bits[4, 1])
    return State(
        bits, jax.random.randint(directions, (len(GOALS),), 0, ACTIONS), jax.random.bernoulli(here, 0.5, (len(GOALS),))
    )


def _facts(state):
    return state.bits[:, 0] ^ state.bits[:, 1]


def _ways(state):
    return state.here[:, None] & (jnp.arange(ACTIONS) == state.direction[:, None])


def _edit(i):
    return lambda state, on: state._replace(bits=state.bits.at[i, 0].set(on ^ state.bits[i, 1]))


def switches(alike: float = 0.0) -> World:
    """The world. `alike`: how often `twin` is `used`."""
    return World(
        name="switches",
        summary="of which the answer is known",
        actions=tuple("abcd"),
        goals=GOALS,
        true=("nothing",),
        limit=2,
        params={},
        reset=lambda key, params: _scatter(alike, key),
        step=lambda key, state, action, params: state,
        observe=lambda state: jnp.concatenate([state.bits.reshape(-1), _ways(state).reshape(-1)]),
        ended=lambda state: jnp.array(False),
        channels=lambda before, action, after: {"nothing": jnp.float32(0)},
        potentials=lambda state: {},
        features=lambda state: (
            dict(zip(FACTS, _facts(state), strict=True)) | {f"{g}_present": state.here[i] for i, g in enumerate(GOALS)}
        ),
        scatter=lambda key: _scatter(alike, key),
        frame=lambda state: jnp.zeros((1, 1, 3), jnp.uint8),
        shortens=_ways,
        present=lambda state, goal, there: state._replace(
            here=jnp.where(jnp.arange(len(GOALS)) == goal, there, state.here)
        ),
        edits={name: _edit(i) for i, name in enumerate(FACTS)},
        # Or else the bank would be made so that nothing correlates.
        layout=None if alike else lambda state: jnp.concatenate([_facts(state), state.here]).astype(jnp.float32),
    )


def built(rotation: np.ndarray | None = None) -> Network:
    """A network with one layer, `hidden`: the facts, the ways, and mixtures of inputs that nothing uses. Its parameter is 1 when trained, 0 before.

    Args:
        rotation: an orthogonal matrix that turns the layer, and is undone by what comes after.
    """
    turn = jnp.eye(WIDTH) if rotation is None else jnp.asarray(rotation, jnp.float32)
    inputs = 2 * len(FACTS) + len(GOALS) * ACTIONS
    mixing = jnp.asarray(np.random.default_rng(1).normal(size=(inputs, IDLE)) / np.sqrt(inputs), jnp.float32)

    def apply(params, seen, put=None):
        bits = seen[..., : 2 * len(FACTS)].reshape(*seen.shape[:-1], len(FACTS), 2)
        facts = (bits[..., 0] ^ bits[..., 1]) * params["trained"]
        ways = seen[..., 2 * len(FACTS) :].astype(jnp.float32)
        hidden = jnp.concatenate([facts.astype(jnp.float32), ways, seen.astype(jnp.float32) @ mixing], -1) @ turn
        hidden = (put or {}).get("hidden", hidden)
        plain = hidden @ turn.T
        used, gated, context = (plain[..., i, None] for i in range(3))
        lamp, bell, _ = jnp.split(plain[..., len(FACTS) :], (ACTIONS, 2 * ACTIONS), -1)
        logits = PULL * params["trained"][..., None] * (used * lamp + gated * context * bell)
        return Output(logits, jnp.zeros(logits.shape[:-1]), {"hidden": hidden})

    return Network(("hidden",), ACTIONS, lambda key: {"trained": jnp.zeros(())}, apply)


def say(network: Network, trained: float = 1.0):
    """The network as a function of observations."""
    return lambda seen, put=None: network.apply({"trained": jnp.float32(trained)}, seen, put)
