"""Showing a person how far long work is: bars in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from chisel.lab import News, Tell

EVERY = 10.0  # seconds between two plain lines of one stage


class _Rate(ProgressColumn):
    """Rate, time spent and time left, as far as they can be known."""

    def render(self, task: Task) -> Text:
        spent = task.finished_time if task.finished else task.elapsed
        text = _clock(spent or 0)
        if task.speed and task.total:
            text = f"{task.speed:,.0f} {task.fields['unit']}/s  {text}" if task.speed >= 1 else text
            if not task.finished:
                text += f"  {_clock((task.total - task.completed) / task.speed)} left"
        return Text(text, style="cyan")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def teller(quiet: bool) -> "Iterator[Tell]":
    """Something to tell news to. Progress goes to standard error, so that standard output holds results only."""
    console = Console(stderr=True)
    if not quiet and console.is_terminal:
        with _bars(console) as tell:
            yield tell
    else:
        yield _Lines(quiet)


@contextmanager
def _bars(console: Console) -> "Iterator[Tell]":
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(*columns, console=console, speed_estimate_period=20) as progress:
        tasks: dict[str, Any] = {}

        def finish(but: str | None) -> None:
            for name, task in tasks.items():
                if name != but:
                    total = progress.tasks[task].total
                    progress.update(task, total=total or 1, completed=total or 1)

        def tell(news: "News") -> None:
            if news.stage == "note":
                progress.console.print(f"[yellow]note:[/] {news.text}", highlight=False)
                return
            name = f"{news.stage} {news.text}".strip()
            if name not in tasks:
                finish(name)
                tasks[name] = progress.add_task(name, total=news.total or None, unit=news.unit)
            progress.update(tasks[name], completed=news.done, total=news.total or None)

        yield tell
        finish(None)


class _Lines:
    """Plain lines: the beginning of every stage, then one now and then."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._start = self._last = 0.0
        self._first = 0

    def __call__(self, news: "News") -> None:
        if news.stage == "note":
            print(f"note: {news.text}", file=sys.stderr, flush=True)
            return
        name, now = f"{news.stage} {news.text}".strip(), time.monotonic()
        begins = name != self._stage
        if begins:
            self._stage, self._start, self._first = name, now, news.done
        ends = news.total > 0 and news.done == news.total
        if self._quiet or not (begins or ends or now - self._last > EVERY):
            return
        self._last = now
        text, spent = name, now - self._start
        if news.total:
            text += f" {news.done:,} of {news.total:,} {news.unit}"
        if news.done > self._first and spent > 0:
            rate = (news.done - self._first) / spent
            text += f", {rate:,.3g} {news.unit}/s" if rate < 100 else f", {rate:,.0f} {news.unit}/s"
            text += f", {_clock((news.total - news.done) / rate)} left" if not ends else f", {_clock(spent)}"
        print(text, file=sys.stderr, flush=True)


def show_frames(frames: Any, pause: float = 0.16) -> None:
    """Plays pictures (uint8[time, y, x, 3]) in the terminal, two pixels a character."""
    from rich.live import Live

    console = Console()
    step = max(1, -(-frames.shape[2] // max(console.width, 1)), -(-frames.shape[1] // max(2 * (console.height - 2), 1)))
    with Live(console=console, auto_refresh=False) as live:
        for frame in frames[:, ::step, ::step]:
            live.update(_picture(frame), refresh=True)
            time.sleep(pause)


def _picture(frame: Any) -> Text:
    text = Text()
    for top, bottom in zip(frame[0::2], frame[1::2], strict=False):
        for (r, g, b), (s, h, c) in zip(top.tolist(), bottom.tolist(), strict=True):
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({s},{h},{c})")
        text.append("\n")
    return text
