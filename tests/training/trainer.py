"""One member trained by a function that is compiled once, and how to compare what comes out."""

import jax
import jax.numpy as jnp
import numpy as np

from chisel.training.member import Plan, make_advance, new

KEY = jax.random.key_data(jax.random.key(7))


class Trainer:
    """A plan compiled once; `traces` counts how often."""

    def __init__(self, plan: Plan) -> None:
        advance = make_advance(plan)
        self.traces = 0

        def counted(member, schedule, updates):
            self.traces += 1
            return advance(member, schedule, updates)

        self.new = jax.jit(lambda schedule, key: new(plan, schedule, key))
        self.advance = jax.jit(counted)

    def train(self, schedule, *updates: int, key=KEY, member=None):
        """The member after so many updates, a call for each, and the metrics of all of them."""
        member, rows = self.new(schedule, key) if member is None else member, []
        for count in updates:
            member, metrics = self.advance(member, schedule, jnp.int32(count))
            rows.append(jax.tree.map(lambda x, count=count: np.asarray(x)[:count], metrics))
        return jax.tree.map(np.asarray, member), jax.tree.map(lambda *x: np.concatenate(x), *rows)
