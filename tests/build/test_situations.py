"""A curriculum is reward and situation: what schedules and phases say of levels, learning rate, entropy and exploration."""

import tomllib

import jax
import numpy as np
import pytest

from chisel.build.build import check_names, load_study, resolve
from chisel.rewards.schedule import InForce, in_force
from chisel.runs.train import population_of
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.worlds import WORLDS
from chisel.worlds.world import defaults

TEXT = """
world = "smile"
world_params = { clown = 0.5, full_cup = [[0.0, 0.0], [1.0, 1.0]] }
agent = { learning_rate = 2e-3, entropy = [[0.0, 0.0], [1.0, 1.0]], exploration = 0.125, network = { widths = [4] } }
[training]
steps = 2048
seeds = 1
worlds = 16
rollout = 16
[[schedule]]
name = "plain"
reward = { helped = 1.0 }
[[schedule]]
name = "own"
reward = { helped = 1.0 }
world_params = { clown = 0.25 }
learning_rate = 1e-3
entropy = 0.5
exploration = [[0.0, 1.0], [1.0, 0.0]]
[[schedule]]
name = "phases"
world_params = { clown = 0.25, camera = 0.5 }
exploration = 0.25
phases = [
  { until = 0.25, reward = { helped = 1.0 } },
  { until = 0.5, reward = { helped = 1.0 }, world_params = { clown = 1.0, full_cup = 0.75 }, learning_rate = [[0.25, 0.0], [0.5, 0.008]], entropy = 0.75 },
  { until = 1.0, reward = { helped = 1.0 }, learning_rate = 0.0, exploration = [[0.5, 0.0], [1.0, 1.0]] },
]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load_study(str(path))

    return read


def force(study: Study, schedule: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Level parameters and learning rates in every update."""
    rows = in_every_update(study, schedule)
    params = np.stack([np.asarray(row.params) for row in rows], axis=1)
    names = sorted(WORLDS["smile"].params)
    return dict(zip(names, params, strict=True)), np.array([float(row.learning_rate) for row in rows])


