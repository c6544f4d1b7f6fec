"""Schedules as data: what every channel is worth, and how it is observed, as a function of training progress.

All schedules of a study share one structure (an entry for every channel, potential and parameter of its world; a field
that no schedule of the study needs is None in all of them), so they stack over members, can be vmapped, serialise and
plot; a new schedule never recompiles anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from chisel.rewards.criteria import Criteria, no_criteria, stack_criteria
from chisel.rewards.curve import Curve, constant, stack
from chisel.rewards.oversight import Oversight, at


class Schedule(NamedTuple):
    """What one member is rewarded for, and the conditions it trains under, over the whole of training.

    Fields:
        reward: [channel] weights, in the order of the world's names.
        shape: [potential] weights of the potentials that the study shapes with.
        params: [param] numbers of the level distribution.
        learning_rate: the optimiser's step size.
        entropy: weight of the entropy bonus.
        exploration: chance of an action at random; None where nobody explores.
        temperature: of the softmax of action values that acts; None where none does.
        approach: [potential] weights of naive guidance; None where nobody is guided so.
        oversight: [channel] how each channel is observed and when it is paid.
        criteria: when phases are over, other than by the clock; None where all go by the clock.
        updates: how many updates make up progress 1.
    """

    reward: Curve
    shape: Curve
    params: Curve
    learning_rate: Curve
    entropy: Curve
    exploration: Curve | None
    temperature: Curve | None
    approach: Curve | None
    oversight: Oversight
    criteria: Criteria | None
    updates: Int[Array | np.ndarray, ""]


class InForce(NamedTuple):
    """A schedule at one moment: plain numbers."""

    reward: Float[Array, " channels"]
    shape: Float[Array, " potentials"]
    params: Float[Array, " params"]
    learning_rate: Float[Array, ""]
    entropy: Float[Array, ""]
    exploration: Float[Array, ""] | None
    temperature: Float[Array, ""] | None
    approach: Float[Array, " potentials"] | None
    oversight: Oversight


def make(
    channels: Sequence[str],
    potentials: Sequence[str],
    params: Mapping[str, Curve],
    learning_rate: Curve,
    updates: int,
    reward: Mapping[str, Curve],
    shape: Mapping[str, Curve],
    *,
    entropy: Curve | None = None,
    exploration: Curve | None = None,
    temperature: Curve | None = None,
    approach: Mapping[str, Curve] | None = None,
    oversight: Oversight | None = None,
    criteria: Criteria | None = None,
) -> Schedule:
    """A schedule from named curves; a channel or potential that is not named weighs 0.

    Args:
        entropy: 0 if not given.
        oversight: [channel] curves in the order of `channels`; nothing is misread, and all paid at once, if not given.

    Raises:
        KeyError: a channel is named that is not among `channels`, or a potential that is not among `potentials`.
    """
    for names, known in ((reward, channels), (shape, potentials), (approach or {}, potentials)):
        for name in names:
            if name not in known:
                raise KeyError(name)
    nothing = constant(0.0)
    return Schedule(
        reward=stack([reward.get(c, nothing) for c in channels]),
        shape=stack([shape.get(p, nothing) for p in potentials]),
        params=stack([params[p] for p in sorted(params)]),
        learning_rate=learning_rate,
        entropy=nothing if entropy is None else entropy,
        exploration=exploration,
        temperature=temperature,
        approach=None if approach is None else stack([approach.get(p, nothing) for p in potentials]),
        oversight=oversight or Oversight(),
        criteria=criteria,
        updates=np.asarray(updates, np.int32),
    )


def stack_schedules(schedules: Sequence[Schedule]) -> Schedule:
    """Schedules of one study with a leading member axis; curves with fewer knots repeat their last one."""

    def together(*parts: Any) -> Any:
        return stack(parts) if isinstance(parts[0], Curve) else np.stack(parts)

    criteria = [s.criteria for s in schedules if s.criteria is not None]
    stacked = jax.tree.map(
        together, *(s._replace(criteria=None) for s in schedules), is_leaf=lambda x: isinstance(x, Curve)
    )
    if not criteria:
        return stacked
    none = no_criteria(criteria[0].channel.shape[-1])
    return stacked._replace(criteria=stack_criteria([s.criteria or none for s in schedules]))


def progress(clock: Int[Array, ""], updates: Int[Array | np.ndarray, ""]) -> Float[Array, ""]:
    """How far training has come at the middle of update number `clock` (from 0).

    The middle, because phase edges fall between two updates: however progress is rounded, an update is on one side.
    That holds up to 2^23 updates (`chisel.study.study.MOST_UPDATES`): the middle is half an update away from the edge,
    and progress and the edge are each rounded by 2^-25 at most.
    """
    return (clock + 0.5) / updates


def in_force(schedule: Schedule, clock: Int[Array, ""]) -> InForce:
    """What holds during update number `clock`; constant within the update."""
    now = progress(clock, schedule.updates)
    return InForce(
        schedule.reward(now),
        schedule.shape(now),
        schedule.params(now),
        schedule.learning_rate(now),
        schedule.entropy(now),
        None if schedule.exploration is None else schedule.exploration(now),
        None if schedule.temperature is None else schedule.temperature(now),
        None if schedule.approach is None else schedule.approach(now),
        at(schedule.oversight, now),
    )
