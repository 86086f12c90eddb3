"""Traces whatever the runtime: who traces what, shares, what is missing, and the file that Perfetto opens."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from math import fsum
from pathlib import Path

import numpy as np
import pytest

from prune_deploy.backends import discover as discover_backends
from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.records import BETWEEN_LAYERS, LayerTime
from prune_deploy.specs import Case, RunOptions
from prune_deploy.tensors import named_input
from prune_deploy.tracing import discover, trace_artifact, tracer_for, whole_run
from prune_deploy.tracing.chrome import complete_event, packed
from prune_deploy.tracing.recording import mean_over, typical_runs

INPUTS = np.zeros((1, 3, 8, 8), dtype=np.float32)


def layer(name: str, time_us: float) -> LayerTime:
    return LayerTime(name=name, op="Conv", time_us=time_us, share=0.0)


def case(backend: str) -> Case:
    return Case(bundle="net", backend=backend, precision="fp32", batch=1, options=RunOptions())


def test_every_backend_that_computes_has_a_tracer() -> None:
    computing = {name for name, backend in discover_backends().items() if backend.consumes != "nothing"}
    assert set(discover()) == computing


def test_finding_tracers_imports_no_runtime() -> None:
    code = "import sys; from prune_deploy.tracing import discover; discover(); print({'torch', 'onnxruntime', 'onnx'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_a_backend_without_a_tracer_says_which_have_one(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="null cannot be traced") as caught:
        tracer_for("null")
    assert "eager" in caught.value.fix
    with pytest.raises(CannotRunError, match="null cannot be traced"):
        trace_artifact("null", tmp_path, named_input(INPUTS), RunOptions(), tmp_path / "out", "stem", case("null"), "net")
    assert not (tmp_path / "out").exists()


def test_no_runs_are_no_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`runs` must be at least 1, got 0"):
        trace_artifact("ort", tmp_path, named_input(INPUTS), RunOptions(), tmp_path, "stem", case("ort"), "net", runs=0)


def test_layers_and_the_time_between_them_add_up_to_the_run_and_the_slowest_comes_first() -> None:
    rows = whole_run((layer("a", 10.0), layer("b", 50.0), layer("c", 0.0)), run_ms=0.1)
    assert [(row.name, row.time_us, row.share) for row in rows] == [
        ("b", 50.0, 0.5),
        (BETWEEN_LAYERS, pytest.approx(40.0), pytest.approx(0.4)),
        ("a", 10.0, 0.1),
        ("c", 0.0, 0.0),
    ]
    assert fsum(row.time_us for row in rows) == pytest.approx(100.0, rel=1e-12)


def test_layers_that_overlap_leave_nothing_between_them() -> None:
    rows = whole_run((layer("a", 90.0), layer("b", 30.0)), run_ms=0.1)
    assert [(row.name, row.time_us, row.share) for row in rows] == [
        ("a", 90.0, 0.75),
        ("b", 30.0, 0.25),
        (BETWEEN_LAYERS, 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("durations_ms", "chosen"),
    [
        ([7.0], (0,)),
        ([9.0, 8.0], (0, 1)),
        ([5.0, 50.0, 6.0], (2,)),
        ([4.0, 9.0, 5.0, 6.0], (2, 3)),
        ([5.0, 1.0, 50.0, 6.0, 7.0], (0, 3, 4)),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0], (2, 3, 4)),
    ],
)
def test_the_middle_half_of_the_runs_counts_and_one_disturbed_run_does_not(
    durations_ms: list[float], chosen: tuple[int, ...]
) -> None:
    assert typical_runs(durations_ms) == chosen


def test_a_run_and_its_layers_are_means_over_the_same_runs() -> None:
    """Medians of each layer would add up to 20 + 30 = 50 µs here, more than the median run of 45."""
    first, second = (20.0, 10.0, 30.0, 20.0, 25.0), (20.0, 35.0, 5.0, 30.0, 300.0)
    durations_ms = [(a + b + 5.0) / 1e3 for a, b in zip(first, second, strict=True)]
    runs = typical_runs(durations_ms)
    rows = whole_run((layer("a", mean_over(runs, first)), layer("b", mean_over(runs, second))), mean_over(runs, durations_ms))
    assert runs == (0, 1, 3)
    assert {row.name: row.time_us for row in rows} == pytest.approx({"a": 50 / 3, "b": 85 / 3, BETWEEN_LAYERS: 5.0})


def test_a_packed_trace_is_gzipped_json_that_names_no_machine() -> None:
    chrome = {
        "traceEvents": [complete_event("conv", begin_us=1.0, duration_us=2.0)],
        "host_name": "secret",
        "traceName": "/secret/t",
    }
    content = packed(chrome, label="net ort")
    document = json.loads(gzip.decompress(content))
    assert document["label"] == "net ort"
    assert document["traceEvents"][0] == {"ph": "X", "name": "conv", "ts": 1.0, "dur": 2.0, "pid": 0, "tid": 0, "args": {}}
    assert b"secret" not in gzip.decompress(content)
    assert packed(chrome, label="net ort") == content
