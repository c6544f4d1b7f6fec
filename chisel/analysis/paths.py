"""Path dependence: whether agents that score alike were left different by the way they came there.

Policies are compared by the Jensen–Shannon distance (Lin 1991), which is a metric (Endres & Schindelin 2003). How much
farther policies lie apart between schedules than within one is an energy distance, halved (Székely & Rizzo 2013): in
expectation it is 0 if schedules leave the same distribution of policies, and above 0 if not. Straight lines between
networks are judged by their barrier (Frankle et al. 2020).
"""

import math
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from chisel.analysis.missing import measured

Numbers = NDArray[np.float64]
BLOCK = 2**21  # probabilities compared at once


def js_distance(p: ArrayLike, q: ArrayLike) -> Numbers:
    """The Jensen–Shannon distance over the last axis: the square root of the divergence in bits; 0 to 1.

    Source: Lin (1991), "Divergence measures based on the Shannon entropy"; Endres & Schindelin (2003), "A new metric
    for probability distributions".

    Args:
        p, q: probabilities [..., outcomes]; other axes are broadcast.

    Returns:
        Without the last axis: 0 where equal, 1 where nothing is possible under both.

    >>> js_distance([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]).round(4).tolist()
    [1.0, 0.0, 0.5579]
    """
    one, other = measured(p), measured(q)
    return _apart(_entropy((one + other) / 2), _entropy(one), _entropy(other))


def _entropy(p: Numbers) -> Numbers:
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(-1)


def _apart(middle: Numbers, one: Numbers, other: Numbers) -> Numbers:
    """From entropies. Rounding may take the divergence of nearly equal policies below 0."""
    return np.sqrt(np.clip(middle - (one + other) / 2, 0.0, 1.0))


