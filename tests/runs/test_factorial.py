"""Factorials: every cell is trained as if alone, the first part that cells share once, and what cannot be is refused."""

import shutil
from collections import namedtuple
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from chisel import lab
from chisel.build.build import load_study, resolve
from chisel.runs import store as runs
from chisel.runs import train as trainer
from chisel.runs.estimate import check
from chisel.runs.train import population_of, reseeds, sharing_of
from chisel.study.factorial import FactorialPart
from chisel.study.files import WrongInput
from chisel.training import population as population_module
from chisel.training.sharing import alone, sharing
from tests.bits import same_bits as same
from tests.trained import checkpoint, read_text, trained

TEXT = """
world = "smile"
agent = { network = { widths = [8] } }
[training]
steps = 3072
seeds = 2
worlds = 16
rollout = 16
checkpoints = { count = 1 }
[factorial]
phases = { early = 0.25, mid = 0.5, late = 0.75 }
conditions = { good = { helped = 1.0, "shape.near_water" = 0.5 }, bad = { smile = 1.0 } }
washout = { until = 1.0, reward = { helped = 1.0, smile = 1.0 }, learning_rate = 0.001 }
"""
UPDATES = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("factorial") / "whole"
    return trained(path, read_text(TEXT))


# What is trained


@pytest.mark.exact
def test_what_is_shared_is_what_each_would_be_by_itself(whole, tmp_path, monkeypatch):
    """Every cell and arm, bit for bit, at every checkpoint: parameters, optimiser, worlds, keys; and what was reported."""
    study = whole.study
    monkeypatch.setattr(trainer, "sharing_of", lambda study, resolved: alone(len(study.schedule), 2, UPDATES))
    apart = trained(tmp_path / "apart", study)
    for updates in study.checkpoint_updates:
        assert same(checkpoint(whole, updates), checkpoint(apart, updates)), f"they differ at update {updates}"


@pytest.mark.exact
def test_a_cell_is_what_it_is_in_a_study_of_its_own(whole, tmp_path):
    name = "good bad good"
    parts = [p for p in whole.study.schedule if p.name == name]
    lone = trained(tmp_path / "lone", whole.study.model_copy(update={"factorial": None, "schedule": parts}))
    at = [p.name for p in whole.study.schedule].index(name) * 2
    for updates in whole.study.checkpoint_updates:
        mine = jax.tree.map(lambda x: x[at : at + 2], checkpoint(whole, updates))
        assert same(mine, checkpoint(lone, updates)), f"it differs at update {updates}"


def test_arms_differ_from_their_base_where_they_say(whole):
    names = [p.name for p in whole.study.schedule]
    row = {name: names.index(name) * 2 for name in names}

    def params(name, updates):
        return jax.tree.map(lambda x: x[row[name]], checkpoint(whole, updates)[0].agent.params)

    assert same(params("other luck from mid", 3), params("good good good", 3))
    assert not same(params("other luck from mid", 6), params("good good good", 6))
    assert same(params("freeze in mid", 6), params("good good good", 3)), "what does not learn stays as it was"
    assert not same(params("freeze in mid", 9), params("freeze in mid", 6))
    assert not same(params("no reward in late", 9), params("good good good", 9))
    data = whole.dataset(runs.TRAINING)
    late = data["paid"].sel(schedule="no reward in late").isel(update=slice(6, 9))
    assert (late == 0).all()
    assert (data["paid"].sel(schedule="no reward in late").isel(update=slice(3, 5)) != 0).any()
    assert (data["learning_rate"].sel(schedule="freeze in mid").isel(update=slice(3, 6)) == 0).all()


@pytest.mark.exact
@pytest.mark.parametrize("last", [3, 6])
def test_it_goes_on_in_the_middle_of_any_level(whole, tmp_path, last):
    shutil.copytree(whole.path, tmp_path / "again")
    this = runs.open_run(tmp_path / "again")
    for updates in (u for u in this.study.checkpoint_updates if u > last):
        shutil.rmtree(this.checkpoint(updates))
    (this.path / runs.TRAINING).unlink()
    assert lab.train(this)
    for updates in this.study.checkpoint_updates:
        for one, other in zip(checkpoint(whole, updates), checkpoint(this, updates), strict=True):
            assert same(one, other), f"another state after going on from update {last}, at {updates}"
    assert (this.path / runs.TRAINING).read_bytes() == (whole.path / runs.TRAINING).read_bytes()


