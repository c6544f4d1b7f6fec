"""How well each channel is observed: what an overseer reads of a fact before it is paid for.

An overseer's errors are applied in one fixed order, each to what the one before it left:

1. `miss`, `false_alarm`, `flip` – what is read of an event;
2. `corrected` – the reading that undoes them in the mean;
3. `event_noise`, then `noise` – how much is read;
4. `clip` – how much can be read at most;
5. `gate` – whether anything is read at all.

The reading times the channel's weight is what is earned (`chisel.rewards.signal`); when it is paid is decided after
that (`chisel.rewards.payment`). Luck is drawn per step, world and channel, once for all that is read of an event, and
from keys of their own for the two kinds of noise: no error changes the luck of another, nor a channel that of another.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chisel.rewards.curve import Curve

UNCLIPPED = 1e30  # a clip that limits nothing; finite, so that curves can be interpolated


class Oversight(NamedTuple):
    """The errors of an overseer, per channel; None for a kind that no schedule of a study has.

    In a schedule the fields are `Curve`s; at one moment they are numbers, [channels], but for `gate`.

    Fields, where x is the fact and E[…] is over the overseer's luck:
        miss: chance that an event (x ≠ 0) reads as nothing. E[reading] = (1 − miss)·x: depends on the state.
        false_alarm: chance that nothing (x = 0) reads as an event of size 1. E[reading] = x + false_alarm·[x = 0].
        flip: chance that what has been read so far turns round: an event into nothing, nothing into an event of size 1.
            With all three, for x in {0, 1}: E[reading] = P0 + (P1 − P0)·x, where
            P0 = false_alarm·(1 − flip) + (1 − false_alarm)·flip and P1 − P0 = (1 − miss − false_alarm)·(1 − 2·flip).
        corrected: 1 to replace the reading by (reading − P0) / (P1 − P0), whose mean is x again for x in {0, 1}
            (perturbed-reward correction, Wang et al. 2020); 0 not to. It buys the mean with variance.
        event_noise: standard deviation of what is read of an event, relative to its size: reading·(1 + σ·ε). It depends
            on the state; E[reading] stays, and steps without an event stay exact.
        noise: standard deviation of what is added in every step, whatever happens: reading + σ·ε. It does not depend on
            the state; E[reading] stays, and no step stays exact.
        clip: the largest size of a reading; it is limited to [−clip, clip]. With noise, E[reading] then moves: for a
            fact x and noise σ to (c + x)·Φ(a) − (c − x)·Φ(b) − x + σ·(φ(a) − φ(b)) with a = (c + x)/σ, b = (c − x)/σ,
            Φ and φ being the normal distribution and its density.
        gate: [channels, gates] the share of the reading that is lost where a gate's condition does not hold:
            E[reading] = reading·(1 − gate·[condition fails]). With 1 nothing is read there: no noise, no false alarm.
        delay: steps until it is paid (`chisel.rewards.payment`).
        lump: share of it that is paid at the end of the episode (`chisel.rewards.payment`).
    """

    miss: Any = None
    false_alarm: Any = None
    flip: Any = None
    corrected: Any = None
    event_noise: Any = None
    noise: Any = None
    clip: Any = None
    gate: Any = None
    delay: Any = None
    lump: Any = None


USUAL = Oversight(**dict.fromkeys(Oversight._fields, 0.0) | {"clip": UNCLIPPED})
"""What every kind of error is where a schedule says nothing of it."""


def at(oversight: Oversight, progress: Float[Array, ""]) -> Oversight:
    """The errors at one moment, as numbers."""
    return jax.tree.map(lambda curve: curve(progress), oversight, is_leaf=lambda x: isinstance(x, Curve))


def read(
    now: Oversight,
    key: Array,
    facts: Float[Array, "time worlds channels"],
    gates: Float[Array, "time worlds gates"],
    noisy: tuple[int, ...] | None = None,
) -> Float[Array, "time worlds channels"]:
    """What the overseer reads of the facts.

    Args:
        now: the errors in force, as numbers.
        gates: 1 where the condition of each gate holds after the step, 0 where it does not.
        noisy: the numbers of the channels that may be noisy, for which alone noise is drawn; all, if None.
    """
    confusion_key, event_key, noise_key = jax.random.split(key, 3)
    reading = facts
    if any(x is not None for x in (now.miss, now.false_alarm, now.flip)):
        reading = _confused(now, confusion_key, facts)
    if now.event_noise is not None:
        reading = reading * (1 + now.event_noise * _noise(event_key, facts.shape, noisy))
    if now.noise is not None:
        reading = reading + now.noise * _noise(noise_key, facts.shape, noisy)
    if now.clip is not None:
        reading = jnp.clip(reading, -now.clip, now.clip)
    if now.gate is not None:
        reading = reading * jnp.prod(1 - now.gate * (1 - gates[..., None, :]), axis=-1)
    return reading


def _noise(key: Array, shape: tuple[int, ...], noisy: tuple[int, ...] | None) -> Array:
    """Standard normal numbers, from a key for each channel; 0 in channels that are not noisy."""
    channels = range(shape[-1]) if noisy is None else noisy
    drawn = {c: jax.random.normal(jax.random.fold_in(key, c), shape[:-1]) for c in channels}
    return jnp.stack([drawn.get(c, jnp.zeros(shape[:-1])) for c in range(shape[-1])], axis=-1)


def _confused(now: Oversight, key: Array, facts: Array) -> Array:
    """Misses, false alarms and flips, by one throw of the dice; and their correction."""
    miss, false_alarm, flip = (0.0 if x is None else x for x in (now.miss, now.false_alarm, now.flip))
    luck = jax.random.uniform(key, facts.shape)
    kept = (1 - miss) * (1 - flip)  # an event reads as what it is; by two errors that cancel, as one of size 1
    event = jnp.where(luck < kept, facts, jnp.where(luck < kept + miss * flip, 1.0, 0.0))
    alarm = false_alarm * (1 - flip) + (1 - false_alarm) * flip
    reading = jnp.where(facts != 0, event, jnp.where(luck < alarm, 1.0, 0.0))
    if now.corrected is None:
        return reading
    told = (1 - miss - false_alarm) * (1 - 2 * flip)
    return jnp.where(now.corrected > 0, (reading - alarm) / jnp.where(now.corrected > 0, told, 1.0), reading)
