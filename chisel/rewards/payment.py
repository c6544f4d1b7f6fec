"""When what was earned is paid: at once, some steps later, or at the end of the episode.

Nothing is lost: what is still owed when an episode ends, truly or by the time limit, is paid in its last step, and what
an unfinished episode is owed goes with the member into its next rollout. What was earned keeps the weight it was
earned under. A delayed reward is no function of the step it comes in, so that the process is no longer Markov in what
the agent sees: that is what a delay is for.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Owed(NamedTuple):
    """What worlds in the middle of an episode have earned and not been paid.

    Fields:
        soon: [worlds, delay] due in 1, 2, … steps.
        later: [worlds] due at the end of the episode.
    """

    soon: Float[Array, "worlds delay"]
    later: Float[Array, " worlds"]


def nothing_owed(worlds: int, delay: int) -> Owed:
    """The account of fresh worlds; `delay` is the longest of the study."""
    return Owed(jnp.zeros((worlds, delay)), jnp.zeros(worlds))


def pay(
    delay: Float[Array, " channels"] | None,
    lump: Float[Array, " channels"] | None,
    earned: Float[Array, "time worlds channels"],
    over: Bool[Array, "time worlds"],
    owed: Owed,
) -> tuple[Float[Array, "time worlds"], Owed]:
    """What is paid in every step, and what is owed after the last.

    Args:
        delay: steps from earning to paying, rounded to whole ones; None where nothing is delayed.
        lump: share that is held back until the episode ends; the rest is delayed. None where nothing is held back.
        earned: weight times reading, per channel.
        over: the episode's last step.
    """
    held = earned * (0.0 if lump is None else lump)
    slots = jnp.arange(owed.soon.shape[1] + 1)
    steps = jnp.zeros(earned.shape[-1]) if delay is None else jnp.round(delay)
    due_in = jnp.minimum(steps, slots[-1])[:, None] == slots  # [channels, slots]
    due = jnp.sum(jnp.where(due_in, (earned - held)[..., None], 0.0), axis=2)  # [time, worlds, slots]

    def one(owed: Owed, step: tuple[Array, Array, Array]) -> tuple[Owed, Array]:
        due, held, over = step
        account = due + jnp.pad(owed.soon, ((0, 0), (0, 1)))
        later = owed.later + held
        paid = account[:, 0] + jnp.where(over, jnp.sum(account[:, 1:], axis=1) + later, 0.0)
        return Owed(jnp.where(over[:, None], 0.0, account[:, 1:]), jnp.where(over, 0.0, later)), paid

    owed, paid = jax.lax.scan(one, owed, (due, jnp.sum(held, -1), over))
    return paid, owed
