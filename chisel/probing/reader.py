"""The reader: a battery made ready for one world and network, and taken from checkpoint after checkpoint."""

import hashlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from chisel.agents.networks import Network
from chisel.agents.policy import looked, policy
from chisel.probing import choice, controls, judging, linear
from chisel.probing.bank import Bank, edit_names, make_bank
from chisel.probing.battery import left_out
from chisel.probing.causes import Inquiry, Say, causes, erasures, steered
from chisel.probing.diverged import without_diverged
from chisel.probing.influence import mean_bids
from chisel.probing.levels import Drawn, Levels
from chisel.probing.utility import fit_utility
from chisel.study.battery import Battery
from chisel.training.population import Packing, lay, mesh, packing, side_by_side, slots, spread
from chisel.worlds.world import World, names


class Subject(NamedTuple):
    """What is read on: everything that does not depend on the checkpoint."""

    bank: Bank
    again: Bank | None  # the second bank, where there are verdicts to repeat
    contests: Any  # None where the world has none
    nudged: Any
    levels: Drawn  # of the distributions that are the same for every member, which are the leading axis


class Readings(NamedTuple):
    """What one network reads as, None where it is not measured; `dataset` has the dimensions that the study adds.

    What ends in `_again` is the same on the second bank.
    """

    diverged: Array  # []; then all numbers are NaN
    layer_diverged: Array | None = None  # [layer]
    returns: Array | None = None  # [levels, channel]
    score: Array | None = None  # [layer, feature]
    shuffled_score: Array | None = None  # [layer, feature]
    score_blocks: Array | None = None  # [layer, feature, block]
    control_score: Array | None = None  # [layer, feature]
    description_length: Array | None = None  # [layer, feature]
    bid: Array | None = None  # [goal]
    total_effect: Array | None = None  # [edit, goal]
    effect: Array | None = None  # [feature, goal]
    effect_null: Array | None = None  # [feature, goal]
    effect_p: Array | None = None  # [feature, goal]
    gating: Array | None = None  # [context, edit, goal]
    mediated: Array | None = None  # [layer, feature, goal]
    mediated_p: Array | None = None  # [layer, feature, goal]
    erasure: Array | None = None  # [layer, feature]
    erasure_null: Array | None = None  # [layer, feature]
    erasure_bid: Array | None = None  # [layer, feature, goal]
    steering: Array | None = None  # [layer, feature, strength, goal]
    choice: Array | None = None  # [goal, rival]
    neither: Array | None = None  # [goal, rival]
    first: Array | None = None  # [pair, level]; what utilities are fitted to
    utility: Array | None = None  # [goal]
    effort: Array | None = None  # []
    deviance: Array | None = None  # []
    intransitive: Array | None = None  # []
    score_again: Array | None = None
    score_blocks_again: Array | None = None
    effect_again: Array | None = None
    effect_null_again: Array | None = None
    effect_p_again: Array | None = None
    mediated_p_again: Array | None = None


class Scores(NamedTuple):
    """Scores of probes, in all and in blocks of test layouts."""

    score: Any  # [feature]
    blocks: Any  # [feature, block]


CORRELATED, MANY = 0.7, 30  # from which a correlation is warned of; states that it takes
DECODED = frozenset({"score", "mediated", "erasure", "steering"})  # readings for which features are told apart
JUDGED = ("effect", "effect_null", "effect_p", "mediated_p")  # what verdicts need of the second bank, beside scores
STRONGER = (1.0, 10.0, 100.0, 1000.0)  # times a layer's penalty: the observation gets the best of these


