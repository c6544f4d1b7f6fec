"""Stable-Baselines3's PPO in a maze of obstacles, as Brown & Young (2026) train: `sb3_maze.py ENVS UPDATES THREADS`.

8×8 cells, a fifth of them obstacles; the agent walks to a goal for a reward of 1. The world is the one of
`obstacles.py` in plain NumPy. 256 steps a rollout, minibatches of 64, 10 epochs; the rest are the defaults of
Stable-Baselines3.
"""

import sys
import time
from typing import Any

import gymnasium
import numpy as np

SIDE, CHANCE, LIMIT = 8, 0.2, 100
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Obstacles(gymnasium.Env):
    """A new level in every episode. Observed are planes of the agent, the obstacles and the goal, flat."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (3 * SIDE * SIDE,), np.float32)
    action_space = gymnasium.spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.walls = self.np_random.random((SIDE, SIDE)) < CHANCE
        free = np.flatnonzero(~self.walls)
        agent, goal = self.np_random.choice(free, 2, replace=False)
        self.row, self.column = divmod(int(agent), SIDE)
        self.goal = divmod(int(goal), SIDE)
        self.age = 0
        self.view = np.zeros((3, SIDE, SIDE), np.float32)
        self.view[0, self.row, self.column] = 1
        self.view[1] = self.walls
        self.view[2][self.goal] = 1
        return self.view.reshape(-1).copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        down, right = MOVES[action]
        row, column = self.row + down, self.column + right
        if 0 <= row < SIDE and 0 <= column < SIDE and not self.walls[row, column]:
            self.view[0, self.row, self.column] = 0
            self.row, self.column = row, column
            self.view[0, row, column] = 1
        self.age += 1
        there = (self.row, self.column) == self.goal
        return self.view.reshape(-1).copy(), float(there), there, not there and self.age >= LIMIT, {}


def main() -> None:
    """Makes the learner, and takes its turns."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv
    from turns import serve

    envs, updates, threads = (int(x) for x in sys.argv[1:4])
    torch.set_num_threads(threads)
    start = time.perf_counter()
    worlds = DummyVecEnv([Obstacles] * envs)
    learner = PPO("MlpPolicy", worlds, n_steps=256, batch_size=64, n_epochs=10, device="cpu", seed=0)
    steps = 256 * envs
    learner.learn(steps)  # the first rollout pays for what is made only once
    took = time.perf_counter() - start

    def spend() -> int:
        learner.learn(updates * steps, reset_num_timesteps=False)
        return updates * steps

    serve(spend, took)


if __name__ == "__main__":
    main()
