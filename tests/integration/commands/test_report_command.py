"""`report` as a user calls it, on the golden runs: where files go, what is on stdout, what is refused."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from prune_deploy.records import to_json
from prune_deploy.reporting.figures.report import make_report
from prune_deploy.reporting.renderers.html import render_html
from prune_deploy.runs import RECORDS_FILE, read_run
from support.commands import call, here, refused
from support.report_runs import GOLDEN_RUNS

__all__ = ["here"]  # a fixture


@pytest.fixture
def runs(here: Path) -> tuple[Path, Path]:
    """Copies of the golden runs in the current folder."""
    for run in GOLDEN_RUNS:
        shutil.copytree(run, here / run.name)
    return here / GOLDEN_RUNS[0].name, here / GOLDEN_RUNS[1].name


def test_without_a_format_the_findings_are_printed_and_the_page_written(runs: tuple[Path, Path]) -> None:
    result = call("report", *runs)
    assert result.code == 0, result.stderr
    assert "RTX A2000 12GB, 20261121-bench-resnet50" in result.stdout
    assert "the baseline against its own copy" in call("report", *runs, "--verbose").stdout
    assert f"report: {runs[0] / 'report.html'}" in result.stdout
    assert (runs[0] / "report.html").read_bytes().startswith(b"<!doctype html>")
    assert not (runs[1] / "report.html").exists()


@pytest.mark.parametrize(("form", "start"), [("md", "# resnet50"), ("csv", "run,machine,"), ("json", "{")])
def test_texts_go_to_stdout_or_to_a_file(runs: tuple[Path, Path], here: Path, form: str, start: str) -> None:
    shown = call("report", *runs, "--format", form)
    assert shown.code == 0, shown.stderr
    assert shown.stdout.startswith(start)
    written = call("report", *runs, "--format", form, "--out", here / "sub" / "file")
    assert written.code == 0, written.stderr
    assert written.stdout == ""
    assert (here / "sub" / "file").read_text(encoding="utf-8") == shown.stdout


def test_a_page_elsewhere_links_back_to_the_run(runs: tuple[Path, Path], here: Path) -> None:
    result = call("report", runs[1], "--format", "html", "--out", here / "public" / "index.html")
    assert result.code == 0, result.stderr
    page = (here / "public" / "index.html").read_text(encoding="utf-8")
    assert 'href="../workstation_bench/traces/' in page


def test_a_title_heads_the_page(runs: tuple[Path, Path]) -> None:
    result = call("report", runs[0], "--title", "ResNet on a laptop", "--format", "md")
    assert result.stdout.startswith("# ResNet on a laptop\n")


def test_plots_are_pictures(runs: tuple[Path, Path]) -> None:
    kept = [record for record in read_run(runs[1]).cases if (record.case.backend, record.case.batch) == ("ort", 8)]
    lines = (to_json(record, indent=None) + "\n" for record in kept)
    (runs[1] / RECORDS_FILE).write_text("".join(lines), encoding="utf-8")
    result = call("report", runs[1], "--format", "png")
    assert result.code == 0, result.stderr
    names = sorted(path.name for path in (runs[1] / "plots").iterdir())
    begins = ["distribution-", "forest.png", "operators-", "waterfall-"]
    assert [name.startswith(begin) for name, begin in zip(names, begins, strict=True)] == [True] * 4
    for name in names:
        with Image.open(runs[1] / "plots" / name) as image:
            colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
        assert colours is not None
        assert len(colours) > 20


def test_json_holds_all_runs_and_writes_nothing(runs: tuple[Path, Path]) -> None:
    result = call("report", *runs, "--reanalyze", "--json")
    assert result.code == 0, result.stderr
    assert len(result.document["runs"]) == 2
    assert result.document["report"] is None
    assert result.stderr.count("the same figures") == 2
    assert not (runs[0] / "report.html").exists()
    also = call("report", *runs, "--format", "csv", "--out", "cases.csv", "--json")
    assert also.document["report"] == "cases.csv"
    assert len(list(csv.DictReader(io.StringIO(Path("cases.csv").read_text(encoding="utf-8"))))) == len(also.document["cases"])


def test_what_cannot_be_reported_is_refused(runs: tuple[Path, Path], here: Path) -> None:
    refused(call("report", runs[0], runs[0]), 2, "a run is named twice")
    refused(call("report", here), 2, "is no run")
    refused(call("report", runs[0], "--format", "csv", "--out", here), 2, "is a folder")
    (here / "file").write_text("", encoding="utf-8")
    refused(call("report", runs[0], "--format", "csv", "--out", here / "file" / "x"), 4, "cannot write")


def test_a_changed_sample_is_noticed_before_anything_is_written(runs: tuple[Path, Path]) -> None:
    samples = next((runs[0] / "samples").iterdir())
    samples.write_bytes(samples.read_bytes()[:-1] + b"x")
    refused(call("report", *runs, "--reanalyze"), 1, "its hash differs")
    assert not (runs[0] / "report.html").exists()


def test_a_report_needs_no_runtime(runs: tuple[Path, Path]) -> None:
    script = (
        "import sys; from prune_deploy.cli.main import cli; "
        f"cli.main(['report', {str(runs[1])!r}], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'matplotlib')))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


def test_two_hundred_cases_take_less_than_three_seconds(runs: tuple[Path, Path], here: Path) -> None:
    run = read_run(runs[0])
    cases = []
    for number in range(4):
        for path in sorted((GOLDEN_RUNS[0] / "samples").iterdir()):
            shutil.copy(path, runs[0] / "samples" / f"{number}-{path.name}")
        for record in run.cases:
            file = record.samples_file.replace("samples/", f"samples/{number}-")
            cases.append(replace(record, label=f"{record.label}-{number}", samples_file=file))
    assert len(cases) >= 200
    seconds = []
    for _ in range(3):  # other work on the machine may slow one of them
        begun = time.process_time()
        render_html(make_report([replace(run, cases=tuple(cases))]), here)
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 3
