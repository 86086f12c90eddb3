"""Documents and docstrings keep the prose rules, and the checker works."""

from __future__ import annotations

from pathlib import Path

import prose
import pytest

from support import ROOT

PACKAGE = ROOT / "prune_deploy"
FOLDERS = sorted({path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")})
SCRIPTS = ["docs", "tests/docs", "tests/fuzz", "tests/support", "tests/support/fakes", "tests/support/models"]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "engines/*.md", "profiles/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "cli.md"
)

CHECKED = [*(PACKAGE / each for each in FOLDERS), *(ROOT / each for each in SCRIPTS)]

LONG = "word " * 31


@pytest.mark.parametrize("folder", CHECKED, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_docstrings_keep_the_rules(folder: Path) -> None:
    files = sorted(folder.glob("*.py"))
    assert files
    assert [f"{path.relative_to(ROOT)}:{each.line}: {each.text}" for path in files for each in prose.problems_of(path)] == []


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_documents_keep_the_rules(page: str) -> None:
    assert [f"{page}:{each.line}: {each.text}" for each in prose.problems_of(ROOT / page)] == []


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"Title\n\n{LONG}.", 3, "a sentence of 31 words"),
        ("word\n" * 31, 1, "a sentence of 31 words"),
        (f"- one.\n- {LONG}", 2, "a sentence of 31 words"),
        (f"# {LONG}\n", 1, "a sentence of 31 words"),
        (f"> {LONG}\n", 1, "a sentence of 31 words"),
        (f"See e.g. this {LONG}", 1, "a sentence of 34 words"),
        (f"[{LONG}](page.md)", 1, "a sentence of 31 words"),
        ("One; two.", 1, "a semicolon"),
        ("```\na; b\n```\n\nOne; two.", 5, "a semicolon"),
        ("| a |\n\nOne; two.", 3, "a semicolon"),
    ],
)
def test_a_document_s_broken_rule_is_found(text: str, line: int, problem: str) -> None:
    (found,) = prose.document_problems(text)
    assert found.line == line
    assert found.text.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 30 + ".",
        ("word " * 20 + ". ") * 3,
        "- " + "word " * 20 + "\n- " + "word " * 20,
        "# " + "word " * 20 + "\n" + "word " * 20,
        "word " * 29 + "`a span; of code is one word`.",
        "word " * 30 + "× — →",
        f"```text\n{LONG}; a\n```",
        f"| {LONG}; a |",
        f"<!-- table x -->\n{LONG}; a\n<!-- end of table -->",
        f"<!-- {LONG}; a -->",
        "A&nbsp;B.",
        "[text](a;b.md)",
        "How long is a sentence?",
    ],
)
def test_what_a_document_may_hold_is_no_problem(text: str) -> None:
    assert prose.document_problems(text) == []


@pytest.mark.parametrize(
    ("docstring", "line", "problem"),
    [
        ("word " * 13 + ".", 1, "a docstring's first line of 13 words"),
        (
            "Two lines that\nare one paragraph of more than the twelve words that are allowed.",
            1,
            "a docstring's first line of 15 words",
        ),
        ("One; two.", 1, "a semicolon"),
        ("What it is.", 1, "a docstring begins with a question word"),
        ("Whether it is so.", 1, "a docstring begins with a question word"),
        ("Good.\n\nOne; two.\n", 3, "a semicolon"),
        (f"Good.\n\n{LONG}\n", 3, "a sentence of 31 words"),
        ("Good.\n\nRaises:\n    ValueError: one.\n    KeyError: two; three.\n", 5, "a semicolon"),
        (f"Good.\n\nRaises:\n    ValueError: {LONG}.\n", 4, "a sentence of 32 words"),
    ],
)
@pytest.mark.parametrize("form", ['"""{}"""', 'def f():\n    """{}"""', 'class C:\n    """{}"""', 'async def f():\n    """{}"""'])
def test_a_docstring_s_broken_rule_is_found(form: str, docstring: str, line: int, problem: str) -> None:
    source = form.format(docstring.replace("\n", "\n    ") if form.startswith(("def", "class", "async")) else docstring)
    (found,) = prose.code_problems(source)
    assert found.line == line + source[: source.index('"""')].count("\n")
    assert found.text.startswith(problem)


@pytest.mark.parametrize(
    "source",
    [
        '"""Twelve words: a b c d e f g h i j."""',
        '"""A `span; of code` is one word of twelve, and so are all others."""',
        f'"""Good.\n\n    {LONG}; drawn\n\nGood.\n"""',
        f'"""Good.\n\n{LONG[:40]}   apart   {LONG}; in columns\n"""',
        f'"""Good.\n\n├── {LONG}; a tree\n"""',
        '"""Good.\n\nRaises:\n    ValueError: ' + "word " * 20 + "\n    KeyError: " + "word " * 20 + '\n"""',
        f"X = 1  # {LONG}; a comment\n",
        f'print("""{LONG}; text""")',
        f'X = 1\n"""{"word " * 13}."""\n',
    ],
)
def test_what_code_may_hold_is_no_problem(source: str) -> None:
    assert prose.code_problems(source) == []


def test_a_string_below_an_assignment_is_prose_too() -> None:
    assert [found.text[:11] for found in prose.code_problems('X = 1\n"""One; two."""\n')] == ["a semicolon"]


def test_abbreviations_and_initials_end_no_sentence() -> None:
    assert prose.sentences("See e.g. A. Smith et al. 2019. It says so (p. 3). Good?") == [
        "See e.g. A. Smith et al. 2019.",
        "It says so (p. 3).",
        "Good?",
    ]


def test_the_script_prints_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text("One; two.\n", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "code.py").write_text('"""How."""\n', encoding="utf-8")
    (tmp_path / "data.txt").write_text("One; two.\n", encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/page.md:1: a semicolon: One; two. …",
        f"{tmp_path}/sub/code.py:1: a docstring begins with a question word: How.",
    ]
    (tmp_path / "page.md").write_text("One.\n", encoding="utf-8")
    assert prose.main([str(tmp_path / "page.md")]) == 0
