"""chisel's side: `chisel_worker.py cartpole|smile|maze MEMBERS UPDATES [--worlds N]`.

A portion is so many updates of every member from its beginning on, numbers for the run's records included.
"""

import argparse
import time
from typing import Any

from turns import serve

from chisel.devices import use_devices

CARTPOLE = {
    "learner": "ppo",
    "network": {"widths": [64, 64], "separate": True},
    "learning_rate": [[0.0, 2.5e-4], [1.0, 0.0]],
    "discount": 0.99,
    "trace": 0.95,
    "clip": 0.2,
    "value_clip": True,
    "entropy": 0.01,
    "value_weight": 0.5,
    "gradient_norm": 0.5,
    "epochs": 4,
    "minibatches": 4,
}
EACH = {"cartpole": (4, 128), "smile": (64, 32)}  # worlds, steps of a rollout


def of_study(name: str, members: int, updates: int) -> tuple[Any, Any]:
    """A population of CartPole with PureJaxRL's settings, or of `smile` with chisel's defaults; and its keys."""
    from chisel.runs.train import population_of
    from chisel.study.study import Study

    worlds, rollout = EACH[name]
    training = {"worlds": worlds, "rollout": rollout, "seeds": members, "steps": worlds * rollout * updates}
    asked: dict[str, Any] = {"world": "smile", "schedule": [{"name": "true", "reward": {"helped": 1.0}}]}
    if name == "cartpole":
        asked = {"world": "gymnax:CartPole-v1", "schedule": [{"name": "true", "reward": {"reward": 1.0}}]}
        asked["agent"] = CARTPOLE
    return population_of(Study.model_validate(asked | {"training": training}), None)


def of_maze(members: int, updates: int, worlds: int) -> tuple[Any, Any]:
    """A population in the maze of obstacles, with the settings of `sb3_maze.py`; and its keys."""
    from obstacles import OBSTACLES

    from chisel.agents.networks import Form, make_network
    from chisel.agents.ppo import Settings, ppo
    from chisel.rewards.curve import constant
    from chisel.rewards.schedule import make, stack_schedules
    from chisel.training.member import Plan
    from chisel.training.population import Population, seed_keys
    from chisel.worlds.world import names

    known, rollout = names(OBSTACLES), 256
    network = make_network(known.observation, len(OBSTACLES.actions), Form((64, 64), separate=True))
    settings = Settings(discount=0.99, trace=0.95, clip=0.2, epochs=10, minibatches=worlds * rollout // 64)
    schedule = make(known.channels, (), {}, constant(3e-4), updates, {"goal": constant(1.0)}, {})
    plan = Plan(OBSTACLES, ppo(network, settings), worlds=worlds, rollout=rollout)
    return Population(plan, stack_schedules([schedule] * members)), seed_keys(members, 1)


def main() -> None:
    """Compiles, and takes its turns."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("task", choices=["cartpole", "smile", "maze"])
    ask.add_argument("members", type=int)
    ask.add_argument("updates", type=int)
    ask.add_argument("--worlds", type=int, default=8, help="of the maze")
    given = ask.parse_args()
    use_devices(None)
    maze = given.task == "maze"
    population, keys = (
        of_maze(given.members, given.updates, given.worlds) if maze else of_study(*list(vars(given).values())[:3])
    )
    fresh = population.new(keys)
    start = time.perf_counter()
    population.compile(fresh)
    took = time.perf_counter() - start
    plan, at_once = population.plan, population.plan.chunk

    def spend() -> int:
        members = fresh
        for done in range(0, given.updates, at_once):
            members, _ = population.advance(members, min(at_once, given.updates - done))
        return given.updates * plan.worlds * plan.rollout * given.members

    spend()  # the first call of all pays for buffers
    serve(spend, took)


if __name__ == "__main__":
    main()
