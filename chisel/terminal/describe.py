"""What there is, in words: a run and how far it got, the runs in a folder, the worlds."""

import math
from pathlib import Path
from typing import Any

from chisel.build.agents import agent_in_words, make_network
from chisel.build.build import world_of
from chisel.probing.battery import left_out
from chisel.runs.store import READINGS, REPORT, TRAINING, Run, open_run, runs_in
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.worlds import load_world
from chisel.worlds.world import defaults, names

MOST = 8  # schedules whose payments are told


def describe_run(this: Run) -> dict[str, str]:
    """What a run is, how far it got, and in short what was paid and what guards did."""
    study, manifest = this.study, this.manifest()
    saved, plan = this.saved(), study.checkpoint_updates
    versions = ", ".join(f"{k} {v}" for k, v in manifest["versions"].items() if v)
    return {
        "title": study.title or "–",
        "world": study.world,
        **_lineage(study),
        "schedules": "\n".join(s.name for s in study.schedule),
        "members": f"{len(study.schedule) * study.training.seeds} ({_seeds(study)} each)",
        "trained": f"{saved[-1] * study.training.batch if saved else 0:,} of {study.training.steps:,} steps a member",
        "checkpoints": f"{len(saved)} of {len(plan)}: " + ", ".join(f"{u * study.training.batch:,}" for u in saved),
        "agent": agent_in_words(study),
        "layers": ", ".join(_layers(study)),
        "readings": "taken" if (this.path / READINGS).is_file() else "not yet",
        "report": str(this.path / REPORT) if (this.path / REPORT).is_file() else "not yet",
        "device": f"{manifest['device']['platform']} ({manifest['device']['kind']})",
        "versions": versions,
        "commit": manifest["commit"] or "–",
        **(_from_training(this) if (this.path / TRAINING).is_file() else {}),
    }


def _seeds(study: Study) -> str:
    first, last = study.training.seed_numbers[0], study.training.seed_numbers[-1]
    return f"{study.training.seeds} seeds{f', {first} to {last},' if first else ''}"


def _lineage(study: Study) -> dict[str, str]:
    """Where a fork comes from."""
    if study.fork is None:
        return {}
    whose = f"agents under {study.fork.schedule!r}" if study.fork.schedule else "agents under equally named schedules"
    luck = ", with other random numbers" if study.fork.reseed else ""
    return {"forked from": f"{study.fork.run} at {study.fork.at:,} steps: {whose}{luck}"}


def _from_training(this: Run) -> dict[str, str]:
    """When guards acted; and what was paid in all and in every phase, where that is short enough to be told."""
    from chisel.findings.payments import HALTED, acts, stays
    from chisel.findings.seeds import held
    from chisel.findings.words import span
    from chisel.report.tables import amount

    training, guards = this.dataset(TRAINING), this.study.guard
    acted = []
    for act in acts(training, guards):
        at = [int(a) for a in act.at if math.isfinite(a)]
        if at:
            where = f"{act.schedule}, {held(len(at), len(act.at))}, at {span(at)} steps"
            acted.append(f"{guards[act.guard].title} – {where}")
    paid = []
    for name in [part.name for part in this.study.schedule]:
        whole, *phases = stays(training, name)
        each = [f"{stay.title} {amount(stay.earned.sum(1).mean())}" for stay in phases if stay.title != HALTED]
        paid.append("; ".join([f"{name}: {amount(whole.earned.sum(1).mean())}", *each]))
    told = {"guards": "\n".join(acted) or "none acted"} if guards else {}
    return told | ({"paid": "\n".join(paid)} if len(paid) <= MOST else {})


def _layers(study: Study) -> tuple[str, ...]:
    return make_network(study, world_of(study)).layers


def list_runs(folder: Path) -> list[tuple[str, ...]]:
    """A row for every run in a folder: name, world, members, how far trained, whether read and reported."""
    rows: list[tuple[str, ...]] = []
    for path in runs_in(folder):
        try:
            this = open_run(path)
        except WrongInput as error:
            rows.append((path.name, "–", "–", str(error), "–", "–"))
            continue
        training, saved = this.study.training, this.saved()
        share = (saved[-1] if saved else 0) / training.updates
        done = ["yes" if (path / name).is_file() else "no" for name in (READINGS, REPORT)]
        members = len(this.study.schedule) * training.seeds
        rows.append((path.name, this.study.world, str(members), f"{share:.0%}", *done))
    return rows


def describe_world(name: str) -> dict[str, str]:
    """What a world has, for people."""
    world = load_world(name)
    known = names(world)
    bounds = (f"{k}: {p.meaning}; {p.low:g} to {p.high:g}, {p.default:g} by default" for k, p in world.params.items())
    rows = {
        "what happens": world.summary,
        "true channel": ", ".join(world.true),
        "channels": ", ".join(known.channels),
        "goals": ", ".join(world.goals),
        "actions": _some(world.actions),
        "time limit": f"{world.limit} steps",
        "parameters": "\n".join(bounds),
        "potentials": ", ".join(f"shape.{p}" for p in known.potentials),
        "features": ", ".join(known.features),
        "observation": f"{known.observation.shape} {known.observation.dtype}",
        "cannot be read": "\n".join(f"{reading}: {why}" for reading, why in left_out(world).items()),
    }
    return {name: text for name, text in rows.items() if text}


def _some(words: tuple[str, ...], most: int = 30) -> str:
    """Words in a row; of very many the first ones, and how many there are.

    >>> _some(("a", "b", "c"), most=2)
    'a, b, … (3 in all)'
    """
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[:most])}, … ({len(words)} in all)"


def world_frames(name: str, episodes: int = 2) -> Any:
    """The frames of random play in a world: uint8[time, y, x, 3]."""
    import jax
    import jax.numpy as jnp

    from chisel.report.video import frames
    from chisel.training.rollout import at_random

    world = load_world(name)
    return frames(
        world, at_random(world), jax.random.key(0), {k: jnp.float32(v) for k, v in defaults(world).items()}, episodes
    )


def film_world(name: str, path: Path) -> Path:
    """Writes a GIF of random play.

    Raises:
        WrongInput: the file cannot be written.
    """
    from chisel.report.video import gif

    data = gif(world_frames(name))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise WrongInput(f"{path}: cannot be written to ({error.strerror or error})") from error
    return path
