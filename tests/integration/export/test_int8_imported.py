"""Q/DQ files that somebody made: taken where they are of this model and TensorRT reads them, else refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_static

from prune_deploy.errors import InputError
from prune_deploy.export.int8.quantize import accept_int8
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.specs import EngineBuild
from support.models.int8_models import fp32, optimized, own_cache, quantized

__all__ = ["fp32", "own_cache"]  # fixtures


class _Reader:
    """Two synthetic images."""

    def __init__(self) -> None:
        import torch

        from prune_deploy.data import synthetic_images

        self._batches = iter([synthetic_images(2, (3, 64, 64), torch.Generator().manual_seed(1)).numpy()])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


def _by_onnx_runtime(source: Path, destination: Path, **extra: Any) -> Path:
    """What a user has who called onnxruntime.quantization."""
    quantize_static(
        str(source),
        str(destination),
        _Reader(),
        activation_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["Conv", "Gemm"],
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False, **extra},
    )
    return destination


@pytest.fixture(scope="module")
def theirs(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test_resnet.onnx as onnxruntime.quantization quantises it for TensorRT."""
    return _by_onnx_runtime(fp32 / "test_resnet.onnx", tmp_path_factory.mktemp("theirs") / "mine.onnx")


@pytest.mark.locked
def test_a_fitting_file_is_taken(fp32: Path, theirs: Path, tmp_path: Path) -> None:
    file = accept_int8(theirs, fp32 / "test_resnet.onnx", tmp_path)
    assert [path.name for path in file.paths] == ["model.int8.onnx"]
    record = file.quantization
    assert (record.placement, record.rest, record.calibration) == ("tensorrt", "fp32", None)
    assert (record.quantized, record.layers) == (16, 16)
    assert optimized(file.paths[0], tmp_path)["DequantizeLinear"] > 0
    built = build_engine(file.paths[0], EngineBuild(precision="int8", library="tensorrt-rtx", batches=(1,)), tmp_path / "engine")
    assert built.layer_types["Int8"] > 0


def test_our_own_file_is_taken_and_its_names_mended(fp32: Path, tmp_path: Path) -> None:
    source = fp32 / "test_vit.onnx"
    made = quantized(source, tmp_path, "tensorrt", rest="fp16")
    model = onnx.load(made.paths[0])
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = {"input": "x", "logits": "y"}.get(name, name)
    model.graph.input[0].name, model.graph.output[0].name = "x", "y"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "renamed.onnx")
    (tmp_path / "taken").mkdir()
    file = accept_int8(tmp_path / "renamed.onnx", source, tmp_path / "taken")
    graph = onnx.load(file.paths[0]).graph
    assert (graph.input[0].name, graph.output[0].name) == ("input", "logits")
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert (file.quantization.quantized, file.quantization.layers) == (made.quantization.quantized, made.quantization.layers)
    assert file.quantization.rest == "fp16"
    optimized(file.paths[0], tmp_path)  # opens


def test_a_file_of_onnx_runtime_is_refused_with_what_tensorrt_rejects(fp32: Path, tmp_path: Path) -> None:
    source = fp32 / "test_resnet.onnx"
    for options, message in (({"QuantizeBias": True}, "QuantizeBias"), ({"ActivationSymmetric": False}, "ActivationSymmetric")):
        given = _by_onnx_runtime(source, tmp_path / "given.onnx", **options)
        with pytest.raises(InputError) as error:
            accept_int8(given, source, tmp_path)
        assert message in error.value.fix
        assert "TensorRT" in error.value.fix
    assert not (tmp_path / "model.int8.onnx").exists()


def _refused(given: Path, source: Path, folder: Path) -> str:
    with pytest.raises(InputError) as error:
        accept_int8(given, source, folder)
    assert error.value.fix
    assert not (folder / "model.int8.onnx").exists()
    return error.value.message


def test_other_files_are_refused(fp32: Path, theirs: Path, tmp_path: Path) -> None:
    source = fp32 / "test_resnet.onnx"
    assert "no such file" in _refused(tmp_path / "absent.onnx", source, tmp_path)
    assert "has no Q/DQ nodes" in _refused(source, source, tmp_path)
    (tmp_path / "half.onnx").write_bytes(theirs.read_bytes()[:-1000])
    assert "not a whole ONNX" in _refused(tmp_path / "half.onnx", source, tmp_path)
    (tmp_path / "text.onnx").write_text("no model")
    assert "not a whole ONNX" in _refused(tmp_path / "text.onnx", source, tmp_path)


def test_files_of_other_models_are_refused(fp32: Path, theirs: Path, tmp_path: Path) -> None:
    source, path = fp32 / "test_resnet.onnx", tmp_path / "changed.onnx"

    def changed() -> onnx.ModelProto:
        return onnx.load(theirs)

    model = changed()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    assert "batch is fixed at 2" in _refused(path, source, tmp_path)
    model = changed()
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 96
    onnx.save(model, path)
    assert "×3×64×96, the model's is batch×3×64×64" in _refused(path, source, tmp_path)
    model = changed()
    model.graph.output.append(helper.make_tensor_value_info(model.graph.node[-1].input[0], 1, ["batch", None]))
    onnx.save(model, path)
    assert "has 2 outputs" in _refused(path, source, tmp_path)


def test_a_file_with_dequantised_weights_only_has_no_int8_layers(fp32: Path, tmp_path: Path) -> None:
    source = fp32 / "test_resnet.onnx"
    model = onnx.load(quantized(source, tmp_path, "tensorrt").paths[0])
    (tmp_path / "model.int8.onnx").unlink()
    skipped = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    names = {tensor.name for tensor in model.graph.initializer}
    direct = {
        node.output[0]: skipped[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in names
    }
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = direct.get(name, name)
    kept = [node for node in model.graph.node if node.output[0] not in skipped and node.output[0] not in direct]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    assert numpy_helper.to_array(model.graph.initializer[0]).size
    onnx.save(model, tmp_path / "weights.onnx")
    assert "none of its 16 layers has INT8 operands" in _refused(tmp_path / "weights.onnx", source, tmp_path)
