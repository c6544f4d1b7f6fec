"""Seeds by number: a member depends on the number of its seed, and not on which other seeds there are."""

import jax
import numpy as np
import pytest

from chisel import lab
from chisel.runs import store as runs
from chisel.runs.fork import forked
from chisel.study.files import WrongInput
from chisel.study.study import LAST_SEED
from chisel.terminal.describe import describe_run
from chisel.training.population import seed_keys
from tests.bits import same_bits as same
from tests.tiny import TINY_BATTERY, TINY_STUDY
from tests.trained import checkpoint, read_text, trained

UPDATES = 8
GUARD = """
[[guard]]
when = { reading = "returns", channel = "helped", above = 0.0 }
then = { switch = "help" }
"""


def run_of(folder, seeds: int, first_seed: int) -> runs.Run:
    """Trained and read."""
    battery = folder / "battery.toml"
    battery.write_text(TINY_BATTERY)
    study = read_text(TINY_STUDY + GUARD).replaced(seeds=seeds, first_seed=first_seed)
    this = runs.create(folder / f"run-{first_seed}", study, {})
    lab.train(this, str(battery))
    lab.read(this, str(battery))
    return this


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Seeds 0 to 5, and seeds 4 and 5."""
    folder = tmp_path_factory.mktemp("seeds")
    return run_of(folder, 6, 0), run_of(folder, 2, 4)


@pytest.mark.exact
def test_seeds_of_equal_number_are_the_same_bits_whichever_others_there_are(both):
    many, few = both
    rows = np.array([4, 5, 10, 11])  # of two schedules with six seeds each
    for updates in many.study.checkpoint_updates:
        of_many, of_few = checkpoint(many, updates), checkpoint(few, updates)
        assert same(jax.tree.map(lambda x: x[rows], of_many), of_few), f"members differ at update {updates}"
        assert not same(jax.tree.map(lambda x: x[:4], of_many), of_few)
    for name in (runs.TRAINING, runs.READINGS):
        whole, part = many.dataset(name), few.dataset(name)
        assert part["seed"].values.tolist() == [4, 5]
        for variable in part.data_vars:
            here = whole[variable].sel(seed=[4, 5]) if "seed" in whole[variable].dims else whole[variable]
            assert part[variable].equals(here), f"{variable} of {name} differs"


def test_a_run_says_which_seeds_it_has(both):
    _, few = both
    assert few.manifest()["seeds"] == [4, 5]
    assert describe_run(few)["members"] == "4 (2 seeds, 4 to 5, each)"
    assert few.dataset(runs.TRAINING)["guard_seen"].seed.values.tolist() == [4, 5]


def test_a_run_is_not_gone_on_with_other_seeds(both):
    _, few = both
    with pytest.raises(WrongInput, match=r"training\.first_seed is 4 there and 5 here"):
        runs.create(few.path, few.study.replaced(first_seed=5), {})


def test_keys_are_told_by_the_number_alone():
    """Up to the largest; and no two are equal."""
    every = seed_keys(range(100), 1)
    np.testing.assert_array_equal(every, seed_keys(100, 1))
    np.testing.assert_array_equal(seed_keys([7, 99], 3), np.tile(every[[7, 99]], (3, 1)))
    far = seed_keys([0, LAST_SEED - 1, LAST_SEED], 1)
    assert len({row.tobytes() for row in [*every, *far[1:]]}) == 102


@pytest.mark.parametrize(
    ("first", "seeds", "says"),
    [
        (LAST_SEED, 2, "training.first_seed: seeds are at most 2,147,483,647 (31 bits); with 2 of them expected at most 2,147,483,646, found 2,147,483,647"),
        (2**63, 1, "expected at most 2,147,483,647, found 9,223,372,036,854,775,808"),
        (-1, 1, "training.first_seed is -1; expected greater than or equal to 0"),
    ],
)  # fmt: skip
def test_seeds_that_no_file_can_hold_are_refused(first, seeds, says):
    with pytest.raises(WrongInput) as error:
        read_text(TINY_STUDY).replaced(seeds=seeds, first_seed=first)
    assert says in str(error.value)
    assert read_text(TINY_STUDY).replaced(seeds=2, first_seed=LAST_SEED - 1).training.seed_numbers[-1] == LAST_SEED


# Forks


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Seeds 3 to 5."""
    return trained(tmp_path_factory.mktemp("forks") / "parent", read_text(TINY_STUDY).replaced(seeds=3, first_seed=3))


@pytest.mark.exact
def test_a_fork_goes_on_with_the_seeds_that_it_names(parent, tmp_path):
    """Seeds 4 and 5 of a run of 3 to 5, under the same schedules: the run gone on with."""
    this = trained(tmp_path / "fork", forked(parent, 1024, parent.study.replaced(seeds=2, first_seed=4)))
    rows = np.array([1, 2, 4, 5])
    assert same(jax.tree.map(lambda x: x[rows], checkpoint(parent, UPDATES)[0]), checkpoint(this, UPDATES)[0])
    assert this.dataset(runs.TRAINING)["seed"].values.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("first", "seeds", "asked"), [(0, 3, "seeds 0 to 2"), (5, 2, "seeds 5 to 6"), (2, 1, "seed 2")]
)
def test_a_fork_cannot_go_on_with_seeds_that_were_not_trained(parent, first, seeds, asked):
    with pytest.raises(WrongInput) as error:
        forked(parent, 1024, parent.study.replaced(seeds=seeds, first_seed=first))
    said = f"training.first_seed is {first} and training.seeds is {seeds}, which asks for {asked}"
    assert said in str(error.value)
    assert "has seeds 3 to 5 to go on from" in str(error.value)
