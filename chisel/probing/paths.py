"""What networks do where none of them was trained, and on the straight line between two of them.

Policies are told on the bank: it is drawn without any policy and its facts vary independently, hence off every
schedule's training distribution. Along a line (Frankle et al. 2020) the return is of `study` levels
(`chisel.probing.battery.LEVELS`), with the same luck at every point, and bids are of the bank. Networks with memory
look at a state of the bank as readers do: a few times, as if an episode began there.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from chisel.agents.networks import Network
from chisel.agents.policy import looked, policy
from chisel.analysis.bounded import ANY, COUNT, Range, mean_interval
from chisel.analysis.paths import barrier, excess
from chisel.probing.choice import returns
from chisel.probing.influence import mean_bids
from chisel.probing.reader import Reader
from chisel.training.population import gather, lay, mesh, side_by_side, spread
from chisel.worlds.world import World, names

PAIRS = ("pair", "seed")


class Ground(NamedTuple):
    """What networks are tried on.

    Fields:
        observations: of the bank, [states, …].
        shortens: [states, goals, actions], the actions that shorten the path to each goal; None if nobody knows.
        levels: [episodes, …] start states of `study` levels.
        params: the level distribution, as numbers.
        key: the luck of all episodes.
    """

    observations: Array
    shortens: Array | None
    levels: Any
    params: dict[str, Array]
    key: Array


class Line(NamedTuple):
    """What is read along the straight line between two networks.

    Fields:
        bid: mean bid for each goal on the bank, in nats; in units of return for action values. None without paths.
        returns: mean of each channel's sum over an episode, unweighted.
    """

    bid: Float[Array, "alphas goals"] | None
    returns: Float[Array, "alphas channels"]


def ground(reader: Reader, params: dict[str, float]) -> Ground:
    """The bank, the `study` levels and the luck of a reader, so that numbers are those of its readings.

    Args:
        params: the level distribution that the reader was given.
    """
    bank = reader.subject.bank
    return Ground(
        observations=bank.observations,
        shortens=bank.shortens if reader.world.goals else None,
        levels=jax.tree.map(lambda x: x[0], reader.subject.levels.states),  # `study`
        params={name: jnp.float32(value) for name, value in params.items()},
        key=jax.random.fold_in(jax.random.key(0xAC7), reader.battery.bank.seed),  # as in `Reader`
    )


def action_probabilities(
    network: Network, params: Any, observations: Array, before: int = 0
) -> Float[Array, "states actions"]:
    """How likely a network chooses each action without exploration.

    As it acts (`chisel.agents.policy.choose`): a policy draws from its logits; of action values the highest is chosen,
    the first of equal ones, so that one action is sure.

    Args:
        observations: [states, …].
        before: how many times a network with memory looks at a state before it is read.
    """
    logits = looked(network, params, observations, before).logits
    if network.greedy:
        return jax.nn.one_hot(jnp.argmax(logits, -1), network.actions)
    return jax.nn.softmax(logits)


def between(params_a: Any, params_b: Any, alphas: Float[Array, " alphas"]) -> Any:
    """Parameters on the straight line from one network (α = 0) to another (α = 1), with a leading [alphas] axis.

    Both ends are met exactly, and between equal networks all are equal, bit for bit.

    >>> import jax.numpy as jnp
    >>> between({"w": jnp.array([0.0, 1.0])}, {"w": jnp.array([4.0, 1.0])}, jnp.array([0.0, 0.25, 1.0]))["w"].tolist()
    [[0.0, 1.0], [1.0, 1.0], [4.0, 1.0]]
    """

    def of_leaf(a: Array, b: Array) -> Array:
        alpha = alphas.reshape(-1, *[1] * jnp.ndim(a))
        return jnp.where(alpha < 0.5, a + alpha * (b - a), b - (1 - alpha) * (b - a))

    return jax.tree.map(of_leaf, params_a, params_b)


def line(world: World, network: Network, before: int, alphas: Array, params_a: Any, params_b: Any, on: Ground) -> Line:
    """What networks on the straight line between two do; each is measured after the other."""

    def one(params: Any) -> Line:
        bid = None
        if on.shortens is not None:
            bid = mean_bids(looked(network, params, on.observations, before).logits, on.shortens, network.greedy)
        return Line(bid, returns(world, policy(network, params), on.key, on.levels, on.params))

    return jax.lax.map(one, between(params_a, params_b, alphas))


def policies(
    network: Network, before: int, params: Any, on: Ground, devices: int | None = None
) -> Float[np.ndarray, "members states actions"]:
    """`action_probabilities` of many networks on the bank; parameters with a leading [members] axis."""

    def one(params: Any, on: Ground) -> Array:
        return action_probabilities(network, params, on.observations, before)

    return _over(one, on, devices, params)


def lines(
    world: World, network: Network, before: int, alphas: Any, params_a: Any, params_b: Any, on: Ground,
    devices: int | None = None,
) -> Line:  # fmt: skip
    """`line` between many pairs of networks; parameters with a leading [pairs] axis, host arrays with that axis."""
    measure = partial(line, world, network, before, jnp.asarray(alphas, jnp.float32))
    return _over(measure, on, devices, params_a, params_b)


def _over(function: Any, on: Ground, devices: int | None, *params: Any) -> Any:
    """A function of (parameters …, Ground) over a leading axis of the parameters, compiled and laid over devices."""
    count = len(jax.tree.leaves(params)[0])
    over = mesh(devices, count)
    compiled = spread(function, over, count, side_by_side(over, count), shared=1)
    return gather(compiled(*(lay(x, over) for x in params), on), count)


def connected(along: Line, alphas: np.ndarray, whole: np.ndarray, world: World, true: Sequence[str]) -> xr.Dataset:
    """Loss and bids along lines, their barriers, and these over seeds.

    Args:
        along: host arrays [pairs × seeds, alpha, …].
        alphas: evenly spaced from 0 to 1, an odd number.
        whole: [pair, seed], pairs of which no end has diverged; the others are NaN.
        true: the channels that the loss is made of.
    """
    channels = names(world).channels

    def shaped(values: Any) -> np.ndarray:
        found = np.array(values, np.float64).reshape(*whole.shape, *values.shape[1:])
        found[~whole] = np.nan
        return np.moveaxis(found, 2, 0)  # [alpha, pair, seed, …]

    returns = shaped(along.returns)
    loss = -returns[..., [channels.index(name) for name in true]].sum(-1)
    data = {"returns": (("alpha", *PAIRS, "channel"), returns), "loss": (("alpha", *PAIRS), loss)}
    data |= _over_seeds("loss_barrier", barrier(loss), within=COUNT) | _over_seeds(
        "loss_middle", excess(loss)[len(alphas) // 2]
    )
    coords = {"alpha": alphas, "channel": list(channels)}
    if along.bid is not None:
        bid = shaped(along.bid)
        data["bid"] = (("alpha", *PAIRS, "goal"), bid)
        data |= _over_seeds("bid_barrier", barrier(bid, both_ways=True), "goal", within=COUNT)
        coords["goal"] = list(world.goals)
    return xr.Dataset(data, coords).transpose(*PAIRS, "alpha", ...)


def _over_seeds(name: str, values: np.ndarray, *more: str, within: Range = ANY) -> dict[str, Any]:
    """Values [pair, seed, …], and their mean over seeds with its interval."""
    found = mean_interval(values, within, axis=1)
    limits = {f"{name}_{part}": (("pair", *more), getattr(found, part)) for part in found._fields}
    return {name: ((*PAIRS, *more), values)} | limits


def described(data: xr.Dataset, greedy: bool) -> xr.Dataset:
    """A dataset in which every variable says what it is and in which unit."""
    apart = "mean Jensen–Shannon distance of policies over the bank's states"
    of_bids = "return" if greedy else "nat"
    meanings = {
        "alpha": ("how far on the straight line from the first schedule's agent to the second's", "1"),
        "matched_checkpoint": (
            "checkpoint whose return lies nearest to the target; NaN: the agent has diverged",
            "step",
        ),
        "matched_return": ("return of the true channels there, on `study` levels", "1"),
        "distance": (f"{apart}, at matched return", "1"),
        "between": ("mean distance of agents of two schedules and different seeds", "1"),
        "within": ("mean distance of agents of one schedule and different seeds", "1"),
        "divergence": ("distance between schedules less within", "1"),
        "divergence_low": ("lower limit of divergence: 95 % jackknife interval over seeds", "1"),
        "divergence_high": ("upper limit of divergence: 95 % jackknife interval over seeds", "1"),
        "divergence_p": ("p value of divergence: schedules exchanged within seeds; each pair by itself", "1"),
        "rearrangements": ("how many the p value rests on; it cannot be below one of them", "1"),
        "returns": ("mean of each channel's sum over an episode, unweighted", "1"),
        "loss": ("less the mean return of the true channels, on `study` levels", "1"),
        "loss_barrier": ("largest excess of the loss over the straight line between its ends", "1"),
        "loss_middle": ("excess of the loss half way, which can be below 0", "1"),
        "bid": ("mean bid for the goal on the bank", of_bids),
        "bid_barrier": ("largest departure of the bid from the straight line between its ends", of_bids),
        "same_matched": ("whether the two agents are the same, bit for bit, at matched return", "1"),
        "same_last": ("whether the two agents are the same, bit for bit, in the end", "1"),
        "same_until": ("last checkpoint up to which the two are the same, bit for bit; NaN: none", "step"),
    }
    parts = {"_mean": "mean over seeds", "_low": "lower limit of the 95 % interval", "_high": "upper limit of it"}
    for name in map(str, data.variables):
        base = name.removeprefix("overall_")
        tail = next((tail for tail in parts if base not in meanings and base.endswith(tail)), "")
        if base.removesuffix(tail) in meanings:
            meaning, units = meanings[base.removesuffix(tail)]
            meaning += f": {parts[tail]}" if tail else ""
            data[name].attrs = {"long_name": meaning + (", of all schedules" if base != name else ""), "units": units}
    return data
