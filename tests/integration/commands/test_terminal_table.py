"""The table of a run in a real terminal: readable at 80 columns, with more where there is room."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pytest

from prune_deploy.reporting.figures.rows import row
from prune_deploy.runs import read_run
from support import ROOT
from support.terminal import in_terminal

RUNS = ROOT / "tests" / "golden" / "reports"
WIDTHS = (80, 100, 120, 160)
ANSWERS = ("backend", "batch", "ms", "speed-up", "verdict")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines_of(width: int, *arguments: str | Path) -> list[str]:
    """Lines that the command prints into a terminal of so many columns."""
    code, written = in_terminal(*arguments, columns=width)
    assert code == 0
    return [_CODES.sub("", line).rstrip() for line in written.decode().replace("\r\n", "\n").split("\n")]


def table_of(width: int, folder: Path, *options: str) -> tuple[str, list[str]]:
    """The head of the first table, and all lines."""
    lines = lines_of(width, "report", folder, "--table", *options)
    return next(line for line in lines if all(name in line for name in ANSWERS)), lines


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a golden run, where a report may be written."""
    return Path(shutil.copytree(RUNS / request.param, tmp_path / request.param))


each_run = pytest.mark.parametrize("run", ["laptop_curve", "workstation_bench"], indirect=True)


@each_run
@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_answers_and_no_word_is_broken(run: Path, width: int) -> None:
    _, lines = table_of(width, run)
    text = "\n".join(lines)
    for case in map(row, read_run(run).cases):
        if case.latency_ms is None:
            continue
        names = f"{re.escape(case.bundle)}|{re.escape(case.bundle.removeprefix(f'{case.model}-'))}"
        assert re.search(rf"^(?:{names})(?: |$)", text, re.MULTILINE), case.bundle
        verdict = case.verdict_text
        assert re.search(rf"{re.escape(case.backend)} .* {verdict}", text), case.name
    verdicts = {case.verdict_text for case in map(row, read_run(run).cases)}
    in_table = [line for line in lines if verdicts & set(line.replace("*", " ").split()) and ": " not in line]
    assert in_table
    assert max(map(len, in_table)) <= width


@each_run
def test_more_room_shows_more_and_wide_shows_all(run: Path) -> None:
    heads = [table_of(width, run)[0].split() for width in WIDTHS]
    assert all(set(narrow) <= set(wide) | {"model", "bundle"} for narrow, wide in itertools.pairwise(heads))
    assert len(heads[-1]) > len(heads[0])
    whole, _ = table_of(80, run, "--wide")
    assert {"MACs", "images/s", "ms/image", "peak", "start", *heads[-1]} <= set(whole.split())


@each_run
def test_a_report_does_not_repeat_the_table(run: Path) -> None:
    lines = lines_of(80, "report", run)
    assert not any("speed-up" in line and "verdict" in line for line in lines)
    assert any("faster than dense" in line or "undecided" in line for line in lines)
