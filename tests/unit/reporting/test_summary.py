"""What a run's summary states, and each statement's text once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.records import Accuracy, CaseRecord, RunRecord, Verdict
from prune_deploy.reporting.charts import curve_views
from prune_deploy.reporting.figures.report import make_report, read_report
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.figures.run_warnings import absences
from prune_deploy.reporting.figures.sentence import Sentence, sentence
from prune_deploy.reporting.figures.summary import findings, summaries, tally
from prune_deploy.reporting.figures.summary_wording import in_words
from prune_deploy.runs import Run
from prune_deploy.specs import MeasureSpec
from support.report_runs import GOLDEN_RUNS
from support.run_records import case, case_record, run_record, speedup


def stated(*records: CaseRecord, run: RunRecord | None = None) -> tuple[Sentence, ...]:
    """What the summary of a run of these records states."""
    (found,) = make_report([Run(Path(), run or run_record(), records, 0)]).runs
    return findings(found)


WHERE = {"bundle": "net-l2-r0.50", "backend": "ort", "batch": 8, "precision": "fp32"}


@pytest.mark.parametrize(("verdict", "ratio"), [("FASTER", 3.7), ("SLOWER", 0.75), ("SAME", 1.0), ("INCONCLUSIVE", 1.01)])
def test_a_claim_has_its_interval(verdict: Verdict, ratio: float) -> None:
    found = speedup(ratio, verdict=verdict)
    span = {"speedup": found.ratio.value, "low": found.ratio.low, "high": found.ratio.high}
    assert stated(case_record(batch=8, speedup=found)) == (sentence("claim", verdict=verdict, **WHERE, **span),)


def test_a_claim_without_an_interval_has_none() -> None:
    (claim,) = stated(case_record(ratio=2.0, half_width=None))
    assert (claim.params["low"], claim.params["high"]) == (None, None)


def test_many_cases_are_counted_and_the_slower_ones_named() -> None:
    fast = [case_record(ratio=ratio, label=f"net-{ratio}") for ratio in (1.5, 2.0, 3.0, 4.0)]
    slow = case_record(speedup=speedup(0.8, verdict="SLOWER"), label="net-slow")
    counts, reach, slower, lost = stated(*fast, slow, case_record(ratio=None))
    assert counts == sentence("counts", cases=5, verdicts={"FASTER": 4, "SLOWER": 1})
    assert (reach.key, [end["bundle"] for end in reach.params["ends"]]) == ("range", ["net-slow", "net-4.0"])
    assert [end["speedup"] for end in reach.params["ends"]] == [0.8, 4.0]
    assert (slower.key, [each["bundle"] for each in slower.params["cases"]], slower.params["more"]) == ("slower", ["net-slow"], 0)
    assert lost == sentence("not-timed", cases=1)


def test_where_nothing_is_decided_at_the_largest_batch_that_is_stated() -> None:
    decided = [case_record(ratio=ratio, label=f"net-{ratio}") for ratio in (1.5, 2.0, 3.0, 4.0)]
    open_case = replace(case_record(speedup=speedup(1.01, verdict="INCONCLUSIVE")), case=case(backend="eager"))
    assert sentence("undecided", configs=[("net", "eager")]) in stated(*decided, open_case)


def test_chips_and_sentences_count_the_same_cases() -> None:
    decided = [case_record(ratio=ratio, label=f"net-{ratio}") for ratio in (1.5, 2.0, 3.0, 4.0)]
    open_case = case_record(speedup=speedup(1.01, verdict="INCONCLUSIVE"))
    masked = case_record(speedup=speedup(1.01, verdict="INCONCLUSIVE"), nonzero_params=500, label="net-mask")
    traced = case_record(ratio=None, status="ok", reason="traced, not timed", fix="time it")
    records = (*decided, open_case, masked, traced, case_record(ratio=None), case_record(role="dense", speedup=None))
    counts = next(each for each in stated(*records) if each.key == "counts")
    counted = tally(make_report([Run(Path(), run_record(), records, 0)]))
    assert counted.verdicts == counts.params["verdicts"] == {"FASTER": 4, "INCONCLUSIVE": 1}
    assert (counted.zeroed, counted.not_timed) == (1, 1)


def test_undecided_cases_are_counted_by_reason_with_a_command_for_more_length() -> None:
    wide = speedup(1.0, half_width=0.3, verdict="INCONCLUSIVE")
    few = case_record(ratio=2.0, half_width=None)
    assert few.speedup is not None
    few = replace(few, speedup=replace(few.speedup, verdict="INCONCLUSIVE"))
    (summary,) = summaries(make_report([Run(Path(), run_record(), (case_record(speedup=wide), few), 0)]))
    assert [text.partition(":")[0] for text in summary.undecided] == ["1 candidate undecided"] * 2
    assert "reaches across 1" in summary.undecided[0]
    assert "too few rounds" in summary.undecided[1]
    assert summary.longer.startswith("prune-deploy bench engines/net-l2-r0.50")
    quick = replace(run_record(), spec=MeasureSpec(rigor="quick"))
    (shorter,) = summaries(make_report([Run(Path(), quick, (case_record(speedup=wide),), 0)]))
    assert "--rigor full" in shorter.longer
    assert "--budget-s" not in shorter.longer
    (swept,) = summaries(make_report([Run(Path(), replace(quick, command=("sweep",)), (case_record(speedup=wide),), 0)]))
    assert swept.longer == ""
    (sure,) = summaries(make_report([Run(Path(), run_record(), (case_record(),), 0)]))
    assert (sure.undecided, sure.longer, sure.caution) == ((), "", "")


def test_a_run_that_goes_on_says_how_far_it_is() -> None:
    run = replace(run_record(), cases=(case(), case(8)))
    assert stated(case_record(), run=run)[0] == sentence("unfinished", done=1, planned=2)
    assert stated(case_record(), run=replace(run, cases=(), is_open=True))[0] == sentence("open", done=1)


def test_a_case_that_was_only_traced_is_no_failure() -> None:
    traced = case_record(ratio=None, status="ok", reason="traced, not timed", fix="time it with prune-deploy bench")
    assert stated(traced) == (sentence("only-traced", cases=1),)
    assert row(traced).verdict_text == "not timed"
    assert absences([row(traced)]) == []


def test_zeroed_weights_are_never_called_faster() -> None:
    found = stated(case_record(ratio=1.2, nonzero_params=500, label="net-mask"))
    assert found == (sentence("zeroed", bundles=["net-mask"], verdicts={"FASTER": 1}),)


def test_steps_slower_than_the_one_before_are_named_and_gaps_stay_gaps() -> None:
    report = read_report([GOLDEN_RUNS[0]])
    steps = [each for each in findings(report.runs[0]) if each.key == "slower-steps"]
    assert any((8, [0.1, 0.6]) in each.params["steps"] for each in steps)
    latency = next(view for view in curve_views(report) if "batch 8" in view.name).charts[0]
    eager = [series for series in latency.series if series.backend == "eager"]  # type: ignore[union-attr]
    assert [[point.x for point in series.points] for series in eager] == [[0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.8]]
    ort = next(series for series in latency.series if series.backend == "ort")  # type: ignore[union-attr]
    assert [point.x for point in ort.points if point.mark == "slower"] == [0.1, 0.6]


def test_a_summary_says_how_accurate_the_dense_model_and_the_others_are() -> None:
    def scored(right: int, **changes: Any) -> CaseRecord:
        found = Accuracy(
            data="digits",
            images=100,
            classes=10,
            batch=1,
            top1=right / 100,
            low=0.01,
            high=0.99,
            confidence=0.975,
            random_weights=right == 10,
        )
        return case_record(accuracy=found, **changes)

    dense = scored(95, role="dense", label="net-dense", speedup=None)
    found = stated(dense, scored(90), scored(60, label="net-middle"), scored(40, label="net-l2-r0.80"))
    (accuracy,) = (each for each in found if each.key == "accuracy")
    assert (accuracy.params["data"], accuracy.params["images"]) == ("digits", 100)
    assert accuracy.params["dense"] == {"top1": 0.95, "low": 0.01, "high": 0.99}
    assert [(end["bundle"], end["top1"]) for end in accuracy.params["ends"]] == [("net-l2-r0.80", 0.4), ("net-l2-r0.50", 0.9)]
    (random,) = (each for each in stated(scored(10)) if each.key == "accuracy")
    assert "random" in random.params["note"]


SPAN = {"speedup": 3.7, "low": 3.68, "high": 3.72}
END = {"bundle": "net-a", "backend": "ort", "batch": 1, "speedup": 0.8, "low": 0.796, "high": 0.804}
WORDING: list[tuple[Sentence, str]] = [
    (sentence("unfinished", done=1, planned=2), "The run is not finished: 1 of 2 cases so far."),
    (sentence("open", done=1), "The run is not finished: 1 case so far."),
    (
        sentence("claim", verdict="FASTER", **WHERE, **SPAN),
        "net-l2-r0.50 is 3.70× [3.68, 3.72] faster than dense on ONNX Runtime at batch 8.",
    ),
    (
        sentence("claim", verdict="SLOWER", **WHERE, speedup=0.75, low=0.746, high=0.754),
        "net-l2-r0.50 is slower than dense on ONNX Runtime at batch 8: 0.750× [0.746, 0.754] its speed.",
    ),
    (
        sentence("claim", verdict="SAME", **WHERE, speedup=1.0, low=0.995, high=1.01),
        "net-l2-r0.50 is as fast as dense on ONNX Runtime at batch 8: 1.000× [0.995, 1.010].",
    ),
    (
        sentence("claim", verdict="INCONCLUSIVE", **WHERE, speedup=1.01, low=1.0, high=1.02),
        "Whether net-l2-r0.50 is faster than dense on ONNX Runtime at batch 8 is undecided: 1.01× [1.00, 1.02].",
    ),
    (
        sentence("claim", verdict="INCONCLUSIVE", **WHERE, speedup=2.0, low=None, high=None),
        "Whether net-l2-r0.50 is faster than dense on ONNX Runtime at batch 8 is undecided: 2.000× (too few rounds for an interval).",
    ),
    (
        sentence("claim", verdict="FASTER", **{**WHERE, "precision": "int8"}, speedup=3.731, low=3.075, high=4.526),
        "net-l2-r0.50 is 3.7× [3.1, 4.5] faster than dense on ONNX Runtime in INT8 at batch 8.",
    ),
    (
        sentence("counts", cases=5, verdicts={"FASTER": 4, "SLOWER": 1}),
        "Of 5 measured cases, 4 faster than dense and 1 slower.",
    ),
    (sentence("counts", cases=5, verdicts={"SAME": 5}), "All 5 measured cases are the same."),
    (
        sentence("range", model="net", backend="ort", batch=1, ends=[END, END | SPAN | {"bundle": "net-b"}]),
        "net on ONNX Runtime at batch 1: from 0.800× [0.796, 0.804] (net-a) to 3.70× [3.68, 3.72] (net-b).",
    ),
    (
        sentence("undecided", configs=[("net", "ort"), ("net", "eager")]),
        "Nothing is decided at the largest batch of net on ONNX Runtime and net on PyTorch eager.",
    ),
    (
        sentence("slower", cases=[END], more=2),
        "Slower than dense: net-a on ONNX Runtime at batch 1 at 0.800× [0.796, 0.804] and 2 more.",
    ),
    (
        sentence("slower-steps", model="net", backend="ort", steps=[(1, [0.1]), (8, [0.1, 0.6])]),
        "Steps of net's curve on ONNX Runtime that are slower than the step before: 0.1 at batch 1, 0.1 and 0.6 at batch 8.",
    ),
    (
        sentence(
            "accuracy",
            model="net",
            data="digits",
            images=1000,
            note="weights are random",
            dense={"top1": 0.95, "low": 0.9, "high": 0.99},
            ends=[END | {"top1": 0.4, "low": 0.3, "high": 0.5}],
        ),
        "Top-1 of net on 1,000 images of digits: dense 95.0 % [90.0, 99.0], pruned or masked 40.0 % [30.0, 50.0] (net-a on ONNX Runtime). "
        "Note: weights are random.",
    ),
    (
        sentence("zeroed", bundles=["net-mask"], verdicts={"FASTER": 1, "SAME": 2}),
        "net-mask only had weights set to zero: no dense speed-up expected, 1 FASTER and 2 SAME.",
    ),
    (sentence("only-traced", cases=1), "1 case only traced, not timed."),
    (sentence("not-timed", cases=2), "2 cases could not be timed. The reasons are below."),
]


@pytest.mark.parametrize(("statement", "text"), WORDING, ids=[f"{number}-{each.key}" for number, (each, _) in enumerate(WORDING)])
def test_a_statement_has_one_text(statement: Sentence, text: str) -> None:
    assert in_words(statement) == text


def test_a_summary_has_the_texts_of_what_is_stated() -> None:
    report = read_report(GOLDEN_RUNS)
    for run, summary in zip(report.runs, summaries(report), strict=True):
        assert summary.sentences == tuple(in_words(each) for each in findings(run))
        assert not any(";" in text for text in summary.sentences)
