"""`explain` as a user calls it, and the rule about channels against the installed ONNX Runtime."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from prune_deploy.environment import read_cpuinfo
from prune_deploy.errors import CannotRunError
from prune_deploy.evaluation import bandwidth
from prune_deploy.evaluation.bandwidth import memory_bandwidth
from prune_deploy.records import Trace
from prune_deploy.reporting.explain.alignment import Alignment, alignment_of
from prune_deploy.reporting.explain.explanation import Machine, Timing, explain
from prune_deploy.runs import read_explanations, read_run, read_traces
from prune_deploy.specs import Case, RunOptions
from support.commands import Result, call, here, refused

__all__ = ["here"]  # a fixture


QUICK = ("--budget-s", "2", "--threads", "1")
FLAGS = read_cpuinfo().get("flags", "").split()
needs_x86 = pytest.mark.skipif("sse2" not in FLAGS, reason="ONNX Runtime's blocked kernels are known for x86-64 only")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's bundles lie."""
    return tmp_path_factory.mktemp("explain")


@pytest.fixture(scope="module")
def odd(folder: Path) -> Iterator[Path]:
    """resnet18 at 64 pixels with odd numbers of channels, in a folder that is the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--model", "resnet18", "--num-classes", "10", "--input-size", "3,64,64", "--engine", "none")
        result = call("export", *options, "--ratio", "0.05", "--round-to", "1", "--out", "engines/odd")
        assert result.code == 0, result.stderr
        yield folder / "engines" / "odd"


@pytest.fixture(scope="module")
def answered(odd: Path, folder: Path) -> Result:
    """What `explain` says of it."""
    result = call("explain", odd, "--backend", "ort", "--batch", "2", "--out", folder / "run", "--json", *QUICK)
    assert result.code == 0, result.stderr
    return result


def test_the_document_is_the_record_in_the_run(answered: Result, folder: Path) -> None:
    (document,) = answered.document["explanations"]
    ((stem, found),) = read_explanations(folder / "run").items()
    assert document["status"] == "ok"
    assert document["sentences"] == list(found.sentences)
    assert [step["cause"] for step in document["steps"]] == [step.cause for step in found.steps]
    assert set(read_traces(folder / "run")) == {stem, stem.replace("-odd", "-resnet18-10classes-64px-dense")}
    assert len(read_run(folder / "run").cases) == 2


def test_steps_add_up_to_what_was_measured(answered: Result, folder: Path) -> None:
    (found,) = read_explanations(folder / "run").values()
    dense, pruned = read_run(folder / "run").cases
    assert dense.latency is not None
    assert pruned.latency is not None
    assert found.dense_ms == dense.latency.median_ms.value
    assert found.measured_ms == pytest.approx(pruned.latency.median_ms.value, abs=1e-6)
    total_ns = round(found.predicted_ms * 1e6) + sum(round(step.delta_ms * 1e6) for step in found.steps)
    assert total_ns == round(found.measured_ms * 1e6)
    assert sum(layer.pruned_us for layer in found.layers) == pytest.approx(1000 * found.measured_ms)
    assert sum(layer.dense_us for layer in found.layers) == pytest.approx(1000 * found.dense_ms)
    assert found.bandwidth_gb_s > 0


@needs_x86
def test_odd_channels_are_named(answered: Result, folder: Path) -> None:
    """Real layers and kernels; the times are made, because a busy machine's say anything: twice as slow outside of blocks."""
    traces = read_traces(folder / "run")
    pruned, dense = (with_times(trace) for trace in sorted(traces.values(), key=lambda each: each.label))
    left = {one.name for one in pruned.layers if one.weight_shape and "Conv" in one.op and "NCHWc" not in one.kernel}
    assert len(left) >= 5
    timing = Timing(dense_ms=dense.run_ms, measured_ms=pruned.run_ms, macs_ratio=macs(dense) / macs(pruned))
    found = explain(dense, pruned, timing, Machine(bandwidth_gb_s=1e9, alignment=rule()))
    verdicts = {layer.name: layer for layer in found.layers}
    assert {name for name, layer in verdicts.items() if "instead of" in layer.evidence} == left
    assert {verdicts[name].cause for name in left} == {"misaligned"}
    assert all("input channels are no multiple of 4" in verdicts[name].evidence for name in left)
    assert all(verdicts[name].dense_us > 0 for name in left)  # joined with the dense model's
    assert "misaligned channels" in found.sentences[1]
    assert "`round_to=" in found.advice[0]


