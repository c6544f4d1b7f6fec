"""Does what we say of a study hold in other seeds? `python -m benchmarks.claims smile [--sets 3] [--at 0.5 1]`.

Runs a study as shipped in disjoint sets of seeds, each set as large as the study's own, and prints what each set shows
side by side, as Markdown. A sentence about results holds if it is true of every column; else say what varies. Runs lie
in runs/claims/STUDY/; they go on where they stopped, and what is done is not done again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from chisel import lab
from chisel.analysis.bounded import Range, difference_interval, mean_interval, share_interval
from chisel.build.build import load_study
from chisel.devices import use_devices
from chisel.findings import levels, series
from chisel.findings.effects import measured
from chisel.report.effect_rows import in_words
from chisel.runs import store as runs
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.terminal.progress import teller

READINGS = ("returns", "total_effect", "choice")  # that are printed, if nobody says which


def disjoint(study: Study, sets: int) -> list[Study]:
    """The study with its own seeds, with as many that follow them, and so on.

    >>> from chisel.build.build import load_study
    >>> [s.training.seed_numbers for s in disjoint(load_study("smile").replaced(seeds=2), 3)]
    [[0, 1], [2, 3], [4, 5]]
    """
    first, count = study.training.first_seed, study.training.seeds
    return [study.replaced(first_seed=first + i * count) for i in range(sets)]


def named(study: Study) -> str:
    """Which seeds a study has: a folder and a column."""
    numbers = study.training.seed_numbers
    return f"seeds {numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else f"seed {numbers[0]}"


def folder(out: Path, name: str, study: Study) -> Path:
    """Where the run of one set lies; studies with other steps than shipped lie beside each other."""
    numbers = study.training.seed_numbers
    return out / Path(name).stem / f"{study.training.steps}-seeds-{numbers[0]}-{numbers[-1]}"


def values(readings: xr.Dataset, checkpoint: int, wanted: Sequence[str]) -> xr.DataArray:
    """The readings that claims are made of, at one checkpoint: (measure, schedule, seed).

    Args:
        checkpoint: its place among the checkpoints.
        wanted: kinds of readings, as `readings.nc` calls them.
    """
    found = measured(readings.isel(checkpoint=[checkpoint]))
    meant = [c for kind in ("true", "proxy") for c in series.listed(readings, f"{kind}_channels")]
    kept = [
        reading in wanted and (reading != "returns" or of in meant)
        for reading, of in zip(found["reading"].values, found["of"].values, strict=True)
    ]
    return found.isel(measure=np.flatnonzero(kept))


def count(holds: np.ndarray) -> str:
    """In how many seeds something holds, with the 95 % interval of the share.

    >>> count(np.array([True] * 4)), count(np.array([True, False]))
    ('4 of 4 (40 to 100 %)', '1 of 2 (1 to 99 %)')
    """
    low, high = share_interval(int(holds.sum()), holds.size)
    return f"{holds.sum()} of {holds.size} ({100 * low:.0f} to {100 * high:.0f} %)"


def level_table(sets: dict[str, xr.DataArray]) -> list[str]:
    """Every reading under every schedule: mean and 95 % interval in each set."""
    first = next(iter(sets.values()))
    lines = _head("reading", "schedule", *sets)
    for measure in first["measure"].values:
        for schedule in first["schedule"].values:
            within = _within(first.sel(measure=measure))
            found = [x.sel(measure=measure, schedule=schedule).values for x in sets.values()]
            cells = [in_words(mean_interval(x, within), x).removeprefix("+") for x in found]
            lines.append(_row(measure, schedule, *cells))
    return lines


def difference_table(sets: dict[str, xr.DataArray]) -> list[str]:
    """Every schedule less the first, seed by seed: the mean, in how many seeds it is above 0, and if sets agree."""
    first = next(iter(sets.values()))
    base, *others = first["schedule"].values
    if not others:
        return []
    lines = _head("reading", f"schedule, less {base}", *sets, "above 0 in all seeds", "sets agree")
    for measure in first["measure"].values:
        for schedule in others:
            every = [
                (x.sel(measure=measure, schedule=schedule) - x.sel(measure=measure, schedule=base)).values
                for x in sets.values()
            ]
            known = [values[np.isfinite(values)] for values in every]
            if not all(values.size for values in known):
                lines.append(_row(measure, schedule, *["–"] * (len(sets) + 2)))
                continue
            within = _within(first.sel(measure=measure))
            cells = [f"{in_words(difference_interval(v, within))}; {(v > 0).sum()} of {v.size}" for v in known]
            agree = len({float(np.sign(v.mean())) for v in known}) == 1
            total = count(np.concatenate(known) > 0)
            lines.append(_row(measure, schedule, *cells, total, "yes" if agree else "no"))
    return lines


def influence_table(sets: dict[str, xr.Dataset], checkpoint: int) -> list[str]:
    """In how many seeds each decision-influence is found at one checkpoint; nothing where verdicts were not read."""
    if not all("verdict" in readings for readings in sets.values()):
        return []
    held = {name: x["verdict"].isel(checkpoint=checkpoint).any("layer") for name, x in sets.items()}
    first = next(iter(held.values()))
    lines = _head("schedule", "feature → goal", *sets, "all seeds")
    for schedule in first["schedule"].values:
        for feature in first["feature"].values:
            for goal in first["goal"].values:
                where = {"schedule": schedule, "feature": feature, "goal": goal}
                found = [x.sel(where).values.astype(bool) for x in held.values()]
                if any(x.any() for x in found):
                    cells = [f"{x.sum()} of {x.size}" for x in found]
                    lines.append(_row(schedule, f"{feature} → {goal}", *cells, count(np.concatenate(found))))
    return lines


def nearest_checkpoint(readings: xr.Dataset, progress: float) -> int:
    """The place of the checkpoint that is nearest to a share of training."""
    return int(np.abs(readings["progress"].values - progress).argmin())


def tables(sets: dict[str, xr.Dataset], progress: Sequence[float], wanted: Sequence[str]) -> list[str]:
    """All tables at the checkpoints that are nearest to some shares of training."""
    first = next(iter(sets.values()))
    usual, lines = levels.common(first), []
    for checkpoint in dict.fromkeys(nearest_checkpoint(first, x) for x in progress):
        steps = int(first["checkpoint"].values[checkpoint])
        lines += [f"## At {steps:,} of {int(first.attrs['steps']):,} steps", "", f"Returns: {_on(first, usual)}.", ""]
        found = {name: values(readings, checkpoint, wanted) for name, readings in sets.items()}
        for part in (level_table(found), difference_table(found), influence_table(sets, checkpoint)):
            lines += [*part, ""] if part else []
    return lines


def _on(readings: xr.Dataset, usual: str) -> str:
    """Which levels returns are of, and what can be reached there."""
    tops = {c: float(levels.ceilings_of(readings, usual, c)[0]) for c in series.listed(readings, "true_channels")}
    known = [f"ceiling of {c} {top:.2f}" for c, top in tops.items() if np.isfinite(top)]
    return "; ".join([f"{usual} – {levels.described(readings, usual)}", *known])


def _within(measure: xr.DataArray) -> Range:
    """What a reading can be."""
    return Range(float(measure["least"]), float(measure["most"]))


def _head(*columns: str) -> list[str]:
    return [_row(*columns), "|" + "---|" * len(columns)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"


def main(words: Sequence[str] | None = None) -> None:
    """Runs what is not done yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study file, or the bare name of a shipped one")
    parser.add_argument("--battery", default="values")
    parser.add_argument("--sets", type=int, default=3, help="how many disjoint sets of seeds")
    parser.add_argument("--seeds", type=int, help="seeds in each set; as many as the study has by default")
    parser.add_argument("--steps", type=int, help="steps of each member; as the study has by default")
    parser.add_argument("--at", type=float, nargs="+", default=[1.0], help="checkpoints, as shares of training")
    parser.add_argument("--readings", nargs="+", default=list(READINGS), help="which kinds of readings to print")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    options = parser.parse_args(words)
    use_devices(None)
    found: dict[str, xr.Dataset] = {}
    try:
        wanted = load_study(options.study).replaced(options.seeds, options.steps)
        for study in disjoint(wanted, options.sets):
            path = folder(options.out, options.study, study)
            with teller(quiet=True) as tell:
                lab.run(study, path, options.battery, None, tell)
            found[named(study)] = lab.open_run(path).dataset(runs.READINGS)
    except WrongInput as error:
        parser.error(str(error))
    print("\n".join(tables(found, options.at, options.readings)))


if __name__ == "__main__":
    main()
