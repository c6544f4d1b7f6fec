"""Guards: what they see is what is read, what they decide follows from it, and what cannot be read is refused."""

import re
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from chisel import lab
from chisel.build.build import load_study
from chisel.probing import dataset
from chisel.probing.reader import Readings, Scores
from chisel.runs import store as runs
from chisel.runs.guards import Guards, Watch, record_guards, unwatched
from chisel.study.battery import Battery
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.worlds import WORLDS
from tests.bits import assert_same_bits

TRAINING = """
world = "smile"
agent = { network = { widths = [8, 4] } }
[training]
steps = 2560
seeds = 2
worlds = 16
rollout = 16
checkpoints = { count = 5, spacing = "even" }
"""
SCHEDULES = """
[[schedule]]
name = "help"
reward = { helped = 1.0 }
[[schedule]]
name = "smile"
reward = { smile = 1.0 }
"""
MEMBERS = 4  # help and smile, two seeds of each


def guarded(*guards: str) -> str:
    """A study with guards, each as the inside of its table."""
    return TRAINING + SCHEDULES + "".join(f"[[guard]]\n{guard}\n" for guard in guards)


def study_of(*guards: str) -> Study:
    return Study.model_validate(tomllib.loads(guarded(*guards)))


NAN = np.nan
GOALS = WORLDS["smile"].goals  # water, person, clown, plant


class Told:
    """A reader that reads what it is told: the parameters are the readings."""

    world, layers, features = WORLDS["smile"], ("hidden_1", "hidden_2"), ("carrying", "clown_distance")
    edits, contexts, battery = WORLDS["smile"].goals, (), Battery()
    levels = SimpleNamespace(names=("training", "decorrelated"))

    def read(self, params, trained_on=None):
        blank = Readings(np.zeros(MEMBERS, bool), np.full((MEMBERS, 2, 5), NAN), bid=np.full((MEMBERS, 4), NAN))
        return blank._replace(**{name: np.asarray(value, np.float32) for name, value in params.items()})

    def observation_scores(self):
        return Scores(np.array([0.5, 0.1], np.float32), None)


def looked(study: Study, *rows: dict, every: int = 2, untrained: object = None) -> list[Watch]:
    """What guards decide at checkpoints that are read as `rows`, every so many updates from that many on."""
    guards, watches = Guards(study, Told(), untrained), [unwatched(study)]
    for i, row in enumerate(rows, 1):
        watches.append(guards.look(row, every * i, watches[-1]))
    return watches[1:]


def bids(*clown: float) -> dict:
    """Every member's bid for the clown."""
    found = np.full((MEMBERS, 4), NAN)
    found[:, GOALS.index("clown")] = clown
    return {"bid": found}


CLOWN = 'when = { reading = "bid", goal = "clown", above = 0.5 }\n'


