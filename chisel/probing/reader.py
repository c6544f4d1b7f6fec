"""The reader: a battery made ready for one world and network, and taken from checkpoint after checkpoint."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chisel.agents.networks import Network
from chisel.agents.policy import looked, policy
from chisel.probing import choice, influence, linear
from chisel.probing.bank import Bank, Edits, make_bank
from chisel.probing.battery import Battery, left_out
from chisel.training.population import gather, lay, mesh, side_by_side, spread
from chisel.worlds.world import World, names


class Subject(NamedTuple):
    """What is read on: everything that does not depend on the checkpoint."""

    bank: Bank
    contests: Any  # None where the world has none
    levels: Any  # [2, episodes, …] start states, on training levels and on decorrelated ones


class Readings(NamedTuple):
    """What one network reads as, None where it cannot be measured; `dataset` has the dimensions that the study adds."""

    returns: Array  # [levels, channel]
    score: Array | None = None  # [layer, feature]
    ridge_score: Array | None = None  # [layer, feature]
    shuffled_score: Array | None = None  # [layer, feature]
    bid: Array | None = None  # [goal]
    total_effect: Array | None = None  # [edit, goal]
    choice: Array | None = None  # [goal, rival]
    neither: Array | None = None  # [goal, rival]


LEVELS = ("training", "decorrelated")


class Reader:
    """A battery made ready for one world and network: compiled once, used on every checkpoint.

    Args:
        params: the level distribution of the training levels, as numbers.
        members: how many networks are read at once.
    """

    def __init__(
        self,
        battery: Battery,
        world: World,
        network: Network,
        params: dict[str, float],
        members: int,
        devices: int | None,
    ) -> None:
        known = names(world)
        chosen = battery.decode
        self.battery, self.world, self.network = battery, world, network
        self.layers = network.layers if chosen.layers == "all" else tuple(chosen.layers)
        self.features = known.features if chosen.features == "all" else tuple(chosen.features)
        self.binary = np.array([known.binary[known.features.index(f)] for f in self.features])
        self._columns = np.array([known.features.index(f) for f in self.features], int)
        self._members = members
        self._mesh = mesh(devices, members)
        numbers = {name: jnp.float32(value) for name, value in params.items()}
        self.left_out = left_out(world)
        layouts, seed = battery.choice.layouts, battery.bank.seed
        contests = None if "choice" in self.left_out else choice.make_contests(world, layouts, seed)
        bank = make_bank(world, battery.bank.layouts, seed)
        self.subject = Subject(bank, contests and contests.states, self._levels(numbers))
        read = partial(self._read_one, contests=contests, params=numbers)
        self._read = spread(read, self._mesh, members, side_by_side(self._mesh, members), shared=1)

    def _levels(self, params: dict[str, Array]) -> Any:
        keys = jax.random.split(
            jax.random.fold_in(jax.random.key(0x1E7), self.battery.bank.seed), self.battery.returns.episodes
        )
        training = jax.jit(jax.vmap(lambda k: self.world.reset(k, params)))(keys)
        decorrelated = jax.jit(jax.vmap(self.world.scatter))(keys)
        return jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), training, decorrelated)

    @property
    def _labels(self) -> Array:
        return self.subject.bank.features[:, self._columns]

    def _read_one(
        self, params_of_network: Any, subject: Subject, contests: choice.Contests | None, params: Any
    ) -> Readings:
        bank, actor, greedy = subject.bank, policy(self.network, params_of_network), self.network.greedy
        say = partial(looked, self.network, params_of_network, before=self.battery.bank.burn_in)
        out = say(bank.observations)
        # The same luck for every checkpoint and member, so that differences are the network's.
        key = jax.random.fold_in(jax.random.key(0xAC7), self.battery.bank.seed)
        returned = [
            choice.returns(self.world, actor, key, jax.tree.map(lambda x, i=i: x[i], subject.levels), params)
            for i in range(2)
        ]
        found = Readings(jnp.stack(returned))
        if self.features:
            scores = [self._scores(out.activations[layer], bank.features[:, self._columns]) for layer in self.layers]
            score, ridge, shuffled = (jnp.stack(x) for x in zip(*scores, strict=True))
            found = found._replace(score=score, ridge_score=ridge, shuffled_score=shuffled)
        if bank.shortens is not None:
            found = found._replace(bid=influence.mean_bids(out.logits, bank.shortens, greedy))
        if bank.edits is not None:
            found = found._replace(total_effect=self._effects(say, bank.edits))
        if contests is not None:
            contests = contests._replace(states=subject.contests)
            chosen, neither = choice.choices(self.world, actor, key, contests, params)
            found = found._replace(choice=chosen, neither=neither)
        return found

    def _effects(self, say: Any, edits: Edits) -> Array:
        """Total effects; NaN for the edit of a goal that is a place, which is always there."""
        put_in, taken_out = say(edits.put_in).logits, say(edits.taken_out).logits
        effects = influence.total_effects(put_in, taken_out, edits.shortens_in, self.network.greedy)
        place = np.array([goal in self.world.places for goal in self.world.goals])
        return jnp.where(place[:, None], jnp.nan, effects)

    def _scores(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Score by each feature's own probe, by ridge probes, and by its own probe on shuffled labels."""
        with jax.default_matmul_precision("highest"):
            count = y.shape[1]
            order = jax.random.permutation(jax.random.key(0x5AF), len(x))
            every = jnp.concatenate([y, y, y[order]], axis=1)
            binary = jnp.tile(jnp.asarray(self.binary), 3)
            logistic = binary.at[count : 2 * count].set(False)
            all_scores = linear.score(x, every, binary, logistic, self.battery.decode.l2)
        return all_scores[:count], all_scores[count : 2 * count], all_scores[2 * count :]

    def observation_scores(self) -> np.ndarray:
        """The control *raw observation*: the same probes on what the agent sees; [feature].

        An observation has many more columns than a layer, and overfits at a penalty that suits a layer. So that the
        control is not beaten for that reason, it gets the best of several penalties, even as judged on the test half.
        """
        raw = self.subject.bank.observations.reshape(self.battery.bank.layouts, -1).astype(jnp.float32)
        binary = jnp.asarray(self.binary)
        with jax.default_matmul_precision("highest"):
            score = jax.jit(linear.score)
            penalties = [self.battery.decode.l2 * stronger for stronger in (1.0, 10.0, 100.0, 1000.0)]
            tried = [np.asarray(score(raw, self._labels, binary, binary, l2)) for l2 in penalties]
        return np.max(tried, axis=0)

    def ceilings(self) -> dict[str, np.ndarray]:
        """The best reachable mean return of each true channel on the evaluation levels; [levels]."""
        if self.world.ceiling is None:
            return {}
        found = jax.jit(jax.vmap(jax.vmap(self.world.ceiling)))(self.subject.levels)
        return {name: np.asarray(value).mean(1) for name, value in found.items()}

    def read(self, params: Any) -> Readings:
        """Reads networks whose parameters have a leading [members] axis. Host arrays with that axis come back."""
        return gather(self._read(lay(params, self._mesh), self.subject), self._members)

    def warnings(self) -> list[str]:
        """What cannot be read and why; and what makes readings on this bank doubtful: classes that are rare."""
        found = [f"{reading} is not measurable here: {why}" for reading, why in self.left_out.items()]
        labels = np.asarray(self._labels)
        for i, name in enumerate(self.features):
            share = np.nanmean(labels[:, i])
            if self.binary[i] and not 0.05 <= share <= 0.95:
                found.append(f"{name}: only {min(share, 1 - share):.1%} of the bank's states are of its rarer class")
        return found
