"""Traces on a GPU: device time by layer, of every backend, in the same schema."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_deploy import ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.backends import discover as discover_backends
from prune_deploy.backends import usable
from prune_deploy.execution.jobs.client import BuildWorkerClient
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.execution.workers.timing import time_runs
from prune_deploy.pipeline import Exported
from prune_deploy.records import BETWEEN_LAYERS, Trace, from_json, to_json
from prune_deploy.specs import Case
from prune_deploy.tensors import named_input
from prune_deploy.tracing import discover
from support.gpu import engine_spec, needs_cuda, needs_engine, options

BATCH = 4


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small convolutional network, with an engine where a library builds one for this GPU."""
    model = ModelSpec(name="test_resnet", num_classes=10)
    spec = ExportSpec(model=model, prune=PruneSpec(ratio=0.5), engine=engine_spec(batches=(BATCH,)))
    return export_bundle(spec, tmp_path_factory.mktemp("gpu") / "bundle")


def traced(exported: Exported, name: str, folder: Path, batch: int = BATCH, **wanted: Any) -> Trace:
    """Trace a backend as the product does: in a child, with the environment that its profiler needs."""
    backend = discover_backends()[name]
    role = {"module": "weights"}.get(backend.consumes, backend.consumes)
    artifact = next(exported.folder / each.name for each in exported.record.artifacts if each.role == role)
    run_options = options(**wanted)
    case = Case(bundle="bundle", backend=name, precision="fp32", batch=batch, options=run_options)
    header = {
        "backend": name,
        "artifact": str(exported.folder if backend.consumes == "module" else artifact),
        "shape": [batch, 3, 160, 160],
        "case": to_json(case),
        "label": "bundle",
        "folder": str(folder),
        "stem": "trace",
        "runs": 5,
        "inputs": "images",
        "seed": 0,
    }
    with Watchdog() as watchdog, BuildWorkerClient(watchdog, folder / "log") as builder:
        builder.ask("trace", header, 120.0, "tracing", environment=discover()[name].environment(run_options))
    path = folder / "trace.layers.json"
    return from_json(Trace, path.read_bytes(), source=str(path))


def run_ms(exported: Exported, name: str, batch: int) -> float:
    """Milliseconds of a run on the device itself: events around queued runs."""
    artifact = exported.folder / "model.onnx" if name == "ort" else exported.folder
    images = np.random.default_rng(0).standard_normal((batch, 3, 160, 160), dtype=np.float32)
    with usable(name).open(artifact, named_input(images), options()) as session:
        for _ in range(20):
            session.run()
        return float(np.median(time_runs(session, 50, "device"))) / 1e6


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[needs_engine] if discover_backends()[n].consumes == "engine" else []) for n in discover()]
)
def test_layers_have_device_time_and_find_their_weights(exported: Exported, name: str, tmp_path: Path) -> None:
    trace = traced(exported, name, tmp_path)
    assert sum(layer.share for layer in trace.layers) == pytest.approx(1.0)
    layers_us = sum(layer.time_us for layer in trace.layers)
    assert layers_us == pytest.approx(trace.run_ms * 1e3) or any("overlap" in note for note in trace.warnings)
    weights = {layer.parameters[0] for layer in trace.layers if layer.parameters and layer.macs}
    assert len(weights) >= 15, sorted(weights)
    events = json.loads(gzip.decompress((tmp_path / trace.chrome_file).read_bytes()))["traceEvents"]
    assert events


@needs_cuda
@pytest.mark.parametrize("name", ["eager", "ort"])
def test_layers_have_the_time_of_kernels_and_not_of_launches(exported: Exported, name: str, tmp_path: Path) -> None:
    """At this batch kernels take far longer than launches: layers that add up to less than the device's own time are launches."""
    trace = traced(exported, name, tmp_path, batch=256)
    layers_ms = sum(layer.time_us for layer in trace.layers if layer.name != BETWEEN_LAYERS) / 1e3
    assert layers_ms > 0.7 * run_ms(exported, name, 256)


@needs_cuda
def test_a_cuda_graph_of_torch_shows_its_kernels(exported: Exported, tmp_path: Path) -> None:
    trace = traced(exported, "compile", tmp_path, compile_mode="reduce-overhead")
    assert sum(layer.time_us for layer in trace.layers if layer.name != BETWEEN_LAYERS) > 0
