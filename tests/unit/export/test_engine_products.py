"""Which of a network's convolutions and matrix products compute in the label's type, on layers as TensorRT describes them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_engine_layers import RECORD, line, table

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.layers import EngineLayer, layers_in_inspector, layers_in_table, verify_precision
from prune_deploy.export.tensorrt.products import share_of
from prune_deploy.records import LayerShare
from prune_deploy.specs import Precision


def layer(
    kind: str, nodes: str, inputs: str, constants: str = "", outputs: str = "Half", name: str = "layer_myl0_1"
) -> EngineLayer:
    return EngineLayer(name, kind, *(tuple(part.split()) for part in (inputs, constants, outputs, nodes)))


def share(precision: Precision, products: str, *layers: EngineLayer) -> str | None:
    found = share_of(layers, products.split(), precision, "build log")
    return None if found is None else found.text


def test_a_kernel_for_products_decides_and_what_prepares_its_input_does_not() -> None:
    layers = (layer("kgen", "conv", "Float", "Half"), layer("correlation", "conv relu", "Half", "Half Float Float Half"))
    assert share("fp16", "conv", *layers) == "1/1"
    assert share("fp32", "conv", *layers) == "0/1"


def test_an_int8_convolution_that_another_kernel_finishes_in_float_is_int8() -> None:
    layers = (
        layer("correlation", "conv", "Int8", "Int8 Float Float", "Float"),
        layer("kgen", "conv add", "Float", "Half", "Int8"),
    )
    assert share("int8", "conv", *layers) == "1/1"


@pytest.mark.parametrize(
    ("kind", "inputs", "constants"),
    [("gemm", "Half", "Int8 Half"), ("kgen", "Half", "Int8 Half"), ("gemm", "Int8", "Half"), ("kgen", "Int8 Half", "")],
)
def test_eight_bits_on_one_side_only_are_no_int8_product(kind: str, inputs: str, constants: str) -> None:
    assert share("int8", "fc", layer(kind, "fc", inputs, constants)) == "0/1"


def test_attention_in_one_kernel_counts_as_its_two_products() -> None:
    assert share("bf16", "qk av", layer("kgen", "qk softmax av", "BFloat16 BFloat16 BFloat16")) == "2/2"
    assert share("int8", "qk av", layer("kgen", "qk softmax av", "Int8 Int8 Int8")) == "2/2"


def test_a_product_that_was_fused_into_a_generated_kernel_has_the_type_of_its_weights() -> None:
    layers = (layer("kgen", "norm fc", "Float Float", "Half Half"), layer("kgen", "fc", "Half", "Half", "Float"))
    assert share("fp16", "fc", *layers) == "1/1"


def test_a_node_counts_once_and_only_if_every_profile_has_it_so() -> None:
    first = layer("correlation", "conv", "Half", "Half")
    second = layer("correlation", "conv", "Float", "Float", name="conv [profile 1]_myl1_1")
    assert share("fp16", "conv", first, replace(second, inputs=("Half",))) == "1/1"
    assert share("fp16", "conv", first, second) == "0/1"


def test_a_product_that_no_layer_names_does_not_count_and_a_description_without_names_says_nothing() -> None:
    known = layer("gemm", "fc", "Half", "Half")
    assert share("fp16", "fc lost", known) == "1/2"
    assert share("fp16", "other", known) is None


def test_nodes_are_read_from_the_table_and_from_both_inspectors() -> None:
    logged = table(line("correlation", ["Half"], ["Half"], ["Half"]))
    assert layers_in_table(logged)[0].nodes == ("node_Conv_223", "node_relu")
    tensor = {"Datatype": "Half"}
    described = {"LayerType": "correlation", "Inputs": [tensor], "Outputs": [tensor]}
    with_metadata = {**described, "Name": "a", "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: relu]"}
    by_name = {**described, "Name": "conv + relu"}
    found = layers_in_inspector(json.dumps({"Layers": [with_metadata, by_name]}))
    assert [each.nodes for each in found] == [("conv", "relu"), ("conv", "relu")]


def test_an_engine_none_of_whose_products_is_as_labelled_is_refused() -> None:
    record = replace(RECORD, precision="int8", layer_types={"Int8": 2, "Half": 9})
    with pytest.raises(BuildError, match="none of the engine's 54 convolutions and matrix products compute in Int8"):
        verify_precision(replace(record, share=LayerShare(computing=0, layers=54, source="build log")))
    verify_precision(replace(record, share=LayerShare(computing=1, layers=54, source="build log")))