def luck(study: Study, schedule: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of entropy and exploration in every update."""
    rows = in_every_update(study, schedule)
    return np.array([float(row.entropy) for row in rows]), np.array([float(row.exploration) for row in rows])


def in_every_update(study: Study, schedule: int) -> list[InForce]:
    found = jax.tree.map(lambda x: x[schedule], resolve(study).schedules)
    return [in_force(found, np.int32(k)) for k in range(study.training.updates)]


MIDDLES = (np.arange(8) + 0.5) / 8  # progress of the eight updates
USUAL = defaults(WORLDS["smile"])


def test_what_nobody_says_is_as_in_the_study(read):
    params, rates = force(read(TEXT), 0)
    np.testing.assert_allclose(params["clown"], 0.5)
    np.testing.assert_allclose(params["full_cup"], MIDDLES)
    np.testing.assert_allclose(params["camera"], USUAL["camera"])
    np.testing.assert_allclose(rates, 2e-3)


def test_a_schedule_goes_before_the_study(read):
    params, rates = force(read(TEXT), 1)
    np.testing.assert_allclose(params["clown"], 0.25)
    np.testing.assert_allclose(params["full_cup"], MIDDLES)
    np.testing.assert_allclose(rates, 1e-3)


def test_a_phase_goes_before_its_schedule_and_only_while_it_lasts(read):
    params, rates = force(read(TEXT), 2)
    np.testing.assert_allclose(params["clown"], [0.25] * 2 + [1.0] * 2 + [0.25] * 4)
    np.testing.assert_allclose(params["camera"], 0.5)
    np.testing.assert_allclose(params["full_cup"], [*MIDDLES[:2], 0.75, 0.75, *MIDDLES[4:]], rtol=1e-6)
    np.testing.assert_allclose(rates, [2e-3, 2e-3, 0.002, 0.006, 0, 0, 0, 0], rtol=1e-5)


def test_entropy_and_exploration_are_the_phases_before_the_schedules_before_the_studys(read):
    study = read(TEXT)
    (plain, usual), (own, less), (phased, more) = (luck(study, i) for i in range(3))
    np.testing.assert_allclose(plain, MIDDLES, rtol=1e-6)
    np.testing.assert_allclose(usual, 0.125)
    np.testing.assert_allclose(own, 0.5)
    np.testing.assert_allclose(less, 1 - MIDDLES, rtol=1e-6)
    np.testing.assert_allclose(phased, [*MIDDLES[:2], 0.75, 0.75, *MIDDLES[4:]], rtol=1e-6)
    np.testing.assert_allclose(more, [0.25] * 4 + [0.125, 0.375, 0.625, 0.875], rtol=1e-6)


def test_where_nobody_explores_there_is_no_exploration(read):
    """Also where a zero is written; and where one does, all have the number."""
    bare = TEXT.partition("[[schedule]]")[0].replace("exploration = 0.125, ", "")
    reward = "reward = { helped = 1.0 }\n"
    said = ["", "exploration = 0.0\n", "exploration = [[0.0, 0.0], [1.0, 0.5]]\n"]
    texts = [f'[[schedule]]\nname = "s{i}"\n{reward}{text}' for i, text in enumerate(said)]
    assert resolve(read(bare + texts[0] + texts[1])).schedules.exploration is None
    found = resolve(read(bare + "".join(texts))).schedules.exploration
    np.testing.assert_allclose(found(0.5), [0.0, 0.0, 0.25])


def test_a_study_that_says_nothing_of_it_has_the_curves_that_it_had(read):
    """Bit for bit: a phase edge alone adds no knot to what does not change there."""
    text = TEXT.partition("[[schedule]]")[0] + (
        '[[schedule]]\nname = "a"\nphases = [{ until = 0.5, reward = { smile = 1 } }, { until = 1.0, reward = { helped = 1 } }]\n'
    )
    found = resolve(read(text)).schedules
    assert found.learning_rate.times.shape == (1, 1)
    assert found.entropy.times.shape == (1, 2)
    assert found.params.times.shape == (1, len(USUAL), 2)


def test_toml_to_object_to_toml_is_the_identity(read):
    study = read(TEXT)
    again = Study.model_validate(tomllib.loads(study.to_toml()))
    assert again == study
    assert again.to_toml() == study.to_toml()


WRONG = {
    "name": ("clown = 1.0, full", "clwn = 1.0, full", "schedule 'phases'.phases[1].world_params: unknown parameter of world 'smile' 'clwn'; did you mean 'clown'"),
    "bounds": ("clown = 1.0, full", "clown = 2.0, full", "schedule 'phases'.phases[1].world_params.clown is 2; expected between 0 and 1"),
    "schedule": ("{ clown = 0.25 }", "{ clown = -1 }", "schedule 'own'.world_params.clown is -1; expected between 0 and 1"),
    "rate": ("learning_rate = 1e-3", "learning_rate = -1e-3", "schedule 'own'.learning_rate: a learning rate is at least 0, found -0.001; the nearest is 0"),
    "knots": ("[0.5, 0.008]", "[0.5, -1]", "schedule 'phases'.phases[1].learning_rate: a learning rate is at least 0, found -1; the nearest is 0"),
    "entropy": ("entropy = 0.5", "entropy = -0.5", "schedule 'own'.entropy: a weight of entropy is at least 0, found -0.5; the nearest is 0"),
    "exploration": ("[[0.5, 0.0], [1.0, 1.0]]", "[[0.5, 0.0], [1.0, 1.5]]", "schedule 'phases'.phases[2].exploration: a chance is between 0 and 1, found 1.5; the nearest is 1"),
    "the study's": ("exploration = 0.125", "exploration = 2", "agent.exploration: a chance is between 0 and 1, found 2; the nearest is 1"),
    "key": ("learning_rate = 1e-3", "learning_rat = 1e-3", "did you mean 'learning_rate'?"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused_by_its_place(read, old, new, says):
    assert old in TEXT
    with pytest.raises(WrongInput) as error:
        read(TEXT.replace(old, new, 1))
    assert says in str(error.value)


def test_a_rate_of_zero_freezes_the_agent_and_not_the_world(read):
    study = read(TEXT)
    check_names(study, "study")
    population, keys = population_of(study, 1)
    members = population.new(keys)
    kept = []
    for updates in (4, 4):  # the last phase begins after four
        members, metrics = population.advance(members, updates)
        kept.append(jax.tree.map(np.asarray, members))
    same = jax.tree.map(lambda a, b: np.array([np.array_equal(x, y) for x, y in zip(a, b, strict=True)]), *kept)
    frozen = np.stack(jax.tree.leaves(same.agent.params))[:, :3]
    assert frozen[:, 2].all()
    assert not frozen[:, :2].all(0).any()
    assert not same.playing.age[2]
    assert np.isfinite(metrics.paid).all()