class Reader:
    """A battery made ready for one world and network: compiled once, used on every checkpoint.

    Args:
        params: the study's level distribution, as numbers.
        members: how many networks are read at once.
        varied: whether members may train on other levels than these (`chisel.probing.levels`).
    """

    def __init__(
        self,
        battery: Battery,
        world: World,
        network: Network,
        params: dict[str, float],
        members: int,
        devices: int | None,
        varied: bool = False,
    ) -> None:
        known = names(world)
        chosen = battery.decode
        self.battery, self.world, self.network = battery, world, network
        self.layers = network.layers if chosen.layers == "all" else tuple(chosen.layers)
        self.features = known.features if chosen.features == "all" else tuple(chosen.features)
        self.binary = np.array([known.binary[known.features.index(f)] for f in self.features], bool)
        self.edits = edit_names(world)
        self.contexts = tuple(f for f, b in zip(known.features, known.binary, strict=True) if b)
        self._columns = np.array([known.features.index(f) for f in self.features], int)
        self._members = members
        self._mesh = mesh(devices, members)
        numbers = {name: jnp.float32(value) for name, value in params.items()}
        lacking = left_out(world)
        # Nobody is told of what nobody asked for.
        self.left_out = {reading: why for reading, why in lacking.items() if reading in battery.readings}
        self.asked = frozenset(battery.asked) - frozenset(lacking)
        self.levels = Levels(battery, world, params, varied)
        layouts, seed = battery.bank.layouts, battery.bank.seed
        contests = choice.make_contests(world, battery.choice.layouts, seed) if "choice" in self.asked else None
        around = choice.circumstances(world, contests) if contests and "utility" in self.asked else None
        self.subject = Subject(
            bank=make_bank(world, layouts, seed),
            again=make_bank(world, layouts, seed, again=True) if self.judges else None,
            contests=contests and contests.states,
            nudged=contests and contests.nudged,
            levels=self.levels.fixed,
        )
        edits = self.subject.bank.edits
        self._edit_of = np.full(len(known.features), -1) if edits is None else np.asarray(edits.edit_of)
        read = partial(self._read_one, contests=contests, params=numbers)
        self._compiled: dict[str, Any] = {}
        if contests is not None and around is not None:
            pairs, goals = contests.pairs, len(world.goals)
            self._fit_utility = jax.jit(lambda first: fit_utility(pairs, goals, first, around))
        self._read = spread(read, self._mesh, members, side_by_side(self._mesh, members), shared=1)

    @property
    def judges(self) -> bool:
        """Whether all is read that verdicts rest on."""
        return {"score", "total_effect", "mediated"} <= self.asked

    @property
    def _labels(self) -> Array:
        return self.subject.bank.features[:, self._columns]

    def _read_one(
        self,
        params_of_network: Any,
        own: Drawn | None,
        subject: Subject,
        contests: choice.Contests | None,
        params: Any,
    ) -> Readings:
        bank, asked, greedy = subject.bank, self.asked, self.network.greedy
        say = partial(looked, self.network, params_of_network, before=self.battery.bank.burn_in)
        out = say(bank.observations)
        wrong = {name: jnp.any(~jnp.isfinite(x)) for name, x in {**out.activations, "": out.logits}.items()}
        of_layers = jnp.array([wrong[name] for name in self.layers], bool)
        found = Readings(diverged=jnp.any(jnp.stack([*wrong.values()])), layer_diverged=of_layers)
        actor = policy(self.network, params_of_network)
        found = found._replace(**self._played(actor, own, subject, contests, params))
        if "score" in asked:
            found = found._replace(**self._decoded(out.activations, bank))
        if "bid" in asked and bank.shortens is not None:
            found = found._replace(bid=mean_bids(out.logits, bank.shortens, greedy))
        if "total_effect" in asked:
            found = found._replace(**self._caused(say, out.activations, bank))
        if subject.again is not None:
            activations = say(subject.again.observations).activations
            repeated = self._decoded(activations, subject.again, again=True)
            repeated |= self._caused(say, activations, subject.again, again=True)
            found = found._replace(**{f"{name}_again": value for name, value in repeated.items()})
        return found

    def _played(
        self, actor: Any, own: Drawn | None, subject: Subject, contests: choice.Contests | None, params: Any
    ) -> dict[str, Array]:
        """What the network does: returns, choices, utilities."""
        # The same luck for every checkpoint and member, so that differences are the network's.
        key = jax.random.fold_in(jax.random.key(0xAC7), self.battery.bank.seed)
        found = {}
        if "returns" in self.asked:
            levels = subject.levels
            if own is not None:
                levels = jax.tree.map(lambda x, more: jnp.concatenate([x[None], more]), own, levels)
            # One after another, so that the bits of one do not depend on which others there are.
            found["returns"] = jax.lax.map(lambda x: choice.returns(self.world, actor, key, x.states, x.params), levels)
        if contests is not None:
            chosen = choice.choices(self.world, actor, key, subject.contests, contests, params)
            found |= {"choice": chosen.choice, "neither": chosen.neither}
            if "utility" in self.asked:
                unequal = choice.choices(self.world, actor, key, subject.nudged, contests, params)
                first = jnp.concatenate([chosen.first, unequal.first], 1)
                found["first"] = first
        return found

    def _decoded(self, activations: dict[str, Array], bank: Bank, again: bool = False) -> dict[str, Array]:
        """Scores of probes, [layer, feature], and their controls; on the second bank the scores alone."""
        layers = [self._scores(activations[layer], bank, again) for layer in self.layers]
        return jax.tree.map(lambda *x: jnp.stack(x), *layers)

    def _scores(self, x: Array, bank: Bank, again: bool) -> dict[str, Array]:
        y, l2, half = bank.features[:, self._columns], self.battery.decode.l2, len(x) // 2
        count, binary = y.shape[1], jnp.asarray(self.binary)
        labels = [y]
        if not again:
            labels.append(y[jax.random.permutation(jax.random.key(0x5AF), len(x))])
            if "selectivity" in self.asked:
                keys = jax.random.split(jax.random.key(0xC71))
                kinds = controls.types(keys[0], bank.observations.reshape(len(x), -1).astype(jnp.float32))
                labels.append(controls.control_labels(keys[1], kinds, y, binary))
        every, kind = jnp.concatenate(labels, 1), jnp.tile(binary, len(labels))
        with jax.default_matmul_precision("highest"):
            probe = linear.fit(x[:half], every[:half], kind, l2)
            out = linear.predict(probe, x[half:])
            scores = judging.judged(out, every[half:], kind).reshape(len(labels), count)
            names_ = ("score", "shuffled_score", "control_score")
            found = dict(zip(names_, scores, strict=False))
            found["score_blocks"] = judging.judged_in_blocks(out[:, :count], y[half:], binary)
            if not again and "description_length" in self.asked:
                found["description_length"] = controls.description_length(x[:half], y[:half], binary, l2)
        return found

    def _caused(self, say: Say, activations: dict[str, Array], bank: Bank, again: bool = False) -> dict[str, Array]:
        """What edits do, and along what of a layer it passes; on the second bank what verdicts need."""
        assert bank.edits is not None
        place = np.array([edit in self.world.places for edit in self.edits])
        found = causes(say, activations, bank, self._inquiry(again), place)
        if not again and "erasure" in self.asked:
            found |= erasures(say, activations, bank, self._inquiry(again))
        if not again and "steering" in self.asked:
            found |= steered(say, activations, bank, self._inquiry(again), self.battery.steering.strengths)
        return {name: value for name, value in found.items() if not again or name in JUDGED}

    def _inquiry(self, again: bool) -> Inquiry:
        influence = self.battery.influence
        return Inquiry(
            layers=self.layers,
            follow="mediated" in self.asked,
            columns=self._columns,
            edit_of=self._edit_of,
            states=min(influence.states, self.battery.bank.layouts // 2),
            nulls=influence.nulls,
            greedy=self.network.greedy,
            gating="gating" in self.asked and not again,
        )

    def observation_scores(self) -> Scores:
        """The control *raw observation*: the same probes on what the agent sees.

        An observation has many more columns than a layer, and overfits at a penalty that suits a layer. So that the
        control is not beaten for that reason, it gets the best of several penalties, even as judged on the test half.
        """
        bank = self.subject.bank
        raw = bank.observations.reshape(self.battery.bank.layouts, -1).astype(jnp.float32)
        labels, binary, half = bank.features[:, self._columns], jnp.asarray(self.binary), len(raw) // 2

        @jax.jit
        def tried(raw: Array, labels: Array, l2: Array) -> Scores:
            out = linear.predict(linear.fit(raw[:half], labels[:half], binary, l2), raw[half:])
            return Scores(
                judging.judged(out, labels[half:], binary), judging.judged_in_blocks(out, labels[half:], binary)
            )

        with jax.default_matmul_precision("highest"):
            penalties = [self.battery.decode.l2 * stronger for stronger in STRONGER]
            score, blocks = (
                np.stack(x) for x in zip(*(tried(raw, labels, jnp.float32(l2)) for l2 in penalties), strict=True)
            )
        best = np.argmax(np.nan_to_num(score, nan=-np.inf), axis=0)
        every = np.arange(len(best))
        return Scores(score[best, every], blocks[best, every])

    def read(self, params: Any, trained_on: np.ndarray | None = None) -> Readings:
        """Reads networks whose parameters have a leading [members] axis. Host arrays with that axis come back.

        On CPU, networks that are the same bit for bit, as those of equal seed are until their schedules part, are read
        once.

        Args:
            trained_on: [members, params] the numbers of the levels that each trains on, by sorted name; by default the
                study's.
        """
        of_members = params, self.levels.own(trained_on, self._members)
        packed = packing(self._leaders(of_members), self._mesh)
        laid = lay(of_members, self._mesh, packed)
        found = self._gathered(self._read(*laid, self.subject, count=packed.each), packed)
        if found.returns is not None:
            found = found._replace(returns=self.levels.whole(found.returns))
        found = found if found.first is None else found._replace(**self._utilities(found.first, packed))
        return without_diverged(found)

    def _leaders(self, of_members: Any) -> np.ndarray:
        """For every member, the first of those that are the same."""
        if slots(self._mesh.devices.flat[0]) == 1:  # as many as ever: other shapes would have to be compiled
            return np.arange(self._members)
        first: dict[bytes, int] = {}
        leaves = [np.ascontiguousarray(x) for x in jax.tree.leaves(of_members)]
        digests = [hashlib.sha256(b"".join(x[i].tobytes() for x in leaves)).digest() for i in range(self._members)]
        return np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)])

    def _gathered(self, laid: Any, packed: Packing) -> Any:
        return jax.tree.map(lambda x: np.asarray(x)[packed.row], jax.block_until_ready(laid))

    def _utilities(self, first: np.ndarray, packed: Packing) -> dict[str, np.ndarray]:
        """Utilities of members, one after another: nearly singular fits, whose last bits tell compiled loops apart."""
        _, leaders, place = np.unique(packed.row, return_index=True, return_inverse=True)
        fits = [jax.tree.map(np.asarray, self._fit_utility(first[i]))._asdict() for i in leaders]
        return {name: np.stack([fit[name] for fit in fits])[place] for name in fits[0]}

    def probes(self, params: Any) -> dict[str, linear.Probe]:
        """The probes of every layer, fitted to networks; host arrays, [members, …]."""

        def fitted(params_of_network: Any, bank: Bank) -> dict[str, linear.Probe]:
            half, y = self.battery.bank.layouts // 2, bank.features[:, self._columns]
            activations = self._activations(params_of_network, bank)
            binary, l2 = jnp.asarray(self.binary), self.battery.decode.l2
            with jax.default_matmul_precision("highest"):
                return {name: linear.fit(activations[name][:half], y[:half], binary, l2) for name in self.layers}

        return self._over_members("probes", fitted, params)

    def transferred(self, params: Any, probes: dict[str, linear.Probe]) -> np.ndarray:
        """Scores of probes that were fitted at other checkpoints: [members, fitted at, layer, feature].

        Args:
            probes: [members, checkpoints, …].
        """

        def scored(params_of_network: Any, probes: dict[str, linear.Probe], bank: Bank) -> Array:
            half, y = self.battery.bank.layouts // 2, bank.features[:, self._columns]
            activations, binary = self._activations(params_of_network, bank), jnp.asarray(self.binary)

            def one(probes: dict[str, linear.Probe]) -> Array:
                with jax.default_matmul_precision("highest"):
                    out = [linear.predict(probes[name], activations[name][half:]) for name in self.layers]
                    return jnp.stack([judging.judged(x, y[half:], binary) for x in out])

            return jax.lax.map(one, probes)

        return self._over_members("transferred", scored, params, probes)

    def _activations(self, params_of_network: Any, bank: Bank) -> dict[str, Array]:
        return looked(self.network, params_of_network, bank.observations, self.battery.bank.burn_in).activations

    def _over_members(self, name: str, function: Any, *of_members: Any) -> Any:
        if name not in self._compiled:
            batch = side_by_side(self._mesh, self._members)
            self._compiled[name] = spread(function, self._mesh, self._members, batch, shared=1)
        packed = packing(self._leaders(of_members), self._mesh)
        laid = (lay(x, self._mesh, packed) for x in of_members)
        return self._gathered(self._compiled[name](*laid, self.subject.bank, count=packed.each), packed)

    def warnings(self) -> list[str]:
        """What cannot be read and why; and what makes readings on this bank doubtful: classes that are rare."""
        found = [f"{reading} is not measurable here: {why}" for reading, why in self.left_out.items()]
        if not self.asked & DECODED:
            return found
        labels = np.asarray(self._labels)
        for i, name in enumerate(self.features):
            share = np.nanmean(labels[:, i])
            if self.binary[i] and not 0.05 <= share <= 0.95:
                found.append(f"{name}: only {min(share, 1 - share):.1%} of the bank's states are of its rarer class")
        return found + self._correlations(labels)

    def _correlations(self, labels: np.ndarray) -> list[str]:
        """Features that correlate though no edit puts both in: probes cannot tell one from the other."""
        of_edit = np.where(self._edit_of < 0, -1 - np.arange(len(self._edit_of)), self._edit_of)[self._columns]
        known = pd.DataFrame(labels).corr(min_periods=MANY).to_numpy()
        found = []
        for i, j in zip(*np.nonzero(np.triu(np.abs(known) > CORRELATED, 1)), strict=True):
            if of_edit[i] != of_edit[j]:
                pair = f"{self.features[i]} and {self.features[j]}"
                found.append(f"{pair} correlate ({known[i, j]:.2f}) in the bank: probes cannot tell them apart")
        return found
