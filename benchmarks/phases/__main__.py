"""How much does each training phase matter? `python -m benchmarks.phases [--only PART …] [--saving 3]`.

A fixed suite: four worlds × four learners, three phases of equal length and a washout, each phase paid for what is
meant (`good`) or for a proxy of it (`bad`), all eight combinations with the same seeds. Every part is a run that can be
interrupted and gone on with; parts that are done are not done again, and `--only` names the parts to run: a world, a
learner, or both. At the end one table of Shapley shares with their intervals is written, with what is needed to make it
again; of all parts in the folder, also of learners that have left the suite.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import xarray as xr

from benchmarks.phases.table import table
from chisel import lab
from chisel.devices import use_devices
from chisel.runs import store as runs_
from chisel.runs.train import sharing_of
from chisel.study.files import validate
from chisel.study.study import Study
from chisel.terminal.progress import teller
from chisel.training.sharing import alone

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
    "pqn": {
        "agent": {"learner": "pqn", "learning_rate": 1e-3},  # as fast in the last phase as in the first
        "training": {"steps": 737_280, "worlds": 64, "rollout": 32},
    },
    "dqn": {
        "agent": {"learner": "dqn", "learning_rate": 1e-3},
        "training": {"steps": 737_280, "worlds": 64, "rollout": 8},
    },
}
LONGER = {"smile/pqn": 4_423_680, "vault/pqn": 2_949_120}  # steps where those of the learner do not suffice
ENDS = {"early": 1 / 3, "mid": 2 / 3, "late": 1.0}
WASHOUT = 1.2


def suite(seeds: int) -> dict[str, Study]:
    """Every study of the benchmark, by `world/learner`."""
    found = {}
    for world, told in WORLDS.items():
        for learner, how in LEARNERS.items():
            name = f"{world}/{learner}"
            steps = {"steps": LONGER[name]} if name in LONGER else {}
            raw = {
                "title": f"Which phase matters: {world}, {learner}",
                "world": world,
                "world_params": told.get("world_params", {}),
                "agent": how["agent"],
                "training": how["training"] | steps | {"seeds": seeds, "checkpoints": {"count": 1}},
                "factorial": {
                    "phases": ENDS,
                    "conditions": {"good": told["good"], "bad": told["bad"]},
                    "washout": {"until": WASHOUT, "reward": told["good"] | told["bad"]},
                    "arms": [],
                },
            }
            found[name] = validate(raw, Study, name)
    return found


def chosen(only: list[str] | None, names: Iterable[str]) -> list[str]:
    """The parts that are asked for, each by its name, its world or its learner; all, if nothing is.

    Raises:
        SystemExit: there is no such part.

    >>> chosen(["dqn", "maze/ppo"], ["maze/ppo", "maze/dqn", "vault/dqn"])
    ['maze/ppo', 'maze/dqn', 'vault/dqn']
    """
    every = list(names)
    found = [name for name in every if only is None or {name, *name.split("/")} & set(only)]
    for asked in only or ():
        if not any(asked in (name, *name.split("/")) for name in every):
            raise SystemExit(f"--only {asked}: expected a world, a learner or a part: {', '.join(every)}")
    return found


def finished(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The parts that are done, world by world: those of the suite in its order, then those of other learners."""
    order, paths = list(names), {}
    for page in folder.glob("*/report.html"):
        world, _, learner = page.parent.name.partition("-")
        if world in WORLDS and learner:
            paths[f"{world}/{learner}"] = page.parent
    worlds = list(WORLDS)
    return {
        name: paths[name]
        for name in sorted(
            paths, key=lambda n: (worlds.index(n.split("/")[0]), order.index(n) if n in order else len(order), n)
        )
    }


def provenance(runs: dict[str, Path]) -> list[str]:
    """What each run was made with."""
    lines = ["| run | hash of its study | chisel | jax | device | trained |", "|---|---|---|---|---|---|"]
    for name, path in runs.items():
        told = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        device = f"{told['device']['platform']} ({told['device']['kind']}), {told['machine']}"
        done = len(xr.open_dataset(path / "training.nc")["update"])
        facts = (told["study"][:12], str(told["commit"])[:10], told["versions"]["jax"], device, f"{done:,} updates")
        lines.append(f"| {name} | {' | '.join(facts)} |")
    return lines


def saving(rounds: int) -> None:
    """How long the tree takes, against training every cell from its beginning, both in turn in one run."""
    from chisel.progress import silent
    from chisel.runs.train import train

    plain = suite(6)["smile/ppo"]
    factorial = plain.factorial.model_copy(update={"washout": None})
    raw = plain.model_dump(exclude={"schedule"}) | {"factorial": factorial.model_dump()}
    study = validate(raw, Study, "smile/ppo without a washout").replaced(steps=122_880)
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for shared in (True, False):
            with tempfile.TemporaryDirectory() as folder, patch("chisel.runs.train.sharing_of", _sharing(shared)):
                this = runs_.create(Path(folder) / "run", study, {})
                start = time.perf_counter()
                train(this, None, silent, None, {})
                times[shared] += [time.perf_counter() - start] if turn else []  # the first compiles
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"tree / every cell by itself, forks, packing and saving included: {told} (of steps: 14 / 24 = 0.58)")


def _sharing(shared: bool) -> Any:
    if shared:
        return sharing_of
    return lambda study, resolved: alone(len(study.schedule), study.training.seeds, study.training.updates)


def main() -> None:
    """Runs what is not done yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="PART", help="such as smile/ppo, or smile, or ppo; others stay")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("runs/phases"))
    parser.add_argument("--saving", type=int, metavar="ROUNDS", help="only measure what the tree saves")
    options = parser.parse_args()
    use_devices(None)
    if options.saving:
        return saving(options.saving)
    battery, studies = str(Path(__file__).with_name("battery.toml")), suite(options.seeds)
    for name in chosen(options.only, studies):
        start = time.perf_counter()
        with teller(quiet=True) as tell:
            lab.run(studies[name], options.out / name.replace("/", "-"), battery, None, tell)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    done = finished(options.out, studies)
    print("\n".join([*table(done), "", *provenance(done)]))
    return None


if __name__ == "__main__":
    main()
