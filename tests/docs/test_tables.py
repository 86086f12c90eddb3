"""The tables of the documents come from committed files and are current."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from prune_deploy.records import CaseRecord, RunRecord
from prune_deploy.reporting.figures.rows import row
from prune_deploy.runs import append_cases, create_run, read_run
from prune_deploy.specs import Case, MaskSpec, MeasureSpec, ModelSpec, PruneSpec, RunOptions, Variant
from support import ROOT
from support.report_runs import write_curve
from support.run_records import environment, estimate, latency, speedup


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, reading its runs from an empty folder."""
    spec = importlib.util.spec_from_file_location("generate_tables", ROOT / "docs" / "generate_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REFERENCE", tmp_path)
    return module


def cells(table: str) -> list[list[str]]:
    """The cells of a table's body."""
    lines = table.strip().splitlines()
    body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert all(len(line) == len(body[0]) == lines[0].count("|") - 1 for line in body)
    return body


def test_every_table_is_what_its_records_say(tables: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "REFERENCE", ROOT / "profiles" / "reference")
    stale = [page.name for page in tables.PAGES if tables.fill(text := page.read_text(encoding="utf-8")) != text]
    assert stale == [], "run: make docs"
    assert any("<!-- table " in page.read_text(encoding="utf-8") for page in tables.PAGES)


def test_a_changed_figure_is_noticed_and_mended(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table curve_sizes -->\n| 1 | typed |\n<!-- end of table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "PAGES", (page,))
    assert tables.main(["--check"]) == 1
    assert "page.md differs" in capsys.readouterr().err
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table curve_sizes -->\n\n| step |")
    assert text.endswith("|\n\n<!-- end of table -->\nafter\n")
    assert "typed" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table nonsense -->\n<!-- end of table -->", "no table 'nonsense'"),
        ("<!-- table curve_sizes -->\n| 1 |", "no <!-- end of table -->"),
        ("<!-- table curve_sizes -->\n<!-- table curve_sizes -->\n<!-- end of table -->", "no <!-- end of table -->"),
    ],
)
def test_a_marker_that_says_nothing_is_refused(tables: ModuleType, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.fill(text)


def test_the_size_table_stands_for_every_published_row_and_agrees_with_it(tables: ModuleType) -> None:
    lines = cells(tables.pytorch_pruning_sizes())
    published = tables.golden("pytorch_pruning_a2000.csv")
    assert sum(int(line[3]) for line in lines) == len(published)
    for line in lines:
        dense = next(other[4] for other in lines if other[:2] == [line[0], "dense and masked"])
        assert line[5].partition(" (")[0] == (line[4] if line[4] != dense or line[1] == "dense and masked" else "nothing removed")
        assert ("−" in line[6]) == (line[1] != "dense and masked")


def test_the_curve_s_sizes_are_the_published_ones(tables: ModuleType) -> None:
    lines = cells(tables.curve_sizes())
    assert len(lines) == 21
    assert all(line[2] == line[3] and line[4] == line[5] for line in lines)


def test_a_curve_stands_beside_the_published_latencies(tables: ModuleType, tmp_path: Path) -> None:
    records = read_run(write_curve(tmp_path / "laptop")).cases
    lines = cells(tables.curve("laptop", "ort", "8"))
    wanted = next(row(r) for r in records if (r.label, r.case.backend, r.case.batch) == ("resnet50-l2-r0.50", "ort", 8))
    line = next(each for each in lines if each[0] == "0.50")
    assert [each[0] for each in lines] == ["0.00", *(f"0.{tenth}0" for tenth in range(1, 9))]
    assert line[4] == f"{wanted.mean_ms:.2f} ± {wanted.stdev_ms:.2f}"
    assert line[7:] == ["20.68 ± 0.13", "2.19×"]
    assert "slower than the step before" in lines[1][5]


def test_a_bench_s_rows_say_why_they_have_no_figures(tables: ModuleType, tmp_path: Path) -> None:
    records = read_run(write_curve(tmp_path / "laptop")).cases
    lines = cells(tables.bench("laptop"))
    assert len(lines) == len(records)
    assert {line[6] for line in lines if line[1] == "trt"} == {"unavailable"}
    assert {line[6] for line in lines if line[1] == "ort" and line[0] == "resnet50-dense"} == {"baseline"}


def test_the_benchmark_s_latencies_stand_beside_the_published_ones(tables: ModuleType, tmp_path: Path) -> None:
    e = ModelSpec(name="e")
    ignored = PruneSpec(ratio=0.3, method="bn-scale", ignore=("head", "norm", "attention"), when_empty="skip")
    records = [
        measured(Variant(model=e), 320.0, None),
        measured(Variant(model=e, mask=MaskSpec(kind="l1-unstructured", ratio=0.3)), 320.0, 1.0),
        replace(measured(Variant(model=e, prune=ignored, protocol="published"), None, None), status="failed", model="e"),
        measured(Variant(model=e, prune=PruneSpec(ratio=0.3), protocol="own"), 160.0, 2.0),
    ]
    run = RunRecord(id="x", command=("sweep",), spec=MeasureSpec(), cases=(), environment=environment(), started_at="")
    create_run(tmp_path / "ours", run)
    append_cases(tmp_path / "ours", records)
    lines = cells(tables.pytorch_pruning_latency("ours", "ort"))
    assert [line[:6] for line in lines] == [
        ["`e`", "none", "-", "-", "12.72", "20.00"],
        ["`e`", "l1-unstructured", "-", "0.3", "2.23", "20.00"],
        ["`e`", "depgraph-group", "published", "0.3", "2.25", "-"],
        ["`e`", "depgraph-group", "own", "0.3", "2.25", "10.00"],
    ]
    assert [line[7] for line in lines] == ["baseline", "FASTER", "failed", "FASTER"]
    assert tables.pytorch_pruning_latency("ours", "eager").count("\n") == 1


def measured(variant: Variant, time_ms: float | None, ratio: float | None) -> CaseRecord:
    """A case of a batch of 16, with or without figures."""
    return CaseRecord(
        case=Case(bundle=variant.name, backend="ort", precision="fp32", batch=16, options=RunOptions()),
        role="dense" if variant.method == "dense" else "candidate",
        index=0,
        model="efficientnet_b4",
        label=variant.name,
        artifact="",
        artifact_sha256="",
        counts=None,
        dense_counts=None,
        status="ok",
        variant=variant,
        latency=None if time_ms is None else replace(latency(time_ms), median_ms=estimate(time_ms)),
        speedup=None if ratio is None else speedup(ratio),
    )
