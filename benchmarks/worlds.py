"""How fast worlds are: `python benchmarks/worlds.py [NAME ...]`.

Random play of a batch of worlds by one jitted function on one device: steps a second with and without the observation,
and resets a second. The least time of several calls counts.
"""

import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from chisel.worlds import WORLDS
from chisel.worlds.world import World, defaults

BATCH, STEPS, CALLS = 256, 200, 5


def fastest(function: Callable[[jax.Array], jax.Array]) -> float:
    """Seconds of the fastest of some calls, after one to compile."""
    jitted, times = jax.jit(function), []
    jax.block_until_ready(jitted(jax.random.key(0)))
    for i in range(CALLS):
        start = time.perf_counter()
        jax.block_until_ready(jitted(jax.random.key(i)))
        times.append(time.perf_counter() - start)
    return min(times)


def rates(world: World) -> tuple[float, float, float]:
    """(steps/s, steps/s with observation, resets/s)."""
    params = {k: jnp.float32(v) for k, v in defaults(world).items()}

    def reset(key: jax.Array) -> object:
        return jax.vmap(lambda k: world.reset(k, params))(jax.random.split(key, BATCH))

    def play(key: jax.Array, look: bool) -> jax.Array:
        def one(state: object, key: jax.Array) -> tuple[object, jax.Array]:
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (BATCH,), 0, len(world.actions))
            keys = jax.random.split(step_key, BATCH)
            after = jax.vmap(world.step, (0, 0, 0, None))(keys, state, action, params)
            facts = jax.vmap(world.channels)(state, action, after)
            seen = jnp.sum(jax.vmap(world.observe)(after).astype(jnp.float32)) if look else 0.0
            return after, seen + sum(jnp.sum(f) for f in facts.values())

        return jax.lax.scan(one, reset(key), jax.random.split(key, STEPS))[1]

    def resets(key: jax.Array) -> jax.Array:
        return jax.lax.map(lambda k: jnp.sum(jax.vmap(world.observe)(reset(k))), jax.random.split(key, STEPS))

    count = BATCH * STEPS
    return tuple(count / fastest(f) for f in (lambda k: play(k, False), lambda k: play(k, True), resets))


def main() -> None:
    """Measures and prints."""
    table = Table(title=f"random play, {BATCH} worlds side by side, millions a second", box=None)
    for column in ("world", "steps", "steps, observed", "resets, observed"):
        table.add_column(column, justify="left" if column == "world" else "right")
    for name in sys.argv[1:] or WORLDS:
        table.add_row(name, *(f"{rate / 1e6:.2f}" for rate in rates(WORLDS[name])))
    Console().print(table)


if __name__ == "__main__":
    main()
