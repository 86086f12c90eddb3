"""Prose rules: short sentences, no semicolons, plain first lines.

    python tests/docs/prose.py FOLDER_OR_FILE...

The script prints `file:line: problem` and ends with exit code 1 if it printed one. A folder stands for its Markdown and Python files,
those of its sub-folders included.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SENTENCE_WORDS = 30
FIRST_LINE_WORDS = 12

_QUESTION = re.compile(r"(?:What|Which|How|Why|Whether|Where)\b")
_GENERATED = re.compile(r"<!-- (?:table|compatibility|generated)\b.*?-->.*?<!-- end of .*?-->", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_ENTITY = re.compile(r"&#?\w+;")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|al|approx|pp?|Fig|Eq|Sec|No|resp|etc)|(?<!\w)[A-Z])\.$")
_END = re.compile(r"[.!?][\"'”’)\]*_]*(?=\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_SECTION = re.compile(r"^\s*(?:Args|Arguments|Attributes|Example|Examples|Note|Notes|Raises|Returns|Source|Sources|Yields):$")
_ENTRY = re.compile(r"^\s*[\w.*` ,]{1,60}: ")
_COLUMNS = re.compile(r"\S {3,}\S|[─│├└▶◀┌┐┘┤┬┴┼╴╵╶╷▼▲]")


class Problem(NamedTuple):
    """One broken rule and the line it stands on."""

    line: int
    text: str


class Block(NamedTuple):
    """One paragraph, list item or entry, and the line it begins on."""

    line: int
    text: str


def document_problems(text: str) -> list[Problem]:
    """Long sentences and semicolons in a Markdown document's prose."""
    return sorted(problem for block in _markdown_blocks(text) for problem in _sentence_problems(block))


def code_problems(source: str) -> list[Problem]:
    """Broken rules in the docstrings of a Python file."""
    problems: list[Problem] = []
    for line, text, has_summary in _docstrings(ast.parse(source)):
        blocks = list(_docstring_blocks(line, text))
        if has_summary and blocks:
            problems += _summary_problems(blocks[0])
            blocks = blocks[1:] if _word_count(blocks[0].text) > FIRST_LINE_WORDS else blocks
        problems += [problem for block in blocks for problem in _sentence_problems(block)]
    return sorted(set(problems))


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph. Abbreviations and initials end none."""
    parts, begin = [], 0
    for end in _END.finditer(text):
        if not _ABBREVIATION.search(text[begin : end.start() + 1]):
            parts.append(text[begin : end.end()].strip())
            begin = end.end()
    return [part for part in (*parts, text[begin:].strip()) if part]


def _word_count(text: str) -> int:
    """Count words with a letter or digit. Code spans are one."""
    return sum(any(character.isalnum() for character in word) for word in _plain(text).split())


def _plain(text: str) -> str:
    """The text with one word per code span, and without link targets."""
    return _ENTITY.sub(" ", _LINK.sub(r"\1", _CODE_SPAN.sub("Code", text)))


def _sentence_problems(block: Block) -> Iterator[Problem]:
    text = " ".join(_plain(block.text).split())
    for sentence in sentences(text):
        begin = " ".join(sentence.split()[:6])
        if (count := _word_count(sentence)) > SENTENCE_WORDS:
            yield Problem(block.line, f"a sentence of {count} words (at most {SENTENCE_WORDS}): {begin} …")
        if ";" in sentence:
            yield Problem(block.line, f"a semicolon: {begin} …")


def _summary_problems(block: Block) -> Iterator[Problem]:
    text = " ".join(_plain(block.text).split())
    if (count := _word_count(text)) > FIRST_LINE_WORDS:
        yield Problem(block.line, f"a docstring's first line of {count} words (at most {FIRST_LINE_WORDS}): {text[:60]}")
        if ";" in text:
            yield Problem(block.line, f"a semicolon: {text[:60]}")
    if _QUESTION.match(text):
        yield Problem(block.line, f"a docstring begins with a question word: {text[:60]}")


def _markdown_blocks(text: str) -> Iterator[Block]:
    """Headings, paragraphs and list items.

    Code, tables, comments and generated parts are left out.
    """
    for removed in (_GENERATED, _FENCE, _COMMENT):
        text = removed.sub(lambda found: "\n" * found[0].count("\n"), text)
    lines = ["" if line.lstrip().startswith("|") else line.lstrip("> ") for line in text.splitlines()]
    yield from _blocks(1, lines, starts=lambda line: bool(_ITEM.match(line)), ends=lambda line: line.startswith("#"))


def _docstring_blocks(first: int, text: str) -> Iterator[Block]:
    """A docstring's paragraphs, items and entries.

    Drawings, tables and examples are left out.
    """
    lines = text.expandtabs().splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(indents, default=0)
    lines = [lines[0].strip(), *(line[margin:] for line in lines[1:])] if lines else []
    prose, in_section = [], False
    for line in lines:
        in_section = bool(_SECTION.match(line)) or (in_section and (not line.strip() or line.startswith(" ")))
        is_code = line.startswith("    ") and not in_section
        prose.append("" if is_code or line.lstrip().startswith((">>>", "|")) or _COLUMNS.search(line) else line)
    yield from _blocks(first, prose, starts=_starts_docstring_block, ends=lambda line: bool(_SECTION.match(line)))


def _starts_docstring_block(line: str) -> bool:
    return bool(_ITEM.match(line) or (line.startswith("    ") and line[4:5] != " " and _ENTRY.match(line)))


def _blocks(first: int, lines: Sequence[str], *, starts: Callable[[str], bool], ends: Callable[[str], bool]) -> Iterator[Block]:
    """Split lines into blocks.

    Blocks end at blank lines, before lines that start a block and after lines that end one.
    """
    begin, held = first, list[str]()
    for number, line in enumerate((*lines, ""), first):
        if held and (not line.strip() or starts(line) or ends(line)):
            yield Block(begin, " ".join(held))
            held = []
        if line.strip() and not held:
            begin = number
        if line.strip():
            held.append(_ITEM.sub("", line).strip().lstrip("# ") if line.startswith("#") else _ITEM.sub("", line).strip())
        if held and ends(line):
            yield Block(begin, " ".join(held))
            held = []


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Line, text and whether the docstring has a first line.

    Strings below assignments have none.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for index, each in enumerate(node.body):
            if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)):
                continue
            after = index > 0 and isinstance(node.body[index - 1], ast.Assign | ast.AnnAssign)
            if index == 0 or after:
                yield each.lineno, each.value.value, index == 0


def problems_of(path: Path) -> list[Problem]:
    """The problems of one Markdown or Python file."""
    text = path.read_text(encoding="utf-8")
    return document_problems(text) if path.suffix == ".md" else code_problems(text)


def files_of(path: Path) -> list[Path]:
    """A file itself, or the Markdown and Python files of a folder."""
    return [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix in (".md", ".py"))


def main(arguments: Sequence[str]) -> int:
    """Print the problems of the named files and folders.

    Returns:
        The exit code.
    """
    found = [(path, problem) for argument in arguments for path in files_of(Path(argument)) for problem in problems_of(path)]
    for path, problem in found:
        print(f"{path}:{problem.line}: {problem.text}")  # noqa: T201 - a script
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
