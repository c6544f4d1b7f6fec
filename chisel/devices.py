"""How many devices JAX sees, which must be settled before it is first used."""

import os

from chisel.spec import WrongInput


def use_devices(devices: int | None) -> None:
    """Lets JAX see as many CPU devices as there are cores, or as asked for; must come before JAX is first used.

    Importing a borrowed world can be a first use. On accelerators the number is a limit that
    `chisel.training.population.mesh` applies.

    Raises:
        WrongInput: fewer than one is asked for.
    """
    if devices is not None and devices < 1:
        raise WrongInput(f"--devices {devices}: expected at least 1")
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", devices or _cores())
    except RuntimeError:  # JAX runs already, as in a notebook: what it has is what we use
        return


def _cores() -> int:
    ask = getattr(os, "sched_getaffinity", None)
    return len(ask(0)) if ask else os.cpu_count() or 1
