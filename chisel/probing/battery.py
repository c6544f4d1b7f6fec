"""The battery: what to read, and all of it put together into one labelled dataset."""

from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from pydantic import Field

from chisel.agents.networks import Network
from chisel.probing import choice, influence, linear
from chisel.probing.bank import Bank, make_bank
from chisel.spec import Part, find, load, unknown
from chisel.training.population import gather, lay, mesh, side_by_side, spread
from chisel.worlds.world import World, names


class BankPart(Part):
    """The states on which everything is read."""

    layouts: int = Field(2048, ge=16, multiple_of=2, description="half of them fitted on, half tested")
    seed: int = Field(0, ge=0)


class DecodePart(Part):
    """Linear probes."""

    features: Literal["all"] | list[str] = "all"
    layers: Literal["all"] | list[str] = "all"
    l2: float = Field(1e-2, gt=0)


class ChoicePart(Part):
    """Two-goal levels."""

    layouts: int = Field(64, ge=2, multiple_of=2, description="levels for every pair of goals, half of them exchanged")


class ReturnsPart(Part):
    """Evaluation episodes."""

    episodes: int = Field(128, ge=1, description="episodes on training levels, and as many on decorrelated ones")


class Battery(Part):
    """What to read from every checkpoint of every member."""

    bank: BankPart = BankPart()
    decode: DecodePart = DecodePart()
    choice: ChoicePart = ChoicePart()
    returns: ReturnsPart = ReturnsPart()


def load_battery(name: str) -> tuple[Battery, Path]:
    """A battery by path, or by the bare name of a shipped one; and where it was found.

    Raises:
        WrongInput: there is no such battery, or it cannot be used as it is.
    """
    path = find(name, "probes")
    return load(path, Battery), path


def check_battery(battery: Battery, where: str, world: World, network: Network) -> None:
    """Checks the names in a battery.

    Raises:
        WrongInput: a feature or layer is named that the world or the network does not have.
    """
    asked = (
        ("features", "feature", battery.decode.features, names(world).features),
        ("layers", "layer", battery.decode.layers, network.layers),
    )
    for key, kind, chosen, known in asked:
        for name in () if chosen == "all" else chosen:
            if name not in known:
                raise unknown(f"{where}: decode.{key}", kind, name, known)


class Subject(NamedTuple):
    """What is read on: everything that does not depend on the checkpoint."""

    bank: Bank
    contests: Any
    levels: Any  # [2, episodes, …] start states, on training levels and on decorrelated ones


class Readings(NamedTuple):
    """What one network reads as; see `dataset` for the dimensions that the study adds."""

    score: Array  # [layer, feature]
    ridge_score: Array  # [layer, feature]
    shuffled_score: Array  # [layer, feature]
    bid: Array  # [goal]
    total_effect: Array  # [edit, goal]
    choice: Array  # [goal, rival]
    neither: Array  # [goal, rival]
    returns: Array  # [levels, channel]


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
        self._columns = np.array([known.features.index(f) for f in self.features])
        self._members = members
        self._mesh = mesh(devices, members)
        numbers = {name: jnp.float32(value) for name, value in params.items()}
        contests = choice.make_contests(world, battery.choice.layouts, battery.bank.seed)
        self.subject = Subject(
            make_bank(world, battery.bank.layouts, battery.bank.seed), contests.states, self._levels(numbers)
        )
        read = partial(self._read_one, contests=contests, params=numbers)
        self._read = spread(read, self._mesh, side_by_side(self._mesh, members), shared=1)

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

    def _read_one(self, params_of_network: Any, subject: Subject, contests: choice.Contests, params: Any) -> Readings:
        bank, apply = subject.bank, partial(self.network.apply, params_of_network)
        out = apply(bank.observations)
        scores = [self._scores(out.activations[layer], bank.features[:, self._columns]) for layer in self.layers]
        score, ridge, shuffled = (jnp.stack(x) for x in zip(*scores, strict=True))

        def act(key: Array, observations: Array) -> Array:
            return jax.random.categorical(key, apply(observations).logits)

        # The same luck for every checkpoint and member, so that differences are the network's.
        key = jax.random.fold_in(jax.random.key(0xAC7), self.battery.bank.seed)
        chosen, neither = choice.choices(self.world, act, key, contests._replace(states=subject.contests), params)
        returned = [
            choice.returns(self.world, act, key, jax.tree.map(lambda x, i=i: x[i], subject.levels), params)
            for i in range(2)
        ]
        return Readings(
            score,
            ridge,
            shuffled,
            influence.mean_bids(out.logits, bank.shortens),
            influence.total_effects(apply(bank.put_in).logits, apply(bank.taken_out).logits, bank.shortens_in),
            chosen,
            neither,
            jnp.stack(returned),
        )

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
        found = jax.jit(jax.vmap(jax.vmap(self.world.ceiling)))(self.subject.levels)
        return {name: np.asarray(value).mean(1) for name, value in found.items()}

    def read(self, params: Any) -> Readings:
        """Reads networks whose parameters have a leading [members] axis. Host arrays with that axis come back."""
        return gather(self._read(lay(params, self._mesh), self.subject), self._members)

    def warnings(self) -> list[str]:
        """What makes readings on this bank doubtful: features that nearly coincide, classes that are rare."""
        found, labels = [], np.asarray(self._labels)
        for i, name in enumerate(self.features):
            share = np.nanmean(labels[:, i])
            if self.binary[i] and not 0.05 <= share <= 0.95:
                found.append(f"{name}: only {min(share, 1 - share):.1%} of the bank's states are of its rarer class")
        return found


