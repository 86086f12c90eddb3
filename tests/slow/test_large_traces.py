"""Traces that take real time: the largest model at hand, and several compilations in one child."""

from __future__ import annotations

from pathlib import Path

import pytest

from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.interfaces import Silent
from prune_deploy.records import BETWEEN_LAYERS, Trace
from prune_deploy.runs import read_traces
from prune_deploy.specs import MeasureSpec
from prune_deploy.workflows.trace import TraceRequest, plan_traces, trace_bundle, trace_forecast

_MOST_BYTES = 20_000_000


def traces_of(request: TraceRequest, folder: Path) -> list[Trace]:
    """The traces of a request, in a run of their own."""
    planned = plan_traces(request)
    done = list(trace_bundle(planned, request, folder, (), trace_forecast(planned, request, Silent())))
    assert [record.status for record, _ in done] == ["ok"] * len(done), [record.reason for record, _ in done]
    return [found.trace for _, found in done if found.trace is not None]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT-Large, dense."""
    spec = ExportSpec(model=ModelSpec(name="vit_large_patch16_224"), prune=None, engine=EngineSpec(library="none"))
    return export_bundle(spec, tmp_path_factory.mktemp("large") / "vit").folder


@pytest.mark.parametrize("backend", ["eager", "ort"])
def test_a_trace_of_vit_large_stays_small_and_costs_little(large: Path, backend: str, tmp_path: Path) -> None:
    request = TraceRequest(bundle=large, backend=backend, spec=MeasureSpec(rigor="quick"))
    (trace,) = traces_of(request, tmp_path / "run")
    print(f"{backend}: {trace.overhead:+.1%} on {trace.untraced_ms:.0f} ms, {len(trace.layers)} rows")  # noqa: T201 - the page's figures
    assert (tmp_path / "run" / "traces" / trace.chrome_file).stat().st_size < _MOST_BYTES
    assert trace.overhead < 0.25
    macs = sum(layer.macs or 0 for layer in trace.layers)
    assert macs == pytest.approx(61.6e9, rel=0.01)
    inside = sum(layer.time_us for layer in trace.layers if layer.name != BETWEEN_LAYERS)
    assert 0.85 * trace.run_ms <= inside / 1e3
    assert sum(layer.time_us for layer in trace.layers) == pytest.approx(1e3 * trace.run_ms)


def test_several_compilations_in_one_child_do_not_disturb_each_other(tmp_path: Path) -> None:
    spec = ExportSpec(
        model=ModelSpec(name="test_convnext", num_classes=10), prune=PruneSpec(ratio=0.5), engine=EngineSpec(library="none")
    )
    bundle = export_bundle(spec, tmp_path / "bundle").folder
    request = TraceRequest(bundle=bundle, backend="compile", batches=(1, 2), runs=3, spec=MeasureSpec(rigor="quick"))
    first, second = traces_of(request, tmp_path / "run")
    assert read_traces(tmp_path / "run").keys() == {f"bundle-compile-fp32-b{batch}-bundle" for batch in (1, 2)}
    for trace in (first, second):
        assert any(layer.name.startswith("cpp_fused") for layer in trace.layers)
    products = [{layer.name: layer.macs for layer in trace.layers if layer.macs} for trace in (first, second)]
    assert {name: 2 * (macs or 0) for name, macs in products[0].items()} == products[1]
