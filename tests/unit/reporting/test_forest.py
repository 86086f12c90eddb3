"""The forest plot of speed-ups: what is in it, where it lies, and what is cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.records import CaseRecord, Counts
from prune_deploy.reporting.charts.forest import Forest, LogSpan, forest, place_interval, speedup_span
from prune_deploy.reporting.figures.report import make_report, read_report
from prune_deploy.reporting.figures.rows import row
from prune_deploy.runs import Run
from support.report_runs import GOLDEN_RUNS
from support.run_records import case, case_record, run_record, speedup


def drawn(*records: CaseRecord) -> Forest:
    plot = forest(make_report([Run(Path(), run_record(), records, 0)]))
    assert plot is not None
    return plot


def test_a_row_per_candidate_with_an_interval_grouped_by_backend() -> None:
    eager = replace(case_record(ratio=1.5), case=case(backend="eager"))
    dense = case_record(role="dense", speedup=None)
    plot = drawn(dense, case_record(ratio=2.0), eager, case_record(ratio=None), case_record(ratio=3.0, half_width=None))
    assert [(group.name, [each.speedup for each in group.rows]) for group in plot.groups] == [
        ("ONNX Runtime", [2.0]),
        ("PyTorch eager", [1.5]),
    ]
    assert forest(make_report([Run(Path(), run_record(), (dense,), 0)])) is None


def test_the_macs_ratio_is_one_line_or_a_tick_per_row() -> None:
    alike = drawn(case_record(ratio=2.0), case_record(ratio=3.0))
    assert alike.macs_ratio == 4.0
    assert "dashed line" in alike.note
    less = Counts(params=500, macs=2000, macs_with_attention=2000)
    differing = drawn(case_record(ratio=2.0), case_record(ratio=1.5, counts=less))
    assert differing.macs_ratio is None
    assert [each.macs_ratio for each in differing.rows] == [4.0, 2.0]
    assert "Ticks" in differing.note


def test_the_axis_holds_1_the_values_and_the_macs_ratios() -> None:
    for records in ([case_record(ratio=0.5)], [case_record(ratio=2.0)], [case_record(ratio=1.0)]):
        span = speedup_span(map(row, records))
        assert span.low < min(1.0, records[0].speedup.ratio.low or 0)  # type: ignore[union-attr]
        assert span.high > 4.0


def test_a_wide_interval_is_cut_off_at_the_edge_and_says_so() -> None:
    wide, narrow = case_record(ratio=2.0, half_width=5.0), case_record(ratio=2.0)
    span = speedup_span([row(wide), row(narrow)])
    cut, whole = place_interval(row(wide), span), place_interval(row(narrow), span)
    assert cut is not None
    assert whole is not None
    assert (cut.low, cut.high, cut.goes_below, cut.goes_above) == (0.0, 100.0, True, True)
    assert 0 < whole.low < whole.value < whole.high < 100
    assert not whole.goes_below
    assert not whole.goes_above
    assert "An arrow marks" in drawn(wide, narrow).note
    assert "arrow" not in drawn(narrow).note


def test_places_are_logarithmic() -> None:
    span = LogSpan(low=0.5, high=8.0)
    assert [span.place(value) for value in (0.5, 1.0, 2.0, 8.0, 100.0)] == [0.0, 25.0, 50.0, 100.0, 100.0]
    assert {1, 2, 5} <= set(span.ticks)


def test_rows_name_what_differs_and_undecided_ones_are_marked() -> None:
    open_case = case_record(batch=8, speedup=speedup(1.01, verdict="INCONCLUSIVE"))
    plot = drawn(case_record(batch=1), open_case)
    assert [each.detail for each in plot.rows] == ["batch 1", "batch 8"]
    assert [each.mark for each in plot.rows] == ["", "undecided"]
    assert [each.detail for each in drawn(case_record(batch=8)).rows] == [""]
    assert drawn(case_record(nonzero_params=5)).rows[0].detail == "zeroed"


@pytest.mark.parametrize("folders", [GOLDEN_RUNS, GOLDEN_RUNS[:1]])
def test_golden_runs_are_drawn_whole(folders: tuple[Path, ...]) -> None:
    report = read_report(folders)
    plot = forest(report)
    assert plot is not None
    timed = [line.id for line in report.lines if line.row.speedup_low is not None]
    assert sorted(each.id for each in plot.rows) == sorted(timed)
    assert any("RTX A2000" in group.name for group in plot.groups) == (len(folders) > 1)
