"""What all tests share: two CPU devices, and a study small enough to run in seconds."""

from pathlib import Path

import jax
import pytest

# Before JAX is first used: populations are laid over both.
jax.config.update("jax_num_cpu_devices", 2)

TINY_STUDY = """
title = "Tiny"
world = "smile"
agent = { network = { widths = [8] } }
[training]
steps = 2048
seeds = 2
worlds = 16
rollout = 16
checkpoints = { count = 3, spacing = "even" }
[[schedule]]
name = "help"
reward = { helped = 1.0 }
[[schedule]]
name = "smile, then help"
phases = [{ until = 0.5, reward = { smile = 1.0 } }, { until = 1.0, reward = { helped = 1.0 } }]
"""

TINY_BATTERY = """
bank = { layouts = 32 }
decode = { features = ["carrying", "clown_distance"] }
choice = { layouts = 4 }
returns = { episodes = 4 }
"""


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
