"""A run on disk. The only room that touches Orbax and the run folder.

    study.toml       what was asked, every default written out
    manifest.json    versions, device, commit, seeds, hashes
    checkpoints/     one folder a checkpoint, named by environment steps a member: the whole population's state
    training.nc      per update: what happened, what was paid, what was in force
    readings.nc      what was read from the checkpoints
    report.html      one self-contained page

A checkpoint holds, beside the state, the metrics of the updates since the one before it, so that the two can never
disagree, and a digest of both, so that a damaged one is known. Nothing is pickled and nothing from a run is executed.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from chisel.build.build import read_study
from chisel.study.files import WrongInput
from chisel.study.study import Study, differences

FORMAT = 4  # of the folder; raised when an older chisel could not read it
TRAINING, READINGS, REPORT = "training.nc", "readings.nc", "report.html"
_TEMPORARY = ".orbax-checkpoint-tmp"
# What a process that was killed while it made the folder may have left; the next one goes on from there.
_BEGUN = {".lock", "manifest.json", ".manifest.json.writing", ".study.toml.writing"}


class Broken(Exception):
    """A checkpoint that is missing, truncated, or not what was saved."""


class Run:
    """A run folder that exists."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path = path
        self.study = study

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, updates: int) -> Path:
        """Where the checkpoint after that many updates lies."""
        return self.checkpoints / f"{updates * self.study.training.batch:012d}"

    def saved(self) -> list[int]:
        """After how many updates there are checkpoints, by their folders; they may still turn out damaged."""
        return [u for u in self.study.checkpoint_updates if self.checkpoint(u).is_dir()]

    def manifest(self) -> dict[str, Any]:
        """What is needed to reproduce the run."""
        return json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))

    def note(self, **facts: Any) -> None:
        """Adds facts to the manifest."""
        _write(self.path / "manifest.json", json.dumps(self.manifest() | facts, indent=2) + "\n")

    def write_dataset(self, name: str, dataset: xr.Dataset) -> None:
        """Writes a NetCDF file whole or not at all. Equal datasets give equal bytes."""
        temporary = self.path / f".{name}.writing"
        _encoded(dataset).to_netcdf(temporary, engine="scipy")
        os.replace(temporary, self.path / name)

    def dataset(self, name: str) -> xr.Dataset:
        """Reads a NetCDF file of the run into memory.

        Raises:
            WrongInput: the run has not got that far.
        """
        if not (self.path / name).is_file():
            raise WrongInput(f"{self.path}: has no {name} yet; `chisel run` goes on where it stopped")
        with xr.open_dataset(self.path / name, engine="scipy") as dataset:
            return _decoded(dataset.load())

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file whole or not at all."""
        _write(self.path / name, text)
        return self.path / name


WHOLE = "whole_numbers"  # the attribute of what a file holds as float64 though it counts


def _encoded(dataset: xr.Dataset) -> xr.Dataset:
    """NetCDF 3 has no integers of 64 bits, and steps need more than 32: they are stored as float64, exact to 2^53."""
    wide = {name: x for name, x in dataset.variables.items() if x.dtype == np.int64}
    return dataset.assign({n: (x.dims, x.values.astype(np.float64), x.attrs | {WHOLE: 1}) for n, x in wide.items()})


def _decoded(dataset: xr.Dataset) -> xr.Dataset:
    counts = [dataset[name] for name, x in dataset.variables.items() if WHOLE in x.attrs]
    for x in counts:
        kept = {key: value for key, value in x.attrs.items() if key != WHOLE}
        dataset = dataset.assign_coords({x.name: (x.dims, x.values.astype(np.int64), kept)})
    return dataset


def create(path: Path, study: Study, facts: dict[str, Any]) -> Run:
    """Opens a new run, or one that holds the same study already.

    Args:
        facts: what the manifest records beside versions and device.

    Raises:
        WrongInput: the folder holds another study, or something else, or cannot be written to.
    """
    if (path / "study.toml").is_file():
        run = open_run(path)
        unlike = differences(run.study, study)
        if unlike:
            raise WrongInput(
                f"{path}: holds another study: {'; '.join(unlike)}. Choose another --out, or remove {path}"
            )
        return run
    try:
        if path.is_dir() and any(p.name not in _BEGUN for p in path.iterdir()):
            raise WrongInput(f"{path}: is a folder with other things in it and no study.toml; choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_circumstances(study) | facts, indent=2) + "\n"
        _write(path / "manifest.json", text)
        _write(path / "study.toml", study.to_toml())  # last: a folder with a study.toml is a run
    except OSError as error:
        raise WrongInput(f"{path}: cannot be written to ({error.strerror or error})") from error
    return Run(path, study)


def open_run(path: Path) -> Run:
    """The run in a folder.

    Raises:
        WrongInput: there is none, or it is of a newer chisel.
    """
    if not (path / "study.toml").is_file():
        raise WrongInput(f"{path}: is not a run (it has no study.toml); `chisel ls` lists runs")
    run = Run(path, read_study(path / "study.toml"))
    try:
        found = run.manifest().get("format")
    except (OSError, ValueError) as error:
        raise WrongInput(f"{path / 'manifest.json'}: cannot be read ({error})") from error
    if found != FORMAT:
        raise WrongInput(
            f"{path}: is of run format {found!r}; this chisel knows {FORMAT}. Run its study again, or open it with the "
            "version of chisel in its manifest.json"
        )
    return run


def runs_in(folder: Path) -> list[Path]:
    """The runs directly inside a folder."""
    return sorted(p.parent for p in folder.glob("*/study.toml"))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a run for one process; the system lets go of it however the process ends.

    Raises:
        WrongInput: another process is at work in it, or it cannot be written to.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - not on this system
        yield
        return
    try:
        handle = open(path / ".lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise WrongInput(f"{path}: cannot be written to ({error.strerror or error})") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongInput(f"{path}: another process is at work in this run") from None
        yield


class Saver:
    """Saves checkpoints while training goes on."""

    def __init__(self, run: Run) -> None:
        import orbax.checkpoint as ocp

        self._run = run
        self._orbax = ocp.StandardCheckpointer()

    def save(self, updates: int, **parts: Any) -> None:
        """Saves host arrays as the checkpoint after that many updates, in place of a damaged one if there is one.

        Args:
            parts: pytrees by name: the state, the metrics since the checkpoint before, what guards decided.
        """
        path = self._run.checkpoint(updates)
        self.wait()
        if path.exists():
            shutil.rmtree(path)
        arrays = {name: _named(tree) for name, tree in parts.items()}
        self._orbax.save(path.absolute(), arrays | {"digest": _digest(arrays)})

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._orbax.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the threads."""
        self.wait()
        self._orbax.close()


