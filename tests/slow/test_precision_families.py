"""The seven families in every precision: the files compute what the module computes, and engines are what their labels say."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, checker, helper
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.evaluation.parity import check_parity
from prune_deploy.export.bundle import onnx_file
from prune_deploy.export.half.convert import convert
from prune_deploy.export.int8.quantize import make_int8
from prune_deploy.export.onnx import check_dynamic_batch, export_onnx
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.interfaces import Silent
from prune_deploy.models import create_model
from prune_deploy.records import EngineRecord, Preprocessing
from prune_deploy.specs import EngineBuild, ModelSpec, Precision, QuantizeSpec

FAMILIES = {
    "resnet26d": 32,
    "resnext50_32x4d": 54,
    "convnext_tiny": 59,
    "efficientnet_b0": 82,
    "mobilenetv4_conv_small": 47,
    "vit_tiny_patch16_224": 74,
    "swin_tiny_patch4_window7_224": 77,
}
"""Small models of the seven families, and how many convolutions and matrix products their graphs have."""

QUANTISED = {
    "resnet26d": 31,
    "resnext50_32x4d": 53,
    "convnext_tiny": 58,
    "efficientnet_b0": 80,
    "mobilenetv4_conv_small": 46,
    "vit_tiny_patch16_224": 49,
    "swin_tiny_patch4_window7_224": 52,
}
"""How many of them must be quantised at least: what is not is a narrow layer, or a product of two activations."""

NOT_TAKEN = {"efficientnet_b0": 2, "swin_tiny_patch4_window7_224": 12}
"""How many quantised layers TensorRT-RTX 1.7 may not compute in INT8 all the same: a squeeze layer's kernel that quantises its own input,
which the builder's table does not show, and one product in each of Swin's blocks, which it runs in FP16."""

TYPES = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16"}


class Exported(NamedTuple):
    """A module, and the folder with its FP32 file."""

    module: nn.Module
    preprocessing: Preprocessing
    folder: Path

    @property
    def size(self) -> tuple[int, int, int]:
        return self.preprocessing.input_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("families")
    exported.cache_clear()


@functools.lru_cache(maxsize=1)
def exported(name: str, folder: Path) -> Exported:
    """One model at a time, for all tests of it."""
    loaded = create_model(ModelSpec(name=name))
    place = folder / name
    place.mkdir()
    export_onnx(loaded.module, loaded.preprocessing.input_size, place / "model.onnx")
    return Exported(loaded.module, loaded.preprocessing, place)


def engine(path: Path, precision: Precision, folder: Path) -> EngineRecord:
    asked = EngineBuild(library="tensorrt-rtx", target="sm86", precision=precision, batches=(1, 8))
    return build_engine(path, asked, folder / "model.engine")


@pytest.mark.parametrize(
    ("name", "precision"), [(name, precision) for name in FAMILIES for precision in ("fp32", "fp16", "bf16")]
)
def test_every_product_is_as_labelled(name: str, precision: Precision, folder: Path, tmp_path: Path) -> None:
    model = exported(name, folder)
    path = model.folder / onnx_file(precision)
    if precision != "fp32":
        _, conversion = convert(model.folder / "model.onnx", path, precision)
        assert (conversion.kept_fp32, conversion.clipped) == ((), 0)
    check_dynamic_batch(path)
    checker.check_model(str(path), full_check=True)
    if precision != "bf16":  # ONNX Runtime's CPU provider has no BF16 convolution
        parity = check_parity(model.module, usable("ort"), path, model.size, precision=precision)
        assert (parity.status, parity.reason) == ("passed", "")
    record = engine(path, precision, tmp_path)
    assert record.share is not None
    assert record.share.text == f"{FAMILIES[name]}/{FAMILIES[name]}"
    assert set(record.layer_types) <= {TYPES[precision], "Float"}
    # Norms and the casts at both ends are FP32 in an engine of any precision.
    assert record.layer_types[TYPES[precision]] > 0.75 * sum(record.layer_types.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_int8_with_a_half_rest(name: str, folder: Path, tmp_path: Path) -> None:
    model = exported(name, folder)
    asked = QuantizeSpec(calibration="synthetic", samples=8, smooth="off")
    (made,) = make_int8(
        model.folder / "model.onnx", tmp_path, asked, model.preprocessing, progress=Silent(), placements=("tensorrt",)
    )
    record = engine(made.paths[0], "int8", tmp_path)
    assert record.share is not None
    assert (record.share.layers, made.quantization.layers) == (FAMILIES[name], FAMILIES[name])
    assert made.quantization.quantized >= QUANTISED[name]
    assert made.quantization.quantized - NOT_TAKEN.get(name, 0) <= record.share.computing <= made.quantization.quantized
    assert {"Int8", "Half"} <= set(record.layer_types) <= {"Int8", "Half", "Float"}


def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    """Ten products of 230 MB each, in one file of weights: the result has half of it beside the graph, and an engine is built."""
    width, layers = 7600, 10
    source = tmp_path / "model.onnx"
    location = f"{source.name}.data"
    nodes, tensors = [], []
    rng = np.random.default_rng(0)
    with (tmp_path / location).open("wb") as stream:
        for number in range(layers):
            weights = rng.standard_normal((width, width), np.float32) / np.float32(width**0.5)
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": location, "offset": stream.tell(), "length": weights.nbytes}.items():
                tensor.external_data.add(key=key, value=str(value))
            stream.write(weights.tobytes())
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"], name=f"product_{number}"))
    ends = [helper.make_tensor_value_info(f"x{end}", TensorProto.FLOAT, ["batch", width]) for end in (0, layers)]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    assert (tmp_path / location).stat().st_size > 2**31
    paths, _ = convert(source, tmp_path / "model.fp16.onnx", "fp16")
    assert [path.name for path in paths] == ["model.fp16.onnx", "model.fp16.onnx.data"]
    assert paths[1].stat().st_size == layers * width * width * 2
    checker.check_model(str(paths[0]), full_check=True)
    record = engine(paths[0], "fp16", tmp_path)
    assert record.share is not None
    assert record.share.text == f"{layers}/{layers}"
