"""The documents: their examples work, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from chisel.resolve import load_study, resolve

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def examples(language):
    """The text of every code block in a language."""
    found = []
    for page in PAGES:
        for text in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            found.append(pytest.param(text, id=f"{page.name}: {text.splitlines()[0][:40]}"))
    return found


@pytest.mark.parametrize("text", examples("toml"))
def test_studies_in_the_documents_can_be_run(text, tmp_path):
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = load_study(str(tmp_path / "study.toml"))
    assert resolve(study).schedules.updates.shape == (len(study.schedule),)


@pytest.mark.parametrize("text", examples("python"))
def test_python_in_the_documents_is_python_and_its_names_exist(text):
    import chisel

    compile(text, "example", "exec")
    for name in re.findall(r"chisel\.(\w+)", text):
        assert hasattr(chisel, name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:chisel|curricula|probes|tests|docs|notebooks|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or "NAME" in path, path
