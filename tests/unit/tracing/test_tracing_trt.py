"""Traces of engines, against fakes: what the profiler reports, what the inspector says, and which module a layer was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.tensorrt.engine import EngineLabel, LoadedEngine
from prune_deploy.backends.tensorrt.session import TrtSession
from prune_deploy.backends.trt import TrtBackend
from prune_deploy.records import BETWEEN_LAYERS
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays, named_input
from prune_deploy.tracing import whole_run
from prune_deploy.tracing.trt_layers import describe
from prune_deploy.tracing.trt_trace import TRACER
from support.fakes import fake_tensorrt
from support.fakes.fake_tensorrt import FakeCuda, FakeEngine

ENGINE = "model.fp32.sm86.b1-8.tensorrt-11.4.engine"
INPUTS = np.ones((1, 3, 4, 4), dtype=np.float32)
RECORD_SEPARATOR = "\x1e"


def tensor(kind: str, *dimensions: int) -> dict[str, Any]:
    return {"Name": "t", "Dimensions": list(dimensions), "Datatype": kind}


def layers() -> list[dict[str, Any]]:
    """A convolution with its activation, a reformat, and a layer that names its nodes in no other way."""
    return [
        {
            "Name": "node_Conv_1 + node_relu",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("Half", 1, 3, 4, 4)],
            "Outputs": [tensor("Half", 1, 8, 4, 4)],
            "TacticName": "sm80_xmma_fprop",
            "Metadata": f"[ONNX Layer: node_Conv_1]{RECORD_SEPARATOR}[ONNX Layer: node_relu]",
        },
        {
            "Name": "Reformatting CopyNode for Input Tensor 0",
            "LayerType": "Reformat",
            "Inputs": [tensor("Float", 1, 3, 4, 4)],
            "Outputs": [tensor("Half", 1, 3, 4, 4)],
        },
        {"Name": "node_Gemm", "LayerType": "MatrixMultiply", "Inputs": [tensor("N/A", -1)], "Outputs": [tensor("Float", 1, 10)]},
    ]


def write_onnx(path: Path) -> None:
    """The exported graph: a convolution of `stem`, its activation, and the classifier."""
    conv = helper.make_node("Conv", ["x", "stem.weight"], ["c"], name="node_Conv_1")
    gemm = helper.make_node("Gemm", ["r", "head.weight"], ["logits"], name="node_Gemm", transB=1)
    relu = helper.make_node("Relu", ["c"], ["r"], name="node_relu")
    for node, module in ((conv, "stem"), (relu, "act"), (gemm, "head")):
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(["", module, node.name]))
    weights = [
        onnx.TensorProto(name=n, dims=d, data_type=TensorProto.FLOAT)
        for n, d in (("stem.weight", (8, 3, 3, 3)), ("head.weight", (10, 8)))
    ]
    onnx.save(helper.make_model(helper.make_graph([conv, relu, gemm], "net", [], [], weights)), path)


class FakeBackend(TrtBackend):
    """The backend without a GPU: its sessions run on fakes."""

    def __init__(self) -> None:
        self.cuda = FakeCuda()
        self.variants_opened: list[str] = []
        self.engine = FakeEngine(self.cuda.diary, ((1, 1, 1),))

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = RunOptions()) -> Iterator[TrtSession]:  # noqa: B008
        self.variants_opened.append(options.variant)
        label = EngineLabel.read(artifact, b"")
        loaded = LoadedEngine(label=label, library=fake_tensorrt.library(), runtime=None, engine=self.engine)
        session = TrtSession(loaded, CudaRuntime(self.cuda), fake_tensorrt.STREAM, graph=bool(options.variant))
        self.engine.layers = layers()
        assert self.engine.context is not None
        self.engine.context.layer_times_ms = [("node_Conv_1 + node_relu", 0.03), (layers()[1]["Name"], 0.01), ("node_Gemm", 0.02)]
        session.bind(inputs)
        yield session
        session.close()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    write_onnx(tmp_path / "model.onnx")
    return tmp_path / ENGINE


def test_layers_have_their_modules_names_their_kernels_and_what_they_move(engine: Path) -> None:
    recording = TRACER.record(FakeBackend(), engine, named_input(INPUTS), RunOptions(device="cuda"), 3)
    conv, gemm, between, reformat = whole_run(recording.layers, run_ms=0.08)
    assert (conv.name, conv.op, conv.dtype, conv.kernel) == ("stem", "CaskConvolution", "float16", "sm80_xmma_fprop")
    assert conv.time_us == pytest.approx(30.0)
    assert conv.share == pytest.approx(0.375)
    assert between.time_us == pytest.approx(20.0)
    assert between.name == BETWEEN_LAYERS
    assert conv.parameters == ("stem.weight",)
    assert conv.macs == 16 * 8 * 3 * 9
    assert conv.bytes_moved == 2 * 48 + 2 * 128 + 4 * 8 * 3 * 9
    assert (reformat.op, reformat.macs, reformat.bytes_moved) == ("Reformat", None, 4 * 48 + 2 * 48)
    assert (gemm.name, gemm.macs, gemm.bytes_moved) == ("head", 80, None), "a shape that TensorRT does not tell is no shape"
    assert (len(recording.traced_ms), len(recording.untraced_ms)) == (3, 3)


def test_the_profiler_is_on_for_traced_runs_only(engine: Path) -> None:
    backend = FakeBackend()
    recording = TRACER.record(backend, engine, named_input(INPUTS), RunOptions(device="cuda"), 2)
    events = recording.chrome["traceEvents"]
    assert [event["name"] for event in events if event["tid"] == 0] == ["run 0", "run 1"]
    assert len(events) == 2 * (3 + 1)
    ends = [event["ts"] + event["dur"] for event in events if event["tid"] == 1]
    assert ends == sorted(ends)
    assert backend.engine.context is not None
    assert backend.engine.context.profiler is None


def test_a_cuda_graph_is_traced_launch_by_launch_and_that_is_said(engine: Path) -> None:
    backend = FakeBackend()
    recording = TRACER.record(backend, engine, named_input(INPUTS), RunOptions(device="cuda", variant="cuda-graph"), 1)
    assert backend.variants_opened == [""]
    assert any("launch by launch" in note for note in recording.warnings)


def test_without_the_exported_graph_layers_have_the_librarys_names(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").unlink()
    recording = TRACER.record(FakeBackend(), engine, named_input(INPUTS), RunOptions(device="cuda"), 1)
    assert {layer.name for layer in recording.layers} == {layer["Name"] for layer in layers()}
    assert any("ONNX file is not beside the engine" in note for note in recording.warnings)


def test_an_engine_that_only_names_its_layers_is_described_by_nothing_else() -> None:
    assert describe('{"Layers": ["conv", "relu"]}') == {}
    assert (
        describe('{"Layers": [{"Name": "a", "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]}]}')["a"].dtype
        == "float16"
    )
