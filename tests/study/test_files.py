"""Files that people write: what is wrong in them is named by its line, its place and the nearest valid choice."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag, model_validator

from chisel.study.files import Part, WrongInput, dotted, fault, find, line_of, load, nearest, place, shipped, validate


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


# Lines

TEXT = r"""# [not] = { a, table = "
title = "a [ and a \" {" # and a ]
world.params = { clown = 0.5 }
"shape.near_water" = 1
story = '''
[title]
" '''
more = QQQ
phases = [ \\\\
  \QQQ] "\
"QQQ

[[schedule]]
name = "early"
phases = [ # [ {
  { until = 0.5, reward = { helped = [
    [0, 1],
    [1, 0] ] } },
  { until = 1.0, reward = { smile = 1 } }
  , QQQxQQQ", "[", '''x'''', '[',
  QQQ
QQQ,
]
[[schedule]]
name = 'late"'
[schedule.reward]
helped = 1.0 # \u2028
[schedule.world.deep] # ]
"a]" = '"['
[schedule.world]
clown = 1""".replace("QQQ", '"""').replace(r"\u2028", "\u2028")
LINES = [
    (["title"], 2), (["world"], 3), (["world", "params", "clown"], 3), (["shape.near_water"], 4),
    (["shape", "near_water"], None), (["story"], 5), (["more"], 8), (["phases"], None),
    (["schedule"], 13), (["schedule", 0], 13), (["schedule", 0, "reward"], 13), (["schedule", 0, "name", 0], 14),
    (["schedule", 0, "phases"], 15), (["schedule", 0, "phases", 0], 16),
    (["schedule", 0, "phases", 0, "reward", "helped"], 16),
    (["schedule", 0, "phases", 0, "reward", "helped", 0, 1], 17),
    (["schedule", 0, "phases", 0, "reward", "helped", 1], 18),
    (["schedule", 0, "phases", 1, "until"], 19), (["schedule", 0, "phases", 1, "untl"], 19),
    (["schedule", 0, "phases", 2], 20), (["schedule", 0, "phases", 5], 20), (["schedule", 0, "phases", 6], 21),
    (["schedule", 0, "phases", 7], 15), (["schedule", 0, "phases", -1], 15),
    (["schedule", 1], 24), (["schedule", 1, "reward"], 26), (["schedule", 1, "reward", "helped", "miss"], 27),
    (["schedule", 1, "world"], 28), (["schedule", 1, "world", "deep", "a]"], 29),
    (["schedule", 1, "world", "clown"], 31), (["schedule", 2], 13),
    ([], None), (["none", 0], None), ([0], None),
]  # fmt: skip


@pytest.mark.parametrize(("loc", "line"), LINES, ids=[dotted(loc) or "nothing" for loc, _ in LINES])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_every_place_has_its_line(loc, line, end):
    assert line_of(TEXT.replace("\n", end), loc) == line


def test_what_is_no_toml_has_no_lines():
    assert line_of("a = 1\na = 2", ["a"]) is None
    assert line_of("a = [\n1", ["a"]) is None
    assert line_of("", ["a"]) is None


nasty = st.text("[]{}\"'#=,.\\ \n\taé\x85\u2028", max_size=6)
nested = st.recursive(
    nasty,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(nasty, inner, max_size=3),
    max_leaves=12,
)


def marked(value: Any, marks: Any) -> Any:
    """The same, with a mark of its own at the beginning of every key and string."""
    if isinstance(value, dict):
        return {f"{next(marks)}{key}": marked(inner, marks) for key, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, marks) for inner in value]
    return f"{next(marks)}{value}"


