"""Members that are one until their schedules part: the first part of training, which they share, is trained once.

Members of equal seed begin alike, and what an update does depends on the schedule through what is in force in it, and
through the shaping weights of the next one. As long as these are equal bit for bit, so are the members. For a factorial
of P phases of equal length this makes a tree of 2^(P+1) − 2 phases out of P · 2^P.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from chisel.rewards.schedule import Schedule, in_force


class Sharing(NamedTuple):
    """Which members are one, and for how long.

    Fields:
        parting: [schedules, schedules] how many updates two schedules of equal seed do alike.
        seeds: of each schedule; members are ordered by schedule, then seed.
    """

    parting: Int[np.ndarray, "schedules schedules"]
    seeds: int

    def leaders(self, update: int) -> Int[np.ndarray, " members"]:
        """For every member, the first of those with whom it does that update (from 0) alike."""
        first = np.argmax(self.parting > update, axis=1)  # of each schedule
        return (first[:, None] * self.seeds + np.arange(self.seeds)).reshape(-1)

    def splits(self) -> list[int]:
        """The updates before which members part."""
        return sorted({int(u) for u in self.parting.ravel() if u > 0})

    def trained(self, start: int, updates: int) -> int:
        """Updates of members that are trained between two updates, each shared one once."""
        edges = [start, *(u for u in self.splits() if start < u < updates), updates]
        counts = [len(np.unique(self.leaders(a))) for a in edges[:-1]]
        return sum(n * (b - a) for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True))


def sharing(schedules: Schedule, seeds: int, reseeded: Sequence[Sequence[int]], start: int = 0) -> Sharing:
    """How long the schedules of a study are alike.

    Args:
        schedules: stacked over schedules (not over seeds).
        reseeded: for each schedule, the updates before which it changes to other random numbers.
        start: updates done when training begins; what was in force before does not matter.
    """
    count, updates = len(schedules.updates), int(schedules.updates[0])
    if schedules.criteria is not None:  # then what is in force depends on what was achieved
        return alone(count, seeds, updates)
    force = jax.jit(jax.vmap(jax.vmap(in_force, (None, 0)), (0, None)))(
        jax.tree.map(jnp.asarray, schedules), jnp.arange(start, updates)
    )
    rows = np.concatenate([np.asarray(x).reshape(count, updates - start, -1) for x in jax.tree.leaves(force)], -1)
    promised = np.asarray(force.shape)
    marks = np.array([[u in own for u in range(start, updates)] for own in reseeded])[..., None]
    parting = np.full((count, count), updates)
    for i in range(count):
        unlike = (_unlike(rows[i], rows) | (marks[i] != marks).any(-1), _unlike(promised[i], promised))
        found = [np.where(x.any(1), x.argmax(1) + start - ahead, updates) for ahead, x in enumerate(unlike)]
        parting[i] = np.maximum(np.minimum(*found), start)
    return Sharing(parting, seeds)


def alone(schedules: int, seeds: int, updates: int) -> Sharing:
    """Nobody shares anything."""
    return Sharing(np.where(np.eye(schedules, dtype=bool), updates, 0), seeds)


def _unlike(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[schedules, updates] where a row is not the same bits."""
    return (one.view(np.uint32) != others.view(np.uint32)).any(-1)
