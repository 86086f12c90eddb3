"""Measuring on a GPU: shared placement, three clocks, telemetry, memory, and figures that hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.export.tensorrt.library import available_libraries
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Silent
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.runs import read_run
from prune_deploy.specs import TARGETS, MeasureSpec, Mode, Placement, RunOptions
from prune_deploy.workflows.bench import BenchRequest, measure_all, plan_bench


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a ResNet-50 with an engine for this GPU; its dense model is exported beside it by the first test."""
    target = local_target()
    assert target is not None
    library = next(each for each in available_libraries() if not each.is_rtx or target in TARGETS)
    engine = EngineSpec(library="tensorrt-rtx" if library.is_rtx else "tensorrt", target=target, batches=(1, 8))
    spec = ExportSpec(model=ModelSpec(name="resnet50"), prune=PruneSpec(ratio=0.5), engine=engine)
    return export_bundle(spec, tmp_path_factory.mktemp("gpu") / "engines" / "pruned").folder


def measured(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, backends: str, spec: MeasureSpec) -> list[CaseRecord]:
    """A quick run; its records."""
    monkeypatch.chdir(bundle.parents[1])
    request = BenchRequest(bundles=(bundle,), backends=tuple(backends.split(",")), batches=(8,), spec=spec)
    planned = plan_bench(request, Silent())
    records = [record for _, found in measure_all(planned, spec, folder, ["test"], Silent()) for record in found]
    assert all(each.is_same for each in reanalyze(read_run(folder)))
    return records


@pytest.mark.parametrize("placement", ["shared", "isolated"])
def test_every_backend_is_measured(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: Placement) -> None:
    spec = MeasureSpec(rigor="quick", placement=placement, options=RunOptions(device="cuda"))
    records = measured(bundle, tmp_path / "run", monkeypatch, "eager,compile,ort,trt", spec)
    assert len(records) == 10  # five ways, trt with and without a graph, dense and pruned
    for record in records:
        assert record.status in ("ok", "inconclusive"), record.reason
        assert record.latency is not None
        assert record.placement == ("isolated" if record.case.backend == "compile" else placement)
        assert record.memory is not None
        assert record.memory.peak_device_bytes is not None or record.memory.device_note
        assert record.telemetry["sm_clock_mhz_median"] > 100
        if record.speedup is not None:
            assert 0.8 < record.speedup.ratio.value < 6


@pytest.mark.parametrize("mode", ["device", "throughput"])
def test_other_clocks_give_other_figures_of_the_same_size(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    medians = {}
    for each in ("latency", mode):
        spec = MeasureSpec(rigor="quick", mode=each, options=RunOptions(device="cuda"))
        records = measured(bundle, tmp_path / each, monkeypatch, "eager,trt", spec)
        assert all(record.latency is not None for record in records), [record.reason for record in records]
        medians[each] = [record.latency.median_ms.value for record in records if record.latency is not None]
    assert all(0.2 < other / latency < 1.5 for latency, other in zip(medians["latency"], medians[mode], strict=True))
