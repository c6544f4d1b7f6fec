"""Every learner, as small as can be: the one table of learners that are held to the laws."""

from typing import Any

SMALL = {"widths": [8]}
GRU = {"kind": "gru", "widths": [6, 5]}
REPLAY = {
    "replay": 96,
    "warmup": 40,
    "batch": 8,
    "gradient_steps": 3,
    "target_every": 4,
    "network": SMALL,
    "temperature": 0.0,
    "exploration": [[0.0, 1.0], [1.0, 0.1]],
}
OTHERWISE = {"dueling": True, "n_step": 3, "double": False, "target_every": 1, "tau": 0.1}
LEARNERS: dict[str, dict[str, Any]] = {
    "ppo, conv": {"learner": "ppo", "network": {"kind": "conv", "channels": [3], "widths": [8]}},
    "ppo, gru": {"learner": "ppo", "network": GRU},
    "ppo, all else": {
        "learner": "ppo",
        "critic": "per_channel",
        "value_clip": True,
        "network": {**SMALL, "separate": True, "dtype": "bfloat16"},
    },
    "a2c": {"learner": "a2c", "network": SMALL},
    "a2c, gru": {"learner": "a2c", "critic": "per_channel", "network": {**GRU, "separate": True}},
    "reinforce": {"learner": "reinforce", "network": SMALL},
    "reinforce, value": {"learner": "reinforce", "baseline": "value", "network": SMALL},
    "pqn, conv": {"learner": "pqn", "network": {"kind": "conv", "channels": [3], "widths": [8]}},
    "pqn, gru": {"learner": "pqn", "network": GRU},
    "dqn": {"learner": "dqn", **REPLAY},
    "dqn, softmax": {"learner": "dqn", **REPLAY, "temperature": [[0.0, 0.5], [1.0, 0.1]]},
    "dqn, otherwise": {"learner": "dqn", **REPLAY, **OTHERWISE},
}
