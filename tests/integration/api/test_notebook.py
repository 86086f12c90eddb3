"""Results in a notebook: tables with escaped texts, and DataFrames in the columns of the CSV."""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

import prune_deploy as pd
from prune_deploy.pipeline import Exported
from prune_deploy.reporting.figures.report import Report
from prune_deploy.reporting.renderers.csv_table import render_csv
from prune_deploy.runs import read_run
from support.report_runs import GOLDEN_RUNS

VOID = {"br", "hr", "img", "input", "meta", "link"}


class Page(html.parser.HTMLParser):
    """Reads a page strictly: every tag is closed in order. It keeps tags and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(result: Any) -> Page:
    text = result._repr_html_()
    assert len(text) < 100_000
    read = Page(text)
    assert set(read.tags) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "p", "strong", "details", "summary"}
    return read


@pytest.fixture(scope="module")
def report() -> Report:
    return pd.read_report(GOLDEN_RUNS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("engines") / "half"
    return pd.export_bundle("test_byobnet", folder, prune=0.5, precisions="fp32", engine="none")


def test_a_pruning_shows_sizes_and_groups() -> None:
    pruned = pd.prune(pd.build_model("test_byobnet", num_classes=10), 0.5)
    shown = page(pruned)
    assert shown.texts == page(pruned.receipt).texts
    assert {"parameters", "MACs", "Dense", "Kept"} <= set(shown.texts)
    assert f"{len(pruned.receipt.groups)} groups of channels" in shown.texts
    assert {group.name for group in pruned.receipt.groups} <= set(shown.texts)


def test_a_bundle_shows_its_files_and_its_receipt(bundle: Exported) -> None:
    shown = page(bundle)
    assert {artifact.name for artifact in bundle.record.artifacts} <= set(shown.texts)
    assert "passed" in shown.texts
    assert set(page(bundle.record.receipt).texts) <= set(shown.texts)
    assert any(str(bundle.folder) in text for text in shown.texts)


def test_a_report_shows_its_sentences_and_the_columns_of_the_page(report: Report) -> None:
    shown = page(report)
    assert report.title in shown.texts
    assert {"Model", "Latency, ms", "Speed-up", "Verdict"} <= set(shown.texts)
    assert shown.tags.count("tr") == 1 + min(60, len(list(report.lines)))
    assert any("faster" in text for text in shown.texts)
    assert page(read_run(GOLDEN_RUNS[0])).texts == page(pd.read_report(GOLDEN_RUNS[:1])).texts


def test_texts_of_strangers_are_texts(bundle: Exported) -> None:
    bad = "<script>alert(1)</script>\"'&"
    receipt = bundle.record.receipt
    group = dataclasses.replace(receipt.groups[0], name=bad, detail=bad)
    damaged = dataclasses.replace(receipt, groups=(group,), warnings=(bad,))
    shown = page(damaged)
    assert "script" not in shown.tags
    assert "".join(shown.texts).count(bad) == 3


def test_a_long_table_says_how_much_is_left_out(bundle: Exported) -> None:
    receipt = bundle.record.receipt
    many = dataclasses.replace(receipt, groups=receipt.groups[:1] * 100)
    assert "and 40 more" in page(many).texts


def test_a_frame_has_the_columns_and_values_of_the_csv(report: Report) -> None:
    frame = report.to_frame()
    lines = list(csv.DictReader(io.StringIO(render_csv(report).decode())))
    assert list(frame.columns) == list(lines[0])
    assert len(frame) == len(lines)
    for column in frame.columns:
        for value, text in zip(frame[column], (line[column] for line in lines), strict=True):
            found = "" if pandas.isna(value) else (str(value).lower() if frame[column].dtype == "boolean" else str(value))
            assert found == text.removeprefix("'"), column


def test_a_frame_has_the_types_that_figures_need(report: Report) -> None:
    types = report.to_frame().dtypes.astype(str).to_dict()
    expected = {
        "latency_ms": "float64",
        "p99_bound_ms": "float64",
        "batch": "Int64",
        "params": "Int64",
        "converged": "boolean",
        "zeroed": "boolean",
        "bundle": "string",
        "verdict": "category",
    }
    assert {name: types[name] for name in expected} == expected
    assert "object" not in types.values()


def test_frames_answer_questions(report: Report) -> None:
    frame = report.to_frame()
    candidates = frame[frame["role"] == "candidate"]
    best = candidates.groupby("backend", observed=True)["speedup"].max()
    rows = [line.row for line in report.lines if line.row.role == "candidate" and line.row.backend.startswith("ort")]
    assert best["ort"] == max(row.speedup for row in rows if row.speedup is not None)


def test_a_run_has_the_frame_of_its_report() -> None:
    run = read_run(GOLDEN_RUNS[0])
    pandas.testing.assert_frame_equal(run.to_frame(), pd.read_report(run).to_frame())


def test_a_run_without_cases_is_an_empty_frame(tmp_path: Path) -> None:
    run = dataclasses.replace(read_run(GOLDEN_RUNS[0]), cases=())
    frame = run.to_frame()
    assert (len(frame), list(frame.columns)) == (0, list(read_run(GOLDEN_RUNS[0]).to_frame().columns))


WITHOUT_PANDAS = """
import sys
sys.modules["pandas"] = None
import prune_deploy as pd
try:
    pd.read_run(sys.argv[1]).to_frame()
except pd.PruneDeployError as error:
    print(error.exit_code, error.fix)
"""


def test_without_pandas_the_error_says_how_to_install_it() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, GOLDEN_RUNS[0]], capture_output=True, text=True, check=True, timeout=300
    )
    assert result.stdout.startswith("4 pip install 'prune-deploy[notebook]'")