def distances(policies: ArrayLike) -> Numbers:
    """How far members' policies lie apart: the mean over states of their Jensen–Shannon distance.

    Args:
        policies: [members, states, actions], probabilities.

    Returns:
        [members, members], symmetric, 0 on the diagonal. NaN for a member whose probabilities are.

    >>> distances([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    every = measured(policies)
    members, each = len(every), _entropy(every)
    found = np.zeros((members, members))
    step = max(1, BLOCK // max(1, every[0].size))
    for i in range(members):
        for start in range(i + 1, members, step):
            others = slice(start, min(start + step, members))
            middle = _entropy((every[i] + every[others]) / 2)
            found[i, others] = found[others, i] = _apart(middle, each[i], each[others]).mean(-1)
    return found


class Matched(NamedTuple):
    """For every member the checkpoint at which it comes nearest to a common return.

    Fields:
        at: [schedule, seed], numbers of checkpoints; −1 for a member of which no return is known.
        achieved: [schedule, seed], its return there.
        target: the common return.
        spread: highest less lowest achieved: how far members still differ.
    """

    at: NDArray[np.intp]
    achieved: Numbers
    target: float
    spread: float


def matched(returns: ArrayLike, target: float | None = None) -> Matched:
    """The checkpoint of every member whose return lies nearest to a common target; of equally near ones the latest.

    Args:
        returns: [schedule, seed, checkpoint]; NaN counts as not known.
        target: by default the smallest of the schedules' highest mean returns over seeds, which each can reach.

    Raises:
        ValueError: no return is known of a schedule.

    >>> found = matched([[[0.0, 1.0, 3.0]], [[0.0, 1.5, 2.0]]])
    >>> found.target, found.at.tolist(), found.spread
    (2.0, [[2], [2]], 1.0)
    >>> matched([[[0.0, 1.0, 3.0]], [[0.0, 1.5, 2.0]]], target=1.25).at.tolist()
    [[1], [1]]
    """
    values = measured(returns)
    known = ~np.isnan(values)
    if not known.any((1, 2)).all():
        raise ValueError(f"no return is known of schedules {np.flatnonzero(~known.any((1, 2))).tolist()}")
    count = known.sum(1)
    mean = np.where(known, values, 0.0).sum(1) / np.maximum(count, 1)  # [schedule, checkpoint]
    best = np.where(count > 0, mean, -np.inf).max(1)
    wanted = float(best.min()) if target is None else float(target)
    gap = np.where(known, np.abs(values - wanted), np.inf)
    index = values.shape[-1] - 1 - np.argmin(gap[..., ::-1], -1)
    achieved = np.take_along_axis(values, index[..., None], -1)[..., 0]
    spread = float(np.nanmax(achieved) - np.nanmin(achieved))
    return Matched(np.where(known.any(-1), index, -1), achieved, wanted, spread)


class Divergence(NamedTuple):
    """How much farther members lie apart between schedules than within one.

    Fields:
        between, within: mean distances over pairs of members of different seeds.
        difference: between less within.
        low, high: its 95 % jackknife interval over seeds; NaN for fewer than three.
        p: one-sided, that labels of schedules mean nothing.
        rearrangements: how many p rests on; it cannot be less than one of them.
    """

    between: float
    within: float
    difference: float
    low: float
    high: float
    p: float
    rearrangements: int


def divergence(
    distances: ArrayLike, schedule: ArrayLike, seed: ArrayLike, draws: int = 20_000, seed_: int = 0
) -> Divergence:
    """Whether schedules leave policies farther apart than seeds do.

    Only pairs of different seeds count, between schedules and within: equal seeds share their beginning, and would lie
    nearer for that reason alone. Under the null hypothesis, the schedules of a seed may as well be exchanged: the
    permutation test does so within each seed (Fisher 1935; with distances Anderson 2001), in all ways if there are no
    more than `draws`, else at random. Distances are held fixed: a target of matched returns is not chosen anew.

    The interval leaves out one seed at a time (for means over pairs, Arvesen 1969), with Student's t. A jackknife's
    variance is too large on average (Efron & Stein 1981). In simulations with 3–10 seeds the interval covers 97–99 %
    where schedules differ little and about 95 % where they differ much; down to 90 % where seeds have heavy tails.

    Args:
        distances: [members, members]. A seed with a member whose distances are NaN is left out; with fewer than two
            left, nothing is told: all NaN, of 0 rearrangements.
        schedule, seed: [members], labels; every seed once under every schedule.
        draws: at most so many rearrangements.
        seed_: of the draws.

    Raises:
        ValueError: fewer than two schedules or seeds, or a seed not once under every schedule.

    >>> far = 1.0 - np.eye(2)[[0, 0, 0, 1, 1, 1]][:, [0, 0, 0, 1, 1, 1]]
    >>> found = divergence(far, ["a", "a", "a", "b", "b", "b"], [0, 1, 2, 0, 1, 2])
    >>> found.between, found.within, found.p, found.rearrangements
    (1.0, 0.0, 0.25, 4)
    """
    cells = _cells(measured(distances), np.asarray(schedule), np.asarray(seed))
    seeds, count = cells.shape[:2]
    if seeds < 2:
        none = math.nan
        return Divergence(none, none, none, none, none, p=none, rearrangements=0)
    own = np.einsum("skti,ki->st", cells, np.eye(count))  # sums over schedules, of each two seeds
    within, between = own / count, (cells.sum((1, 3)) - own) / (count * (count - 1))
    pairs = np.triu_indices(seeds, 1)
    low, high = np.clip(_jackknife(between - within), -1.0, 1.0)  # distances are 0 to 1
    p, rearrangements = _permutation(cells, draws, seed_)
    means = float(between[pairs].mean()), float(within[pairs].mean())
    return Divergence(*means, means[0] - means[1], float(low), float(high), p, rearrangements)


def _cells(far: Numbers, schedule: NDArray[np.generic], seed: NDArray[np.generic]) -> Numbers:
    """Distances as [seed, schedule, seed, schedule], without the seeds of which some are not known."""
    labels, column = np.unique(schedule, return_inverse=True)
    names, row = np.unique(seed, return_inverse=True)
    place = np.full((len(names), len(labels)), -1)
    place[row, column] = np.arange(len(far))
    if len(far) != place.size or (place < 0).any():
        raise ValueError(
            f"{len(far)} members of {len(labels)} schedules and {len(names)} seeds: "
            "expected every seed once under every schedule"
        )
    if len(labels) < 2 or len(place) < 2:
        raise ValueError(f"{len(labels)} schedule(s) and {len(place)} seed(s): expected two or more of each")
    lost = np.all(np.isnan(far) | np.eye(len(far), dtype=bool), axis=1)
    place = place[~lost[place].any(1)]
    return far[np.ix_(place.ravel(), place.ravel())].reshape(*place.shape, *place.shape)


def _jackknife(values: Numbers, level: float = 0.95) -> tuple[float, float]:
    """Limits of the mean of [seed, seed] over pairs of different seeds."""
    seeds = len(values)
    if seeds < 3:
        return math.nan, math.nan
    apart = np.where(np.eye(seeds, dtype=bool), 0.0, values)
    left = (apart.sum() - 2 * apart.sum(1)) / ((seeds - 1) * (seeds - 2))
    half = stdtrit(seeds - 1, 0.5 + level / 2) * math.sqrt((seeds - 1) * np.var(left))
    mean = apart.sum() / (seeds * (seeds - 1))
    return float(mean - half), float(mean + half)


CHUNK = 4096  # rearrangements held at once


def _permutation(cells: Numbers, draws: int, seed: int) -> tuple[float, int]:
    """The share of rearrangements in which members lie at least as far apart, and how many were looked at.

    All distances together never change, nor how many are within schedules: so the less these are, the farther.
    """
    seeds, count = cells.shape[:2]
    exact = math.factorial(count) ** (seeds - 1) <= draws
    ways = _all_ways(seeds, count) if exact else _some_ways(seeds, count, draws, seed)
    observed, as_far, looked_at = float(_within(cells, np.tile(np.arange(count), (seeds, 1, 1)))[0]), 0, 0
    for orders in ways:
        as_far += int(np.sum(_within(cells, orders) <= observed * (1 + 1e-9) + 1e-12))
        looked_at += orders.shape[1]
    return (as_far / looked_at, looked_at) if exact else ((1 + as_far) / (1 + looked_at), 1 + looked_at)


def _within(cells: Numbers, orders: NDArray[np.intp]) -> Numbers:
    """The sum of distances within schedules over pairs of seeds; `orders` [seeds, rearrangements, schedules]."""
    found = np.zeros(orders.shape[1])
    for s, t in combinations(range(len(cells)), 2):
        found += cells[s, orders[s], t, orders[t]].sum(-1)
    return found


def _all_ways(seeds: int, schedules: int) -> Iterator[NDArray[np.intp]]:
    """All orders of every seed but the first: to exchange schedules in all seeds alike changes nothing."""
    ways = np.array(list(permutations(range(schedules))))
    sizes = [1] + [len(ways)] * (seeds - 1)
    for start in range(0, math.prod(sizes), CHUNK):
        rows = np.arange(start, min(start + CHUNK, math.prod(sizes)))
        yield np.stack([ways[i] for i in np.unravel_index(rows, sizes)])


def _some_ways(seeds: int, schedules: int, draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    chance = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        shape = seeds, min(CHUNK, draws - start), schedules
        yield chance.permuted(np.broadcast_to(np.arange(schedules), shape), axis=-1)


def excess(values: ArrayLike) -> Numbers:
    """How far values along a line lie above the straight line between the first and the last.

    Args:
        values: [alphas, ...] at evenly spaced points from one end to the other.

    >>> excess([1.0, 5.0, 3.0]).tolist()
    [0.0, 3.0, 0.0]
    """
    array = measured(values)
    along = np.linspace(0.0, 1.0, len(array)).reshape(-1, *[1] * (array.ndim - 1))
    # From the nearer end, so that nothing is left over at either.
    rise = array[-1] - array[0]
    straight = np.where(along < 0.5, array[0] + along * rise, array[-1] - (1 - along) * rise)
    return array - straight


def barrier(values: ArrayLike, both_ways: bool = False) -> Numbers:
    """The largest excess of a loss on the straight line between two networks: 0 if it rises nowhere above its ends.

    Source: Frankle et al. (2020), "Linear mode connectivity and the lottery ticket hypothesis", who compare with the
    mean of both ends; with the line between them, as here, two networks of unequal loss have no barrier for that
    reason alone (Entezari et al. 2022).

    Args:
        values: [alphas, ...] at evenly spaced points from one network to the other, both included.
        both_ways: the largest absolute departure instead, for what is neither good nor bad, such as bids.

    Returns:
        Without the first axis; never below 0. What is measured with noise has so a barrier above 0 by chance: compare
        `excess` in the middle, which has not been chosen.

    >>> float(barrier([0.0, 0.5, 1.0])), float(barrier([0.0, 3.0, 1.0])), float(barrier([1.0, 0.0, 1.0]))
    (0.0, 2.5, 0.0)
    >>> float(barrier([1.0, 0.0, 1.0], both_ways=True))
    1.0
    """
    above = excess(values)
    return np.max(np.abs(above) if both_ways else above, axis=0)
