"""The documents: their examples work, and their links lead somewhere."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

import chisel
from chisel.build.budget import matched
from chisel.build.build import load_study, resolve
from chisel.runs.train import population_of
from chisel.study.study import Study

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def examples(language):
    """The text of every code block in a language."""
    found = []
    for page in PAGES:
        for text in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            found.append(pytest.param(text, id=f"{page.name}: {text.splitlines()[0][:40]}"))
    return found


# What a study begins with that is told in pieces.
BEGINNING = """
world = "smile"
[[schedule]]
name = "help throughout"
reward = { helped = 1.0 }
"""


def whole(text):
    return re.search(r"^world = ", text, flags=re.MULTILINE) is not None


@pytest.mark.parametrize("text", examples("toml"))
def test_studies_in_the_documents_resolve(text, tmp_path):
    (tmp_path / "study.toml").write_text(text if whole(text) else BEGINNING + text, encoding="utf-8")
    study = load_study(str(tmp_path / "study.toml"))
    assert resolve(study).schedules.updates.shape == (len(study.schedule),)


def test_the_schedules_of_the_page_about_them_train_agents(tmp_path):
    """All pieces of the page in one study, as far as the first update of agents that are as small as can be."""
    pieces = [p.values[0] for p in examples("toml") if "writing-a-schedule" in p.id]
    text = BEGINNING + "\n".join(text for text in pieces if not whole(text))
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    raw = load_study(str(tmp_path / "study.toml")).model_dump(exclude_none=True)
    assert len(raw["schedule"]) > 10
    raw["agent"] |= {"network": {"widths": [2]}, "epochs": 1, "minibatches": 1}
    raw["training"] |= {"steps": 32 * 50, "worlds": 4, "rollout": 8, "seeds": 1}
    population, keys = population_of(Study.model_validate(raw), 2)
    _, metrics = population.advance(population.new(keys), 1)
    assert metrics.paid.shape == (len(raw["schedule"]), 1)
    assert np.isfinite(metrics.paid).all()


def test_the_budgets_of_the_page_about_schedules_are_equal(tmp_path):
    pieces = [p.values[0] for p in examples("toml") if "writing-a-schedule" in p.id]
    (text,) = [text for text in pieces if "match = " in text]
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = matched(load_study(str(tmp_path / "study.toml")))
    assert [part.scale for part in study.schedule] == [1.0, pytest.approx(1 / 0.33, rel=0.01), 0.5]


@pytest.mark.parametrize("text", examples("python"))
def test_python_in_the_documents_can_be_run(text, tmp_path, monkeypatch):
    """Or, where it takes a run that a reader has made, at least is Python whose names exist."""
    if "runs/" in text:
        compile(text, "example", "exec")
        for name in re.findall(r"chisel\.(\w+)", text):
            assert hasattr(chisel, name), name
        return
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "example", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:chisel|curricula|probes|tests|docs|notebooks|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or "NAME" in path, path


@pytest.mark.parametrize("notebook", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_notebooks_import_what_there_is(notebook):
    """They are executed elsewhere, which takes minutes."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom | ast.Import)]
    assert imports
    exec("\n".join(map(ast.unparse, imports)), {})
