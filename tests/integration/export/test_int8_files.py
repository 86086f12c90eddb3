"""INT8 files of small real networks: where their Q/DQ nodes stand, what runtimes make of them, which layers stay float."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from prune_deploy.data import CalibrationImages
from prune_deploy.errors import BuildError, InputError
from prune_deploy.export.int8.layers import find_layers
from prune_deploy.export.int8.quality import QualityCheck, cosine
from prune_deploy.export.int8.quantize import Int8File, make_int8
from prune_deploy.export.onnx import check_dynamic_batch
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.interfaces import Silent
from prune_deploy.records import QdqPlacement, Quantization, from_json, to_json
from prune_deploy.specs import EngineBuild, QuantizeSpec
from support.models.int8_models import constants, fp32, optimized, outputs, own_cache, preprocessing, quantized

__all__ = ["fp32", "own_cache"]  # fixtures

NETWORKS = ("test_resnet", "test_vit")


def _images(count: int = 4) -> np.ndarray[Any, Any]:
    """Images that no range was taken from."""
    images = CalibrationImages("synthetic", preprocessing(), 64)
    return np.concatenate([batch.inputs for batch in images.batches(64)])[-count:]


def _nodes(file: Int8File, *kinds: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(file.paths[0]).graph.node if node.op_type in kinds]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("placement", ["tensorrt", "onnxruntime"])
def test_both_files_compute_what_fp32_computes(fp32: Path, tmp_path: Path, name: str, placement: QdqPlacement) -> None:
    file = quantized(fp32 / f"{name}.onnx", tmp_path, placement)
    assert [path.name for path in file.paths] == ["model.int8.onnx" if placement == "tensorrt" else "model.int8.ort.onnx"]
    assert cosine([outputs(fp32 / f"{name}.onnx", _images())], [outputs(file.paths[0], _images())]) > 0.99
    check_dynamic_batch(file.paths[0])
    quantization = file.quantization
    assert quantization.quantized + len(quantization.kept) == quantization.layers
    assert quantization.cosine is not None
    assert quantization.cosine > 0.99
    assert from_json(Quantization, to_json(quantization).encode(), source="a record") == quantization
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [file.paths[0].name]


@pytest.mark.parametrize("name", NETWORKS)
def test_original_nodes_keep_their_names_and_metadata(fp32: Path, tmp_path: Path, name: str) -> None:
    source = fp32 / f"{name}.onnx"
    before = {node.name: list(node.metadata_props) for node in onnx.load(source).graph.node}
    for placement in ("tensorrt", "onnxruntime"):
        model = onnx.load(quantized(source, tmp_path, placement).paths[0])
        onnx.checker.check_model(model, full_check=True)
        after = {node.name: list(node.metadata_props) for node in model.graph.node}
        assert before.items() <= after.items()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tensorrt_file_is_symmetric_and_leaves_biases_alone(fp32: Path, tmp_path: Path, name: str) -> None:
    file = quantized(fp32 / f"{name}.onnx", tmp_path, "tensorrt")
    values = constants(onnx.load(file.paths[0]))
    pairs = _nodes(file, "QuantizeLinear", "DequantizeLinear")
    assert {values[node.input[2]].dtype for node in pairs} == {np.dtype(np.int8)}
    assert not any(values[node.input[2]].any() for node in pairs)
    assert np.dtype(np.int32) not in {values[node.input[0]].dtype for node in pairs if node.input[0] in values}


def test_weights_are_int8_by_output_channel(fp32: Path, tmp_path: Path) -> None:
    source, file = fp32 / "test_vit.onnx", quantized(fp32 / "test_vit.onnx", tmp_path, "tensorrt")
    values, before = constants(onnx.load(file.paths[0])), constants(onnx.load(source))
    seen = set()
    for node in _nodes(file, "DequantizeLinear"):
        if node.input[0] not in values:
            continue  # an activation
        axis = next(each.i for each in node.attribute if each.name == "axis")
        weight = before[node.input[0].removesuffix("_quantized")]
        scales = values[node.input[1]]
        assert scales.shape == (weight.shape[axis],)
        shape = [-1 if each == axis else 1 for each in range(weight.ndim)]
        restored = values[node.input[0]].astype(np.float32) * scales.reshape(shape)
        assert (np.abs(restored - weight) <= scales.reshape(shape) * 0.501).all()
        seen.add((weight.ndim, axis))
    assert seen == {(4, 0), (2, 1)}  # a convolution's outputs come first, a matrix product's last


def test_narrow_heads_and_products_of_two_activations_stay_float(fp32: Path, tmp_path: Path) -> None:
    file = quantized(fp32 / "test_vit.onnx", tmp_path, "tensorrt")
    reasons = {layer.name: layer.reason for layer in file.quantization.kept}
    assert set(reasons.values()) == {"narrow", "dynamic"}
    assert list(reasons.values()).count("narrow") == 1
    makers = {name: node.op_type for node in onnx.load(file.paths[0]).graph.node for name in node.output}
    for node in _nodes(file, "MatMul", "Gemm", "Conv"):
        dequantized = [makers.get(name) == "DequantizeLinear" for name in node.input[:2]]
        assert dequantized == [node.name not in reasons] * 2


def test_only_the_skip_of_a_residual_sum_is_quantised_for_tensorrt(fp32: Path, tmp_path: Path) -> None:
    file = quantized(fp32 / "test_resnet.onnx", tmp_path, "tensorrt")
    makers = {name: node.op_type for node in onnx.load(file.paths[0]).graph.node for name in node.output}
    sums = [sorted(makers[name] for name in node.input) for node in _nodes(file, "Add")]
    assert sums == [["Conv", "DequantizeLinear"]] * 4
    transformer = quantized(fp32 / "test_vit.onnx", tmp_path, "tensorrt")
    makers = {name: node.op_type for node in onnx.load(transformer.paths[0]).graph.node for name in node.output}
    assert not any(makers.get(name) == "DequantizeLinear" for node in _nodes(transformer, "Add") for name in node.input)


def test_onnx_runtime_computes_in_int8(fp32: Path, tmp_path: Path) -> None:
    resnet = quantized(fp32 / "test_resnet.onnx", tmp_path, "onnxruntime")
    found = optimized(resnet.paths[0], tmp_path)
    assert found["QLinearConv"] == resnet.quantization.quantized == 15
    assert found["QLinearAdd"] == 4
    assert found["Conv"] == found["FusedConv"] == 0
    vit = quantized(fp32 / "test_vit.onnx", tmp_path, "onnxruntime")
    found = optimized(vit.paths[0], tmp_path)
    assert found["QLinearConv"] + found["MatMulIntegerToFloat"] == vit.quantization.quantized


@pytest.mark.locked
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_tensorrt_builds_it_with_int8_layers(fp32: Path, tmp_path: Path, name: str, rest: str) -> None:
    file = quantized(fp32 / f"{name}.onnx", tmp_path, "tensorrt", rest=rest)
    spec = EngineBuild(library="tensorrt-rtx", target="sm86", precision="int8", batches=(1,))
    record = build_engine(file.paths[0], spec, tmp_path / "model.engine")
    assert record.layer_types["Int8"] >= file.quantization.quantized
    assert ("Half" in record.layer_types) == (rest == "fp16")
    assert file.quantization.rest == rest


def test_layers_are_kept_by_the_name_of_their_node_or_module(fp32: Path, tmp_path: Path) -> None:
    source = fp32 / "test_resnet.onnx"
    one = find_layers(onnx.load(source).graph)[0].name
    file = quantized(source, tmp_path, "onnxruntime", keep=(one, "layer2.*"))
    kept = [layer for layer in file.quantization.kept if layer.reason == "by name"]
    assert kept[0].name == one
    assert {layer.module.split(".")[0] for layer in kept[1:]} == {"layer2"}
    assert len(kept) > 2
    found = optimized(file.paths[0], tmp_path)
    assert found["QLinearConv"] == file.quantization.quantized
    assert found["Conv"] + found["FusedConv"] == len(kept)


def test_a_pattern_that_fits_nothing_is_refused_with_near_names(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`keep=\('layr2\.\*',\)` fits no layer") as error:
        quantized(fp32 / "test_resnet.onnx", tmp_path, "tensorrt", keep=("layr2.*",))
    assert "layer2" in error.value.fix


@pytest.mark.parametrize("options", [{"keep": ("*",)}, {"keep_top": 99}])
def test_nothing_left_to_quantise_is_an_error(fp32: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="none of 16 layers would be quantised"):
        quantized(fp32 / "test_resnet.onnx", tmp_path, "tensorrt", **options)


def test_the_costliest_layers_stay_float(fp32: Path, tmp_path: Path) -> None:
    source = fp32 / "test_resnet.onnx"
    file = quantized(source, tmp_path, "tensorrt", keep_top=4)
    kept = [layer for layer in file.quantization.kept if layer.reason == "sensitive"]
    assert len(kept) == 4
    assert all(layer.cost is not None and layer.cost > 0 for layer in kept)
    assert file.quantization.cosine_all is not None
    assert file.quantization.cosine is not None
    assert file.quantization.cosine > file.quantization.cosine_all
    plain = quantized(source, tmp_path, "tensorrt")
    assert plain.quantization.cosine == pytest.approx(file.quantization.cosine_all, abs=1e-6)


def test_as_many_layers_stay_float_as_top1_needs(fp32: Path, tmp_path: Path) -> None:
    source, images = fp32 / "test_resnet.onnx", CalibrationImages("synthetic", preprocessing(), 32)
    plain = quantized(source, tmp_path, "onnxruntime", samples=32)
    drop = QualityCheck(source, images).top1_drop(plain.paths[0])
    assert drop > 0  # random weights: the classes lie close together
    exact = quantized(source, tmp_path, "onnxruntime", samples=32, max_drop=drop / 2)
    assert exact.quantization.quantized < plain.quantization.quantized
    assert exact.quantization.top1_drop is not None
    assert exact.quantization.top1_drop <= drop / 2
    assert exact.quantization.top1_drop == pytest.approx(QualityCheck(source, images).top1_drop(exact.paths[0]))
    assert exact.quantization.top1_of == "fp32"
    loose = quantized(source, tmp_path, "onnxruntime", samples=32, max_drop=drop)
    assert loose.quantization.quantized == plain.quantization.quantized
    assert quantized(source, tmp_path, "onnxruntime", calibration="digits", max_drop=0.9).quantization.top1_of == "labels"


def _with_loud_channels(source: Path, destination: Path) -> Path:
    """A network whose layer norms have a few channels that drown the others, as trained transformers have."""
    model = onnx.load(source)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "LayerNormalization"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[:2] *= 100
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, destination)
    return destination


def test_smoothing_where_it_helps(fp32: Path, tmp_path: Path) -> None:
    source = _with_loud_channels(fp32 / "test_vit.onnx", tmp_path / "loud.onnx")
    found: dict[str, Quantization] = {}
    for smooth in ("off", "on", "auto"):
        found[smooth] = quantized(source, tmp_path, "tensorrt", smooth=smooth).quantization
    assert (found["off"].smoothed, found["on"].smoothed) == (0, 12)
    better = max(("off", "on"), key=lambda smooth: found[smooth].cosine or 0)
    assert found["auto"].smoothed == found[better].smoothed
    assert found["auto"].cosine == found[better].cosine
    assert better == "on"


def test_smoothing_alone_changes_nothing(fp32: Path, tmp_path: Path) -> None:
    """With all but one product kept, the smoothed network is the FP32 one but for that product."""
    from prune_deploy.export.int8.calibration import calibrate
    from prune_deploy.export.int8.draft import Draft
    from prune_deploy.export.int8.smoothing import smoothable

    source = Path(shutil.copy(fp32 / "test_vit.onnx", tmp_path / "model.onnx"))
    graph = onnx.load(source).graph
    norms = smoothable(graph, find_layers(graph))
    tensors = [norm.tensor for norm in norms]
    images = CalibrationImages("synthetic", preprocessing(), 4)
    ranges = calibrate(source, tensors, tensors, images, "minmax", Silent(), sha256="")
    model, smoothed = Draft(source, ranges, tuple(norms)).smoothed()
    onnx.save(model, tmp_path / "smoothed.onnx")
    np.testing.assert_allclose(outputs(tmp_path / "smoothed.onnx", _images()), outputs(source, _images()), rtol=1e-3, atol=1e-3)
    again = calibrate(tmp_path / "smoothed.onnx", tensors, tensors, images, "minmax", Silent(), sha256="")
    for tensor in tensors:
        assert smoothed.tensors[tensor] == pytest.approx(again.tensors[tensor], rel=1e-3)


def test_both_placements_come_from_one_calibration(fp32: Path, tmp_path: Path, own_cache: Path) -> None:
    spec = QuantizeSpec(calibration="synthetic", samples=4, rest="fp16", smooth="auto")
    made = make_int8(fp32 / "test_vit.onnx", tmp_path, spec, preprocessing(), progress=Silent())
    assert [file.quantization.placement for file in made] == ["tensorrt", "onnxruntime"]
    assert [file.quantization.rest for file in made] == ["fp16", "fp32"]
    assert len(list(own_cache.iterdir())) == 1
