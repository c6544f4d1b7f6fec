"""How fast readings are taken: `python benchmarks/probing.py [--battery values] [--checkpoints 12]`.

Three measurements in one run, with the default study's world and network:

- the battery over 16 members × 12 checkpoints, against training these members (`smile`, its default length);
- probes a second, against fitting the same probes one by one with scikit-learn, and how far their scores differ;
- peak memory, after few checkpoints and after all.
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from chisel.devices import use_devices

SKLEARN_PROBES = 24  # of the same probes, that scikit-learn fits
ROUNDS = 9  # of both in turn: a shared machine's pace changes from second to second


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battery", default="values")
    parser.add_argument("--checkpoints", type=int, default=12)
    parser.add_argument("--share", type=float, default=0.05, help="of the default study's training that is timed")
    options = parser.parse_args()
    use_devices(None)
    from chisel.build.build import load_study
    from chisel.probing.reader import Reader
    from chisel.runs.train import population_of
    from chisel.study.battery import load_battery

    study = load_study("smile")
    population, keys = population_of(study, None)
    members = population.new(keys)
    population.compile(members)
    updates = max(1, round(options.share * study.training.updates))
    start = time.perf_counter()
    done = 0
    while done < updates:
        step = min(population.plan.chunk, updates - done)
        members, _ = population.advance(members, step)
        done += step
    training = (time.perf_counter() - start) / done * study.training.updates
    print(f"training, {population.members} members: {training:.0f} s ({done} updates timed)")

    battery, _ = load_battery(options.battery)
    world, network = population.plan.world, population.plan.agent.network
    # No two alike, as late in training: networks that are the same are read once.
    chance = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(x)[: population.members] + chance.normal(0, 1e-6, (population.members, *x.shape[1:])),
        members.agent.params,
    )
    params = jax.tree.map(np.float32, params)
    numbers = {name: p.default for name, p in world.params.items()}
    start = time.perf_counter()
    reader = Reader(battery, world, network, numbers, population.members, None)
    reader.read(params)
    compiling = time.perf_counter() - start
    peaks = []
    start = time.perf_counter()
    for _ in range(options.checkpoints):
        reader.read(params)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    reading = time.perf_counter() - start
    told = f"reading {options.checkpoints} checkpoints with {options.battery!r}"
    print(f"{told}: {reading:.1f} s, {reading / training:.2f} of training")
    print(f"making and compiling the reader: {compiling:.1f} s")
    print(f"peak memory after 1 and after {options.checkpoints} checkpoints: {peaks[0]:.2f}, {peaks[-1]:.2f} GiB")
    against_sklearn(reader, network, params)


def against_sklearn(reader, network, params) -> None:
    """Probes a second: all features, layers and members at once, and one after another."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import r2_score, roc_auc_score

    from chisel.probing import linear
    from chisel.training.population import gather, lay, mesh, side_by_side, spread

    bank, binary = reader.subject.bank, jnp.asarray(reader.binary)
    labels, half, l2 = bank.features[:, reader._columns], len(bank.features) // 2, reader.battery.decode.l2
    activations = jax.jit(jax.vmap(lambda p: network.apply(p, bank.observations).activations))(params)
    x = jnp.concatenate([activations[layer] for layer in reader.layers])  # [members × layers, n, units]
    devices = mesh(None, len(x))
    score = spread(
        lambda one: linear.score(one, labels, binary, binary, l2), devices, len(x), side_by_side(devices, len(x))
    )
    chance = np.random.default_rng(0)
    chosen = [(int(chance.integers(len(x))), int(chance.integers(labels.shape[1]))) for _ in range(SKLEARN_PROBES)]
    times, off = [], 0.0
    with jax.default_matmul_precision("highest"):
        laid = lay(x, devices)
        for _ in range(ROUNDS):
            jax.block_until_ready(score(laid))  # compiled; scikit-learn's threads, which wait busily, are asleep again
            start = time.perf_counter()
            ours = gather(score(laid), len(x))
            own, theirs = ours.size / (time.perf_counter() - start), 0.0
            for i, f in chosen:
                h, y = np.asarray(x[i], np.float64), np.asarray(labels[:, f])
                centre, scale = h[:half].mean(0), h[:half].std(0)
                z, known = (h - centre) / np.where(scale > 1e-6, scale, np.inf), ~np.isnan(y)
                first, second = known[:half], known[half:]
                start = time.perf_counter()
                if reader.binary[f]:
                    probe = LogisticRegression(C=1 / (first.sum() * l2), max_iter=1000, tol=1e-6).fit(
                        z[:half][first], y[:half][first]
                    )
                    found = roc_auc_score(y[half:][second], probe.decision_function(z[half:][second]))
                else:
                    probe = Ridge(alpha=first.sum() * l2).fit(z[:half][first], y[:half][first])
                    found = r2_score(y[half:][second], probe.predict(z[half:][second]))
                theirs += time.perf_counter() - start
                off = max(off, abs(found - ours[i, f]))
            times.append((own, len(chosen) / theirs))
    own, theirs = np.median(times, 0)
    ratios = sorted(own / theirs for own, theirs in times)
    print(f"probes a second, median of {ROUNDS} rounds: {own:,.0f}, scikit-learn one by one {theirs:,.0f}")
    print(f"that is {np.median(ratios):.0f} times ({ratios[0]:.0f} to {ratios[-1]:.0f})")
    print(f"scores differ by {off:.1e} at most")


if __name__ == "__main__":
    main()
