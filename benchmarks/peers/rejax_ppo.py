"""rejax's PPO on CartPole: `rejax_ppo.py MEMBERS UPDATES`.

The settings are the same as those of the others as far as it has them: its step size stays, it has no clipped value
loss, and an optimiser for each of the two networks. Evaluations, which it does within training, are turned off. A
portion is whole trainings, one for each member, side by side by `vmap`.
"""

import sys
import time

SETTINGS = {
    "env": "CartPole-v1",
    "learning_rate": 2.5e-4,
    "num_envs": 4,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_eps": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "agent_kwargs": {"activation": "tanh", "hidden_layer_sizes": (64, 64)},
    "skip_initial_evaluation": True,
}


def main() -> None:
    """Compiles, and takes its turns."""
    import jax
    from rejax import PPO
    from turns import serve

    members, updates = int(sys.argv[1]), int(sys.argv[2])
    steps = updates * SETTINGS["num_envs"] * SETTINGS["num_steps"]
    algorithm = PPO.create(**SETTINGS, total_timesteps=steps, eval_freq=steps)
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
    keys = jax.random.split(jax.random.PRNGKey(0), members)
    argument = keys[0] if members == 1 else keys
    start = time.perf_counter()
    compiled = jax.jit(algorithm.train if members == 1 else jax.vmap(algorithm.train)).lower(argument).compile()
    took = time.perf_counter() - start

    def spend() -> int:
        jax.block_until_ready(compiled(argument))
        return steps * members

    serve(spend, took)


if __name__ == "__main__":
    main()
