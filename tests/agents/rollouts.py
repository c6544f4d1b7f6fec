"""Rollouts that are made up, and what a plain loop makes of them."""

import jax
import numpy as np

from chisel.agents.agent import Batch

STEPS, WORLDS, ACTIONS, LIMIT = 6, 2, 3, 3
SLOTS = WORLDS * STEPS // LIMIT
SHAPE = (4,)


def rollout(seed: int = 0, ended=(), truncated=(), scale: float = 1.0, parts: int = 1, network=None) -> Batch:
    """A rollout with junk in the slots of `finals` that are not used; of a network with memory, in mid-episode."""
    rng = np.random.default_rng(seed)
    flags = np.zeros((2, STEPS, WORLDS), bool)
    for flag, where in zip(flags, (ended, truncated), strict=True):
        for t, w in where:
            flag[t, w] = True
    observations = rng.normal(size=(STEPS, WORLDS, *SHAPE)).astype(np.float32)
    actions = rng.integers(0, ACTIONS, (STEPS, WORLDS)).astype(np.int32)
    readings = (scale * rng.normal(size=(STEPS, WORLDS, parts))).astype(np.float32)
    finals = 3 * rng.normal(size=(SLOTS, *SHAPE)).astype(np.float32)
    last = rng.normal(size=(WORLDS, *SHAPE)).astype(np.float32)
    weights = np.ones(1, np.float32) if parts == 1 else rng.normal(size=parts).astype(np.float32)
    fresh = None if network is None else network.fresh(WORLDS)
    memory = jax.tree.map(lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32), fresh)
    rewards = readings @ weights
    return Batch(observations, actions, rewards, readings, weights, *flags, finals, last, memory)


def by_hand(rewards, values, last, after, ended, truncated, discount, trace) -> np.ndarray:
    """Generalised advantages, world by world, from the end of the rollout to its start."""
    found = np.zeros_like(rewards, float)
    for w in range(rewards.shape[1]):
        carried, following = 0.0, float(last[w])
        for t in reversed(range(rewards.shape[0])):
            if ended[t, w]:
                carried, following = 0.0, 0.0
            elif truncated[t, w]:
                carried, following = 0.0, float(after[t, w])
            surprise = rewards[t, w] + discount * following - values[t, w]
            carried = surprise + discount * trace * carried
            found[t, w], following = carried, float(values[t, w])
    return found


def difference(one, other) -> float:
    """The largest difference between two trees of numbers."""
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
