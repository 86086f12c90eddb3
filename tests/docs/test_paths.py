"""Documents about the code name paths, classes and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "prune_deploy"
_OF_OTHERS = ("published.md", "cli.md")
"""Pages that name files of other projects."""
PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in _OF_OTHERS),
]
_PATH = re.compile(r"(?<![\w/.<*-])(?:[\w-]+/)+(?:[\w-]+\.(?:py|toml|md))?(?![\w/*<])|(?<![\w/.<>*-])\w+\.py\b")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILES_OF_RUNS = (
    "engines/",
    "profiles/",
    "samples/",
    "traces/",
    "explanations/",
    "bundles/",
    "logs/",
    "digits/",
    "references/",
    "images/",
    "core/",
)


def paths(text: str) -> list[str]:
    """The paths in code spans, and those right of the drawings."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    drawn = [block for language, block in _FENCED.findall(text) if not language]
    named = [found for part in (*[span for span in spans if " " not in span], *drawn) for found in _PATH.findall(part)]
    return [name for name in named if not name.startswith(_FILES_OF_RUNS)]


def names() -> set[str]:
    """Every class and function that the package defines."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_paths_exist(page: Path) -> None:
    named = paths(page.read_text(encoding="utf-8"))
    assert [name for name in named if not any((root / name).exists() for root in (ROOT, PACKAGE))] == []


def test_the_architecture_names_many_paths_and_a_missing_one_would_be_found() -> None:
    assert len(paths((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))) >= 30
    assert paths("`nowhere/at_all.py` and `gone.py`\n```\n ▼  also/missing.py, folder/\n```\n") == [
        "nowhere/at_all.py",
        "gone.py",
        "also/missing.py",
        "folder/",
    ]


def test_every_top_level_place_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    places = [f"{path.name}/" for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    places += [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert [place for place in places if f"`{place}`" not in text] == []


def test_classes_and_functions_of_the_drawing_exist() -> None:
    ((_, drawing),) = _FENCED.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    called = set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w+\b", drawing)) | set(re.findall(r"──([a-z_]+)", drawing))
    called |= set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b(?![./])", drawing))
    assert {"ModelSpec", "WorkerGroup", "run_comparison"} <= called
    defined = names()
    assert [name for name in sorted(called) if name not in defined and name.removesuffix("s") not in defined] == []
