"""Traces whatever the runtime: who traces what, shares, what is missing, and the file that Perfetto opens."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prune_deploy.backends import discover as discover_backends
from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.records import LayerTime
from prune_deploy.specs import Case, RunOptions
from prune_deploy.tracing import discover, trace_artifact, tracer_for, with_shares
from prune_deploy.tracing.chrome import complete_event, packed

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
        trace_artifact("null", tmp_path, INPUTS, RunOptions(), tmp_path / "out", "stem", case("null"), "net")
    assert not (tmp_path / "out").exists()


def test_no_runs_are_no_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--runs must be at least 1, got 0"):
        trace_artifact("ort", tmp_path, INPUTS, RunOptions(), tmp_path, "stem", case("ort"), "net", runs=0)


def test_shares_are_of_the_sum_and_the_slowest_layer_comes_first() -> None:
    layers = with_shares((layer("a", 10.0), layer("b", 30.0), layer("c", 0.0)))
    assert [each.name for each in layers] == ["b", "a", "c"]
    assert [each.share for each in layers] == [0.75, 0.25, 0.0]
    assert with_shares((layer("a", 0.0),))[0].share == 0.0


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
