"""Half precision in graphs of all kinds: operators that stay in FP32, branches, shared constants and norms."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, checker, helper

from prune_deploy.errors import BuildError
from prune_deploy.export.half.convert import convert_model
from support.models.text_graphs import RNG, Array, constant, model_of, ops, run


def test_resize_keeps_its_scales_in_fp32_and_is_half_itself() -> None:
    text = 'g (float[batch,1,2,2] x) => (float[batch,1,4,4] y) { y = Resize <mode = "nearest"> (x, , scales) }'
    model = model_of(text, weights={"scales": np.array([1, 1, 2, 2], np.float32)})
    for name in ("fp16", "bf16"):
        half = onnx.ModelProto.FromString(model.SerializeToString())
        assert convert_model(half, "fp16" if name == "fp16" else "bf16").kept_fp32 == ()
        assert constant(half, "scales").dtype == np.float32
        assert ops(half) == ["Cast", "Resize", "Cast"]
        checker.check_model(half, full_check=True)


def test_an_operator_without_a_half_type_stays_in_fp32_and_is_named() -> None:
    text = """g (float[batch,8] x) => (float[batch,2] y, int64[n] z) {
        start = Constant <value = float {0.0}> () end = Constant <value = float {8.0}> () step = Constant <value = float {1.0}> ()
        steps = Range (start, end, step)
        added = Add (x, steps)
        y, places = TopK (added, k)
        boxes = Reshape (y, shape)
        scores = Reshape (steps, shape2)
        z3 = NonMaxSuppression (boxes, scores)
        z = Reshape (z3, flat)
    }"""
    weights: dict[str, Array] = {
        "k": np.array([2]),
        "shape": np.array([1, -1, 4]),
        "shape2": np.array([1, 1, -1]),
        "flat": np.array([-1]),
    }
    model = model_of(text, weights=weights)
    assert convert_model(model, "fp16").kept_fp32 == ("node_Range_3", "node_NonMaxSuppression_8")
    checker.check_model(model, full_check=True)
    assert ops(model).count("Cast") == 5, "the model's input and output, steps to half, boxes and scores to FP32"


def test_an_operator_that_tensorrt_reads_in_fp32_only_stays_so() -> None:
    text = "g (float[batch,4] x) => (float[batch,4] y) { h = Relu (x) i = HardSwish (h) y = Relu (i) }"
    assert convert_model(model_of(text), "fp16").kept_fp32 == ()
    model = model_of(text)
    assert convert_model(model, "bf16").kept_fp32 == ("node_HardSwish_1",)
    assert ops(model) == ["Cast", "Relu", "Cast", "HardSwish", "Cast", "Relu", "Cast"]


def test_an_operator_that_onnx_does_not_know_stays_in_fp32() -> None:
    graph = onnx.parser.parse_graph("g (float[batch,4] x) => (float[batch,4] y) { h = Relu (x) i = Quux (h) y = Relu (i) }")
    graph.node[1].domain, graph.node[1].name = "com.example", "strange"
    graph.value_info.append(helper.make_tensor_value_info("i", TensorProto.FLOAT, ["batch", 4]))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    assert convert_model(model, "fp16").kept_fp32 == ("strange",)
    assert ops(model) == ["Cast", "Relu", "Cast", "Quux", "Cast", "Relu", "Cast"]
    del graph.value_info[:]
    with pytest.raises(BuildError, match="cannot be told"):
        convert_model(helper.make_model(graph, opset_imports=opsets), "fp16")


def test_branches_and_loops_are_converted_too() -> None:
    text = """g (float[batch,3] x) => (float[batch,3] y) {
        flag = Constant <value = bool {1}> ()
        chosen = If (flag) <
            then_branch = t () => (float[b,3] r) { c = Constant <value = float[1] {2.0}> () r = Mul (x, c) },
            else_branch = e () => (float[b,3] r) { r = Add (x, w) }
        >
        trips = Constant <value = int64 {3}> ()
        y = Loop (trips, flag, chosen) <
            body = l (int64 i, bool go, float[b,3] v) => (bool on, float[b,3] u) {
                on = Identity (go) number = Cast <to = 1> (i) s = Add (v, number) u = Add (s, w)
            }
        >
    }"""
    model = model_of(text, weights={"w": np.array([0.25], np.float32)})
    images = np.ones((2, 3), np.float32)
    expected = run(model, x=images)[0]
    assert convert_model(model, "fp16").kept_fp32 == ()
    checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, x=images)[0], expected, rtol=1e-2)
    bodies = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.g.node]
    types = {tensor.type.tensor_type.elem_type for body in bodies for tensor in (*body.input, *body.output)}
    assert TensorProto.FLOAT not in types


def test_a_shared_constant_stays_one_and_names_and_metadata_stay() -> None:
    text = "g (float[batch,4] x) => (float[batch,4] y) { h = MatMul (x, w) i = Relu (h) y = MatMul (i, w) }"
    model = model_of(text, weights={"w": RNG.standard_normal((4, 4), np.float32)})
    for node in model.graph.node:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", f"['', '{node.name}']"
    convert_model(model, "fp16")
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]
    inner = list(model.graph.node)[1:-1]
    assert [node.name for node in inner] == ["node_MatMul_0", "node_Relu_1", "node_MatMul_2"]
    assert [node.metadata_props[0].value for node in inner] == [f"['', '{node.name}']" for node in inner]


def test_an_output_that_is_read_inside_too_is_cast_once() -> None:
    text = "g (float[batch,4] x) => (float[batch,4] y, float[batch,4] z) { y = Relu (x) z = Exp (y) }"
    model = model_of(text)
    images = RNG.standard_normal((3, 4), np.float32)
    expected = run(model, x=images)
    convert_model(model, "fp16")
    assert ops(model) == ["Cast", "Relu", "Exp", "Cast", "Cast"]
    for got, want in zip(run(model, x=images), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-3)


def test_norms_keep_their_statistics_in_fp32() -> None:
    text = "g (float[batch,4] x) => (float[batch,4] y) { n, mean, inv = LayerNormalization (x, s) y = Add (n, mean) }"
    for name in ("fp16", "bf16"):
        model = model_of(text, weights={"s": np.ones(4, np.float32)})
        assert convert_model(model, "fp16" if name == "fp16" else "bf16").kept_fp32 == ()
        checker.check_model(model, full_check=True)
        assert ops(model) == ["Cast", "LayerNormalization", "Cast", "Add", "Cast"]
