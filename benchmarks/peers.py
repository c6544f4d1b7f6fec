"""chisel's training speed beside that of others: `python benchmarks/peers.py [cartpole] [population] [maze] [members]`.

Every contestant is a process of its own that compiles first, and then takes turns with the others to train for a
moment: what else the machine does falls on all, and ratios are of the same round. All of a turn's time counts; time to
compile is told apart. Contestants are pinned to the same cores (where the system can do that).

- `cartpole`: one agent, PureJaxRL's settings for CartPole, one core.
- `population`: 8 and 32 of them, on two cores. Others train them side by side, by `vmap`; PureJaxRL is tried on one
  core as well, since two threads of XLA that share small products can be slower than one.
- `maze`: the maze pipeline of Brown & Young (2026) against Stable-Baselines3, one core. With one environment, as is its
  default, and with eight in a `DummyVecEnv`, which is faster; on one thread, since on two it is slower.
- `members`: what a member costs, by how many there are, on one core, or on an accelerator (`--device gpu --most 4096`).

Peers live in environments of their own (`--envs`), made from whatever registry pip is set up for. PureJaxRL is not in
registries: give a checkout. Of torch a CPU build is asked for, which on Linux has a version of its own that not every
registry has; `--torch` asks for another one, and PIP_EXTRA_INDEX_URL names a registry that has it.
"""

import argparse
import io
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0+cpu" if sys.platform == "linux" else "torch==2.13.0"
JAX = ("jax==0.10.2", "flax==0.12.8", "optax==0.2.8", "distrax==0.1.9", "gymnax==0.0.9", "rejax==0.1.3")
SB3 = ("stable-baselines3==2.9.2", "gymnasium==1.4.0")
ENVS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chisel" / "peers"
CONSOLE = Console(width=120)
PATIENCE = 180  # seconds; threads of XLA that wait for each other on a busy machine can take for ever


class LeftOut(Exception):
    """Why a contestant cannot take part, in a sentence."""


class Contestant(NamedTuple):
    """A worker's name in the table, the command that starts it, and its cores if not those of all."""

    name: str
    command: Sequence[Any]
    cores: int | None = None


class Score(NamedTuple):
    """What a contestant did: seconds to compile, and steps a second in every round."""

    compiled: float
    rates: list[float]


def environment(folder: Path, name: str, pins: Iterable[str]) -> Path:
    """The Python of a peer's environment, made if there is none with these pins.

    Raises:
        LeftOut: it cannot be made.
    """
    home, wanted = folder / name, "\n".join(pins)
    python, note = home / ("Scripts" if os.name == "nt" else "bin") / "python", home / "pins.txt"
    if note.is_file() and note.read_text() == wanted:
        return python
    CONSOLE.print(f"making the environment {home}: {', '.join(wanted.splitlines())}")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted.splitlines()]
    for command in ([sys.executable, "-m", "venv", "--clear", home], pip):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
            raise LeftOut(f"its environment cannot be made: {said[-1]}")
    note.write_text(wanted)
    return python


