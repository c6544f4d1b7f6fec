"""Runs that are trained and not read, and what is in their checkpoints."""

import tomllib
from typing import Any

from chisel import lab
from chisel.runs import store as runs
from chisel.runs.store import load_checkpoint
from chisel.runs.train import _like, population_of
from chisel.study.files import validate
from chisel.study.study import Study


def read_text(text: str) -> Study:
    return validate(tomllib.loads(text), Study, "mine.toml")


def trained(path, study: Study) -> runs.Run:
    this = runs.create(path, study, {})
    lab.train(this)
    return this


def checkpoint(this: runs.Run, updates: int) -> tuple[Any, Any]:
    """The state of all members after so many updates, and the metrics of the updates before it."""
    population, keys = population_of(this.study, None)
    before = max((u for u in this.study.checkpoint_updates if u < updates), default=updates)
    parts = load_checkpoint(this, updates, **_like(population, keys, this.study, updates - before))
    return parts["state"], parts["metrics"]
