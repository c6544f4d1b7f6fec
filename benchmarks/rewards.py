"""What describing the reward costs: `python benchmarks/rewards.py [--rounds N]`.

Trains populations of `smile` in turn in one process: one under the plain weighted sum, the others with more and more
of what a schedule can say. The ratio of times within a round counts, since what else the machine does falls on all.
"""

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from chisel.devices import use_devices
from chisel.study.study import Study

PLAIN = {"helped": 1.0, "smile": 0.5, "comfort": 0.2}
KINDS = {
    "confusion (miss, false_alarm, flip), corrected": {
        "miss": [[0.0, 0.3], [1.0, 0.0]], "false_alarm": 0.01, "flip": 0.02, "corrected": True
    },
    "event_noise": {"event_noise": 0.2},
    "noise": {"noise": 0.1},
    "clip": {"clip": 2.0},
    "gate": {"gate": "person_watched"},
    "delay": {"delay": 5},
    "lump": {"lump": 0.5},
}  # fmt: skip


def study(kinds: dict) -> Study:
    """`smile` as the default study trains it, with these errors on every channel of the reward."""
    reward = {name: {"weight": weight} | kinds for name, weight in PLAIN.items()}
    settings = {"steps": 64 * 32 * 500, "seeds": 4}
    return Study.model_validate({"world": "smile", "training": settings, "schedule": [{"name": "s", "reward": reward}]})


def guided() -> Study:
    """Everything at once: all errors, shaping, approach, exploration and a criterion."""
    everything = {k: v for kind in KINDS.values() for k, v in kind.items()}
    raw = study(everything).model_dump(exclude_none=True, mode="json")
    reward = raw["schedule"][0].pop("reward") | {"shape.near_water": 0.1, "approach.near_person": 0.1}
    first = {"until": 0.5, "reward": reward, "advance": {"channel": "helped", "above": 100.0}, "exploration": 0.05}
    raw["schedule"][0]["phases"] = [first, {"until": 1.0, "reward": reward}]
    return Study.model_validate(raw)


class Trainee:
    """A population that can be trained for a while, again and again."""

    def __init__(self, asked: Study) -> None:
        from chisel.runs.train import population_of

        self.population, keys = population_of(asked, None)
        self.members = self.population.new(keys)
        self.population.compile(self.members)
        self.steps = asked.training.batch * self.population.members

    def spend(self, updates: int) -> float:
        """Seconds for so many updates."""
        start = time.perf_counter()
        self.members, _ = self.population.advance(self.members, updates)
        return time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--rounds", type=int, default=15)
    ask.add_argument("--updates", type=int, default=8)
    given = ask.parse_args()
    use_devices(None)
    everything = {k: v for kind in KINDS.values() for k, v in kind.items()}
    asked = {"plain": study({}), **{name: study(kind) for name, kind in KINDS.items()}}
    asked |= {"all errors, delay and lump": study(everything), "all, and guidance, exploration, criteria": guided()}
    trainees = {name: Trainee(one) for name, one in asked.items()}
    spent: dict[str, list[float]] = {name: [] for name in trainees}
    for _ in range(given.rounds):
        for name, trainee in trainees.items():
            spent[name].append(trainee.spend(given.updates))
    table = Table(title=f"{given.rounds} rounds of {given.updates} updates, 4 members", box=None)
    for column in ("schedules with", "steps/s, best round", "time / plain, of best rounds", "median of rounds"):
        table.add_column(column, justify="left" if column == "schedules with" else "right")
    plain = np.array(spent["plain"])
    for name, trainee in trainees.items():
        own = np.array(spent[name])
        rate = trainee.steps * given.updates / own.min()
        table.add_row(name, f"{rate:,.0f}", f"{own.min() / plain.min():.3f}", f"{np.median(own / plain):.3f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
