"""How fast worlds are: `python benchmarks/worlds.py [--shares] [NAME ...]`.

Random play of a batch of worlds by one jitted function on one device: steps a second with and without the observation,
and resets a second. The least time of several calls counts. With `--shares`, what drawing levels and computing path
distances take of a training update with PPO at the default sizes.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from chisel.agents.networks import Form, make_network
from chisel.agents.policy import masked
from chisel.agents.ppo import Settings, ppo
from chisel.rewards.curve import constant
from chisel.rewards.schedule import make
from chisel.training.member import Plan, new, update
from chisel.worlds import WORLDS, load_world
from chisel.worlds.borrowed import BORROWED
from chisel.worlds.world import World, defaults, names

STEPS, CALLS = 200, 5
BATCH = {"craftax": 16, "chess": 64}  # 256 elsewhere


def fastest(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of the fastest of some calls, after one to compile."""
    jitted, times = jax.jit(function), []
    jax.block_until_ready(jitted(jax.random.key(0), *arguments))
    for i in range(CALLS):
        start = time.perf_counter()
        jax.block_until_ready(jitted(jax.random.key(i), *arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def rates(world: World) -> tuple[float, float, float]:
    """(steps/s, steps/s with observation, resets/s)."""
    params = {k: jnp.float32(v) for k, v in defaults(world).items()}
    batch = BATCH.get(world.name, 256)

    def reset(key: jax.Array) -> object:
        return jax.vmap(lambda k: world.reset(k, params))(jax.random.split(key, batch))

    def choose(key: jax.Array, state: object) -> jax.Array:
        if world.legal is None:
            return jax.random.randint(key, (batch,), 0, len(world.actions))
        allowed = jax.vmap(lambda s: world.legal(world.observe(s)))(state)
        return jax.random.categorical(key, jnp.where(allowed, 0.0, -jnp.inf))

    def play(key: jax.Array, look: bool) -> jax.Array:
        def one(state: object, key: jax.Array) -> tuple[object, jax.Array]:
            action_key, step_key = jax.random.split(key)
            action = choose(action_key, state)
            keys = jax.random.split(step_key, batch)
            after = jax.vmap(world.step, (0, 0, 0, None))(keys, state, action, params)
            facts = jax.vmap(world.channels)(state, action, after)
            seen = jnp.sum(jax.vmap(world.observe)(after).astype(jnp.float32)) if look else 0.0
            return after, seen + sum(jnp.sum(f) for f in facts.values())

        return jax.lax.scan(one, reset(key), jax.random.split(key, STEPS))[1]

    def resets(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, STEPS // 10)
        return jax.lax.map(lambda k: jnp.sum(jax.vmap(world.observe)(reset(k)) * 1.0), keys)

    count = batch * STEPS
    steps, observed = (count / fastest(f) for f in (lambda k: play(k, False), lambda k: play(k, True)))
    return steps, observed, batch * (STEPS // 10) / fastest(resets)


def shares(world: World, worlds: int = 64, rollout: int = 32) -> tuple[float, float, float]:
    """(seconds of an update, share of it for drawing levels, share that potentials would add to it)."""
    known = names(world)
    network = make_network(
        known.observation,
        len(world.actions),
        Form(
            (
                64,
                64,
            )
        ),
    )
    network = network if world.legal is None else masked(network, world.legal, known.observation)
    plan = Plan(world, ppo(network, Settings()), worlds, rollout, ())
    params = {k: constant(v) for k, v in defaults(world).items()}
    schedule = make(known.channels, (), params, constant(1e-3), 100, {world.true[0]: constant(1.0)}, {})
    member = jax.jit(lambda key: new(plan, schedule, jax.random.key_data(key)))(jax.random.key(0))
    whole = fastest(lambda key, member: update(plan, member._replace(key=jax.random.key_data(key)), schedule), member)
    cards = max(worlds, -(-worlds * rollout // world.brief))
    numbers = {k: jnp.float32(v) for k, v in defaults(world).items()}
    levels = fastest(lambda key: jax.vmap(lambda k: world.reset(k, numbers))(jax.random.split(key, cards)))
    state = member.playing.state

    def potentials(key: jax.Array, state: object) -> object:
        def one(nothing: None, state: object) -> tuple[None, object]:
            return None, jax.vmap(world.potentials)(state)

        return jax.lax.scan(one, None, jax.tree.map(lambda x: jnp.stack([x] * 2 * rollout), state))[1]

    guided = fastest(potentials, state) if known.potentials else 0.0
    return whole, levels / whole, guided / whole


def main() -> None:
    """Measures and prints."""
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    if "--shares" in sys.argv:
        table = Table(title="an update of PPO, 64 worlds × 32 steps, one device", box=None)
        heads = ("world", "milliseconds", "levels, share", "potentials, share if shaped")
    else:
        table = Table(title="random play side by side, millions a second", box=None)
        heads = ("world", "worlds", "steps", "steps, observed", "resets, observed")
    for head in heads:
        table.add_column(head, justify="left" if head == "world" else "right")
    borrowed = [name + ":CartPole-v1" * other.family for name, other in BORROWED.items()]
    for name in chosen or [*WORLDS, *borrowed]:
        world = load_world(name)
        if "--shares" in sys.argv:
            whole, levels, guided = shares(world)
            table.add_row(name, f"{1e3 * whole:.1f}", f"{levels:.1%}", f"{guided:.1%}")
        else:
            table.add_row(name, str(BATCH.get(name, 256)), *(f"{rate / 1e6:.3g}" for rate in rates(world)))
    Console().print(table)


if __name__ == "__main__":
    main()
