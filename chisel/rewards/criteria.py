"""Schedules that go on when something is achieved, and not only by the clock: successive approximation.

A schedule is read at its own clock, which runs with the updates. When a phase's criterion is met the clock jumps to the
end of the phase, so that all that follows comes sooner; a phase that waits for its criterion holds the clock just
before its end until then. All of it is data, and part of a member's state.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

FOREVER = np.iinfo(np.int32).max


class Criteria(NamedTuple):
    """When each phase of a schedule is over.

    Fields:
        ends: the update of the schedule's clock at which the next phase begins; `FOREVER` for the last.
        channel: one-hot, the channel that is watched; all 0 where a phase has no criterion.
        above: the mean total per episode that must be reached.
        episodes: over about how many of the last episodes (exponential forgetting); half as many must have been seen.
        wait: whether the phase waits for its criterion, however long it takes.
    """

    ends: Int[Array | np.ndarray, " phases"]
    channel: Float[Array | np.ndarray, "phases channels"]
    above: Float[Array | np.ndarray, " phases"]
    episodes: Float[Array | np.ndarray, " phases"]
    wait: Bool[Array | np.ndarray, " phases"]


class Standing(NamedTuple):
    """How far a member is in its schedule.

    Fields:
        at: the schedule's clock, in updates.
        total, episodes: of the watched channel, and how many episodes, in this phase, forgetting.
        updates: since the phase began.
    """

    at: Int[Array, ""]
    total: Float[Array, ""]
    episodes: Float[Array, ""]
    updates: Int[Array, ""]


def beginning() -> Standing:
    """Before the first update."""
    return Standing(jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0))


def no_criteria(channels: int) -> Criteria:
    """One phase that ends never."""
    return Criteria(
        np.array([FOREVER], np.int32),
        np.zeros((1, channels), np.float32),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        np.zeros(1, bool),
    )


def stack_criteria(criteria: Sequence[Criteria]) -> Criteria:
    """Criteria of schedules with any number of phases, with a leading axis; shorter ones repeat their last phase."""
    phases = max(len(c.ends) for c in criteria)

    def pad(x: Array | np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, phases - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge")

    return Criteria(*(np.stack([pad(x) for x in field]) for field in zip(*criteria, strict=True)))


def opening(limit: int, steps: int) -> int:
    """Updates of so many steps that take a full horizon, during which the episodes of a phase do not count.

    >>> opening(40, 32), opening(32, 32)
    (2, 1)
    """
    return -(-limit // steps)


def go_on(
    criteria: Criteria,
    standing: Standing,
    totals: Float[Array, " channels"],
    episodes: Int[Array, ""],
    opening: int = 0,
) -> Standing:
    """The standing after an update.

    Args:
        totals: mean over the episodes that finished in it of each channel's sum; not read if none finished.
        episodes: how many finished.
        opening: updates at the beginning of a phase whose episodes do not count: as many as take a full horizon. Later
            ones began in the phase, under its level parameters, and long ones had the time to finish.
    """
    phase = jnp.minimum(jnp.sum(standing.at >= criteria.ends), len(criteria.ends) - 1)
    ends, channel, above, span, wait = (x[phase] for x in criteria)
    episodes = jnp.where(standing.updates >= opening, episodes, 0)
    forgetting = jnp.exp(-episodes / span)
    seen = jnp.where(episodes > 0, jnp.sum(jnp.where(channel > 0, totals, 0.0)) * episodes, 0.0)
    total, count = standing.total * forgetting + seen, standing.episodes * forgetting + episodes
    watched = jnp.any(channel > 0)
    rounding = 1e-5 * jnp.abs(above) * count
    met = watched & (count >= span / 2) & (total >= above * count - rounding)
    clock = jnp.where(watched & wait & ~met, jnp.minimum(standing.at + 1, ends - 1), standing.at + 1)
    at = jnp.where(met, ends, clock)
    enters = at >= ends
    fresh = Standing(at, jnp.float32(0), jnp.float32(0), jnp.int32(0))
    return jax.tree.map(
        lambda new, old: jnp.where(enters, new, old), fresh, Standing(at, total, count, standing.updates + 1)
    )
