"""What ONNX Runtime's profile and its optimised graph say of layers, on hand-made ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from prune_deploy.backends import usable
from prune_deploy.errors import CannotRunError
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input
from prune_deploy.tracing.onnx_graph import ExportedGraph, Origin
from prune_deploy.tracing.ort_layers import RUN_EVENT, last_runs, layers_of, nodes_of
from prune_deploy.tracing.ort_trace import TRACER

SCOPES = "pkg.torch.onnx.name_scopes"


def node(
    op: str, name: str, inputs: list[str], output: str, *modules: str, domain: str = "", **attributes: Any
) -> onnx.NodeProto:
    """A node; an exported one says which modules it runs in."""
    made = helper.make_node(op, inputs, [output], name=name, domain=domain, **attributes)
    if modules:
        made.metadata_props.add(key=SCOPES, value=str([*modules, name]))
    return made


def graph(nodes: list[onnx.NodeProto], **weights: tuple[int, ...]) -> onnx.GraphProto:
    initializers = [
        onnx.TensorProto(name=name.replace("__", "."), dims=dims, data_type=TensorProto.FLOAT) for name, dims in weights.items()
    ]
    return helper.make_graph(nodes, "net", [], [], initializers)


def exported() -> ExportedGraph:
    """A convolution with its folded norm and activation, a norm, a product with a transposed constant, a sum and a classifier."""
    nodes = [
        node("Conv", "node_Conv_1", ["x", "stem.conv.weight", "stem.conv.weight_bias"], "getitem", "", "stem", "stem.bn"),
        node("Relu", "node_relu", ["getitem"], "relu", "", "stem", "stem.act"),
        node("LayerNormalization", "node_norm", ["relu", "a.norm.weight", "a.norm.bias"], "norm", "", "b", "b.norm"),
        node("MatMul", "node_MatMul_3", ["norm", "val_3"], "val_4", "", "b", "b.fc"),
        node("Add", "node_linear", ["val_4", "b.fc.bias"], "linear", "", "b", "b.fc"),
        node("Mul", "node_mul", ["linear", "b.gamma"], "mul", "", "b"),
        node("Softmax", "node_softmax", ["mul"], "softmax", "", "b", "b.attn"),
        node("Gemm", "node_Gemm", ["softmax", "head.weight", "head.bias"], "logits", "", "head", transB=1),
        node("Shape", "node_Shape", ["x"], "val_9", "", "_empty_nn_module_stack_from_metadata_hook"),
    ]
    sizes = {
        "stem__conv__weight": (24, 3, 3, 3),
        "stem__conv__weight_bias": (24,),
        "a__norm__weight": (24,),
        "a__norm__bias": (24,),
    }
    sizes |= {"val_3": (24, 96), "b__fc__bias": (96,), "b__gamma": (96,), "head__weight": (10, 96), "head__bias": (10,)}
    return ExportedGraph(graph(nodes, **sizes))


NCHWC = "com.microsoft.nchwc"
OPTIMIZED = [
    (
        node("Conv", "relu_nchwc", ["x", "reorder"], "token_0", domain=NCHWC),
        Origin("stem.conv", ("stem.conv.weight",), (24, 3, 3, 3), True),
    ),
    (
        node("Conv", "fused Conv", ["x", "stem.conv.weight"], "relu"),
        Origin("stem.conv", ("stem.conv.weight",), (24, 3, 3, 3), True),
    ),
    (node("ReorderOutput", "ReorderOutput_7", ["token_0"], "relu", domain=NCHWC), Origin("stem.act")),
    (node("ReorderInput", "ReorderInput_3", ["norm"], "token_1", domain=NCHWC), Origin("b.norm")),
    (node("LayerNormalization", "node_norm", ["relu"], "norm"), Origin("b.norm", ("b.norm.weight", "b.norm.bias"), (24,), True)),
    (node("MatMul", "node_MatMul_3/Scale/", ["norm"], "scaled"), Origin("b.fc", ("b.fc.weight",), (96, 24), True)),
    (node("Add", "node_linear", ["val_4"], "linear"), Origin("b.fc", ("b.fc.bias",), (96,))),
    (node("Transpose", "Transpose_4", ["softmax"], "turned"), Origin("b.attn")),
    (node("Mul", "node_mul", ["linear"], "mul"), Origin("b", ("b.gamma",), (96,))),
    (node("Softmax", "Softmax_token_2", ["mul"], "softmax"), Origin("b.attn")),
    (node("Gemm", "node_Gemm", ["softmax"], "logits"), Origin("head", ("head.weight", "head.bias"), (10, 96), True)),
    (node("Shape", "node_Shape", ["x"], "val_9"), Origin()),
    (node("Fused", "nobody knows", ["nothing"], "else"), Origin()),
]


@pytest.mark.parametrize(("optimized", "origin"), OPTIMIZED, ids=[each.name for each, _ in OPTIMIZED])
def test_a_node_of_the_optimized_graph_is_traced_back_to_its_module(optimized: onnx.NodeProto, origin: Origin) -> None:
    everything = graph([each for each, _ in OPTIMIZED])
    assert exported().origins(everything)[optimized.name] == origin


def test_rows_are_called_after_the_module_or_the_module_and_the_operator() -> None:
    assert Origin("stem.conv", ("stem.conv.weight",), (24, 3, 3, 3), owns=True).row("Conv") == "stem.conv"
    assert Origin("b").row("Add") == "b:Add"
    assert Origin().row("Shape") == "Shape"


def event(name: str, ts: int, dur: int, cat: str = "Node", **arguments: Any) -> dict[str, Any]:
    defaults = {
        "op_name": "Conv",
        "provider": "CPUExecutionProvider",
        "activation_size": "100",
        "parameter_size": "0",
        "output_size": "50",
    }
    return {"cat": cat, "name": name, "ts": ts, "dur": dur, "ph": "X", "pid": 1, "tid": 1, "args": {**defaults, **arguments}}


def conv_event(ts: int, dur: int) -> dict[str, Any]:
    shapes: dict[str, Any] = {
        "input_type_shape": [{"float": [2, 3, 8, 8]}, {"float": [32, 3, 3, 3]}],
        "output_type_shape": [{"float": [2, 32, 8, 8]}],
    }
    return event("relu_nchwc_kernel_time", ts, dur, **shapes)


def run(ts: int, dur: int) -> dict[str, Any]:
    return event(RUN_EVENT, ts, dur, cat="Session")


def test_only_the_last_runs_count_and_a_layer_has_the_mean_of_the_chosen_ones() -> None:
    events = [run(0, 100), conv_event(10, 999)]
    for number, dur in enumerate((20, 30, 500), start=1):
        events += [conv_event(1000 * number + 1, dur), run(1000 * number, 900)]
    runs = last_runs(events, 3)
    assert [each[0]["ts"] for each in runs] == [1000, 2000, 3000]
    nodes = nodes_of(runs)
    assert nodes["relu_nchwc"].times_us == [20.0, 30.0, 500.0]
    (layer,) = layers_of(nodes, (0, 1), exported().origins(graph([OPTIMIZED[0][0]])), frozenset({"relu_nchwc"}))
    assert (layer.name, layer.time_us, layer.shape, layer.dtype) == ("stem.conv", 25.0, (2, 32, 8, 8), "float32")
    assert layer.macs == 2 * 8 * 8 * 24 * 3 * 9, "padding does not count"
    assert layer.bytes_moved == 100 + 24 * 3 * 9 * 4 + 50, "the packed weight is moved though the node does not list it"
    assert layer.kernel == "NCHWc, 3 to 24 channels run as 3 to 32"


def test_a_convolution_that_is_not_blocked_says_how_it_is_done() -> None:
    nodes = nodes_of(last_runs([run(0, 100), conv_event(1, 5)], 1))
    (layer,) = layers_of(nodes, (0,), {"relu_nchwc": OPTIMIZED[0][1]}, frozenset())
    assert layer.kernel == "NCHW, im2col and GEMM"
    pointwise = Origin("a", ("a.weight",), (24, 3, 1, 1), owns=True)
    (layer,) = layers_of(nodes, (0,), {"relu_nchwc": pointwise}, frozenset())
    assert layer.kernel == "NCHW, GEMM"


def test_nodes_of_one_row_are_one_layer() -> None:
    shapes: dict[str, Any] = {"output_type_shape": [{"float": [2, 9]}], "op_name": "Add"}
    events = [run(0, 100), event("first_kernel_time", 1, 5, **shapes), event("second_kernel_time", 9, 7, **shapes)]
    (layer,) = layers_of(nodes_of(last_runs(events, 1)), (0,), {"first": Origin("b"), "second": Origin("b")}, frozenset())
    assert (layer.name, layer.time_us, layer.macs, layer.bytes_moved) == ("b:Add", 12.0, 0, 300)


def test_a_product_without_a_weight_multiplies_what_its_inputs_say() -> None:
    shapes: dict[str, Any] = {
        "input_type_shape": [{"float": [2, 3, 17, 16]}, {"float": [2, 3, 16, 17]}],
        "output_type_shape": [{"float": [2, 3, 17, 17]}],
    }
    events = [
        run(0, 9),
        event("scores_kernel_time", 1, 5, op_name="MatMul", **shapes),
        event("fused_kernel_time", 2, 1, op_name="Attention"),
    ]
    scores, fused = layers_of(nodes_of(last_runs(events, 1)), (0,), {}, frozenset())
    assert scores.macs == 2 * 3 * 17 * 17 * 16
    assert fused.macs is None, "what it multiplies is not known from its shapes"


def test_a_node_of_a_gpu_without_kernels_has_no_time_unless_launches_wait() -> None:
    """Its duration would be that of the launch."""
    runs = last_runs([run(0, 100), event("conv_kernel_time", 1, 5, provider="CUDAExecutionProvider")], 1)
    with pytest.raises(CannotRunError, match="no kernels of the GPU"):
        nodes_of(runs)
    assert nodes_of(runs, launches_wait=True)["conv"].times_us == [5.0]


def test_a_trace_on_a_gpu_needs_a_process_whose_launches_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_LAUNCH_BLOCKING", raising=False)
    options = RunOptions(device="cuda")
    needed = TRACER.environment(options)
    assert needed == {"CUDA_LAUNCH_BLOCKING": "1"}
    assert TRACER.environment(RunOptions()) == {}
    with pytest.raises(CannotRunError, match="time of launches, not of kernels") as caught:
        TRACER.record(usable("ort"), Path("model.onnx"), named_input(np.zeros((1, 3, 8, 8), np.float32)), options, 1)
    assert "CUDA_LAUNCH_BLOCKING=1" in caught.value.fix


def test_on_a_gpu_a_node_takes_what_its_kernels_take() -> None:
    kernels = [
        event("gemm", 3, 40, cat="Kernel", parent_name="relu_nchwc_kernel_time"),
        event("copy", 4, 2, cat="Kernel", op_name="Memcpy"),
    ]
    nodes = nodes_of(last_runs([run(0, 100), conv_event(1, 5), *kernels], 1))
    assert {name: each.times_us for name, each in nodes.items()} == {"relu_nchwc": [40.0], "copy": [2.0]}
