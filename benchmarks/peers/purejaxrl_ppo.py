"""PureJaxRL's PPO on CartPole, from a checkout of the user's: `purejaxrl_ppo.py CHECKOUT MEMBERS UPDATES`.

Its code is used as it lies there, with the settings that it has for CartPole. A portion is whole trainings, one for
each member, in one compiled function: a seed alone, or seeds side by side by `vmap`, as its authors do it.
"""

import sys
import time
import types
from pathlib import Path

SETTINGS = {
    "LR": 2.5e-4,
    "NUM_ENVS": 4,
    "NUM_STEPS": 128,
    "UPDATE_EPOCHS": 4,
    "NUM_MINIBATCHES": 4,
    "GAMMA": 0.99,
    "GAE_LAMBDA": 0.95,
    "CLIP_EPS": 0.2,
    "ENT_COEF": 0.01,
    "VF_COEF": 0.5,
    "MAX_GRAD_NORM": 0.5,
    "ACTIVATION": "tanh",
    "ENV_NAME": "CartPole-v1",
    "ANNEAL_LR": True,
    "DEBUG": False,
}


def stand_in(name: str, **contents: type) -> None:
    """An empty module of that name.

    The file with its wrappers imports brax and navix at the top, which only its other examples use.
    """
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


def main() -> None:
    """Compiles, and takes its turns."""
    from turns import serve

    checkout, members, updates = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    steps = updates * SETTINGS["NUM_ENVS"] * SETTINGS["NUM_STEPS"]
    for name in ("navix", "brax", "brax.envs", "brax.envs.wrappers"):
        stand_in(name)
    stand_in("brax.envs.wrappers.training", EpisodeWrapper=object, AutoResetWrapper=object)
    sys.path.insert(0, str(checkout / "purejaxrl"))
    import jax
    from ppo import make_train

    train = make_train(SETTINGS | {"TOTAL_TIMESTEPS": steps})
    keys = jax.random.split(jax.random.PRNGKey(0), members)
    argument = keys[0] if members == 1 else keys
    start = time.perf_counter()
    compiled = jax.jit(train if members == 1 else jax.vmap(train)).lower(argument).compile()
    took = time.perf_counter() - start

    def spend() -> int:
        jax.block_until_ready(compiled(argument))
        return steps * members

    serve(spend, took)


if __name__ == "__main__":
    main()
