"""How well every learner learns: `python benchmarks/learners.py [worlds] [harder] [cartpole] [speed] [--seeds N]`.

`--only LEARNER` takes the learners whose name contains this. `harder`: PPO, PQN, DQN in worlds of the phase benchmark
where Q-learning failed. `speed`: CPU time of PQN against PPO for the same environment steps, widths, epochs and
minibatches, in turns.
`worlds`: every learner on two small worlds, against the best that any policy can reach there (the world's own ceiling);
wanted is 0.95 of it. `cartpole`: the final return on CartPole-v1 with PureJaxRL's defaults for PPO (500,000 steps; its
own is 486 there), and with those of its DQN. Means over seeds, each with a t interval.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from chisel.devices import use_devices
from chisel.study.study import Study

EPISODES = 512

FADING = {"learning_rate": [[0.0, 3e-3], [1.0, 0.0]], "entropy": [[0.0, 0.01], [1.0, 0.0]]}
LEARNERS: dict[str, dict[str, Any]] = {
    "ppo": {"learner": "ppo"} | FADING,
    "ppo, critic per channel": {"learner": "ppo", "critic": "per_channel", "network": {"separate": True}} | FADING,
    "ppo, conv": {"learner": "ppo", "network": {"kind": "conv"}} | FADING,
    "ppo, gru": {"learner": "ppo", "network": {"kind": "gru"}} | FADING,
    "a2c": {"learner": "a2c"} | FADING,
    "reinforce": {"learner": "reinforce"} | FADING,
    "pqn": {"learner": "pqn"},
    "pqn, conv": {"learner": "pqn", "network": {"kind": "conv"}},
    "pqn, gru": {"learner": "pqn", "network": {"kind": "gru"}},
    "dqn": {"learner": "dqn"},
}
WORLDS = {"maze:5": {"cheese": 1.0}, "posture": {"stands_on_command": 1.0}}
TRAINING = {
    "ppo": {"steps": 614_400, "worlds": 64, "rollout": 32},
    "a2c": {"steps": 1_024_000, "worlds": 32, "rollout": 16},
    "reinforce": {"steps": 4_096_000, "worlds": 32, "rollout": 80},
    "pqn": {"steps": 614_400, "worlds": 64, "rollout": 32},
    "dqn": {"steps": 512_000, "worlds": 64, "rollout": 8},
}
HARDER = {"gallery": ({"gold_coin": 1.0}, 737_280), "smile": ({"helped": 1.0}, 4_194_304)}

CARTPOLE = {
    "ppo": (
        {
            "learning_rate": [[0.0, 2.5e-4], [1.0, 0.0]], "discount": 0.99, "value_clip": True,
            "network": {"separate": True},
        },
        {"steps": 499_712, "worlds": 4, "rollout": 128},
    ),
    "pqn": (
        {
            "learner": "pqn", "discount": 0.99, "trace": 0.95, "temperature": [[0.0, 1.0], [1.0, 0.1]],
            "minibatches": 4,
        },
        {"steps": 499_712, "worlds": 16, "rollout": 32},
    ),
    "dqn": (
        {
            "learner": "dqn", "learning_rate": 2.5e-4, "discount": 0.99, "replay": 10_000,
            "warmup": 10_000, "gradient_steps": 10, "target_every": 50,
            "n_step": 1, "temperature": 0.0, "exploration": [[0.0, 1.0], [0.5, 0.05], [1.0, 0.05]],
            "network": {"widths": [120, 84], "activation": "relu", "layer_norm": False},
        },
        {"steps": 500_000, "worlds": 10, "rollout": 10},
    ),
}  # fmt: skip


def study(world: str, reward: dict[str, float], agent: dict[str, Any], training: dict[str, Any], seeds: int) -> Study:
    """One schedule, some seeds."""
    raw = {
        "world": world,
        "agent": agent,
        "training": training | {"seeds": seeds},
        "schedule": [{"name": "s", "reward": reward}],
    }
    return Study.model_validate(raw)


def final(asked: Study) -> tuple[np.ndarray, float]:
    """The mean return of the true channel after training, for every seed; and the ceiling on the same levels."""
    from chisel.agents.policy import policy
    from chisel.probing.choice import returns
    from chisel.runs.train import population_of
    from chisel.training.population import gather
    from chisel.worlds.world import defaults, names

    population, keys = population_of(asked, None)
    plan, members, left = population.plan, population.new(keys), asked.training.updates
    while left:
        members, _ = population.advance(members, min(left, plan.chunk))
        left -= min(left, plan.chunk)
    world = plan.world
    numbers = {k: jnp.float32(v) for k, v in defaults(world).items()}
    levels = jax.jit(jax.vmap(lambda k: world.reset(k, numbers)))(jax.random.split(jax.random.key(1), EPISODES))

    def played(params: Any) -> jax.Array:
        return returns(world, policy(plan.agent.network, params), jax.random.key(2), levels, numbers)

    params = gather(members, population.members).agent.params
    found = np.asarray(jax.jit(lambda p: jax.lax.map(played, p))(params))
    true = world.true[0]
    best = np.nan if world.ceiling is None else float(jnp.mean(jax.jit(jax.vmap(world.ceiling))(levels)[true]))
    return found[:, names(world).channels.index(true)], best


def speed(rounds: int) -> None:
    """Prints CPU time of PQN over that of PPO, per environment step, in turns of one run: as shipped, and with equal
    epochs and minibatches.
    """
    _speed("as shipped", {}, rounds)
    _speed("4 epochs of 4 minibatches each", {"epochs": 4, "minibatches": 4}, rounds)


def _speed(title: str, shared: dict[str, int], rounds: int) -> None:
    from chisel.runs.train import population_of

    training = {"steps": 2_048 * 64, "worlds": 64, "rollout": 32}
    members: dict[str, tuple[Any, Any]] = {}
    for learner in ("ppo", "pqn"):
        asked = study("smile", {"helped": 1.0}, {"learner": learner} | shared, training, 1)
        population, keys = population_of(asked, 1)
        members[learner] = population, population.advance(population.new(keys), population.plan.chunk)[0]
    ratios = []
    for _ in range(rounds):
        took = {}
        for learner, (population, state) in members.items():
            jax.block_until_ready(state)
            start = time.process_time()
            for _ in range(4):
                state, _ = population.advance(state, population.plan.chunk)
            jax.block_until_ready(state)
            took[learner], members[learner] = time.process_time() - start, (population, state)
        ratios.append(took["pqn"] / took["ppo"])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"pqn / ppo, CPU time per environment step, {title}: {middle:.2f} ({low:.2f} to {high:.2f}, {rounds} rounds)")


def row(table: Table, title: str, asked: Study) -> None:
    """Trains and adds what came out."""
    from chisel.analysis.bounded import ANY, Range, mean_interval
    from chisel.build.build import world_of
    from chisel.findings.seeds import spread

    found, best = final(asked)
    world = world_of(asked)
    # Levels are sampled, so that their ceiling is no bound of what other levels allow.
    interval = mean_interval(found, Range(*world.ranges.get(world.true[0], ANY)))
    steps = f"{asked.training.steps:,}"
    share = "" if np.isnan(best) else f"{found.mean() / best:.3f}"
    each = f"{found.mean():.3g} [{spread(found, interval, '{:.3g}'.format)}]"
    table.add_row(title, asked.world, steps, str(len(found)), each, f"{best:.3g}", share)
    Console(stderr=True).print(title, asked.world, each, share)


def main() -> None:
    """Trains and prints."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("what", nargs="*", default=["worlds", "cartpole"], metavar="worlds|harder|cartpole|speed")
    ask.add_argument("--seeds", type=int)
    ask.add_argument("--only", help="learners whose name contains this")
    given = ask.parse_args()
    use_devices(None)
    if "speed" in given.what:
        speed(10)
    table = Table(box=None, header_style="bold")
    for column in ("learner", "world", "steps", "seeds", "return", "ceiling", "share"):
        table.add_column(column)
    if "worlds" in given.what:
        for title, agent in LEARNERS.items():
            if (given.only or "") in title:
                for world, reward in WORLDS.items():
                    if world == "posture" and title.endswith("conv"):  # what it shows has no planes
                        world, reward = "maze:7", {"cheese": 1.0}
                    training = TRAINING[agent["learner"]]
                    row(table, title, study(world, reward, agent, training, given.seeds or 4))
    if "harder" in given.what:
        for title in [t for t in ("ppo", "pqn", "dqn") if (given.only or "") in t]:
            for world, (reward, steps) in HARDER.items():
                training = TRAINING[title] | {"steps": steps}
                row(table, title, study(world, reward, LEARNERS[title], training, given.seeds or 4))
    if "cartpole" in given.what:
        for title, (agent, training) in CARTPOLE.items():
            if (given.only or "") in title:
                world = "gymnax:CartPole-v1"
                row(table, title, study(world, {"reward": 1.0}, agent, training, given.seeds or 16))
    Console().print(table)


if __name__ == "__main__":
    main()
