"""Traces on a GPU: device time by layer, of every backend, in the same schema."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.backends import discover as discover_backends
from prune_deploy.export.tensorrt.library import available_libraries
from prune_deploy.gpus import local_target
from prune_deploy.pipeline import Exported
from prune_deploy.records import BETWEEN_LAYERS, Trace
from prune_deploy.specs import TARGETS, Case, RunOptions
from prune_deploy.tracing import discover, trace_artifact

BATCH = 4


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small convolutional network with an engine for this GPU."""
    target = local_target()
    assert target is not None
    library = next(library for library in available_libraries() if not library.is_rtx or target in TARGETS)
    engine = EngineSpec(library="tensorrt-rtx" if library.is_rtx else "tensorrt", target=target, batches=(BATCH,))
    spec = ExportSpec(model=ModelSpec(name="test_resnet", num_classes=10), prune=PruneSpec(ratio=0.5), engine=engine)
    return export_bundle(spec, tmp_path_factory.mktemp("gpu") / "bundle")


def traced(exported: Exported, name: str, folder: Path, **options: object) -> Trace:
    backend = discover_backends()[name]
    role = {"module": "weights"}.get(backend.consumes, backend.consumes)
    artifact = next(exported.folder / each.name for each in exported.record.artifacts if each.role == role)
    run_options = RunOptions(device="cuda", **options)  # type: ignore[arg-type]  # options of a test
    case = Case(bundle="bundle", backend=name, precision="fp32", batch=BATCH, options=run_options)
    images = np.random.default_rng(0).standard_normal((BATCH, 3, 160, 160), dtype=np.float32)
    opened = exported.folder if backend.consumes == "module" else artifact
    return trace_artifact(name, opened, images, run_options, folder, "trace", case, "bundle")


@pytest.mark.parametrize("name", discover())
def test_layers_have_device_time_and_find_their_weights(exported: Exported, name: str, tmp_path: Path) -> None:
    trace = traced(exported, name, tmp_path)
    assert sum(layer.share for layer in trace.layers) == pytest.approx(1.0)
    layers_us = sum(layer.time_us for layer in trace.layers)
    assert layers_us <= 1.1 * trace.run_ms * 1e3
    assert layers_us == pytest.approx(trace.run_ms * 1e3) or any("overlap" in note for note in trace.warnings)
    weights = {layer.parameters[0] for layer in trace.layers if layer.parameters and layer.macs}
    assert len(weights) >= 15, sorted(weights)
    events = json.loads(gzip.decompress((tmp_path / trace.chrome_file).read_bytes()))["traceEvents"]
    assert events


def test_a_cuda_graph_of_torch_shows_its_kernels(exported: Exported, tmp_path: Path) -> None:
    trace = traced(exported, "compile", tmp_path, compile_mode="reduce-overhead")
    assert sum(layer.time_us for layer in trace.layers if layer.name != BETWEEN_LAYERS) > 0