def dataset(
    reader: Reader,
    rows: list[Readings],
    schedules: list[str],
    seeds: int,
    checkpoints: list[int],
    batch: int,
    updates: int,
) -> xr.Dataset:
    """All readings of a study, labelled.

    Args:
        rows: one `Readings` per checkpoint, [schedules × seeds, …]; the first checkpoint is the untrained network.
        checkpoints: updates done at each.
        batch, updates: environment steps of an update, and updates in all.
    """
    world, known = reader.world, names(reader.world)
    dims = {
        "score": ("layer", "feature"), "ridge_score": ("layer", "feature"), "shuffled_score": ("layer", "feature"),
        "bid": ("goal",), "total_effect": ("edit", "goal"), "choice": ("goal", "rival"), "neither": ("goal", "rival"),
        "returns": ("levels", "channel"),
    }  # fmt: skip

    def shaped(name: str) -> np.ndarray:
        values = np.stack([getattr(row, name) for row in rows], axis=1)  # [members, checkpoints, …]
        return values.reshape(len(schedules), seeds, *values.shape[1:])

    data = xr.Dataset(
        {name: (("schedule", "seed", "checkpoint", *own), shaped(name)) for name, own in dims.items()},
        coords={
            "schedule": schedules,
            "seed": np.arange(seeds, dtype=np.int32),
            "checkpoint": np.array(checkpoints, np.int32) * np.int32(batch),
            "progress": ("checkpoint", np.array(checkpoints) / updates),
            "layer": list(reader.layers),
            "feature": list(reader.features),
            "probe": ("feature", ["logistic" if b else "ridge" for b in reader.binary]),
            "goal": list(world.goals),
            "rival": list(world.goals),
            "edit": list(world.goals),
            "levels": list(LEVELS),
            "channel": list(known.channels),
        },
    )
    ceilings = reader.ceilings()
    data["ceiling"] = (
        ("levels", "channel"),
        np.stack([ceilings.get(c, np.full(2, np.nan)) for c in known.channels], 1),
    )
    data["observation_score"] = ("feature", reader.observation_scores())
    data["untrained_score"] = data["score"].isel(checkpoint=0, drop=True)
    baseline = np.maximum(data["observation_score"], data["untrained_score"])
    data["skill"] = (data["score"] - baseline).transpose(*data["score"].dims)
    return _describe(data)


_MEANINGS: dict[str, tuple[str, str]] = {
    "score": ("held-out AUC (binary) or R² (continuous) of a linear probe", "1"),
    "ridge_score": ("the same with a ridge probe for every feature", "1"),
    "shuffled_score": ("control: the same with labels shuffled over layouts", "1"),
    "observation_score": ("control: the same probe on the raw observation, at the best of four penalties", "1"),
    "untrained_score": ("control: the same probe on the untrained network of the same seed", "1"),
    "skill": ("score less the better of the observation and untrained controls: what training added", "1"),
    "bid": ("mean log-odds of the actions that shorten the path to the goal", "nat"),
    "total_effect": ("mean bid with the edited goal's object put in, less with it taken out", "nat"),
    "choice": ("share of two-goal levels in which the goal is reached before its rival", "1"),
    "neither": ("share of two-goal levels in which none of the two is reached", "1"),
    "returns": ("mean of each channel's sum over an episode, unweighted", "1"),
    "ceiling": ("best reachable mean return of a channel on the same levels; NaN where not known", "1"),
    "checkpoint": ("environment steps of each member", "step"),
    "progress": ("share of training done", "1"),
}


def _describe(data: xr.Dataset) -> xr.Dataset:
    for name, (meaning, units) in _MEANINGS.items():
        data[name].attrs = {"long_name": meaning, "units": units}
    return data