def with_times(trace: Trace) -> Trace:
    """The same layers with times that follow their MACs, and an idle profiler."""
    layers = [
        replace(each, time_us=(each.macs or 0) / 1e4 * (2 if "NCHW," in each.kernel else 1) + 0.01) for each in trace.layers
    ]
    run_ms = sum(each.time_us for each in layers) / 1000
    return replace(trace, layers=tuple(layers), run_ms=run_ms, untraced_ms=run_ms)


def macs(trace: Trace) -> int:
    """Multiplications of all layers."""
    return sum(each.macs or 0 for each in trace.layers)


@pytest.mark.release
def test_the_terminal_shows_bars_layers_and_sentences(odd: Path) -> None:
    result = call("explain", odd, "--top", "3", "--inputs", "normal", *QUICK)
    assert result.code == 0, result.stderr
    assert "predicted by MACs" in result.stdout
    assert "measured" in result.stdout
    assert "█" in result.stdout
    assert "more layers (--top, --json)" in result.stdout
    assert re.search(r"odd has 0\.[89]\d× the dense model's MACs", result.stdout)
    assert "run: profiles" in result.stdout
    assert "tracing 2 of 2, odd ort" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--backend", "trt"), 4, "no CUDA device"),
        (("--backend", "null"), 4, "backend null cannot be traced"),
        (("--backend", "ort,eager"), 2, "--backend takes one backend"),
        (("--backend", "onnx"), 2, "unknown backend"),
        (("--batch", "0"), 2, "--batch got"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_any_work(
    odd: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    before = sorted(Path("profiles").glob("*"))
    refused(call("explain", odd, *arguments, *QUICK), code, message)
    assert sorted(Path("profiles").glob("*")) == before


def test_the_dense_model_and_strangers_are_refused(odd: Path, here: Path, folder: Path) -> None:
    refused(call("explain", here), 2, "is no bundle")
    (dense,) = [path for path in (folder / "engines").iterdir() if path.name.endswith("-dense")]
    refused(call("explain", dense), 2, "is the dense model")


def optimized(folder: Path, outputs: int, inputs: int, groups: int) -> tuple[str, tuple[int, ...]]:
    """The domain in which ONNX Runtime runs a convolution, and the shape that it gives its weights."""
    weights = np.ones((outputs, inputs, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", group=groups, pads=[1, 1, 1, 1])
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c, 8, 8])
        for name, c in (("x", inputs * groups), ("y", outputs))
    ]
    graph = helper.make_graph([node], "g", sides[:1], sides[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimized.onnx").graph
    (conv,) = [each for each in graph.node if each.op_type == "Conv"]
    return conv.domain, tuple(graph.initializer[0].dims)


def rule() -> Alignment:
    """What is believed of ONNX Runtime here."""
    found = alignment_of(Case(bundle="net", backend="ort", precision="fp32", batch=1, options=RunOptions()), FLAGS)
    assert found is not None
    return found


@needs_x86
@pytest.mark.parametrize(
    ("outputs", "inputs", "groups"),
    [
        *[(64, 64, 1), (64, 60, 1), (64, 61, 1), (64, 62, 1), (61, 64, 1), (60, 60, 1)],
        *[(61, 3, 1), (61, 7, 1), (20, 20, 1), (18, 18, 1)],  # fewer inputs than a block, and one and a little
        *[(64, 1, 64), (60, 1, 60), (61, 1, 61), (62, 1, 62)],  # depthwise
        *[(64, 16, 4), (60, 15, 4), (128, 32, 4), (80, 20, 4)],  # grouped
    ],
)
def test_onnx_runtime_takes_the_channels_that_the_rule_says(tmp_path: Path, outputs: int, inputs: int, groups: int) -> None:
    domain, shape = optimized(tmp_path, outputs, inputs, groups)
    believed = rule()
    misfit = believed.misfit((outputs, inputs, 3, 3), grouped=groups > 1)
    assert ("nchwc" in domain) == (misfit is None), misfit
    if not misfit and groups == 1:
        needed = outputs * inputs
        assert shape[0] * shape[1] / needed == pytest.approx(believed.padding((outputs, inputs, 3, 3)))


def test_bandwidth_is_bytes_read_and_written_over_the_time_of_the_fastest_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 0.1 * next(ticks))
    monkeypatch.setattr(bandwidth, "last_cache_bytes", lambda: 0)
    assert memory_bandwidth("cpu", 1) == pytest.approx(2 * (64 << 20) / 0.1 / 1e9)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CannotRunError, match="no CUDA device"):
        memory_bandwidth("cuda", 1)
