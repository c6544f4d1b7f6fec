"""What probes of other people's networks cost: `python benchmarks/outside.py [--part 2]`.

20 checkpoints × 4 layers × 30 concepts × 5,000 rows × 512 units, scores only: `chisel.probing.outside.decode`, against
scikit-learn's `LogisticRegression` (its default solver and tolerance, the same penalty, standardised float32) for one
concept after another, on the same halves of the same arrays, in one process. Scores differ mostly because scikit-learn
stops early: with `--tol 1e-8` they differ less.

Time is CPU time: user and system, summed over all threads. scikit-learn gets one thread; with more, its threads wait
busily for each other, which would count against it. Compiling counts: compiled programs of earlier runs are not used.
Activations are like those of real networks: units are correlated (a few directions hold most of the variance), have
offsets and scales of their own, and half of them are rectified. Some concepts can be told without error, others hardly
at all, and some are rare.

With `--part N`, N checkpoints from all of training are read, scikit-learn is given every seventh concept of them, which
are of every kind, and the rest is calculated: what the first call takes and a second does not counts once, all else in
proportion.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from chisel.probing.outside import decode
from chisel.study.battery import L2

CHECKPOINTS, LAYERS, CONCEPTS, ROWS, UNITS = 20, 4, 30, 5000, 512
SOURCES = 64  # directions in which activations vary, besides noise
PART = 7  # with --part, scikit-learn gets one concept of so many; no multiple of the numbers of their kinds, 5 and 3
Layers = dict[str, np.ndarray]


def concepts(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the rows are about, [rows, sources], and concepts of it: from exact to noise, from frequent to rare."""
    sources = rng.normal(size=(ROWS, SOURCES))
    found = {}
    for i in range(CONCEPTS):
        along = sources @ rng.normal(size=SOURCES) / np.sqrt(SOURCES)
        noisy = along + (0.0, 0.3, 1.0, 3.0, 30.0)[i % 5] * rng.normal(size=ROWS)
        found[f"concept_{i}"] = noisy > np.quantile(noisy, (0.5, 0.7, 0.95)[i % 3])
    return sources, found


def layer(rng: np.random.Generator, sources: np.ndarray, strength: float) -> np.ndarray:
    """Activations of one layer: [rows, units] in float32."""
    spectrum = strength / np.arange(1, SOURCES + 1) ** 0.5
    mixed = (sources * spectrum) @ rng.normal(size=(SOURCES, UNITS)) + 0.5 * rng.normal(size=(ROWS, UNITS))
    rectified = np.where(np.arange(UNITS) % 2, np.maximum(mixed, 0), mixed)
    return ((rectified + rng.normal(size=UNITS)) * np.exp(rng.normal(size=UNITS))).astype(np.float32)


def checkpoints(sources: np.ndarray, count: int) -> Iterator[tuple[int, Layers]]:
    """Checkpoints from all of training; the later, the more of the sources is in them."""
    for at in np.linspace(0, CHECKPOINTS - 1, count).round().astype(int).tolist():
        rngs = (np.random.default_rng([at, i]) for i in range(LAYERS))
        yield at, {f"layer_{i}": layer(rng, sources, 0.3 + at / CHECKPOINTS) for i, rng in enumerate(rngs)}


def costing(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns, its CPU seconds on all threads, and its seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def of_sklearn(
    layers: Layers, labels: dict[str, np.ndarray], fitted: np.ndarray, tested: np.ndarray, tol: float
) -> np.ndarray:
    """Areas under the curve, one probe after another: [layer, feature]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    found = []
    for x in layers.values():
        scaler = StandardScaler().fit(x[fitted])
        seen, unseen = scaler.transform(x[fitted]), scaler.transform(x[tested])
        for y in labels.values():
            probe = LogisticRegression(C=1 / (len(seen) * L2), tol=tol, max_iter=5000).fit(seen, y[fitted])
            found.append(roc_auc_score(y[tested], probe.decision_function(unseen)))
    return np.reshape(found, (len(layers), len(labels)))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=int, help="read so many checkpoints and calculate the rest; by default all")
    parser.add_argument("--tol", type=float, default=1e-4, help="scikit-learn's tolerance")
    options = parser.parse_args()
    part = options.part
    jax.config.update("jax_enable_compilation_cache", False)
    sources, labels = concepts(np.random.default_rng(0))
    tested = np.random.default_rng(1).permutation(ROWS) < ROWS // 2
    made: dict[int, Layers] = dict(checkpoints(sources, part or CHECKPOINTS))

    def read() -> xr.Dataset:
        return decode(made, labels, test=tested, measures=("score",))

    found, cpu, wall = costing(read)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if part:
        _, again, _ = costing(read)
        cpu = cpu - again + again / part * CHECKPOINTS
    few = dict(list(labels.items())[:: PART if part else 1])
    theirs, differ = 0.0, []
    for at in made:
        with threadpool_limits(1):
            meant, spent, _ = costing(lambda at=at: of_sklearn(made[at], few, ~tested, tested, options.tol))
        theirs += spent
        differ.append(np.abs(found["score"].sel(checkpoint=at, feature=list(few)).values - meant).max())
    theirs *= CHECKPOINTS / len(made) * len(labels) / len(few)
    how = f"calculated from {part} checkpoints" if part else f"measured; {wall:.0f} s on the clock"
    print(f"chisel: {cpu:.0f} s of CPU, compiling included ({how})")
    print(f"scikit-learn, one by one: {theirs:.0f} s of CPU ({'calculated' if part else 'measured'})")
    print(f"that is {cpu / theirs:.3f} of it (wanted: at most 0.5); scores differ by {max(differ):.1e} at most")
    print(f"peak memory with all activations at hand: {peak:.2f} GiB (wanted: at most 3)")


if __name__ == "__main__":
    main()
