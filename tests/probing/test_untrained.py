"""Networks that learned nothing: what the whole chain of tests lets through."""

import jax
import numpy as np

from chisel.agents.networks import Form, make_network
from chisel.probing.dataset import dataset
from chisel.probing.reader import Reader
from chisel.study.battery import Battery
from chisel.worlds.world import names
from tests.probing.switches import switches

MANY = 200
BATTERY = Battery.model_validate(
    {
        "bank": {"layouts": 256},
        "influence": {"states": 64, "nulls": 39},
        "readings": ["score", "total_effect", "mediated"],
    }
)


def test_of_200_untrained_networks_at_most_one_in_twenty_yields_a_verdict():
    """Each is held against *another* untrained network, since against itself nothing has any skill."""
    world = switches()
    network = make_network(names(world).observation, len(world.actions), Form((24, 24)))
    reader = Reader(BATTERY, world, network, {}, members=MANY, devices=2)

    def drawn(first):
        nets = [network.init(jax.random.key(first + i)) for i in range(MANY)]
        return reader.read(jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *nets))

    data = dataset(reader, [drawn(0), drawn(MANY)], ["nothing"], MANY, [0, 8], batch=16, updates=8)
    last = data.isel(schedule=0, checkpoint=1)
    any_verdict = last.verdict.any(("layer", "feature", "goal"))
    assert int(any_verdict.sum()) <= MANY // 20, f"{int(any_verdict.sum())} of {MANY} untrained networks want something"
