"""The tool that tries claims in disjoint sets of seeds: what it counts, and that it goes on where it stopped."""

import numpy as np
import pytest
import xarray as xr

from benchmarks.claims import difference_table, influence_table, level_table, main, nearest_checkpoint
from chisel import lab
from chisel.analysis.bounded import mean_interval
from chisel.report.effect_rows import in_words


def made(*seeds: list[float]) -> xr.DataArray:
    """One measure under schedules `base`, `other`, …; a list of seeds each."""
    names = ["base", "other", "third"][: len(seeds)]
    coords = {"measure": ["return of x"], "schedule": names, "seed": np.arange(len(seeds[0]))}
    coords |= {"least": ("measure", [-np.inf]), "most": ("measure", [np.inf])}
    return xr.DataArray(np.array(seeds, float)[None], coords=coords, dims=("measure", "schedule", "seed"))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_differences_are_within_seeds_and_sets_must_agree():
    """By hand: 1 in both seeds; then 1 and −3, of which the mean is −1."""
    sets = {"a": made([0, 10], [1, 11]), "b": made([0, 10], [1, 7])}
    _, _, row = difference_table(sets)
    assert cells(row)[:2] == ["return of x", "other"]
    assert cells(row)[2].startswith("+1.0")
    assert cells(row)[2].endswith("; 2 of 2")
    assert cells(row)[3].startswith("−1")
    assert cells(row)[3].endswith("; 1 of 2")
    assert cells(row)[4:] == ["3 of 4 (19 to 99 %)", "no"]  # Clopper and Pearson (1934) for 3 of 4: .194 to .994
    assert cells(difference_table({"a": sets["a"], "b": sets["a"]})[-1])[-1] == "yes"
    assert difference_table({"a": made([0, 1])}) == []


def test_what_was_not_measured_is_neither_above_nor_below():
    sets = {"a": made([0, np.nan], [1, 2]), "b": made([0, 1], [np.nan, np.nan])}
    assert cells(difference_table(sets)[-1])[2:] == ["–"] * 4
    assert cells(difference_table({"a": sets["a"]})[-1])[2].endswith("; 1 of 1")


def test_means_stand_side_by_side():
    lines = level_table({"a": made([1, 3], [2, 4]), "b": made([5, 7], [6, 8])})
    assert cells(lines[0]) == ["reading", "schedule", "a", "b"]
    assert cells(lines[2])[2:] == ["2.0 (two seeds: 1.0, 3.0)", "6.0 (two seeds: 5.0, 7.0)"]


def test_intervals_stay_in_the_range_of_the_reading():
    """Shares of .9, 1 and 1 have a t interval that ends above 1."""
    measure = made([0.9, 1, 1]).assign_coords(least=("measure", [0.0]), most=("measure", [1.0]))
    (cell,) = cells(level_table({"a": measure})[-1])[2:]
    assert 0.9 < float(cell.removesuffix(")").split(" to ")[1]) <= 1


def test_influences_are_counted_set_by_set():
    dims = ("schedule", "seed", "checkpoint", "layer", "feature", "goal")
    held = np.zeros((1, 2, 2, 2, 2, 1), bool)
    held[0, 0, 1, 0, 1, 0] = True
    coords = {"schedule": ["s"], "feature": ["f", "g"], "goal": ["h"]}
    one = xr.Dataset({"verdict": (dims, held)}, coords=coords)
    none = xr.Dataset({"verdict": (dims, np.zeros_like(held))}, coords=coords)
    _, _, row = influence_table({"a": one, "b": none}, 1)
    assert cells(row) == [
        "s",
        "g → h",
        "1 of 2",
        "0 of 2",
        "1 of 4 (1 to 81 %)",
    ]  # Clopper and Pearson (1934): .006 to .806
    assert len(influence_table({"a": one, "b": none}, 0)) == 2
    assert influence_table({"a": xr.Dataset()}, 0) == []


def test_the_nearest_checkpoint_is_taken():
    readings = xr.Dataset(coords={"progress": ("checkpoint", [0.0, 0.3, 0.5, 1.0])})
    assert [nearest_checkpoint(readings, x) for x in (0, 0.32, 0.9)] == [0, 1, 3]


def test_a_study_is_tried_in_three_sets_and_gone_on_with(tiny, tiny_battery, tmp_path, capsys, monkeypatch):
    words = [str(tiny), "--battery", str(tiny_battery), "--at", "0.5", "1", "--out", str(tmp_path / "claims")]
    main(words)
    printed = capsys.readouterr().out
    found = sorted((tmp_path / "claims" / "tiny").iterdir())
    assert [p.name for p in found] == ["2048-seeds-0-1", "2048-seeds-2-3", "2048-seeds-4-5"]
    assert [lab.open_run(p).manifest()["seeds"] for p in found] == [[0, 1], [2, 3], [4, 5]]
    assert "## At 1,024 of 2,048 steps" in printed
    assert "## At 2,048 of 2,048 steps" in printed
    assert "| reading | schedule | seeds 0–1 | seeds 2–3 | seeds 4–5 |" in printed
    last = printed.split("## At 2,048")[1]
    assert "ceiling of helped" in last
    (row,) = [cells(line) for line in last.splitlines() if line.startswith("| return of helped | help |")]
    where = {"levels": "study", "channel": "helped", "schedule": "help", "checkpoint": 2048}
    returns = [lab.open_run(p).dataset("readings.nc")["returns"].sel(where) for p in found]
    assert row[2:] == [in_words(mean_interval(x.values), x.values).removeprefix("+") for x in returns]
    monkeypatch.setattr(lab, "train", lambda *_: False)  # nothing is trained again
    monkeypatch.setattr(lab, "read", lambda *_: pytest.fail("read again"))
    main(words)
    assert capsys.readouterr().out == printed
