"""Measuring on a GPU: shared placement, three clocks, telemetry, memory, and figures that hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_deploy import ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.interfaces import Silent
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.runs import read_run
from prune_deploy.specs import MeasureSpec, Mode, Placement
from prune_deploy.workflows.bench import BenchRequest, bench_forecast, measure_all, plan_bench
from support.gpu import REHEARSAL, engine_spec, needs_cuda, needs_engine, options


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a ResNet, with an engine where a library builds one; its dense model is exported beside it by the first test."""
    model = ModelSpec(name="test_resnet" if REHEARSAL else "resnet50")
    spec = ExportSpec(model=model, prune=PruneSpec(ratio=0.5), engine=engine_spec(batches=(1, 8)))
    return export_bundle(spec, tmp_path_factory.mktemp("gpu") / "engines" / "pruned").folder


def measured(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, backends: str, spec: MeasureSpec) -> list[CaseRecord]:
    """A quick run; its records."""
    monkeypatch.chdir(bundle.parents[1])
    request = BenchRequest(bundles=(bundle,), backends=tuple(backends.split(",")), batches=(8,), spec=spec)
    planned = plan_bench(request, Silent())
    records = [
        record
        for _, found in measure_all(planned, spec, folder, ["test"], bench_forecast(planned, spec, Silent()))
        for record in found
    ]
    assert all(each.is_same for each in reanalyze(read_run(folder)))
    return records


def check(record: CaseRecord, placement: Placement) -> None:
    """Look at all that a record of a GPU run says."""
    assert record.status in ("ok", "inconclusive"), record.reason
    assert record.latency is not None
    assert record.placement == ("isolated" if record.case.backend == "compile" else placement)
    assert record.memory is not None
    assert record.memory.peak_device_bytes is not None or record.memory.device_note
    if not REHEARSAL:
        assert record.telemetry["sm_clock_mhz_median"] > 100
        assert record.settings["outputs"].startswith("as the CPU's")
        assert record.telemetry.get("allocator_retries", 0) == 0
    if record.speedup is not None:
        assert 0.8 < record.speedup.ratio.value < 6


@pytest.mark.parametrize(("backend", "placement"), [("eager", "shared"), ("ort", "isolated"), ("compile", "isolated")])
def test_a_backend_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, placement: Placement
) -> None:
    spec = MeasureSpec(rigor="quick", budget_s=5, placement=placement, options=options())
    records = measured(bundle, tmp_path / "run", monkeypatch, backend, spec)
    assert [record.role for record in records] == ["dense", "candidate"]
    for record in records:
        check(record, placement)


@needs_engine
@pytest.mark.parametrize("placement", ["shared", "isolated"])
def test_engines_are_measured(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: Placement) -> None:
    spec = MeasureSpec(rigor="quick", budget_s=5, placement=placement, options=options())
    records = measured(bundle, tmp_path / "run", monkeypatch, "trt", spec)
    assert len(records) == 4  # with and without a graph, dense and pruned
    for record in records:
        check(record, placement)


@needs_cuda
@pytest.mark.parametrize("backend", ["eager", pytest.param("trt", marks=needs_engine)])
@pytest.mark.parametrize("mode", ["device", "throughput"])
def test_other_clocks_give_other_figures_of_the_same_size(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, mode: Mode
) -> None:
    medians = {}
    for each in ("latency", mode):
        spec = MeasureSpec(rigor="quick", budget_s=5, mode=each, options=options())
        records = measured(bundle, tmp_path / each, monkeypatch, backend, spec)
        assert all(record.latency is not None for record in records), [record.reason for record in records]
        medians[each] = [record.latency.median_ms.value for record in records if record.latency is not None]
    assert all(0.2 < other / latency < 1.5 for latency, other in zip(medians["latency"], medians[mode], strict=True))


@needs_cuda
def test_fp32_and_tf32_in_one_process_are_each_what_they_say(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate that was opened last does not decide for all: FP32 is the slower of the two, whichever is first."""
    monkeypatch.chdir(bundle.parents[1])
    for order in (("tf32", "fp32"), ("fp32", "tf32")):
        spec = MeasureSpec(rigor="quick", budget_s=5, options=options())
        request = BenchRequest(
            bundles=(bundle,), backends=("eager",), precisions=order, batches=(64,), spec=spec, across="precisions"
        )
        planned = plan_bench(request, Silent())
        records = [
            r
            for _, found in measure_all(planned, spec, tmp_path / order[0], ["test"], bench_forecast(planned, spec, Silent()))
            for r in found
        ]
        assert all(record.latency is not None for record in records), [record.reason for record in records]
        dense = {r.case.precision: r.latency.median_ms.value for r in records if r.latency and r.label == records[0].label}
        assert dense["tf32"] < 0.8 * dense["fp32"]
