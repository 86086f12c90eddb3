"""A compiled module in the profiler: fused kernels with their names, and all of the time accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from prune_deploy.backends import usable
from prune_deploy.backends.compile import CompileBackend, CompiledSession
from prune_deploy.records import BETWEEN_LAYERS
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays, named_input
from prune_deploy.tracing import tracer_for, whole_run
from prune_deploy.tracing.recording import Recording
from support.models import tiny_models


class PlainCompiled(CompileBackend):
    """The backend with a network that needs no bundle."""

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = RunOptions()) -> Iterator[CompiledSession]:  # noqa: B008
        yield CompiledSession(tiny_models.lively(tiny_models.Plain()), inputs, options)


@pytest.fixture(scope="module")
def recording() -> Recording:
    usable("compile")
    images = np.asarray(tiny_models.images(tiny_models.SIZE, batch=4))
    return tracer_for("compile").record(PlainCompiled(), Path(), named_input(images), RunOptions(threads=1), 3)


def test_fused_kernels_and_products_are_rows(recording: Recording) -> None:
    layers = {layer.name: layer for layer in recording.layers}
    products = {name: layer.macs for name, layer in layers.items() if layer.macs}
    assert products.keys() == {"first.0", "second.0", "head"}
    assert products["second.0"] == 4 * 16 * 16 * 24 * 16 * 9
    fused = [layer for name, layer in layers.items() if name.startswith("cpp_fused")]
    assert any("relu" in layer.op and "batch_norm" in layer.op for layer in fused)
    assert all(layer.macs is None for layer in fused)


def test_the_whole_time_is_accounted_for(recording: Recording) -> None:
    events = [event for event in recording.chrome["traceEvents"] if event["ph"] == "X" and event["name"] == "run"]
    assert len(events) == len(recording.traced_ms) == 3
    rows = whole_run(recording.layers, recording.run_ms)
    assert sum(row.time_us for row in rows) == pytest.approx(1e3 * recording.run_ms)
    assert {row.name for row in rows} - {layer.name for layer in recording.layers} == {BETWEEN_LAYERS}
    assert recording.settings["graphs"] == "1"