def load_checkpoint(run: Run, updates: int, **like: Any) -> dict[str, Any]:
    """The parts of a checkpoint, as pytrees of host arrays.

    Args:
        like: pytrees of that structure and those shapes, as of `jax.eval_shape`, by name.

    Raises:
        Broken: it is missing or damaged; the message says where.
    """
    import orbax.checkpoint as ocp

    path = run.checkpoint(updates)
    if not path.is_dir():
        raise Broken(f"{path} is missing")
    wanted = {name: _named(tree) for name, tree in like.items()}
    template = wanted | {"digest": jax.ShapeDtypeStruct((32,), np.uint8)}
    try:
        with ocp.StandardCheckpointer() as reader:
            loaded = reader.restore(path.absolute(), jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template))
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise Broken(f"{path} cannot be read ({type(error).__name__})") from error
    digest = loaded.pop("digest")
    if not np.array_equal(digest, _digest(loaded)):
        raise Broken(f"{path} is damaged: it is not what was saved")
    return {name: _unnamed(loaded[name], tree) for name, tree in like.items()}


def clear_unfinished(run: Run) -> None:
    """Removes what a killed process left half written."""
    for path in run.checkpoints.glob(f"*{_TEMPORARY}*"):
        shutil.rmtree(path)
    for path in run.path.glob(".*.writing"):
        path.unlink()


def _named(tree: Any) -> dict[str, Any]:
    """A pytree as a flat dict, so that a checkpoint can be read without chisel; empty arrays Orbax will not save."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if leaf.size}


def _unnamed(arrays: dict[str, Any], like: Any) -> Any:
    def one(path: Any, leaf: Any) -> np.ndarray:
        return np.asarray(arrays[jax.tree_util.keystr(path)]) if leaf.size else np.zeros(leaf.shape, leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, like)


def _digest(arrays: dict[str, dict[str, Any]]) -> np.ndarray:
    sha = hashlib.sha256()
    for group in sorted(arrays):
        for name in sorted(arrays[group]):
            array = np.ascontiguousarray(arrays[group][name])
            sha.update(f"{group}{name}{array.shape}{array.dtype}".encode())
            sha.update(array.tobytes())
    return np.frombuffer(sha.digest(), np.uint8).copy()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _circumstances(study: Study) -> dict[str, Any]:
    packages = ("chisel-rl", "jax", "jaxlib", "flax", "optax", "rlax", "orbax-checkpoint", "numpy")
    return {
        "format": FORMAT,
        "study": hashlib.sha256(study.to_toml().encode()).hexdigest(),
        "seeds": study.training.seed_numbers,
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "device": {"platform": jax.default_backend(), "kind": jax.devices()[0].device_kind},
        "machine": platform.machine(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that chisel runs from, with `+` if there are changes; None for an installed wheel."""
    here = Path(__file__).parents[1]
    if not (here.parent / ".git").exists():
        return None

    def ask(*words: str) -> str:
        found = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)
        return found.stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + ("+" if ask("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
