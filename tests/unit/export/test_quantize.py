"""What INT8 asks and which layers it takes: words, rules of width, Q/DQ arithmetic, on graphs made by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prune_deploy.data.files import list_images, spread
from prune_deploy.errors import BuildError, InputError
from prune_deploy.export.int8.layers import find_layers, keep_by_name
from prune_deploy.export.int8.qdq_plan import plan
from prune_deploy.export.int8.quality import cosine
from prune_deploy.export.int8.sensitivity import costliest, fewest_kept
from prune_deploy.export.int8.writer import quantize
from prune_deploy.specs import QuantizeSpec, parse_calibration


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray[Any, Any]], outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def _convolution(shape: tuple[int, ...], group: int = 1) -> onnx.ModelProto:
    return _model([helper.make_node("Conv", ["x", "w"], ["y"], "conv", group=group)], {"w": np.ones(shape)})


@pytest.mark.parametrize(
    ("shape", "group", "reason"),
    [
        ((64, 64, 3, 3), 1, None),
        ((64, 3, 7, 7), 1, None),  # a first layer
        ((62, 3, 7, 7), 1, "narrow"),
        ((64, 3, 7, 5), 1, "narrow"),
        ((8, 8, 3, 3), 1, "narrow"),
        ((8, 32, 1, 1), 1, None),  # one side is wide and the other a multiple of eight
        ((10, 33, 1, 1), 1, "narrow"),
        ((64, 1, 3, 3), 64, None),  # depthwise
        ((60, 1, 3, 3), 60, "narrow"),
        ((64, 16, 1, 1), 4, "narrow"),
        ((1, 1, 3), 1, "narrow"),  # over a sequence
    ],
)
def test_which_convolutions_are_too_narrow(shape: tuple[int, ...], group: int, reason: str | None) -> None:
    assert [layer.reason for layer in find_layers(_convolution(shape, group).graph)] == [reason]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "reason"),
    [
        ("MatMul", ["x", "wide"], {}, None),
        ("MatMul", ["x", "head"], {}, "narrow"),
        ("MatMul", ["x", "x"], {}, "dynamic"),
        ("MatMul", ["wide", "x"], {}, "unsupported"),
        ("MatMul", ["x", "stack"], {}, "unsupported"),
        ("Gemm", ["x", "wide", "bias"], {}, None),
        ("Gemm", ["x", "head", "bias"], {"transB": 1}, "narrow"),
        ("Gemm", ["x", "wide", "bias"], {"beta": 0.5}, "unsupported"),
        ("Gemm", ["x", "wide", "bias"], {"transA": 1}, "unsupported"),
        ("Gemm", ["x", "wide", "x"], {}, "unsupported"),
        ("ConvTranspose", ["x", "image"], {}, "unsupported"),
    ],
)
def test_which_products_stay_float(op: str, inputs: list[str], attributes: dict[str, Any], reason: str | None) -> None:
    weights = {
        "wide": np.ones((32, 64)),
        "head": np.ones((10, 64)),
        "stack": np.ones((2, 32, 64)),
        "bias": np.ones(64),
        "image": np.ones((32, 32, 2, 2)),
    }
    model = _model([helper.make_node(op, inputs, ["y"], "product", **attributes)], weights)
    assert [layer.reason for layer in find_layers(model.graph)] == [reason]


def test_a_kept_neighbour_reads_the_float_tensor() -> None:
    nodes = [helper.make_node("MatMul", ["x", "a"], ["p"], "first"), helper.make_node("MatMul", ["x", "b"], ["q"], "second")]
    model = _model(nodes, {"a": np.ones((32, 32)), "b": np.ones((32, 32))}, ("p", "q"))
    layers = keep_by_name(find_layers(model.graph), ["sec*"])
    quantize(model, plan("tensorrt", model.graph, layers), {"x": (-1.0, 2.0)})
    found = {node.name: list(node.input) for node in model.graph.node}
    assert found["first"] == ["x_DequantizeLinear_Output", "a_DequantizeLinear_Output"]
    assert found["second"] == ["x", "b"]


def test_gates_behind_convolutions_are_quantised_for_onnx_runtime_only() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Sigmoid", ["c"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["y"], "gate"),
        helper.make_node("Mul", ["y", "x"], ["z"], "other"),
    ]
    graph = _model(nodes, {"w": np.ones((16, 16, 3, 3))}, ("z",)).graph
    found = plan("onnxruntime", graph, find_layers(graph))
    assert (found.everywhere, found.tensors(graph)) == (("c", "s", "y"), ["x", "c", "s", "y"])
    assert plan("tensorrt", graph, find_layers(graph)).tensors(graph) == ["x"]


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_scales_and_zero_points() -> None:
    weights = {"w": np.diag(np.arange(32.0)), "b": np.arange(32.0)}
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm")
    found = {}
    for placement in ("tensorrt", "onnxruntime"):
        model = _model([node], weights)
        quantize(model, plan(placement, model.graph, find_layers(model.graph)), {"x": (-1.0, 3.0)})
        found[placement] = _constants(model)
    symmetric, unsigned = found["tensorrt"], found["onnxruntime"]
    assert symmetric["x_scale"] == pytest.approx(3 / 127)
    assert (int(symmetric["x_zero_point"]), symmetric["x_zero_point"].dtype.name) == (0, "int8")
    assert unsigned["x_scale"] == pytest.approx(4 / 255)
    assert (int(unsigned["x_zero_point"]), unsigned["x_zero_point"].dtype.name) == (64, "uint8")
    assert symmetric["w_scale"][1:] == pytest.approx(np.arange(1, 32) / 127)
    assert symmetric["w_scale"][0] == 1  # of a channel of zeros
    assert "b" in symmetric
    assert unsigned["gemm_bias_quantized"].dtype == np.int32
    restored = unsigned["gemm_bias_quantized"] * unsigned["gemm_bias_scale"]
    assert restored == pytest.approx(weights["b"], abs=1e-3)
    assert "b" not in unsigned


def test_a_large_bias_of_a_faint_channel_fits_into_int32() -> None:
    weights = {"w": np.full((32, 32), 1e-9), "b": np.full(32, 50.0)}
    model = _model([helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm")], weights)
    quantize(model, plan("onnxruntime", model.graph, find_layers(model.graph)), {"x": (0.0, 1.0)})
    found = _constants(model)
    assert found["gemm_bias_quantized"] * found["gemm_bias_scale"] == pytest.approx(50.0, rel=1e-3)


def test_scales_for_half_precision_are_half_numbers() -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(32, 32)) * 1e-3}
    model = _model([helper.make_node("MatMul", ["x", "w"], ["y"], "product")], weights)
    quantize(model, plan("tensorrt", model.graph, find_layers(model.graph)), {"x": (-0.7, 0.7)}, half_scales=True)
    for name in ("x_scale", "w_scale"):
        values = _constants(model)[name]
        np.testing.assert_array_equal(values, values.astype(np.float16).astype(np.float32))


def test_the_fewest_layers_that_hold_the_drop() -> None:
    costs = {f"layer{number}": float(number) for number in range(20)}
    asked: list[int] = []

    def drop(kept: Any) -> float:
        assert list(kept) == costliest(costs)[: len(kept)]
        asked.append(len(kept))
        return max(0.0, 0.1 - 0.01 * len(kept))

    assert fewest_kept(costs, drop, 0.031) == [f"layer{number}" for number in range(19, 12, -1)]
    assert len(asked) < 8
    assert fewest_kept(costs, drop, 0.2) == []
    with pytest.raises(BuildError, match=r"however many layers stay float: with one INT8 layer left it is 50\.00%"):
        fewest_kept(costs, lambda kept: 0.5, 0.01)


def test_cosines_that_are_none() -> None:
    ones = np.ones((2, 4), np.float32)
    assert cosine([ones], [ones]) == pytest.approx(1)
    assert cosine([ones], [ones * np.float32(np.nan)]) == 0
    assert cosine([ones], [np.zeros_like(ones)]) == 0


def test_words_for_calibration(tmp_path: Path) -> None:
    assert parse_calibration("synthetic") == ("synthetic", None)
    assert parse_calibration("digits") == ("digits", None)
    assert parse_calibration("cifar10:data") == ("cifar10", Path("data"))
    assert parse_calibration("photos/mine") == ("images", Path("photos/mine"))
    assert parse_calibration("imagefolder") == ("images", Path("imagefolder"))  # a folder of that name
    for bad in ("", "digits:here", "imagefolder:"):
        with pytest.raises(InputError):
            parse_calibration(bad)
    with pytest.raises(InputError, match="both say how many"):
        QuantizeSpec(keep_top=1, max_drop=0.1)


def test_image_files_are_found_in_any_depth(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.png", "a/b/d.webp", "notes.txt", "e.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a/b/d.webp", "a/c.png", "b.JPG"]
    with pytest.raises(InputError, match="there is no folder") as error:
        list_images(tmp_path / "b.JPG")
    assert "folder that it lies in" in error.value.fix


def test_images_are_spread_evenly() -> None:
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(1000, 128)[-1] > 980


def test_hashing_images_needs_neither_torch_nor_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"any")
    code = f"""
import sys
from prune_deploy.data.files import calibration_sha256
print(calibration_sha256("digits", 8), calibration_sha256({str(tmp_path)!r}, 8))
assert not {{"torch", "PIL", "sklearn", "torchvision", "timm", "numpy"}} & sys.modules.keys(), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert len(first) == len(second) == 64
    assert first != second
