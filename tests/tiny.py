"""A study and a battery small enough to run in seconds: 4 members of 8 updates."""

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
readings = ["score", "bid", "total_effect", "choice", "returns"]
bank = { layouts = 32 }
decode = { features = ["carrying", "clown_distance"] }
choice = { layouts = 4 }
returns = { episodes = 4 }
"""
