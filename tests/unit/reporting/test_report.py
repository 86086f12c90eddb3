"""What reports say: claims, commands, curves, fronts, names of machines."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from prune_deploy.cli.commands.export import _spec
from prune_deploy.cli.main import cli
from prune_deploy.cli.options.measure import measure_spec
from prune_deploy.records import Accuracy, CaseRecord, RunRecord, Verdict
from prune_deploy.reporting.charts import Point, Scatter, curve_views, tradeoff_views
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.charts.tradeoff import pareto_front
from prune_deploy.reporting.figures.formatting import amount, interval, number, plus_minus, share, with_half_width
from prune_deploy.reporting.figures.report import machine_names, make_report, read_report
from prune_deploy.reporting.figures.reproduce import commands
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.figures.run_warnings import absences
from prune_deploy.reporting.figures.summary import summaries
from prune_deploy.runs import Run, read_run
from prune_deploy.specs import MaskSpec, MeasureSpec, ModelSpec, PruneSpec, RunOptions, Variant
from support.report_runs import GOLDEN_RUNS
from support.run_records import case, case_record, environment, estimate, run_record, speedup


def message(*records: CaseRecord) -> str:
    """The summary of a run of these records."""
    (summary,) = summaries(make_report([Run(Path(), run_record(), records, 0)]))
    return " ".join(summary.sentences)


@pytest.mark.parametrize(
    ("verdict", "ratio", "sentence"),
    [
        ("FASTER", 3.7, "net-l2-r0.50 is 3.70× [3.68, 3.72] faster than dense on ONNX Runtime at batch 8."),
        ("SLOWER", 0.75, "net-l2-r0.50 is slower than dense on ONNX Runtime at batch 8: 0.750× [0.746, 0.754] its speed."),
        ("SAME", 1.0, "net-l2-r0.50 is as fast as dense on ONNX Runtime at batch 8: 1.00× [0.995, 1.01]."),
        (
            "INCONCLUSIVE",
            1.01,
            "Whether net-l2-r0.50 is faster than dense on ONNX Runtime at batch 8 is undecided: 1.01× [1.00, 1.02].",
        ),
    ],
)
def test_a_claim_has_its_interval(verdict: Verdict, ratio: float, sentence: str) -> None:
    assert message(case_record(batch=8, speedup=speedup(ratio, verdict=verdict))) == sentence


def test_a_claim_without_an_interval_says_so() -> None:
    assert "too few rounds for an interval" in message(case_record(ratio=2.0, half_width=None))


def test_many_cases_are_counted_and_the_slower_ones_named() -> None:
    fast = [case_record(ratio=ratio, label=f"net-{ratio}") for ratio in (1.5, 2.0, 3.0, 4.0)]
    text = message(*fast, case_record(speedup=speedup(0.8, verdict="SLOWER"), label="net-slow"), case_record(ratio=None))
    assert "Of 5 measured cases, 4 faster than dense and 1 slower." in text
    assert "from 0.800× [0.796, 0.804] (net-slow) to 4.00× [3.98, 4.02] (net-4.0)" in text
    assert "Slower than dense: net-slow on ONNX Runtime at batch 1" in text
    assert "1 case could not be timed" in text


def test_a_run_that_goes_on_says_how_far_it_is() -> None:
    run = replace(run_record(), cases=(case(), case(8)))
    (summary,) = summaries(make_report([Run(Path(), run, (case_record(),), 0)]))
    assert summary.sentences[0] == "The run is not finished: 1 of 2 cases so far."


def test_a_case_that_was_only_traced_is_no_failure() -> None:
    traced = case_record(ratio=None, status="ok", reason="traced, not timed", fix="time it with prune-deploy bench")
    assert message(traced) == "1 case only traced, not timed."
    assert row(traced).verdict_text == "not timed"
    assert absences([row(traced)]) == []


def test_zeroed_weights_are_never_called_faster() -> None:
    text = message(case_record(ratio=1.2, nonzero_params=500, label="net-mask"))
    assert text == "net-mask only had weights set to zero: no dense speed-up expected, 1 FASTER."


def test_steps_slower_than_the_one_before_are_named_and_gaps_stay_gaps() -> None:
    report = read_report([GOLDEN_RUNS[0]])
    (summary,) = summaries(report)
    assert any("0.1 and 0.6 at batch 8" in sentence for sentence in summary.sentences)
    latency = next(view for view in curve_views(report) if "batch 8" in view.name).charts[0]
    eager = [series for series in latency.series if series.backend == "eager"]  # type: ignore[union-attr]
    assert [[point.x for point in series.points] for series in eager] == [[0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.8]]
    ort = next(series for series in latency.series if series.backend == "ort")  # type: ignore[union-attr]
    assert [point.x for point in ort.points if point.mark == "slower"] == [0.1, 0.6]


def parsed(line: str) -> click.Context:
    """The context that a command line makes."""
    program, name, *arguments = shlex.split(line)
    assert program == "prune-deploy"
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command.make_context(name, arguments)


MODEL = ModelSpec(name="resnet18", num_classes=10, input_size=(3, 64, 64), seed=3)
VARIANTS = (
    Variant(model=MODEL),
    Variant(model=MODEL, prune=PruneSpec(ratio=0.3, method="l1", round_to=16, ignore=("head", "norm"), seed=3)),
    Variant(
        model=replace(MODEL, seed=0), prune=PruneSpec(target_macs="0.5x", heads=True, scope="global", group_cap=0.9, steps=4)
    ),
    Variant(model=MODEL, mask=MaskSpec(kind="ln-structured", ratio=0.3)),
    Variant(model=MODEL, mask=MaskSpec(kind="2:4")),
)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.name)
def test_the_export_line_asks_for_the_same_variant(variant: Variant) -> None:
    record = case_record(case=case(backend="trt"), variant=variant, artifact="model.fp32.sm89.b1-32.tensorrt-rtx-1.7.engine")
    export, _ = commands(record, run_record())
    context = parsed(export)
    with context:
        spec = _spec(context.params)
    assert (spec.model, spec.prune, spec.mask) == (variant.model, variant.prune, variant.mask)
    assert (spec.engine.target, spec.engine.batches, spec.engine.library) == ("sm89", (1, 32), "tensorrt-rtx")


def test_the_bench_line_measures_the_same_case() -> None:
    options = RunOptions(threads=2, compile_mode="max-autotune", cpu_freezing=True)
    spec = MeasureSpec(rigor="quick", budget_s=7.5, memory_limit_mib=900, inputs="zeros", seed=5, options=options)
    asked = replace(case(batch=8, backend="compile"), precision="tf32", options=options)
    (bench,) = commands(case_record(case=asked), replace(run_record(), spec=spec))
    context = parsed(bench)
    assert measure_spec(context.params) == spec
    assert context.params["bundles"] == (Path("engines/net-l2-r0.50"),)
    assert (context.params["backends"], context.params["batch"], context.params["precisions"]) == ("compile", "8", "tf32")


def test_rows_of_sweeps_and_comparisons_are_made_again_by_their_own_command() -> None:
    run = read_run(GOLDEN_RUNS[0]).record
    asked = "--batch 1,8 --steps 8 --to-ratio 0.8 --data imagefolder:imagenet/val --data-samples 5000"
    assert commands(case_record(), run) == (f"prune-deploy curve --model resnet50 {asked}",)
    compared: RunRecord = replace(run_record(), command=("compare", "old one", "new"))
    assert commands(case_record(), compared) == ("prune-deploy compare 'old one' new",)


def test_a_front_keeps_most_at_the_least_time() -> None:
    points = [Point(x=4, y=10), Point(x=3, y=11), Point(x=2, y=6), Point(x=2, y=7), Point(x=1, y=5)]
    assert [(point.x, point.y) for point in pareto_front(points)] == [(4, 10), (2, 6), (1, 5)]
    assert pareto_front([Point(x=4, y=10), Point(x=4, y=9, mark="zeroed")]) == (Point(x=4, y=10),)
    assert pareto_front([Point(x=4, y=10), Point(x=4, y=9, mark="zeroed")], zeroed_count=True)[0].y == 9


def test_accuracy_has_a_chart_with_intervals_both_ways_where_it_was_taken() -> None:
    views = {view.name: {chart.name: chart for chart in view.charts} for view in tradeoff_views(read_report(GOLDEN_RUNS))}
    found = {name: charts.get("latency-accuracy") for name, charts in views.items()}
    assert {name for name, chart in found.items() if chart is not None} == {name for name in found if "AMD Ryzen" in name}
    chart = next(chart for chart in found.values() if chart is not None)
    assert isinstance(chart, Scatter)
    assert "5,000 images of imagefolder:imagenet/val" in chart.note
    points = [point for series in chart.series if series.style == "points" for point in series.points]
    assert len(points) == 2 * 9
    dense = next(point for point in points if point.mark == "dense")
    assert (dense.x_low or 0) < dense.x < (dense.x_high or 0)
    assert (dense.low or 0) < dense.y < (dense.high or 0)
    front = next(series for series in chart.series if series.style == "front")
    assert front.points[0].x == dense.x == pytest.approx(80.1)


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
    text = message(dense, scored(90), scored(40, label="net-l2-r0.80"))
    assert (
        "Top-1 of net on 100 images of digits: dense 95.0 % [1.0, 99.0], pruned or masked 40.0 % [1.0, 99.0] (net-l2-r0.80 on "
        "ONNX Runtime) to 90.0 % [1.0, 99.0] (net-l2-r0.50 on ONNX Runtime)." in text
    )
    assert "weights are random: chance level, 10 %, is expected." in message(scored(10))


@pytest.mark.parametrize(("low", "high"), [(0.9, 4.0), (1.0, 1.1), (0.002, 30.0), (1e-6, 1e6), (97.0, 103.0), (5.0, 5.0)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 1 <= len(ticks) <= 14
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= high for tick in ticks)
    assert len(ticks) >= 3 or low == high


def test_machines_are_named_by_what_counts_and_told_apart() -> None:
    laptop = environment(cpu="AMD Ryzen 7 7840U w/ Radeon 780M Graphics")
    xeon = environment(cpu="Intel(R) Xeon(R) W-2245 CPU @ 3.90GHz")
    gpu = environment(gpus=("NVIDIA RTX A2000 12GB, sm86, 11.8 GiB",))
    two = environment(gpus=("NVIDIA H200, sm90, 139 GiB", "NVIDIA H200, sm90, 139 GiB"))
    names = machine_names([laptop, xeon, gpu, two])
    assert names == ["AMD Ryzen 7 7840U", "Intel Xeon W-2245", "RTX A2000 12GB", "2 × H200"]
    again = environment(cpu=laptop.cpu, captured_at="2027-01-01")
    other = environment(cpu=laptop.cpu, memory_bytes=1)
    assert machine_names([laptop, again]) == ["AMD Ryzen 7 7840U"] * 2
    assert machine_names([laptop, other, again]) == [f"AMD Ryzen 7 7840U ({number})" for number in (1, 2, 1)]


def test_a_reason_is_said_once_for_all_that_share_it() -> None:
    lost = [case_record(batch=batch, ratio=None, label=label) for label in ("a", "b") for batch in (1, 8)]
    other = case_record(ratio=None, label="c", reason="it crashed", status="failed")
    first, second = absences([row(record) for record in [*lost, other]])
    assert (first.bundles, first.configs, first.batches, first.reason) == (("a", "b"), "ort fp32", "1, 8", "no CUDA device")
    assert (second.bundles, second.status) == (("c",), "failed")


def test_figures_have_one_form() -> None:
    assert [number(value) for value in (None, 0.0004, 0.01234, 1.5, 123.456, 45678.9)] == [
        "-",
        "4e-04",
        "0.01234",
        "1.500",
        "123.5",
        "45,679",
    ]
    assert interval(2.0, None, None) == "2.000"
    assert [share(value) for value in (0.0042, 0.042, 0.42)] == ["0.42%", "4.2%", "42%"]
    assert [amount(value) for value in (None, 950, 25_557_032, 4.13e9)] == ["-", "950", "25.56 M", "4.13 G"]
    assert plus_minus(45.218, 0.034) == "45.22 ± 0.03"
    assert plus_minus(None, None) == "-"
    assert [with_half_width(10.0, high) for high in (None, 10.1, 250.0)] == ["10.00", "10.00 ±1.0%", "10.00 ±>100%"]
    assert interval(*(lambda e: (e.value, e.low, e.high))(estimate(2.0))) == "2.000 [1.980, 2.020]"