def places(value: Any, loc: tuple[Any, ...] = ()) -> Any:
    for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*loc, part), inner
        if isinstance(inner, dict | list):
            yield from places(inner, (*loc, part))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(nasty, nested, min_size=1, max_size=4), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_a_line_has_the_key_or_the_item_that_it_is_told_for(value, multiline, end):
    raw = marked(value, itertools.count(100_000))
    text = tomli_w.dumps(raw, multiline_strings=multiline)
    lines = ["", *text.split("\n")]

    def first(mark: str) -> int:
        return next(n for n, line in enumerate(lines) if mark[:6] in line)

    for loc, inner in places(raw):
        line = line_of(text.replace("\n", end), loc)
        told = lines[line].strip()
        if isinstance(loc[-1], str):
            assert line == first(loc[-1])
        elif isinstance(inner, str):
            assert line == first(inner) - (multiline and "\n" in inner)  # tomli_w begins such a string on a new line
        elif told.startswith("[["):
            assert loc[-2][:6] in told
            assert [other.strip() for other in lines[:line]].count(told) == loc[-1]
        else:
            assert told[0] == ("{" if isinstance(inner, dict) else "[")
            assert all(key[:6] in told for key in itertools.islice(inner, 1) if isinstance(inner, dict))


def test_a_complaint_begins_with_the_line_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = {"schedule": [{"name": "late", "reward": {}}]}
    text = 'world = "smile"\n[[schedule]]\nname = "late"\n[schedule.reward]\n'
    for name in ("mine.toml", "study"):
        Path(name).write_text(text)
    loc = ["schedule", 0, "reward"]
    assert place("mine.toml", loc, raw) == "mine.toml, line 4: schedule 'late'.reward"
    assert place("./mine.toml", [*loc, "smile"], raw) == "./mine.toml, line 4: schedule 'late'.reward.smile"
    assert place("mine.toml", ["agent"], raw) == "mine.toml: agent"
    assert place("mine.toml", [], raw) == "mine.toml"
    for where in ("none.toml", "study", "--seeds 3", "", "a/\0.toml", str(tmp_path)):  # "study" is a word, no path
        assert place(where, loc, raw) == f"{where}: schedule 'late'.reward"
    Path("mine.toml").write_bytes(b"\xff")
    assert place("mine.toml", loc, raw) == "mine.toml: schedule 'late'.reward"


def test_every_fault_begins_with_its_line(tmp_path):
    text = 'leaf = { size = "big" }\nleaves = [\n  {},\n  { sise = 1 },\n]\n[extra]\n'
    assert wrong(tmp_path, text).replace(str(tmp_path / "tree.toml"), "F").splitlines() == [
        "F: name is missing",
        "F, line 1: leaf.size is 'big'; expected a valid integer, unable to parse string as an integer",
        "F, line 4: unknown key 'sise' in leaves[1]; did you mean 'size'?",
        "F, line 6: unknown key 'extra'; known: 'leaf', 'leaves', 'name'",
    ]


def test_what_is_no_file_has_no_lines():
    with pytest.raises(WrongInput, match=r"^--seeds 3: leaves\[0\]\.size is 'x'; expected a valid integer"):
        validate({"name": "oak", "leaves": [{"size": "x"}]}, Tree, "--seeds 3")


# Places inside parts and unions


class Told(Part):
    """Its tag is also one of its keys."""

    channel: str = ""
    miss: float
    lag: dict[Literal["mean"], Leaf] = {}


class Ramp(Part):
    kind: Literal["ramp"]
    to: float


class Step(Part):
    kind: Literal["step"]
    at: list[Leaf]


def tag(raw: Any) -> str:
    return "channel" if isinstance(raw, dict) else "amount"


Amount = Annotated[float | list[float], Tag("amount")]
Payment = Annotated[Amount | Annotated[Told, Tag("channel")], Discriminator(tag)]


class Plan(Part):
    name: str = ""
    reward: dict[str, Payment] | None = None
    shapes: list[Annotated[Ramp | Step, Field(discriminator="kind")]] = []
    pair: tuple[Leaf, Told] | None = None
    leaves: tuple[Leaf, ...] = ()
    either: Literal["all"] | Ramp | Step | list[Payment] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Plan":
        if self.name == "late":
            raise fault("{loc}, {message} and {0}: [", "shapes", len(self.shapes) - 1, "to")
        return self


class Plans(Part):
    schedule: list[Plan]