def test_side_by_side_as_on_an_accelerator_it_comes_to_the_same(monkeypatch):
    """There arrays shrink to the members that are worked on; only rounding is another."""

    def ends():
        (population, keys), shared, at = population_of(wanted, 2), sharing_of(wanted, resolve(wanted)), 0
        members = population.gather(population.new(keys))
        for edge in shared.splits():
            population.together(shared.leaders(at))
            laid, metrics = population.advance(population.lay(members), edge - at)
            assert metrics.paid.shape == (population.members, edge - at)
            members, at = population.gather(laid), edge
        return members.agent.params

    wanted = read_text(TEXT.replace("[factorial]", "[factorial]\narms = []").replace("seeds = 2", "seeds = 3"))
    in_turn = ends()
    monkeypatch.setattr(population_module, "slots", lambda device: 1)
    monkeypatch.setattr(population_module, "side_by_side", lambda mesh, members: -(-members // mesh.size))
    for one, other in zip(*map(jax.tree.leaves, (in_turn, ends())), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


# What is shared


def test_the_tree_has_the_branches_of_the_design():
    """2^(P+1) − 2 phases instead of P · 2^P (`measurement.md`: 14 against 24 for P = 3), without guidance."""
    text = TEXT.replace(', "shape.near_water" = 0.5', "").replace("[factorial]", "[factorial]\narms = []")
    text = text.replace("late = 0.75", "late = 1.0").replace("mid = 0.5", "mid = 0.6666").replace("0.25", "0.3333")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("washout"))
    wanted = read_text(text)
    shared = sharing_of(wanted, resolve(wanted))
    assert len(wanted.schedule) == 8
    assert shared.splits() == [4, 8, UPDATES]
    assert shared.trained(0, UPDATES) == 14 * 4 * 2  # phases × updates × seeds
    found = check(wanted, measure=False)
    assert found.steps == 24 * 4 * 2 * 256
    assert found.trained == 14 * 4 * 2 * 256


def test_cells_part_where_what_is_in_force_does():
    """The shaping weight of the next update counts in this one, for what it leads to."""
    wanted = read_text(TEXT)
    shared = sharing_of(wanted, resolve(wanted))
    names = [p.name for p in wanted.schedule]

    def parting(one, other):
        return int(shared.parting[names.index(one), names.index(other)])

    assert parting("good good good", "good good bad") == 5  # one before the edge
    assert parting("good good good", "bad good good") == 0
    assert parting("good good good", "other luck from mid") == 3
    assert parting("good good good", "freeze in late") == 6
    assert (shared.parting == shared.parting.T).all()
    for update in range(UPDATES):
        leaders = shared.leaders(update)
        assert (leaders[leaders] == leaders).all()
        assert (leaders % 2 == np.arange(len(leaders)) % 2).all(), "members of different seeds are not one"


def test_schedules_that_never_part_are_one_and_with_criteria_nobody_is():
    text = """
    [[schedule]]
    name = "one"
    reward = { helped = 1.0 }
    [[schedule]]
    name = "other"
    phases = [{ until = 0.5, reward = { helped = 1.0 } }, { until = 1.0, reward = { helped = 1.0 } }]
    """
    wanted = read_text(TEXT.split("[factorial]")[0] + text)
    assert sharing_of(wanted, resolve(wanted)).parting.tolist() == [[UPDATES, UPDATES], [UPDATES, UPDATES]]
    late = resolve(
        read_text(TEXT.split("[factorial]")[0] + text.replace("until = 0.5, ", "until = 0.5, reseed = true, "))
    )
    assert sharing(late.schedules, 2, [[], [6]]).parting[0, 1] == 6
    achieved = text.replace(
        "{ helped = 1.0 } }, {", "{ helped = 1.0 }, advance = { channel = 'helped', above = 9 } }, {"
    )
    wanted = read_text(TEXT.split("[factorial]")[0] + achieved)
    assert sharing_of(wanted, resolve(wanted)).parting.tolist() == [[UPDATES, 0], [0, UPDATES]]


def test_arms_change_to_other_numbers_at_their_phase():
    wanted = read_text(TEXT)
    assert [reseeds(p, wanted) for p in wanted.schedule if "luck" in p.name] == [[3], [6]]


def test_who_changes_to_other_numbers_is_told_by_the_schedule_it_is_under_now():
    """Guards may have put a member under another schedule, or halted it."""
    wanted = read_text(TEXT)
    members = namedtuple("Members", "key")(np.arange(2 * 2 * len(wanted.schedule), dtype=np.uint32).reshape(-1, 2))
    under = np.zeros(len(members.key), np.int32)
    under[[3, 5]] = [p.name for p in wanted.schedule].index("other luck from mid")
    watch = trainer.unwatched(wanted)._replace(under=under, halted=np.arange(len(under)) == 5)
    after = trainer._other_luck(wanted, members, 3, watch)
    assert np.flatnonzero((after.key != members.key).any(1)).tolist() == [3]
    assert trainer._other_luck(wanted, members, 4, watch) is members


# What a file says


def test_a_factorial_is_written_and_read_again(tmp_path):
    wanted = read_text(TEXT)
    path = tmp_path / "study.toml"
    path.write_text(wanted.to_toml(), encoding="utf-8")
    assert load_study(str(path)) == wanted
    assert "[[schedule]]" not in wanted.to_toml()
    assert wanted.replaced(seeds=3).training.seeds == 3


def test_every_combination_is_made_in_order():
    part = FactorialPart(
        phases={"a": 1.0, "b": 2.0},
        conditions={"x": {"helped": 1.0}, "y": {"smile": 1.0}, "z": {"clown": 1.0}},
        arms=[],
    )
    assert list(part.cells.items())[:4] == [("x x", (0, 0)), ("x y", (0, 1)), ("x z", (0, 2)), ("y x", (1, 0))]
    assert len(part.schedules()) == 9
    assert part.ends == [0.5, 1.0]
    made = next(s for s in part.schedules() if s.name == "z x")
    assert [list(p.reward) for p in made.phases] == [["clown"], ["helped"]]


BAD = SimpleNamespace(
    equal=(
        "bad = { smile = 1.0 }",
        'bad = { helped = 1.0, "shape.near_water" = 0.5, smile = 0 }',
        "is equal to 'good'",
    ),
    seeds=("seeds = 2", "seeds = 1", "needs 2 seeds or more"),
    overlap=("mid = 0.5", "mid = 0.2", "phases overlap"),
    washout=("until = 1.0", "until = 0.7", "phases overlap"),
    short=("mid = 0.5", "mid = 0.26", "shorter than one of the 12 updates"),
    words=("bad = {", '"very bad" = {', "is not one word"),
    channel=("bad = { smile", "bad = { smil", "did you mean 'smile' or 'seen_smile'?"),
    arm=("[factorial]", '[factorial]\narms = ["frozen"]', "did you mean 'freeze'?"),
    both=(
        "[factorial]",
        '[[schedule]]\nname = "x"\nreward = { helped = 1.0 }\n[factorial]',
        "leave out one of the two",
    ),
    match=("world =", 'match = "reward"\nworld =', "weigh the conditions"),
    one=(", bad = { smile = 1.0 }", "", "at least 2 items"),
    param=("learning_rate = 0.001", "world_params = { clowns = 1 }", "did you mean 'clown' or 'clown_distance'?"),
)


@pytest.mark.parametrize("case", vars(BAD))
def test_what_cannot_be_is_refused(case, tmp_path):
    old, new, message = vars(BAD)[case]
    assert old in TEXT
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(WrongInput) as error:
        load_study(str(path))
    assert message in str(error.value)
    assert "mine.toml" in str(error.value)


def test_neither_schedules_nor_a_factorial_is_refused():
    with pytest.raises(WrongInput, match=r"one \[\[schedule\]\] or more, or a \[factorial\]"):
        read_text(TEXT.split("[factorial]")[0])