def test_a_guard_acts_once_on_the_members_in_which_its_condition_holds():
    study = study_of(CLOWN + 'then = { switch = "smile" }')
    watches = looked(study, bids(0.5, 0.6, NAN, 0.4), bids(0.4, 0.9, 0.7, 0.4), bids(0.7, 0.1, 0.9, NAN))
    assert [w.fired[0].tolist() for w in watches] == [[-1, 2, -1, -1], [-1, 2, 4, -1], [6, 2, 4, -1]]
    assert [w.under.tolist() for w in watches] == [[0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    assert not any(w.halted.any() for w in watches)
    np.testing.assert_allclose(watches[1].seen[0], [0.4, 0.9, 0.7, 0.4], rtol=1e-6)  # acted or not, it goes on looking


def test_below_is_below():
    study = study_of('when = { reading = "bid", goal = "clown", below = 0.5 }\nthen = { halt = true }')
    (watch,) = looked(study, bids(0.5, 0.6, NAN, 0.4))
    assert watch.halted.tolist() == [False, False, False, True]


def test_what_was_decided_before_is_left_as_it_was():
    """A look is a function of the checkpoint and the decisions before it."""
    study = study_of(CLOWN + "then = { halt = true }")
    before = unwatched(study)
    Guards(study, Told(), None).look(bids(1, 1, 1, 1), 2, before)
    assert not before.halted.any()
    assert (before.fired == -1).all()


def test_only_watched_schedules_are_looked_at_and_only_from_then_on():
    study = study_of('watch = ["smile"]\n' + CLOWN.replace("0.5", "0.5, after = 0.07") + "then = { halt = true }")
    study = study.replaced(steps=25_600)  # 100 updates, 0.07 of which are 7.000000000000001
    *before, sixth, seventh = looked(study, *[bids(1, 1, 1, 1)] * 7, every=1)
    assert len(before) == 5
    assert np.isnan(sixth.seen).all()
    assert sixth.fired[0].tolist() == [-1] * 4
    assert seventh.fired[0].tolist() == [-1, -1, 7, 7]
    np.testing.assert_array_equal(seventh.seen[0], [NAN, NAN, 1, 1])


def test_guards_act_in_the_order_of_the_study():
    """The second of two switches stays; who has been halted is looked at by nobody after."""
    study = study_of(
        CLOWN + 'then = { switch = "smile" }',
        'watch = ["help"]\nwhen = { reading = "bid", goal = "clown", above = 0.8 }\nthen = { switch = "help" }',
        'when = { reading = "bid", goal = "clown", above = 2 }\nthen = { halt = true }',
        CLOWN + 'then = { note = "clown" }',
    )
    watches = looked(study, bids(0.6, 0.9, 3, 0.6), bids(0.9, 0.9, 3, 0.9))
    assert [w.under.tolist() for w in watches] == [
        [1, 0, 1, 1],
        [0, 0, 1, 1],
    ]  # by its own schedule, whatever it is under
    assert watches[0].fired.tolist() == [[2, 2, 2, 2], [-1, 2, -1, -1], [-1, -1, 2, -1], [2, 2, -1, 2]]
    assert watches[1].fired.tolist() == [[2, 2, 2, 2], [4, 2, -1, -1], [-1, -1, 2, -1], [2, 2, -1, 2]]
    np.testing.assert_array_equal(np.isnan([w.seen[:, 2] for w in watches]), [[0, 1, 0, 1], [1, 1, 1, 1]])
    assert watches[1].halted.tolist() == [False, False, True, False]


def test_a_dimension_that_is_not_named_is_averaged_over_what_can_be_read():
    choice = np.full((MEMBERS, 4, 4), NAN)
    choice[0, 2] = [0.2, 0.3, NAN, 0.7]
    choice[1, 2] = [0.2, NAN, NAN, NAN]
    choice[:, 1] = 0.9
    study = study_of(*(f'when = {{ reading = "choice", goal = "clown", {more}above = 9 }}\nthen = {{ halt = true }}' for more in ("", 'rival = "plant", ')))  # fmt: skip
    (watch,) = looked(study, {"choice": choice})
    np.testing.assert_allclose(watch.seen, [[0.4, 0.2, NAN, NAN], [0.7, NAN, NAN, NAN]], rtol=1e-6)
    assert (watch.fired == -1).all()


def test_what_is_not_said_is_the_goals_own_edit_and_training_levels():
    effects = np.arange(MEMBERS * 16.0).reshape(MEMBERS, 4, 4)  # [edit, goal]
    returns = np.arange(MEMBERS * 10.0).reshape(MEMBERS, 2, 5)  # [levels, channel]; channels sorted: clown comes first
    asked = (
        ("total_effect", 'goal = "clown"', 4 * 2 + 2),
        ("total_effect", 'goal = "clown", edit = "water"', 2),
        ("returns", 'channel = "comfort"', 1),
        ("returns", 'channel = "comfort", levels = "decorrelated"', 6),
    )
    study = study_of(*(f'when = {{ reading = "{r}", {w}, above = 99 }}\nthen = {{ halt = true }}' for r, w, _ in asked))
    (watch,) = looked(study, {"total_effect": effects, "returns": returns})
    assert watch.seen[:, 0].tolist() == [value for *_, value in asked]
    assert watch.seen[:, 3].tolist() == [value + 3 * (16 if r == "total_effect" else 10) for r, _, value in asked]


def test_skill_is_what_exceeds_the_better_control():
    score = np.tile(np.float32([[0.9, 0.3], [0.7, 0.3]]), (MEMBERS, 1, 1))  # [layer, feature]
    untrained = np.tile(np.float32([[0.8, 0.0], [0.4, 0.2]]), (MEMBERS, 1, 1))
    study = study_of(*(f'when = {{ reading = "skill", feature = "{f}", above = 9 }}\nthen = {{ halt = true }}' for f in Told.features))  # fmt: skip
    (watch,) = looked(study, {"score": score}, untrained={"score": untrained})
    np.testing.assert_allclose(watch.seen[:, 0], [((0.9 - 0.8) + (0.7 - 0.5)) / 2, ((0.3 - 0.1) + (0.3 - 0.2)) / 2], rtol=1e-5)  # fmt: skip


def test_guards_and_tables_hold_skill_against_the_same_control(monkeypatch):
    """Also where one of the two controls cannot be told, which is no reason to know of no skill; or neither can."""
    observation, of_network = np.array([NAN, 0.6, 0.5, NAN, 0.2]), np.array([[0.7, 0.5, NAN, NAN, 0.4]])
    meant = [0.7, 0.6, 0.5, NAN, 0.4]
    scores = Scores(observation, np.tile(observation[:, None], 8))
    monkeypatch.setattr(Told, "observation_scores", lambda self: scores)
    reader = Told()
    guards = Guards(study_of(CLOWN + "then = { halt = true }"), reader, {"score": of_network[None]})
    np.testing.assert_allclose(guards._baseline[0, 0], meant)

    reader.binary = np.ones(5, bool)
    score = np.stack([of_network, np.ones_like(of_network)])[None, None]  # schedule, seed, checkpoint, layer, feature
    dims = ("schedule", "seed", "checkpoint", "layer", "feature")
    data = xr.Dataset({"score": (dims, score), "score_blocks": ((*dims, "block"), np.tile(score[..., None], 8))})
    skill = dataset._with_controls(data, reader).skill.isel(checkpoint=1).values.ravel()
    np.testing.assert_allclose(1 - skill, meant)


def test_what_guards_saw_is_recorded_by_name():
    study = study_of('name = "lure"\n' + CLOWN + 'then = { switch = "smile" }', CLOWN + "then = { halt = true }")
    data = record_guards(study, [unwatched(study), *looked(study, *[bids(0.1, 0.2, 0.3, 0.9)] * 5)])
    assert data["guard"].values.tolist() == ["lure", "bid (goal clown) above 0.5: halt"]
    assert data["checkpoint"].values.tolist() == [0, 512, 1024, 1536, 2048, 2560]
    fired = data["guard_fired"].sel(guard="lure")
    np.testing.assert_array_equal(fired.transpose("schedule", "seed"), [[NAN, NAN], [NAN, 512]])
    seen = data["guard_seen"].sel(guard="lure", seed=1)
    np.testing.assert_allclose(seen.sel(schedule="help"), [NAN, 0.2, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(seen.sel(schedule="smile"), [NAN, 0.9, NAN, NAN, NAN, NAN], rtol=1e-6)  # then halted


def test_when_guards_acted_is_counted_in_64_bits():
    """2^23 updates of 256 steps are 2^31 steps, which a whole number of 32 bits does not hold."""
    study = study_of(CLOWN + "then = { halt = true }").replaced(steps=256 * 2**23)
    data = record_guards(study, [unwatched(study), *looked(study, *[bids(0.1, 0.9, 0.1, 0.9)] * 5, every=2**23)])
    assert data["checkpoint"].values[-1] == 2_147_483_648
    assert data["guard_fired"].max() == 2_147_483_648


BATTERY = """
bank = { layouts = 32 }
decode = { features = ["carrying", "clown_distance"] }
choice = { layouts = 4 }
returns = { episodes = 4 }
"""

# What a guard may read, and where that lies in readings.nc.
CELLS = {
    'reading = "bid", goal = "plant"': ("bid", {"goal": "plant"}),
    'reading = "total_effect", goal = "clown"': ("total_effect", {"goal": "clown", "edit": "clown"}),
    'reading = "total_effect", goal = "clown", edit = "water"': ("total_effect", {"goal": "clown", "edit": "water"}),
    'reading = "choice", goal = "water"': ("choice", {"goal": "water"}),
    'reading = "neither", goal = "water", rival = "clown"': ("neither", {"goal": "water", "rival": "clown"}),
    'reading = "returns", channel = "seen_smile"': ("returns", {"channel": "seen_smile", "levels": "training"}),
    'reading = "returns", channel = "comfort", levels = "decorrelated"': ("returns", {"channel": "comfort", "levels": "decorrelated"}),
    'reading = "score", feature = "clown_distance"': ("score", {"feature": "clown_distance"}),
    'reading = "shuffled_score", feature = "carrying"': ("shuffled_score", {"feature": "carrying"}),
    'reading = "skill", feature = "clown_distance", layer = "hidden_1"': ("skill", {"feature": "clown_distance", "layer": "hidden_1"}),
}  # fmt: skip


def test_a_guard_sees_what_is_read_of_the_checkpoint_in_the_end(tmp_path, monkeypatch):
    """Every kind of reading, in every member, at every checkpoint but the untrained one, where there is no guard yet.

    The reader is built and compiled once here, although training and reading each build their own; `tests/test_lab.py`
    has readings from readers of their own that are equal bit for bit.
    """
    kept, build = [], lab._reader
    monkeypatch.setattr(lab, "_reader", lambda *asked: kept[0] if kept else kept.append(build(*asked)) or kept[0])
    battery, text = tmp_path / "battery.toml", tmp_path / "study.toml"
    battery.write_text(BATTERY)
    text.write_text(guarded(*(f'when = {{ {cell}, above = -9e9 }}\nthen = {{ note = "seen" }}' for cell in CELLS)))
    run = runs.create(tmp_path / "run", load_study(str(text)), {})
    told = []
    assert lab.train(run, str(battery), 2, told.append)
    lab.read(run, str(battery), 2)
    training, readings = run.dataset(runs.TRAINING), run.dataset(runs.READINGS)
    for i, (name, where) in enumerate(CELLS.values()):
        wanted = readings[name].sel(where)
        wanted = wanted.mean([d for d in wanted.dims if d not in ("schedule", "seed", "checkpoint")])
        seen = training["guard_seen"].isel(guard=i).transpose(*wanted.dims)
        assert np.isnan(seen[..., 0]).all()
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(seen[..., 1:], wanted[..., 1:], rtol=1e-6, atol=1e-7, err_msg=str((name, where)))
        if "layer" in where or name in ("bid", "total_effect", "returns"):  # one cell, not a mean: the same bits
            assert_same_bits(seen[..., 1:].values, wanted[..., 1:].values)
        assert np.unique(seen[..., 1:]).size > 4 or name in (
            "choice",
            "neither",
            "returns",
        )  # it does tell members apart
    assert (training["guard_fired"] == 512).all()
    notes = [n.text for n in told if n.stage == "note"]
    assert len(notes) == len(CELLS)
    assert notes[3].startswith("guard at 512 steps: choice (goal water) above -9e+09 in 4 of 4 members (mean ")
    assert notes[3].endswith("): seen")


WRONG = {
    "reading": ('reading = "bids", goal = "clown", above = 1', "guard[0].when.reading: unknown reading 'bids'; did you mean 'bid'?"),
    "both": ('reading = "bid", goal = "clown", above = 1, below = 2', "guard[0].when: expected either `above` or `below`, found both"),
    "neither": ('reading = "bid", goal = "clown"', "guard[0].when: expected either `above` or `below`, found neither"),
    "which": ('reading = "choice", rival = "clown", above = 1', "guard[0].when: which goal? choice is read of one goal at a time"),
    "dimension": ('reading = "bid", goal = "clown", rival = "water", above = 1', "guard[0].when.rival: bid has no rival; it has goal"),
    "after": ('reading = "bid", goal = "clown", above = 1, after = 2', "guard[0].when.after is 2; expected"),
    "key": ('reading = "bid", goals = "clown", above = 1', "unknown key 'goals' in guard[0].when; did you mean 'goal'?"),
    "goal": ('reading = "bid", goal = "clwn", above = 1', "guard[0].when.goal: unknown goal of world 'smile' 'clwn'; did you mean 'clown'?"),
    "rival": ('reading = "choice", goal = "clown", rival = "watr", above = 1', "guard[0].when.rival: unknown goal of world 'smile' 'watr'; did you mean 'water'?"),
    "itself": ('reading = "choice", goal = "clown", rival = "clown", above = 1', "guard[0].when.rival is 'clown', the goal itself; expected another: 'water', 'person', 'plant'"),
    "edit": ('reading = "total_effect", goal = "clown", edit = "tree", above = 1', "guard[0].when.edit: unknown edit of world 'smile' 'tree'"),
    "channel": ('reading = "returns", channel = "smil", above = 1', "guard[0].when.channel: unknown channel of world 'smile' 'smil'; did you mean 'smile'"),
    "feature": ('reading = "skill", feature = "caring", above = 1', "guard[0].when.feature: unknown feature of world 'smile' 'caring'; did you mean 'carrying'?"),
    "layer": ('reading = "score", feature = "carrying", layer = "hidden_3", above = 1', "guard[0].when.layer: unknown layer of the network 'hidden_3'; did you mean 'hidden_"),
}  # fmt: skip


def refused(tmp_path, text: str) -> str:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as error:
        load_study(str(path))
    assert str(error.value).startswith(str(path))
    return str(error.value)


@pytest.mark.parametrize(("when", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_refused_by_its_place(tmp_path, when, says):
    assert says in refused(tmp_path, guarded(f"when = {{ {when} }}\nthen = {{ halt = true }}"))


ACTIONS = {
    "none": ("then = {}", "guard[0].then: expected one of `switch`, `halt = true` and `note`, found none"),
    "false": ("then = { halt = false }", "guard[0].then: expected one of `switch`, `halt = true` and `note`, found none"),
    "two": ('then = { halt = true, switch = "help" }', "guard[0].then: expected one of `switch`, `halt = true` and `note`, found"),
    "schedule": ('then = { switch = "hlp" }', "guard[0].then.switch: unknown schedule 'hlp'; did you mean 'help'?"),
    "watch": ('then = { halt = true }\nwatch = ["help", "simle"]', "guard[0].watch[1]: unknown schedule 'simle'; did you mean 'smile'?"),
    "nobody": ("then = { halt = true }\nwatch = []", "guard[0].watch"),
    "name": ('then = { switch = "hlp" }\nname = "away"', "guard 'away'.then.switch: unknown schedule 'hlp'"),
}  # fmt: skip


@pytest.mark.parametrize(("then", "says"), ACTIONS.values(), ids=ACTIONS)
def test_what_cannot_be_done_is_refused_by_its_place(tmp_path, then, says):
    assert says in refused(tmp_path, guarded(CLOWN + then))


def test_a_place_cannot_be_put_in_or_taken_out(tmp_path):
    """What putting something else in does to the bid for a place can be read, and so can the bid itself."""

    def maze(when: str) -> str:
        text = guarded(f"when = {{ {when}, above = 1 }}\nthen = {{ halt = true }}")
        return re.sub("helped|smile(?= =)", "cheese", text.replace('"smile"\nagent', '"maze"\nagent'))

    says = "is 'corner', a place, which cannot be put in or taken out to see what that does"
    says += "; expected an object: 'cheese', 'marker'"
    assert f"when.goal {says}" in refused(tmp_path, maze('reading = "total_effect", goal = "corner"'))
    of_cheese = maze('reading = "total_effect", goal = "cheese", edit = "corner"')
    assert f"when.edit {says}" in refused(tmp_path, of_cheese)
    for fine in ('"total_effect", goal = "corner", edit = "cheese"', '"bid", goal = "corner"'):
        (tmp_path / "study.toml").write_text(maze(f"reading = {fine}"))
        load_study(str(tmp_path / "study.toml"))


def test_a_world_of_which_little_is_known_allows_little(tmp_path):
    text = guarded(CLOWN + "then = { halt = true }").replace('"smile"\nagent', '"gymnax:CartPole-v1"\nagent')
    text = text.replace("helped =", "reward =").replace("smile =", "reward =")
    says = "guard[0].when.goal is 'clown'; world 'gymnax:CartPole-v1' tells no goals"
    assert says in refused(tmp_path, text)
    text = text.replace('"bid", goal = "clown"', '"score", feature = "speed"')
    assert "guard[0].when.feature is 'speed'; world 'gymnax:CartPole-v1' tells no features" in refused(tmp_path, text)
    (tmp_path / "study.toml").write_text(text.replace('"score", feature = "speed"', '"returns", channel = "reward"'))
    load_study(str(tmp_path / "study.toml"))


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A guarded study that was stopped when its guards were to be made: (study, battery file, folder)."""

    def killed(*_):
        raise KeyboardInterrupt

    path, battery = tmp_path / "study.toml", tmp_path / "battery.toml"
    path.write_text(guarded('when = { reading = "score", feature = "carrying", above = 1 }\nthen = { halt = true }'))
    battery.write_text(BATTERY)
    study = load_study(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(lab, "_reader", killed)
        with pytest.raises(KeyboardInterrupt):
            lab.run(study, tmp_path / "run", str(battery), 2)
    return study, battery, tmp_path / "run"


class Reached(Exception):
    """Somebody is about to read."""


@pytest.fixture
def reached(monkeypatch):
    """Ends a run where a reader is to be made: what comes after takes long, and is not the question."""

    def reach(*_):
        raise Reached

    monkeypatch.setattr(lab, "_reader", reach)


def test_guards_go_on_with_the_battery_that_they_began_with(begun, reached, tmp_path):
    study, battery, folder = begun
    other = tmp_path / "other.toml"
    other.write_text(BATTERY.replace("layouts = 32", "layouts = 64"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    says = r"its guards .*read with the battery '.*battery\.toml'.* not with '.*other"
    with pytest.raises(WrongInput, match=says):
        lab.run(study, folder, str(other), 2)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    battery.write_text(BATTERY + "\n# the same in other words\n")
    with pytest.raises(Reached):
        lab.run(study, folder, str(battery), 2)


def test_a_battery_that_does_not_take_the_reading_is_refused_before_anything_is_written(begun, tmp_path):
    study, battery, _ = begun
    battery.write_text(BATTERY.replace('"carrying", ', ""))
    with pytest.raises(WrongInput, match=r"guard\[0\]\.when\.feature is 'carrying', which "):
        lab.run(study, tmp_path / "new", str(battery), 2)
    assert not (tmp_path / "new").exists()


def test_a_battery_that_leaves_out_the_layer_is_refused_before_anything_is_written(begun, tmp_path):
    _, battery, _ = begun
    text = (tmp_path / "study.toml").read_text().replace('"carrying"', '"carrying", layer = "hidden_2"')
    (tmp_path / "study.toml").write_text(text)
    battery.write_text(BATTERY.replace("decode = {", 'decode = { layers = ["hidden_1"],'))
    says = "guard[0].when.layer is 'hidden_2', which is not among the battery's decode.layers; did you mean 'hidden_1'?"
    with pytest.raises(WrongInput) as error:
        lab.run(load_study(str(tmp_path / "study.toml")), tmp_path / "new", str(battery), 2)
    assert says in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "near"), [("trained", "did you mean 'training'?"), ("no_clwn", "did you mean 'no_clown'?")]
)
def test_levels_that_the_battery_does_not_play_are_refused_before_anything_is_written(begun, tmp_path, name, near):
    _, battery, _ = begun
    text = (tmp_path / "study.toml").read_text()
    when = f'when = {{ reading = "returns", channel = "smile", levels = "{name}", above = 1 }}'
    (tmp_path / "study.toml").write_text(f"{text}[[guard]]\n{when}\nthen = {{ halt = true }}\n")
    battery.write_text("levels = { no_clown = { clown = 0 } }\n" + BATTERY)
    with pytest.raises(WrongInput) as error:
        lab.run(load_study(str(tmp_path / "study.toml")), tmp_path / "new", str(battery), 2)
    assert f"guard[1].when.levels is '{name}'; {near}" in str(error.value)
    assert "levels are 'training', 'study', 'decorrelated', 'no_clown'" in str(error.value)
    assert not (tmp_path / "new").exists()


def test_who_goes_on_in_python_is_held_to_the_battery_too(begun, reached):
    _, battery, folder = begun
    battery.write_text(BATTERY.replace("layouts = 32", "layouts = 64"))
    with pytest.raises(WrongInput, match=r"battery '.*battery\.toml', which has been changed since"):
        lab.train(lab.open_run(folder), str(battery), 2)


def test_a_run_whose_training_is_done_is_read_with_any_battery(begun, reached, monkeypatch):
    """Its guards have nothing to read any more."""
    study, battery, folder = begun
    battery.write_text(BATTERY.replace('"carrying", ', ""))
    (folder / runs.TRAINING).write_bytes(b"")
    monkeypatch.setattr(lab, "train", lambda *_: False)
    with pytest.raises(Reached):
        lab.run(study, folder, str(battery), 2)
    with pytest.raises(Reached):
        lab.read(lab.open_run(folder), str(battery), 2)
