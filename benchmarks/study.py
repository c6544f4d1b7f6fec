"""Where the time and memory of a study go: `python benchmarks/study.py [STUDY] [--steps N] [--devices N]`.

Runs the whole path (training, reading, report) in a temporary folder and prints a table. Timings of one machine in one
run are comparable with each other; across runs compare ratios.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chisel import lab, load_study


class Stopwatch:
    """Hears news and adds up how long each stage took."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.steps = 0
        self._stage, self._since = "starting", time.perf_counter()

    def __call__(self, news: lab.News) -> None:
        now = time.perf_counter()
        self.spent[self._stage] = self.spent.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = f"{news.stage} {news.text}".strip(), now
        if news.stage == "training":
            self.steps = news.done


def command_line() -> float:
    """Seconds that `chisel --help` takes: the least of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "chisel.terminal.cli", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measures and prints."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("study", nargs="?", default="smile")
    ask.add_argument("--steps", type=int)
    ask.add_argument("--devices", type=int)
    ask.add_argument("--battery", default="values")
    given = ask.parse_args()
    study, watch = load_study(given.study).replaced(steps=given.steps), Stopwatch()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        page = lab.run(study, Path(folder) / "run", given.battery, given.devices, watch)
        total = time.perf_counter() - start
        watch(lab.News("done"))
        size = page.stat().st_size
        disk = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) - size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table = Table(title=f"{given.study}: {study.training.seeds} seeds × {len(study.schedule)} schedules", box=None)
    table.add_column("what")
    table.add_column("measured", justify="right")
    for stage, spent in watch.spent.items():
        table.add_row(stage, f"{spent:.1f} s")
    training, reading = watch.spent["training"], watch.spent["reading"]
    table.add_row("training, steps in all", f"{watch.steps:,}")
    table.add_row("training, rate", f"{watch.steps / training:,.0f} steps/s")
    table.add_row("reading / training", f"{(reading + watch.spent['compiling readings']) / training:.2f}")
    table.add_row("training + reading + report", f"{total:.1f} s")
    table.add_row("peak resident memory", f"{peak:.2f} GiB")
    table.add_row("run folder without page; page", f"{disk / 1e6:.0f} MB; {size / 1e6:.1f} MB")
    table.add_row("chisel --help", f"{command_line():.2f} s")
    Console().print(table)


if __name__ == "__main__":
    main()
