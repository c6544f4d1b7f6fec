"""Two CPU devices, so that laying members over devices can be tried on any machine; and a tiny study."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

from tests.tiny import TINY_BATTERY, TINY_STUDY

# Must be asked for before JAX is first used.
jax.config.update("jax_num_cpu_devices", 2)

# Programs are compiled once for all processes of a test run, those that tests start included. The user's own cache is
# left alone. The first process removes the folder; the others find it named.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="chisel-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
# Many tests build the same small programs.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# The same cases in every run: what passes today does not fail by chance tomorrow.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")

# Most of the time of a test run goes into compiling programs that run for a moment. So they are compiled in haste, but
# for laws that hold between one program and another, and where somebody runs `pytest` as it is.
HASTE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)


def pytest_configure(config: pytest.Config) -> None:
    """Before JAX is first used. Older versions would not start with flags that they do not know."""
    if config.getoption("-m") == "not exact" and jax.__version_info__ >= (0, 10):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {HASTE}"


@pytest.fixture(scope="module", autouse=True)
def _forget() -> Iterator[None]:
    """Programs of one file are of no use to the next; kept, they grow to gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The path of a tiny study: 4 members of 8 updates."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_STUDY)
    return path


@pytest.fixture
def tiny_battery(tmp_path: Path) -> Path:
    """The path of a tiny battery."""
    path = tmp_path / "battery.toml"
    path.write_text(TINY_BATTERY)
    return path
