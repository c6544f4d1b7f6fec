from pathlib import Path

import pytest

from chisel.spec import Part, WrongInput, dotted, find, load, nearest, shipped


class Leaf(Part):
    size: int = 1


class Tree(Part):
    name: str
    leaf: Leaf = Leaf()
    leaves: list[Leaf] = []


def wrong(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tree.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as error:
        load(path, Tree)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_whole_file_loads(tmp_path):
    path = tmp_path / "tree.toml"
    path.write_text('name = "oak"\nleaves = [{ size = 3 }]')
    assert load(path, Tree) == Tree(name="oak", leaves=[Leaf(size=3)])


def test_unknown_key_names_its_place_and_the_nearest(tmp_path):
    assert "unknown key 'nme'; did you mean 'name'?" in wrong(tmp_path, 'nme = "oak"')
    message = wrong(tmp_path, 'name = "oak"\n[leaf]\nsise = 2')
    assert "unknown key 'sise' in leaf; did you mean 'size'?" in message
    message = wrong(tmp_path, 'name = "oak"\n[[leaves]]\nsise = 2')
    assert "unknown key 'sise' in leaves[0]; did you mean 'size'?" in message


def test_every_fault_gets_a_line(tmp_path):
    message = wrong(tmp_path, "leaf = { size = 'big', colour = 1 }")
    assert len(message.splitlines()) == 3
    assert "name is missing" in message
    assert "leaf.size is 'big'; expected" in message
    assert "unknown key 'colour'" in message


def test_broken_files_are_named(tmp_path):
    assert "is not valid TOML" in wrong(tmp_path, "name = ")
    path = tmp_path / "tree.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WrongInput, match="cannot be read"):
        load(path, Tree)


def test_find_takes_paths_and_shipped_names(tmp_path):
    assert find("smile", "curricula") == shipped("curricula") / "smile.toml"
    own = tmp_path / "own.toml"
    own.write_text("")
    assert find(str(own), "curricula") == own
    with pytest.raises(WrongInput, match="did you mean 'smile'"):
        find("smil", "curricula")
    with pytest.raises(WrongInput, match="there is no such file"):
        find(str(tmp_path / "none.toml"), "curricula")


def test_nearest_lists_all_when_nothing_is_near():
    assert nearest("qqq", ["b", "a"]) == "known: 'a', 'b'"
    assert nearest("qqq", []) == "there is nothing to choose from"


def test_dotted_calls_named_items_by_name():
    raw = {"schedule": [{"name": "late", "phases": [{}]}]}
    assert dotted(["schedule", 0, "phases", 0, "reward"], raw) == "schedule 'late'.phases[0].reward"
