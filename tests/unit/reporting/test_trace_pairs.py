"""Traces of a pruned model beside its dense one: joined layers, times by kind of operator, and what the page shows of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.records import BETWEEN_LAYERS
from prune_deploy.reporting.charts import PairedBars, operator_views
from prune_deploy.reporting.explain.trace_pairs import TracePair, operator_times, paired_stems, trace_pairs
from prune_deploy.reporting.figures.report import Report, read_report
from prune_deploy.reporting.renderers.html import render_html
from prune_deploy.reporting.renderers.layers import paired, traced
from prune_deploy.runs import EXPLANATIONS_DIR
from support.report_runs import GOLDEN_RUNS


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """The golden bench without its explanation, as `bench --trace` leaves a run."""
    shutil.copytree(GOLDEN_RUNS[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / EXPLANATIONS_DIR)
    return read_report([tmp_path / "run"])


def the_pair(report: Report) -> TracePair:
    (pair,) = trace_pairs(report)
    return pair


def test_a_pruned_trace_finds_its_dense_one(report: Report) -> None:
    pair = the_pair(report)
    assert pair.name == "resnet50-l2-r0.50, ONNX Runtime, fp32, batch 8"
    assert (pair.dense.label, pair.pruned.label) == ("resnet50-dense", "resnet50-l2-r0.50")
    assert paired_stems([pair], report.runs[0]) == set(report.runs[0].traces)
    assert traced(report, [pair], Path()) == []


def test_without_the_dense_trace_there_is_no_pair(report: Report) -> None:
    (run,) = report.runs
    lines = tuple(replace(line, trace="") if line.row.role == "dense" else line for line in run.lines)
    alone = Report(runs=(replace(run, lines=lines),))
    assert trace_pairs(alone) == []
    assert len(traced(alone, [], Path())) == 2


@pytest.mark.parametrize("changes", [{"run_ms": 0.0}, {"untraced_ms": 1e90}, {"layers": ()}, {"untraced_ms": -1.0}])
def test_times_without_sense_make_no_pair(report: Report, changes: dict[str, Any], tmp_path: Path) -> None:
    (run,) = report.runs
    traces = {stem: replace(trace, **changes) for stem, trace in run.traces.items()}
    strange = Report(runs=(replace(run, traces=traces),))
    assert trace_pairs(strange) == []
    assert b"<h3>Traces</h3>" in render_html(strange, tmp_path)


def test_times_by_operator_add_up_to_a_run(report: Report) -> None:
    times = operator_times(the_pair(report).joined)
    dense, pruned = (line.row.latency_ms or 0.0 for line in report.lines if line.trace)
    assert sum(each.dense_us for each in times) == pytest.approx(1000 * dense)
    assert sum(each.pruned_us for each in times) == pytest.approx(1000 * pruned)
    assert times[0].name == "Conv"
    assert times[0].dense_us > times[0].pruned_us


def test_a_case_that_was_only_traced_keeps_the_tracer_s_time(report: Report) -> None:
    (run,) = report.runs
    lines = tuple(replace(line, row=replace(line.row, latency_ms=None)) for line in run.lines)
    (pair,) = trace_pairs(Report(runs=(replace(run, lines=lines),)))
    times = operator_times(pair.joined)
    assert sum(each.dense_us for each in times) == pytest.approx(1000 * pair.dense.untraced_ms)


def test_rare_operators_share_a_bar_and_the_time_between_is_last(report: Report) -> None:
    pair = the_pair(report)
    many = tuple(replace(each, op=f"Op{number}") for number, each in enumerate(pair.joined.pairs))
    times = operator_times(replace(pair.joined, pairs=many, outside_us=(5.0, 4.0)))
    assert [each.name for each in times[-2:]] == [f"{len(many) - 7} other kinds", BETWEEN_LAYERS]
    layers_us = sum(each.dense.time_us for each in many if each.dense is not None)
    assert sum(each.dense_us for each in times) == pytest.approx(layers_us + 5.0)
    assert (times[-1].dense_us, times[-1].pruned_us) == (5.0, 4.0)


def test_the_page_has_both_sides_in_one_table_and_the_bars(report: Report, tmp_path: Path) -> None:
    pair = the_pair(report)
    (part,) = paired(report, [pair], tmp_path)
    assert part.grid is not None
    assert part.grid.titles[-3:] == ("Dense, µs", "Pruned, µs", "Difference, µs")
    reorder = next(cells for cells in part.grid.rows if cells[1] == "ReorderOutput")
    assert reorder[-3] == "0.000"
    assert reorder[-1] == f"+{float(reorder[-2]):.1f}"
    ((bars,),) = (view.charts for view in operator_views([pair]))
    assert isinstance(bars, PairedBars)
    assert [(bar.name, bar.before > bar.after) for bar in bars.bars[:2]] == [("Conv", True), ("MaxPool", True)]
    page = render_html(report, tmp_path / "run").decode()
    assert "Dense beside pruned" in page
    assert page.count('href="traces/') == 4  # two rows, and two lines of the pair
    assert "send the folder with it" in page
    assert "<h3>Traces</h3>" not in page


def test_layers_that_are_explained_are_not_listed_twice() -> None:
    report = read_report([GOLDEN_RUNS[1]])
    (part,) = paired(report, trace_pairs(report), Path())
    assert part.grid is None
