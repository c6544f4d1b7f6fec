"""How much does each training phase matter? `python -m benchmarks.phases [--only WORLD/LEARNER] [--seeds 6]`.

A fixed suite: four worlds × three learners, three phases of equal length and a washout, each phase paid for what is
meant (`good`) or for a proxy of it (`bad`), all eight combinations with the same seeds. Every part is a run that can be
interrupted and gone on with; parts that are done are not done again. At the end one table of Shapley shares with their
intervals is written, with what is needed to make it again.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from chisel import lab
from chisel.devices import use_devices
from chisel.spec import validate
from chisel.study import Study
from chisel.telling import teller

# What is meant, and what stands in for it; what each level is like.
WORLDS: dict[str, dict[str, Any]] = {
    "gallery": {"good": {"gold_coin": 1.0}, "bad": {"round": 1.0}},
    "smile": {"good": {"helped": 1.0}, "bad": {"smile": 1.0}},
    "maze": {"good": {"cheese": 1.0}, "bad": {"marker": 1.0}, "world_params": {"corner": 7.0, "together": 0.0}},
    "vault": {"good": {"diamond": 1.0}, "bad": {"seems_diamond": 1.0}},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "ppo": {"agent": {"learner": "ppo"}, "training": {"steps": 737_280, "worlds": 64, "rollout": 32}},
    "reinforce": {"agent": {"learner": "reinforce"}, "training": {"steps": 1_843_200, "worlds": 32, "rollout": 80}},
    "dqn": {
        "agent": {"learner": "dqn", "learning_rate": 1e-3, "n_step": 3},
        "training": {"steps": 368_640, "worlds": 64, "rollout": 8},
    },
}
ENDS = {"early": 1 / 3, "mid": 2 / 3, "late": 1.0}
WASHOUT = 1.2


def suite(seeds: int) -> dict[str, Study]:
    """Every study of the benchmark, by `world/learner`."""
    found = {}
    for world, told in WORLDS.items():
        for learner, how in LEARNERS.items():
            name = f"{world}/{learner}"
            raw = {
                "title": f"Which phase matters: {world}, {learner}",
                "world": world,
                "world_params": told.get("world_params", {}),
                "agent": how["agent"],
                "training": how["training"] | {"seeds": seeds, "checkpoints": {"count": 1}},
                "factorial": {
                    "phases": ENDS,
                    "conditions": {"good": told["good"], "bad": told["bad"]},
                    "washout": {"until": WASHOUT, "reward": told["good"] | told["bad"]},
                    "arms": [],
                },
            }
            found[name] = validate(raw, Study, name)
    return found


def main() -> None:
    """Runs what is not done yet, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one part, such as smile/ppo")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("runs/phases"))
    options = parser.parse_args()
    use_devices(None)
    battery = str(Path(__file__).with_name("battery.toml"))
    for name, study in suite(options.seeds).items():
        if options.only in (None, name):
            start = time.perf_counter()
            with teller(quiet=True) as tell:
                lab.run(study, options.out / name.replace("/", "-"), battery, None, tell)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
