"""Which devices JAX sees, which must be settled before it is first used; and where compiled programs are kept."""

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from chisel.study.files import WrongInput


class Platform(StrEnum):
    """What can be computed on."""

    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"


def use_devices(devices: int | None, platform: Platform | None = None) -> None:
    """Lets JAX see as many CPU devices as there are cores, or as asked for; must come before JAX is first used.

    Importing a borrowed world can be a first use. On accelerators the number is a limit that
    `chisel.training.population.mesh` applies. Compiled programs are kept for later runs, see `keep_compiled`.

    Args:
        platform: what to compute on; by default what JAX prefers of what it finds.

    Raises:
        WrongInput: fewer than one is asked for, or a platform that JAX does not have here.
    """
    if devices is not None and devices < 1:
        raise WrongInput(f"--devices {devices}: expected at least 1")
    import jax

    keep_compiled()
    with suppress(RuntimeError):  # JAX runs already, as in a notebook: what it has is what we use
        jax.config.update("jax_num_cpu_devices", devices or _cores())
    if platform is not None:
        _use_platform(platform)


def _use_platform(platform: Platform) -> None:
    import jax

    try:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(platform, platform))
        found = jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # the latter where JAX's plugin for it is not installed
        why = f" ({str(error).splitlines()[0]})" if str(error) else "; its plugin comes with jax[cuda12] or jax[tpu]"
        raise WrongInput(f"--device {platform}: JAX has none here{why}") from None
    if found != platform:
        raise WrongInput(f"--device {platform}: JAX runs on {found} already, or finds no {platform} here")


def keep_compiled() -> None:
    """Keeps compiled programs under the user's cache folder, so that the next run of a study need not compile.

    Left to JAX where it was told otherwise: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=0 does without. Where the folder cannot be written to, programs are not kept.
    """
    import jax

    told = jax.config.values
    if told["jax_compilation_cache_dir"] is not None or not told["jax_enable_compilation_cache"]:
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "chisel" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _cores() -> int:
    ask = getattr(os, "sched_getaffinity", None)
    return len(ask(0)) if ask else os.cpu_count() or 1