def complaints(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as error:
        load(path, Plans)
    return str(error.value).replace(str(path), "F").splitlines()


def test_a_validator_can_complain_about_a_place_inside_its_part(tmp_path):
    text = '[[schedule]]\n[[schedule]]\nname = "late"\nshapes = [\n  { kind = "ramp", to = 1 },\n{ kind = "ramp", to = 1 }]'
    says = "schedule 'late'.shapes[1].to: {loc}, {message} and {0}: ["
    assert complaints(tmp_path, text) == [f"F, line 6: {says}"]
    with pytest.raises(ValueError, match=r"\{loc\}, \{message\} and \{0\}: \["):  # as whoever writes Python sees it
        Plan(name="late")


UNIONS = {
    "tag": ('reward.smile = { miss = "x" }', "@reward.smile.miss is 'x'; expected a valid number"),
    "tag that is a key": ('reward.smile = { channel = "x" }', "@reward.smile.miss is missing"),
    "key like its tag": ("reward.smile = { miss = 1, channel = 2 }", "@reward.smile.channel is 2; expected a valid string"),
    "key named like the tag": ('reward.channel = { miss = "x" }', "@reward.channel.miss is 'x'; expected a valid number"),
    "unknown key": ("reward.smile = { miss = 1, chanel = 1 }", "unknown key 'chanel' in @reward.smile; did you mean 'channel'?"),
    "below a tag": ("reward.smile = { miss = 1, lag.mean = { sise = 1 } }", "unknown key 'sise' in @reward.smile.lag.mean; did you mean 'size'?"),
    "two tags": ('reward.smile = "x"', "@reward.smile is 'x'; expected a valid number"),
    "item below two tags": ('reward.smile = [1, "x"]', "@reward.smile[1] is 'x'; expected a valid number"),
    "literal": ('shapes = [{ kind = "ramp", too = 1, to = 1 }]', "unknown key 'too' in @shapes[0]; did you mean 'to'?"),
    "other literal": ('shapes = [{ kind = "step", att = 1, at = [] }]', "unknown key 'att' in @shapes[0]; did you mean 'at'?"),
    "below a literal": ('shapes = [{ kind = "step", at = [{ sise = 1 }] }]', "unknown key 'sise' in @shapes[0].at[0]; did you mean 'size'?"),
    "tag of none": ('shapes = [{ kind = "stop" }]', "@shapes[0].kind is 'stop'; did you mean 'step'?"),
    "keys of one literal": ('shapes = [{ kind = "ramp", to = 1, zzz = 1 }]', "unknown key 'zzz' in @shapes[0]; known: 'kind', 'to'"),
    "first of a pair": ("pair = [{ sise = 1 }, { miss = 1 }]", "unknown key 'sise' in @pair[0]; did you mean 'size'?"),
    "long tuple": ("leaves = [{}, { sise = 1 }]", "unknown key 'sise' in @leaves[1]; did you mean 'size'?"),
    "tuple": ("pair = [{}, { miss = 1, mis = 1 }]", "unknown key 'mis' in @pair[1]; did you mean 'miss'?"),
    "name of a type": ('either = { kind = "ramp", to = 1, too = 1 }', "unknown key 'too' in @either; did you mean 'to'?"),
    "keys of one type": ('either = { kind = "ramp", to = 1, zzz = 1 }', "unknown key 'zzz' in @either; known: 'kind', 'to'"),
    "missing in two types": ("either = {}", "@either.kind is missing"),
    "tag below a name": ('either = [{ miss = "x" }]', "@either[0].miss is 'x'; expected a valid number"),
    "name of a list": ("either = [{ miss = 1, mis = 1 }]", "unknown key 'mis' in @either[0]; did you mean 'miss'?"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "says"), UNIONS.values(), ids=UNIONS)
def test_places_read_as_people_wrote_them(tmp_path, line, says):
    found = complaints(tmp_path, f'[[schedule]]\nname = "x"\n{line}\n')
    says = "F, line 3: " + says.replace("@", "schedule 'x'.")
    assert any(text.startswith(says) for text in found)
    assert all(" schedule 'x'." in text for text in found)
    assert len(set(found)) == len(found)
    tags = (".amount", ".float", ".list[", ".Ramp", ".ramp", ".step")
    assert not any(name in text for text in found for name in tags)
