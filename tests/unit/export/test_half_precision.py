"""Half-precision graphs: what becomes half, what stays, and what happens to numbers that the type does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, checker

from prune_deploy.errors import InputError, StorageError
from prune_deploy.export.half import convert as precision
from prune_deploy.export.half.convert import convert, convert_model, save
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.specs import Precision
from support.models.text_graphs import RNG, Array, constant, model_of, ops, run

FP16, BF16 = HalfType.of("fp16"), HalfType.of("bf16")


HALVES = [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)]


LINEAR = "g (float[batch,4] input) => (float[batch,3] logits) { logits = Gemm (input, w, b) }"


WEIGHTS: dict[str, Array] = {"w": RNG.standard_normal((4, 3), np.float32), "b": RNG.standard_normal(3, np.float32)}


IMAGES = RNG.standard_normal((5, 4), np.float32)


@pytest.mark.parametrize(("name", "code"), HALVES)
@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_everything_inside_is_half_and_nothing_outside(name: Precision, code: int, domain: str) -> None:
    model = model_of(LINEAR, weights=WEIGHTS)
    model.opset_import[0].domain = domain
    conversion = convert_model(model, name)
    assert (conversion.kept_fp32, conversion.clipped, conversion.lifted) == ((), 0, 0)
    assert ops(model) == ["Cast", "Gemm", "Cast"]
    assert {tensor.data_type for tensor in model.graph.initializer} == {code}
    for tensor in (model.graph.input[0], model.graph.output[0]):
        assert tensor.type.tensor_type.elem_type == TensorProto.FLOAT
        assert tensor.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [tensor.name for tensor in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    checker.check_model(model, full_check=True)


def test_fp16_computes_nearly_the_same() -> None:
    model = model_of(LINEAR, weights=WEIGHTS)
    expected = run(model, input=IMAGES)[0]
    convert_model(model, "fp16")
    got = run(model, input=IMAGES)[0]
    assert got.dtype == np.float32
    assert 0 < np.abs(got - expected).max() < 1e-2


@pytest.mark.parametrize(("half", "name"), [(FP16, "fp16"), (BF16, "bf16")])
def test_constants_are_rounded_to_the_nearest(half: Any, name: Precision) -> None:
    values = RNG.standard_normal((64, 33)).astype(np.float32)
    model = model_of("g (float[batch,64] x) => (float[batch,33] y) { y = MatMul (x, w) }", weights={"w": values})
    convert_model(model, name)
    np.testing.assert_array_equal(constant(model, "w"), values.astype(half.dtype))


def test_bf16_raises_the_opset_to_the_first_that_has_bf16_convolutions() -> None:
    text = "g (float[batch,2,4,4] x) => (float[batch,2,4,4] y) { y = Conv (x, w) }"
    for name, opset in (("fp16", 20), ("bf16", 22)):
        model = model_of(text, weights={"w": np.ones((2, 2, 1, 1), np.float32)})
        conversion = convert_model(model, "fp16" if name == "fp16" else "bf16")
        assert (model.opset_import[0].version, conversion.kept_fp32) == (opset, ())
        checker.check_model(model, full_check=True)


def test_a_graph_whose_meaning_the_opset_would_change_keeps_it() -> None:
    text = (
        "g (float[batch,4,2,2] x) => (float[batch,4,2,2] y)"
        " { h = Conv (x, w) y = GroupNormalization <num_groups = 2> (h, scale, bias) }"
    )
    weights = {"w": np.ones((4, 4, 1, 1), np.float32), "scale": np.ones(2, np.float32), "bias": np.ones(2, np.float32)}
    model = model_of(text, weights=weights, check=False)  # until opset 21 nobody should use it, but some exporters do
    # Opset 20 has no BF16 convolution, so it stays in FP32 and is named.
    assert convert_model(model, "bf16").kept_fp32 == ("node_Conv_0",)
    assert model.opset_import[0].version == 20


def test_numbers_out_of_range_become_the_largest_and_tiny_ones_the_smallest() -> None:
    tiny = 2.0**-24
    values = np.array([1e6, -1e6, np.inf, -np.inf, 1e-9, -1e-9, 0, -0.0, 65504, 65519.9, tiny, tiny / 2, tiny * 0.51], np.float32)
    found = FP16.round(values)
    expected = [65504, -65504, np.inf, -np.inf, tiny, -tiny, 0, 0, 65504, 65504, tiny, tiny, tiny]
    np.testing.assert_array_equal(found.values.astype(np.float64), expected)
    assert (found.clipped, found.lifted) == (2, 3)
    assert np.isnan(FP16.round(np.array([np.nan], np.float32)).values).all()


def test_bf16_has_the_range_of_fp32_but_for_its_ends() -> None:
    largest, smallest = np.finfo(np.float32).max, np.float32(1e-45)
    found = BF16.round(np.array([1e30, -largest, largest, smallest, -np.inf], np.float32))
    finite = (2 - 2**-7) * 2.0**127
    assert found.values[1:3].astype(np.float64).tolist() == [-finite, finite]
    assert found.values[3] > 0
    assert np.isneginf(found.values[4].astype(np.float32))
    assert (found.clipped, found.lifted) == (2, 1)


def test_a_scalar_keeps_its_shape() -> None:
    assert FP16.round(np.array(1e-12, np.float32)).values.shape == ()


def test_an_epsilon_below_the_type_still_keeps_a_division_finite() -> None:
    text = "g (float[batch,4] x) => (float[batch,4] y) { n = ReduceL2 <keepdims = 1> (x, axis) m = Max (n, eps) y = Div (x, m) }"
    model = model_of(text, weights={"axis": np.array([1]), "eps": np.array(1e-12, np.float32)})
    assert convert_model(model, "fp16").lifted == 1
    assert np.isfinite(run(model, x=np.zeros((2, 4), np.float32))[0]).all()


def test_a_mask_of_huge_numbers_stays_finite() -> None:
    text = "g (float[batch,2] x) => (float[batch,2] y) { h = Add (x, mask) y = Softmax (h) }"
    model = model_of(text, weights={"mask": np.array([0, -1e9], np.float32)})
    assert convert_model(model, "fp16").clipped == 1
    np.testing.assert_allclose(run(model, x=np.zeros((1, 2), np.float32))[0], [[1, 0]])


def test_constant_nodes_and_attributes_that_name_a_type() -> None:
    text = """g (float[batch,3] x) => (float[batch,3] y) {
        one = Constant <value = float[1] {1e6}> ()
        two = Constant <value_float: float = 2.0> ()
        three = Constant <value_floats = [1.0, 2.0, 3.0]> ()
        size = Shape (x)
        zero = ConstantOfShape (size)
        half = ConstantOfShape <value = float[1] {0.5}> (size)
        number = Cast <to = 1> (size)
        rows = Gather (number, index)
        a = Add (x, one) b = Mul (a, two) c = Add (b, three) d = Add (c, zero) e = Add (d, half) y = Div (e, rows)
    }"""
    model = model_of(text, weights={"index": np.array([0])})
    expected = run(model, x=np.zeros((2, 3), np.float32))[0]
    assert expected[0, 0] == pytest.approx(1e6, rel=1e-3)
    conversion = convert_model(model, "fp16")
    assert (conversion.kept_fp32, conversion.clipped) == ((), 1)
    checker.check_model(model, full_check=True)
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 3
    assert constant(model, "index").dtype == np.int64
    # 2 * 65504 is more than FP16 has; what matters here is that every type fits.
    assert run(model, x=np.full((2, 3), -6.5e4, np.float32))[0] == pytest.approx(
        np.array([[(504 * 2 + i + 0.5) / 2 for i in (1, 2, 3)]] * 2), rel=5e-2
    )


def test_scales_of_quantised_layers_become_half_and_integers_stay() -> None:
    text = """g (float[batch,4] x) => (float[batch,3] y) {
        q = QuantizeLinear (x, xs, xz) d = DequantizeLinear (q, xs, xz) v = DequantizeLinear <axis = 1> (w, ws, wz) y = MatMul (d, v)
    }"""
    weights: dict[str, Array] = {
        "xs": np.array(0.03, np.float32),
        "xz": np.array(0, np.int8),
        "w": RNG.integers(-127, 128, (4, 3)).astype(np.int8),
        "ws": np.array([0.01, 0.02, 0.03], np.float32),
        "wz": np.zeros(3, np.int8),
    }
    model = model_of(text, weights=weights)
    expected = run(model, x=IMAGES)[0]
    assert convert_model(model, "fp16").kept_fp32 == ()
    checker.check_model(model, full_check=True)
    assert {name: constant(model, name).dtype.name for name in weights} == {
        "xs": "float16", "xz": "int8", "w": "int8", "ws": "float16", "wz": "int8",
    }  # fmt: skip
    np.testing.assert_array_equal(constant(model, "w"), weights["w"])
    # A rounded scale moves some input by one step, times the largest weight.
    np.testing.assert_allclose(run(model, x=IMAGES)[0], expected, atol=0.03 * 0.03 * 127)


def test_external_data_stays_external(tmp_path: Path) -> None:
    weights: dict[str, Array] = {"w": RNG.standard_normal((4, 300), np.float32), "far": RNG.integers(0, 9, 300)}
    text = "g (float[batch,4] x) => (float[batch,300] y) { h = MatMul (x, w) f = Cast <to = 1> (far) y = Add (h, f) }"
    model = model_of(text, weights=weights)
    expected = run(model, x=IMAGES)[0]
    source = tmp_path / "model.onnx"
    onnx.save(model, source, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    out = tmp_path / "out"
    out.mkdir()
    paths, _ = convert(source, out / "model.fp16.onnx", "fp16")
    assert [path.name for path in paths] == ["model.fp16.onnx", "model.fp16.onnx.data"]
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in paths]
    # 4 x 300 numbers of two bytes and 300 of eight.
    assert paths[1].stat().st_size == 2400 + 32 + 2400
    session = onnxruntime.InferenceSession(paths[0], providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": IMAGES})[0], expected, atol=0.05)


def test_a_result_too_large_for_one_file_gets_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(
        "g (float[batch,4] x) => (float[batch,300] y) { y = MatMul (x, w) }", weights={"w": np.ones((4, 300), np.float32)}
    )
    source, target = tmp_path / "model.onnx", tmp_path / "model.fp16.onnx"
    onnx.save(model, source)
    monkeypatch.setattr(precision, "LARGEST_FILE_BYTES", 2399)
    assert len(convert(source, target, "fp16")[0]) == 2
    monkeypatch.setattr(precision, "LARGEST_FILE_BYTES", 2400)
    assert convert(source, target, "fp16")[0] == (target,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.fp16.onnx", "model.onnx"], "old data does not stay behind"


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="not a whole ONNX file"):
        convert(source, tmp_path / "half.onnx", "fp16")
    onnx.save(model_of(LINEAR, weights=WEIGHTS), source, save_as_external_data=True, location="w.data", size_threshold=0)
    with pytest.raises(InputError, match="not a half precision"):
        convert(source, tmp_path / "half.onnx", "int8")
    (tmp_path / "w.data").write_bytes(b"short")
    with pytest.raises(InputError, match="data of"):
        convert(source, tmp_path / "half.onnx", "fp16")
    (tmp_path / "w.data").unlink()
    with pytest.raises(InputError, match="data of"):
        convert(source, tmp_path / "half.onnx", "fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("external", [False, True])
def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, external: bool) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError):
        save(model_of(LINEAR, weights=WEIGHTS), tmp_path / "file" / "half.onnx", external=external)
