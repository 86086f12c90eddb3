"""What reports say: claims, commands, curves, fronts, names of machines."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest

from prune_deploy.cli.actions.export import export_spec
from prune_deploy.cli.options.measure import measure_spec
from prune_deploy.records import Counts, RunRecord
from prune_deploy.reporting.charts import Axis, Point, Scatter, Series, tradeoff_views
from prune_deploy.reporting.charts.chart import cut_off
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.charts.tradeoff import pareto_front
from prune_deploy.reporting.figures.formatting import amount, interval, number, plus_minus, share, with_half_width
from prune_deploy.reporting.figures.report import machine_names, make_report, read_report
from prune_deploy.reporting.figures.reproduce import commands
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.figures.run_warnings import absences
from prune_deploy.reporting.renderers.plotly_figures import figure
from prune_deploy.runs import Run, read_run
from prune_deploy.specs import MaskSpec, MeasureSpec, ModelSpec, PruneSpec, RunOptions, Variant
from support.commands import command
from support.report_runs import GOLDEN_RUNS
from support.run_records import case, case_record, environment, estimate, run_record


def parsed(line: str) -> click.Context:
    """The context that a command line makes."""
    program, name, *arguments = shlex.split(line)
    assert program == "prune-deploy"
    return command(name).make_context(name, arguments)


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
        spec = export_spec(context.params)
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
    assert (context.params["backend"], context.params["batch"], context.params["precision"]) == (("compile",), (8,), ("tf32",))


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


def test_size_is_drawn_against_time_only_for_three_ratios_or_more() -> None:
    def charts(ratios: int) -> list[str]:
        pruned = [Counts(params=100 * share, macs=400 * share, macs_with_attention=400 * share) for share in range(1, ratios + 1)]
        dense = case_record(role="dense", speedup=None, counts=Counts(params=1000, macs=4000, macs_with_attention=4000))
        others = [case_record(counts=each, label=f"net-{each.params}") for each in pruned]
        masked = case_record(counts=Counts(params=1000, macs=4000, macs_with_attention=4000), nonzero_params=5, label="net-mask")
        report = make_report([Run(Path(), run_record(), (dense, *others, masked), 0)])
        return [chart.name for view in tradeoff_views(report) for chart in view.charts]

    assert charts(2) == []
    assert charts(3) == ["speedup-macs", "latency-macs"]


def test_intervals_beyond_the_frame_are_cut_off_and_marked() -> None:
    points = (Point(x=1, y=2.0, low=0.001, high=90.0), Point(x=2, y=4.0, low=3.9, high=4.1))
    series = (Series(name="eager", backend="eager", style="points", points=points),)
    chart = Scatter(name="c", title="c", x=Axis(title="x"), y=Axis(title="y", scale="log"), series=series)
    framed, cuts = cut_off(chart)
    assert [(cut.x, cut.y, cut.is_above) for cut in cuts] == [(1, 1.0, False), (1, 8.0, True)]
    assert [(point.low, point.high) for point in framed.series[0].points] == [(1.0, 8.0), (3.9, 4.1)]
    drawn = figure(chart)
    assert drawn["data"][-1]["marker"]["symbol"] == ["triangle-down", "triangle-up"]
    low, high = (10**end for end in drawn["layout"]["yaxis"]["range"])
    assert all(low < cut.y < high for cut in cuts)


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
    assert [with_half_width(10.0, high) for high in (None, 10.1, 250.0)] == ["10.00", "10.0 ±1.0%", "10 ± not known"]
    assert interval(*(lambda e: (e.value, e.low, e.high))(estimate(2.0))) == "2.00 [1.98, 2.02]"
    assert interval(3.731, 3.075, 4.526) == "3.7 [3.1, 4.5]", "as many digits as the interval allows"
    assert interval(237.4, 100.0, 400.0) == "237 [100, 400]"
    assert interval(0.7620, 1e-8, 43_709_185.0) == "0.8 [not known]"
    assert interval(1.0, 1.0, 1.0) == "1.000 [1.000, 1.000]"