class Worker:
    """A contestant at work."""

    def __init__(self, contestant: Contestant, cores: int | None, device: str) -> None:
        own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONPATH": str(HERE.parent), "JAX_PLATFORMS": device}
        pinned = (lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])) if _can_pin(cores) else None
        self.name = contestant.name
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (a pipe that nobody reads would fill up)
        self.process = subprocess.Popen(
            [str(c) for c in contestant.command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
            text=True, env=os.environ | own, preexec_fn=pinned,
        )  # fmt: skip
        try:
            self.compiled = self._answer()["compiled"]
        except LeftOut:
            self.end()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        heard, _, _ = select.select([self.process.stdout], [], [], PATIENCE)  # it never says two lines at once
        if not heard:
            raise LeftOut(f"it took longer than {PATIENCE} s over one turn")
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.said.seek(0)
            said = self.said.read().strip().splitlines() or ["nothing"]
            raise LeftOut(f"it ended, and its last word was: {said[-1]}")
        return json.loads(line)

    def go(self) -> float:
        """Steps a second of one portion."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        told = self._answer()
        return told["steps"] / told["seconds"]

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()
        self.said.close()


def _can_pin(cores: int | None) -> bool:
    return cores is not None and hasattr(os, "sched_setaffinity")


def race(contestants: Sequence[Contestant], rounds: int, cores: int | None, device: str = "cpu") -> dict[str, Score]:
    """Scores of contestants that take turns. Who cannot take part is left out with a note."""
    workers: list[Worker] = []
    scores: dict[str, Score] = {}
    try:
        for contestant in contestants:
            try:
                workers.append(Worker(contestant, contestant.cores or cores, device))
                scores[contestant.name] = Score(workers[-1].compiled, [])
            except LeftOut as why:
                CONSOLE.print(f"{contestant.name} is left out: {why}")
        for _ in range(rounds):
            for worker in [w for w in workers if w.name in scores]:
                try:
                    scores[worker.name].rates.append(worker.go())
                except LeftOut as why:
                    CONSOLE.print(f"{worker.name} is left out: {why}")
                    del scores[worker.name]
    finally:
        for worker in workers:
            worker.end()
    return scores


def show(title: str, scores: Mapping[str, Score], wanted: str = "") -> None:
    """A table; ratios are of the first row to the others, in the same round."""
    table = Table(title=title, caption=wanted or None, box=None)
    first = next(iter(scores), None)
    table.add_column("trained by")
    for column in ("steps/s, best", "median", f"{first} is faster by, median", "least", "most", "compiling, s"):
        table.add_column(column, justify="right")
    for name, score in scores.items():
        rates = np.array(score.rates)
        row = [name, f"{rates.max():,.0f}", f"{np.median(rates):,.0f}", "", "", "", f"{score.compiled:.1f}"]
        if name != first:
            ratio = np.array(scores[first].rates) / rates
            row[3:6] = (f"{x:.2f}×" for x in (np.median(ratio), ratio.min(), ratio.max()))
        table.add_row(*row)
    CONSOLE.print(table)


class Asked(NamedTuple):
    """What was asked for on the command line."""

    rounds: int
    checkout: Path | None
    envs: Path
    torch: str
    device: str
    most: int


def chisel(task: str, members: int, updates: int, *more: Any) -> Sequence[Any]:
    """The command of chisel's worker, in this Python."""
    return sys.executable, HERE / "peers" / "chisel_worker.py", task, members, updates, *more


def _on_cartpole(asked: Asked, members: int, updates: int) -> list[Contestant]:
    """chisel, PureJaxRL and rejax, as far as they can be had."""
    found = [Contestant("chisel", chisel("cartpole", members, updates))]
    try:
        python = environment(asked.envs, "jax", JAX)
    except LeftOut as why:
        CONSOLE.print(f"PureJaxRL and rejax are left out: {why}")
        return found
    if asked.checkout is None:
        CONSOLE.print("PureJaxRL is left out: it needs a checkout of its repository (--purejaxrl CHECKOUT)")
    elif not (asked.checkout / "purejaxrl" / "ppo.py").is_file():
        CONSOLE.print(f"PureJaxRL is left out: there is no purejaxrl/ppo.py in {asked.checkout}")
    else:
        command = python, HERE / "peers" / "purejaxrl_ppo.py", asked.checkout, members, updates
        found.append(Contestant("PureJaxRL", command))
    return [*found, Contestant("rejax", (python, HERE / "peers" / "rejax_ppo.py", members, updates))]


def cartpole(asked: Asked) -> None:
    """One agent on CartPole, on one core."""
    scores = race(_on_cartpole(asked, 1, 384), asked.rounds, cores=1)
    show("CartPole, one agent, one core", scores, "wanted: 1.3× PureJaxRL")


def population(asked: Asked) -> None:
    """Populations on CartPole, on two cores."""
    for members, updates in ((8, 32), (32, 16)):
        contestants = _on_cartpole(asked, members, updates)
        again = [c._replace(name=f"{c.name}, one core", cores=1) for c in contestants if c.name == "PureJaxRL"]
        scores = race([*contestants, *again], asked.rounds, cores=2)
        show(f"CartPole, {members} agents, two cores", scores, "wanted: 2× PureJaxRL")


def maze(asked: Asked) -> None:
    """One agent in a maze, on one core, with as many environments on both sides."""
    python = None
    try:
        python = environment(asked.envs, "sb3", (asked.torch, *SB3))
    except LeftOut as why:
        CONSOLE.print(f"Stable-Baselines3 is left out: {why}")
    for worlds in (1, 8):
        contestants = [Contestant("chisel", chisel("maze", 1, 256 // worlds, "--worlds", worlds))]
        if python is not None:
            command = python, HERE / "peers" / "sb3_maze.py", worlds, 24 // worlds, 1
            contestants.append(Contestant("Stable-Baselines3", command))
        scores = race(contestants, asked.rounds, cores=1)
        show(f"8×8 maze, one agent, {worlds} environments, one core", scores, "wanted: 15× Stable-Baselines3")


def members(asked: Asked) -> None:
    """What a member costs, by how many there are."""
    accelerated = asked.device != "cpu"
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096) if n <= asked.most]
    for task, steps in (("cartpole", 1024), ("smile", 128)):
        contestants = [Contestant(str(n), chisel(task, n, max(16 if accelerated else 2, steps // n))) for n in counts]
        scores = race(contestants, asked.rounds, None if accelerated else 1, "" if accelerated else "cpu")
        table = Table(
            title=f"{task}: cost of a member", box=None, caption="time a step, against one member; wanted on CPU: 1"
        )
        for column in (
            "members",
            "steps/s of all, best",
            "median",
            "of each, best",
            "time a step, median",
            "compiling, s",
        ):
            table.add_column(column, justify="right")
        alone = np.array(next(iter(scores.values())).rates) if scores else None
        for name, score in scores.items():
            rates = np.array(score.rates)
            cells = (f"{x:,.0f}" for x in (rates.max(), np.median(rates), rates.max() / int(name)))
            table.add_row(name, *cells, f"{np.median(alone / rates):.3f}", f"{score.compiled:.1f}")
        CONSOLE.print(table)


BENCHMARKS = {f.__name__: f for f in (cartpole, population, maze, members)}


def main() -> None:
    """Runs what was asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)}; by default all")
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--purejaxrl", type=Path, metavar="CHECKOUT", help="a checkout of PureJaxRL's repository")
    ask.add_argument("--envs", type=Path, metavar="FOLDER", default=ENVS, help="where the environments of peers are")
    ask.add_argument("--torch", default=TORCH, help="how torch is asked for")
    ask.add_argument("--device", default="cpu", help="for `members`: `gpu` or `tpu`, where this Python's JAX has it")
    ask.add_argument("--most", type=int, default=64, help="for `members`: the largest population")
    given = ask.parse_args()
    wrong = [name for name in given.benchmarks if name not in BENCHMARKS]
    if wrong:
        ask.error(f"there is no benchmark {wrong[0]!r}; there are {', '.join(BENCHMARKS)}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that a log shows tables as they come
    asked = Asked(given.rounds, given.purejaxrl, given.envs, given.torch, given.device, given.most)
    for name in given.benchmarks or BENCHMARKS:
        BENCHMARKS[name](asked)


if __name__ == "__main__":
    main()
