"""Finding worlds by name, and being told what is wrong with a name."""

import subprocess
import sys

import pytest

from chisel import worlds
from chisel.build.build import resolve
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.worlds import WORLDS, known_worlds, load_world
from chisel.worlds.borrowed import BORROWED


def test_a_world_is_one_object_whoever_asks():
    assert load_world("smile") is WORLDS["smile"]
    assert load_world("maze:9") is load_world("maze:9")
    assert load_world("gymnax:CartPole-v1") is load_world("gymnax:CartPole-v1", "mine.toml: world")


def test_known_worlds_has_native_and_borrowed_ones():
    assert set(WORLDS) < set(known_worlds())
    assert {"pacman", "chess", "craftax", "gymnax:NAME"} < set(known_worlds())


WRONG = {
    "smil": "world: unknown world 'smil'; did you mean 'smile'?",
    "packman": "did you mean 'pacman'?",
    "gymnax": "gymnax:NAME",
    "gymnax:": "gymnax",
    "gymnax:CartPole": "did you mean 'CartPole-v1'",
    "gymnax:Pendulum-v1": "continuous",
    "pacman:big": "unknown world 'pacman:big'; did you mean 'pacman'?",
    "smile:9": "unknown world 'smile:9'; did you mean 'smile'?",
    "maze:8": "7 and 9",
    "maze:3": "cannot lie apart",
    "maze:big": "'big'",
}


@pytest.mark.parametrize(("name", "says"), WRONG.items(), ids=WRONG)
def test_a_wrong_name_is_answered_with_a_sentence(name, says):
    with pytest.raises(WrongInput) as error:
        load_world(name)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(BORROWED))
def test_a_missing_extra_says_which_install_mends_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, BORROWED[name].package, None)  # as if it were not installed
    monkeypatch.setattr("chisel.worlds._make", worlds._make.__wrapped__)  # and not loaded before
    with pytest.raises(WrongInput) as error:
        load_world(name + ":CartPole-v1" * BORROWED[name].family, "mine.toml: world")
    said = str(error.value)
    assert said.startswith(f"mine.toml: world: {name!r} needs the package {BORROWED[name].package}")
    assert "pip install 'chisel-rl[worlds]'" in said


def test_what_the_other_player_gets_next_counts_against_this_one(monkeypatch):
    study = {"world": "smile", "schedule": [{"name": "a", "reward": {"helped": 1.0}}]}
    assert resolve(Study.model_validate(study)).plan.agent.discount == 0.97
    monkeypatch.setitem(WORLDS, "two-handed", WORLDS["smile"]._replace(alternating=True))
    two = resolve(Study.model_validate(study | {"world": "two-handed"}))
    assert two.plan.agent.discount == -0.97


def test_a_world_whose_import_starts_jax_leaves_all_devices_to_training():
    code = "import chisel, os, jax; chisel.load_study('chess'); print(jax.device_count(), len(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen, cores = done.stdout.split()
    assert seen == cores
