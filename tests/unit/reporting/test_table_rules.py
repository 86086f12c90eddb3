"""Rules that all tables share: no efficiency of what is undecided, and asterisks only where they tell rows apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.cli.output.latency_table import print_records
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.charts.hover import describe
from prune_deploy.reporting.figures.report import Report, make_report
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.renderers import Format, render
from prune_deploy.reporting.renderers.grids import side_by_side
from prune_deploy.reporting.renderers.html_table import table
from prune_deploy.runs import Run
from support.run_records import case_record, environment, run_record, speedup

DECIDED = case_record()
OPEN = case_record(batch=8, speedup=speedup(1.5, 0.3, "INCONCLUSIVE"))
WIDE = case_record(batch=8, speedup=speedup(1.5, 0.3))
ALL_WIDE = "every interval is wider"


def reported(records: Sequence[CaseRecord], folder: Path) -> Report:
    return make_report([Run(folder, run_record(), tuple(records), 0)])


def text_of(report: Report, form: Format, folder: Path) -> str:
    (content,) = render(report, form, folder).values()
    return content.decode()


def markdown_rows(text: str) -> list[dict[str, str]]:
    """The rows of the first table."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def html_cells(report: Report, key: str) -> list[str]:
    return [next(cell.text for cell in each.cells if cell.key == key) for each in table(report).rows]


def test_an_undecided_case_has_no_efficiency_in_tables_and_keeps_it_in_files(tmp_path: Path) -> None:
    report = reported([DECIDED, OPEN], tmp_path)
    known = f"{row(DECIDED).efficiency:.2f}"
    assert [each["Efficiency"] for each in markdown_rows(text_of(report, "md", tmp_path))] == [known, "-"]
    assert html_cells(report, "efficiency") == [known, "-"]
    assert [cell.sort for each in table(report).rows for cell in each.cells if cell.key == "efficiency"][1] is None
    assert "efficiency" in " ".join(describe(row(DECIDED)))
    assert "efficiency" not in " ".join(describe(row(OPEN)))
    raw = [row(each).efficiency for each in (DECIDED, OPEN)]
    read = csv.DictReader(io.StringIO(text_of(report, "csv", tmp_path)))
    assert [float(each["efficiency"]) for each in read] == pytest.approx(raw)
    cases = json.loads(text_of(report, "json", tmp_path))["cases"]
    assert [each["efficiency"] for each in cases] == pytest.approx(raw)


@pytest.mark.parametrize(
    ("records", "verdicts", "note"),
    [
        ([DECIDED, WIDE], ["FASTER", "FASTER*"], "\\*: the interval is wider than the rigor aims for"),
        ([WIDE, OPEN], ["FASTER", "INCONCLUSIVE"], ALL_WIDE),
        ([DECIDED], ["FASTER"], ""),
    ],
    ids=["some are wide", "all are wide", "none is wide"],
)
def test_asterisks_stand_where_they_tell_rows_apart(
    records: Sequence[CaseRecord], verdicts: list[str], note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = reported(records, tmp_path)
    text = text_of(report, "md", tmp_path)
    assert [each["Verdict"] for each in markdown_rows(text)] == verdicts
    assert html_cells(report, "verdict") == verdicts
    page = text_of(report, "html", tmp_path)
    for shown, said in ((text, note), (page, note.replace("\\*:", "*"))):
        assert said in shown
        assert ("wider than the rigor" in shown) == bool(note)
    print_records(records)
    assert ("FASTER*" in capsys.readouterr().out) == ("FASTER*" in verdicts)


@pytest.mark.parametrize(("other", "marked"), [(WIDE, False), (replace(DECIDED, case=WIDE.case), True)])
def test_machines_side_by_side_have_marks_of_their_own(other: CaseRecord, marked: bool, tmp_path: Path) -> None:
    """Of the cases that both measured, all are wide or one is; a narrow one of one machine alone counts for its own table only."""
    elsewhere = replace(run_record(), environment=environment(cpu="another CPU"))
    grid = side_by_side(make_report([Run(tmp_path, run_record(), (DECIDED, WIDE), 0), Run(tmp_path, elsewhere, (other,), 0)]))
    assert grid is not None
    assert any(cell.endswith("*") for cells in grid.rows for cell in cells) == marked
    assert ("* the interval is wider" in grid.note) == marked
