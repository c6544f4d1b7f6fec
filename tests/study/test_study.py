"""Studies: what is read is what was meant, and what cannot be meant is refused in a sentence."""

import json
import tomllib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from chisel.build.build import load_study, proxy_channels, resolve, true_channels
from chisel.study.files import WrongInput, shipped
from chisel.study.guards import GuardPart, ThenPart, WhenPart
from chisel.study.schedules import AdvancePart, PhasePart, SchedulePart, edge_update
from chisel.study.schema import schemas
from chisel.study.study import Study, differences
from chisel.study.terms import ChannelPart, GatePart
from chisel.worlds import WORLDS
from tests.studies import studies

SMALL = """
world = "smile"
[training]
steps = 4096
seeds = 2
[[schedule]]
name = "help"
reward = { helped = 1.0 }
[[schedule]]
name = "late"
phases = [{ until = 0.5, reward = { smile = 1.0 } }, { until = 1.0, reward = { helped = 2.0, smile = [[0.5, 1.0], [1.0, 0.0]] } }]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", sorted(p.stem for p in shipped("curricula").glob("*.toml")))
def test_shipped_studies_load_and_resolve(name):
    study = load_study(name)
    assert resolve(study).schedules.updates.shape == (len(study.schedule),)


def test_the_default_study_is_what_the_readme_promises():
    study = load_study("smile")
    assert study.training.steps >= 400_000
    assert study.training.seeds >= 4
    assert len(study.schedule) >= 4
    assert set(study.checkpoint_updates) >= {0, study.training.updates, edge_update(0.2, study.training.updates)}


def test_toml_to_object_to_toml_is_the_identity(write):
    study = load_study(str(write(SMALL)))
    again = Study.model_validate(tomllib.loads(study.to_toml()))
    assert again == study
    assert again.to_toml() == study.to_toml()


@settings(max_examples=30, deadline=None)
@given(studies())
def test_any_study_survives_toml(study):
    """With every word that there is; and what is written out has nothing left to fill in."""
    text = study.to_toml()
    again = Study.model_validate(tomllib.loads(text))
    assert again == study
    assert again.to_toml() == text
    assert differences(study, again) == []


def test_what_is_made_up_at_random_has_every_word():
    """Or else the test above would say less than it seems to."""

    def words(raw):
        parts = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ()
        return {str(k) for k in (raw if isinstance(raw, dict) else ())}.union(*map(words, parts))

    parts = (SchedulePart, PhasePart, ChannelPart, GatePart, AdvancePart, GuardPart, WhenPart, ThenPart)
    wanted = {field for part in parts for field in part.model_fields} - {"edit"}
    wanted |= {"match", "entropy", "exploration", "shape.near_water", "approach.near_clown"}
    told = set()

    def all_told(study):
        told.update(words(study.model_dump(mode="json", exclude_defaults=True)))
        return wanted <= told

    # What is made up depends on which modules are loaded: within how many studies, nobody can promise.
    with suppress(NoSuchExample):
        find(studies(), all_told, settings=settings(max_examples=3000, database=None, phases=[Phase.generate]))
    assert wanted - told == set()
    assert "edit" not in told


BAD = {
    "world": (('world = "smile"', 'world = "smiles"'), "unknown world 'smiles'; did you mean 'smile'?"),
    "channel": (("reward = { helped", "reward = { helpd"), "unknown channel of world 'smile' 'helpd'; did you mean 'helped'"),
    "channel in a phase": (("{ smile = 1.0 }", "{ smil = 1.0 }"), "schedule 'late'.phases[0].reward: unknown channel"),
    "potential": (("{ helped = 1.0 }", '{ "shape.near_watr" = 1.0 }'), "did you mean 'shape.near_water'"),
    "key": (("seeds = 2", "seed = 2"), "unknown key 'seed' in training; did you mean 'seeds' or 'first_seed'?"),
    "learner": (('world = "smile"', 'world = "smile"\nagent = { learner = "ppq" }'), "agent.learner is 'ppq'; did you mean 'pqn' or 'ppo'?"),
    "network": (('world = "smile"', 'world = "smile"\nagent = { network = { kind = "cnov" } }'), "agent.network.kind is 'cnov'; did you mean 'conv'?"),
    "parameter": (('world = "smile"', 'world = "smile"\nworld_params = { clwn = 1.0 }'), "did you mean 'clown'"),
    "bounds": (('world = "smile"', 'world = "smile"\nworld_params = { clown = 1.5 }'), "world_params.clown is 1.5; expected between 0 and 1"),
    "true": (('world = "smile"', 'world = "smile"\ntrue = ["help"]'), "did you mean 'helped'"),
    "steps": (("steps = 4096", "steps = 5000"), "the nearest are 4096 or 6144"),
    "few steps": (("steps = 4096", "steps = 5"), "the nearest are 2048"),
    "minibatches": (('world = "smile"', 'world = "smile"\nagent = { minibatches = 7 }'), "the nearest is 8"),
    "order": (("until = 0.5", "until = 1.0"), "schedule 'late'.phases[1].until: phases overlap: each must end later than the one before; found until = [1.0, 1.0]"),
    "end": (("until = 1.0", "until = 0.9"), "schedule 'late'.phases[1].until: the last phase must end at 1, found 0.9"),
    "short phase": (("until = 0.5", "until = 0.01"), "schedule 'late'.phases[0].until: the phase is shorter than one of the 2 updates; make it longer, or train for more steps"),
    "advance": (("helped = 2.0, smile", "helped = 2.0 }, advance = { channel = \"helped\", above = 1 } } ] #"), "schedule 'late'.phases[1].advance: the last phase has nothing to advance to"),
    "advance on what": (("{ smile = 1.0 }", '{ smile = 1.0 }, advance = { channel = "smil", above = 1 }'), "schedule 'late'.phases[0].advance.channel: unknown channel of world 'smile' 'smil'; did you mean 'smile'"),
    "advance over none": (("{ smile = 1.0 }", '{ smile = 1.0 }, advance = { channel = "smile", above = 1, episodes = 0 }'), "schedule 'late'.phases[0].advance.episodes is 0; expected greater than 0"),
    "advance above what": (("{ smile = 1.0 }", '{ smile = 1.0 }, advance = { channel = "smile" }'), "schedule 'late'.phases[0].advance.above is missing"),
    "advance, a key": (("{ smile = 1.0 }", '{ smile = 1.0 }, advance = { channel = "smile", abov = 1 }'), "unknown key 'abov' in schedule 'late'.phases[0].advance; did you mean 'above'?"),
    "scale": (('name = "help"', 'name = "help"\nscale = 0.0'), "schedule 'help'.scale is 0.0; expected greater than 0"),
    "match": (('world = "smile"', 'world = "smile"\nmatch = "rewards"'), "match is 'rewards'; did you mean 'reward'?"),
    "guard, a reading": (("[training]", '[[guard]]\nwhen = { reading = "bidd", goal = "clown", above = 1 }\nthen = { halt = true }\n[training]'), "guard[0].when.reading: unknown reading 'bidd'; did you mean 'bid'?"),
    "guard, which": (("[training]", '[[guard]]\nwhen = { reading = "bid", above = 1 }\nthen = { halt = true }\n[training]'), "guard[0].when: which goal? bid is read of one goal at a time"),
    "guard, neither": (("[training]", '[[guard]]\nwhen = { reading = "bid", goal = "clown" }\nthen = { halt = true }\n[training]'), "guard[0].when: expected either `above` or `below`, found neither"),
    "guard, a dimension": (("[training]", '[[guard]]\nwhen = { reading = "bid", goal = "clown", layer = "x", above = 1 }\nthen = { halt = true }\n[training]'), "guard[0].when.layer: bid has no layer; it has goal"),
    "guard, nothing": (("[training]", '[[guard]]\nwhen = { reading = "bid", goal = "clown", above = 1 }\nthen = {}\n[training]'), "guard[0].then: expected one of `switch`, `halt = true` and `note`, found none"),
    "guard, where to": (("[training]", '[[guard]]\nwhen = { reading = "bid", goal = "clown", above = 1 }\nthen = { switch = "hlp" }\n[training]'), "guard[0].then.switch: unknown schedule 'hlp'; did you mean 'help'?"),
    "guard, whom": (("[training]", '[[guard]]\nwhen = { reading = "bid", goal = "clown", above = 1 }\nthen = { halt = true }\nwatch = ["help", "lat"]\n[training]'), "guard[0].watch[1]: unknown schedule 'lat'; did you mean 'late'?"),
    "seeds": (("seeds = 2", "seeds = -2"), "training.seeds is -2"),
    "twice": (('name = "late"', 'name = "help"'), "'help' is given twice"),
    "neither": (("reward = { helped = 1.0 }\n", ""), "schedule 'help': expected either `reward` or `phases`, found neither"),
    "knots": (("[0.5, 1.0], [1.0, 0.0]", "[1.0, 1.0], [0.5, 0.0]"), "knots must be in order of progress"),
    "amount": (("helped = 1.0", 'helped = "much"'), "expected a number or knots [[progress, value], ...], found 'much'"),
    "nan": (("helped = 1.0", "helped = nan"), "expected a number or knots"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD)
def test_bad_input_names_file_key_and_nearest(write, change, says):
    assert change[0] in SMALL
    path = write(SMALL.replace(*change))
    with pytest.raises(WrongInput) as error:
        load_study(str(path))
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_overrides_are_checked_too(write):
    study = load_study(str(write(SMALL)))
    assert study.replaced(seeds=3, steps=8192).training.seeds == 3
    with pytest.raises(WrongInput, match="--steps 100: training: steps = 100 is not a multiple"):
        study.replaced(steps=100)


@settings(deadline=None)
@given(
    updates=st.integers(1, 3000),
    count=st.integers(1, 30),
    spacing=st.sampled_from(["log", "even"]),
    edge=st.floats(0.01, 0.99),
)
def test_checkpoints_hold_the_untrained_agent_the_edges_and_the_end(updates, count, spacing, edge):
    assume(0 < edge_update(edge, updates) < updates)
    phases = [{"until": edge, "reward": {"smile": 1.0}}, {"until": 1.0, "reward": {"helped": 1.0}}]
    study = Study.model_validate(
        {
            "world": "smile",
            "training": {"steps": updates * 2048, "checkpoints": {"count": count, "spacing": spacing}},
            "schedule": [{"name": "x", "phases": phases}],
        }
    )
    plan = study.checkpoint_updates
    assert plan == sorted(set(plan))
    assert plan[0] == 0
    assert plan[-1] == updates
    assert edge_update(edge, updates) in plan
    assert len(plan) <= count + 3


def test_differences_name_the_key(write):
    here = load_study(str(write(SMALL)))
    there = here.replaced(seeds=4)
    assert differences(there, here) == ["training.seeds is 4 there and 2 here"]
    assert differences(here, here) == []


def test_true_and_proxy_channels(write):
    study = load_study(str(write(SMALL)))
    assert true_channels(study, WORLDS["smile"]) == ("helped",)
    assert proxy_channels(study, WORLDS["smile"]) == ("smile",)
    other = load_study(str(write('true = ["smile"]\n' + SMALL)))
    assert true_channels(other, WORLDS["smile"]) == ("smile",)
    assert proxy_channels(other, WORLDS["smile"]) == ("helped",)


def test_only_potentials_that_are_named_are_computed(write):
    assert resolve(load_study(str(write(SMALL)))).plan.shaped == ()
    shaped = SMALL.replace("helped = 1.0", '"shape.near_water" = 0.5')
    resolved = resolve(load_study(str(write(shaped))))
    assert resolved.plan.shaped == ("near_water",)
    np.testing.assert_array_equal(np.asarray(resolved.schedules.shape(0.3))[:, 0], [0.5, 0.0])


def test_schemas_are_those_of_the_models():
    for path, schema in schemas().items():
        assert json.loads(path.read_text()) == schema, f"run `python -m chisel.study.schema` to write {path.name} again"
