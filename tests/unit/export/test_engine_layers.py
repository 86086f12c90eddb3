"""Counting layer types, on excerpts of real layer tables and on the inspector's JSON in both of its forms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.layers import count_types, layers_in_table, types_in_inspector, verify_precision
from prune_deploy.records import EngineProfile, EngineRecord
from prune_deploy.specs import Precision


def tensor(name: str, datatype: str) -> str:
    return (
        f"{{ Name: {name}, Dimensions: [1,16,80,80], Strides: [102400,1,1280,16], StrideOrder: [3,0,2,1], "
        f"Datatype: {datatype}, Format: (NHWC) Channel major format }}"
    )


def line(
    kind: str, inputs: list[str], constants: list[str], outputs: list[str], name: str = "node_Conv_223 [profile 1]_myl1_1"
) -> str:
    """A line as TensorRT-RTX 1.7.1 logs it; only the numbers are shortened."""
    parts = (", ".join(tensor(f"t{i}.1_2_myl0", t) for i, t in enumerate(part)) for part in (inputs, constants, outputs))
    found = [f"[ {part}]" if part else "[]" for part in parts]
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: {found[0]}, Constants: {found[1]}, Outputs: {found[2]}, "
        "TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: node_Conv_223][ONNX Layer: node_relu]"
    )


def table(*lines: str) -> str:
    end = "\n\nI/O Tensors:\n Name: input, IOMode: Input, DataType: Float, Dimensions: [-1,3,160,160]\n\nEngine Metadata:\n"
    return "Layers:\n" + "\n".join(lines) + end


def types_in_table(text: str) -> dict[str, int]:
    return count_types(layers_in_table(text))


def test_a_layer_computes_in_the_type_of_its_first_input() -> None:
    # The Float constants of an FP16 convolution are its scaling factors.
    convolution = line("correlation", ["Half", "Half"], ["Half", "Float", "Float"], ["Half"])
    widening = line("kgen", ["Half"], ["Half"], ["Float"])
    narrowing = line("kgen", ["Float"], ["Half"], ["Half"])
    assert types_in_table(table(convolution, convolution, widening, narrowing)) == {"Half": 3, "Float": 1}


def test_an_int8_product_counts_as_int8_even_if_it_writes_float() -> None:
    assert types_in_table(table(line("correlation", ["Int8"], ["Int8", "Float"], ["Float"]))) == {"Int8": 1}


def test_quantising_and_dequantising_alone_are_no_int8_computation() -> None:
    quantise = line("kgen", ["Float"], ["Float"], ["Int8"])
    dequantise = line("kgen", ["Int8"], ["Float"], ["Float"])
    assert types_in_table(table(quantise, dequantise)) == {"Float": 2}


def test_attention_over_int8_without_weights_is_int8() -> None:
    assert types_in_table(table(line("kgen", ["Int8", "Int8", "Int8"], [], ["Int8"]))) == {"Int8": 1}


def test_stream_signals_compute_nothing_and_a_layer_without_inputs_counts_as_its_output() -> None:
    found = types_in_table(table(line("signal", [], [], []), line("wait", [], [], []), line("kgen", [], ["Int64"], ["BFloat16"])))
    assert found == {"BFloat16": 1}


def test_names_with_punctuation_do_not_disturb() -> None:
    assert types_in_table(table(line("gemm", ["Float"], [], ["Float"], name="a, b [c] {d}: e"))) == {"Float": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Layers:\n",
        table(),
        table(line("kgen", ["Float"], [], ["Float"])).partition("\n\nI/O")[0],  # cut off
        table(line("kgen", ["Float"], [], ["Float"]), "Name: x, LayerType: kgen, something new"),
        table(line("kgen", ["Float"], [], ["Float"]).replace("Datatype: Float", "Precision: FP32", 1)),
        table(line("signal", [], [], [])),
    ],
    ids=["empty", "head only", "no layers", "cut off", "unknown line", "tensor without datatype", "nothing computes"],
)
def test_a_table_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(BuildError):
        types_in_table(text)


TENSORRT_10: dict[str, Any] = {
    "Layers": [
        {
            "Name": "conv1 + relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {"Name": "x", "Dimensions": [1, 8], "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}
            ],
            "Outputs": [{"Name": "y", "Dimensions": [1, 8], "Format/Datatype": "Row major linear FP32 format"}],
            "Weights": {"Type": "Half", "Count": 9408},
        },
        {
            "Name": "conv2",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {"Name": "y", "Dimensions": [1], "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}
            ],
            "Outputs": [{"Name": "z", "Dimensions": [1], "Format/Datatype": "Row major linear FP32 format"}],
            "Weights": {"Type": "Int8", "Count": 9408},
        },
        {
            "Name": "fc",
            "LayerType": "gemm",
            "Inputs": [{"Name": "z", "Format/Datatype": "Float"}],
            "Constants": [],
            "Outputs": [],
        },
        {
            "Name": "s",
            "LayerType": "kgen",
            "Inputs": [{"Name": "w", "Format/Datatype": "N/A due to dynamic shapes"}],
            "Outputs": [],
        },
        {"Name": "sync", "LayerType": "signal", "Inputs": [], "Outputs": []},
    ],
    "Bindings": ["x", "z"],
}

TENSORRT_11: dict[str, Any] = {
    "Layers": [
        {
            "Name": f"node_Conv_{index}",
            "LayerType": "correlation",
            "Inputs": [
                {"Name": "half_float", "Dimensions": [1], "Datatype": datatype, "Format": "(Linear) Row major linear format"}
            ],
            "Constants": [{"Name": "w", "Dimensions": [1], "Datatype": datatype, "Format": "(Linear) Row major linear format"}],
            "Outputs": [{"Name": "y", "Dimensions": [1], "Datatype": "Float", "Format": "(Linear) Row major linear format"}],
        }
        for index, datatype in enumerate(["Half", "BFloat16", "Int8", "Float", "Half"])
    ],
    "I/O Tensors": [{"Name": "x", "IOMode": "Input", "DataType": "Float"}],
}


def test_the_inspector_of_tensorrt_10() -> None:
    assert types_in_inspector(json.dumps(TENSORRT_10)) == {"Half": 1, "Int8": 1, "Float": 1, "Unknown": 1}


def test_the_inspector_of_tensorrt_11() -> None:
    assert types_in_inspector(json.dumps(TENSORRT_11)) == {"Half": 2, "BFloat16": 1, "Int8": 1, "Float": 1}


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "{}", '{"Layers": []}', '{"Layers": ["conv1", "fc"]}', '{"Layers": [{"Name": "conv1"}]}'],
    ids=["empty", "text", "list", "no layers", "none", "names only, built without DETAILED", "no tensors"],
)
def test_an_inspector_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(BuildError):
        types_in_inspector(text)


RECORD = EngineRecord(
    library="TensorRT-RTX",
    library_version="1.7.1.116",
    target="sm86",
    precision="fp32",
    tf32=False,
    profiles=(EngineProfile(minimum=1, optimum=1, maximum=1),),
    workspace_mib=None,
    optimization_level=3,
    build_s=1.0,
    layer_types={"Float": 1},
    layer_source="build log",
    warnings=(),
    trtexec="",
)


@pytest.mark.parametrize(
    ("precision", "found"),
    [
        ("fp32", {"Float": 9, "Int64": 1}),
        ("tf32", {"Float": 9}),
        ("fp16", {"Half": 8, "Float": 2}),
        ("bf16", {"BFloat16": 8, "Float": 2}),
        ("int8", {"Int8": 3, "Half": 4, "Float": 2}),
        ("int8", {"Float": 9, "Int8": 1}),
    ],
)
def test_labels_that_hold(precision: Precision, found: dict[str, int]) -> None:
    verify_precision(replace(RECORD, precision=precision, layer_types=found))


@pytest.mark.parametrize(
    ("precision", "found", "message"),
    [
        ("fp16", {"Float": 9}, "no layer of the engine computes in Half"),
        ("bf16", {"Half": 9}, "no layer of the engine computes in BFloat16"),
        ("int8", {"Half": 8, "Float": 1}, "no layer of the engine computes in Int8"),
        ("int8", {"Int8": 0, "Half": 8}, "no layer of the engine computes in Int8"),
        ("fp32", {"Float": 8, "Half": 1}, "compute in Half"),
        ("tf32", {"Float": 8, "Int8": 1}, "compute in Int8"),
        ("fp16", {"Half": 8, "Int8": 1}, "compute in Int8"),
        ("bf16", {"BFloat16": 8, "FP8": 1}, "compute in FP8"),
        ("fp32", {}, "layers found: none"),
    ],
)
def test_labels_that_do_not_hold(precision: Precision, found: dict[str, int], message: str) -> None:
    with pytest.raises(BuildError) as caught:
        verify_precision(replace(RECORD, precision=precision, layer_types=found))
    assert message in caught.value.message
