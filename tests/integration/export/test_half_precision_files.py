"""Real models in FP16 and BF16: their files, what ONNX Runtime computes with them, and the engines that TensorRT-RTX makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, checker, numpy_helper
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.errors import BuildError
from prune_deploy.evaluation.parity import check_parity
from prune_deploy.export.half.convert import convert
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.export.onnx import check_dynamic_batch, export_onnx
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.models import create_model
from prune_deploy.specs import ModelSpec, Precision
from support.models.engine_models import refused, spec

SIZE = (3, 160, 160)
MODELS = ("test_resnet", "test_vit")
TYPES = {"fp16": "Half", "bf16": "BFloat16"}


class Exported(NamedTuple):
    """A module, its FP32 file and those derived from it."""

    module: nn.Module
    fp32: Path
    fp16: Path
    bf16: Path

    def file(self, precision: Precision) -> Path:
        return {"fp32": self.fp32, "fp16": self.fp16, "bf16": self.bf16}[precision]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    folder = tmp_path_factory.mktemp("half")
    found = {}
    for name in MODELS:
        module = create_model(ModelSpec(name=name)).module
        paths = [folder / f"{name}.{kind}.onnx" for kind in ("fp32", "fp16", "bf16")]
        export_onnx(module, SIZE, paths[0])
        for path, precision in ((paths[1], "fp16"), (paths[2], "bf16")):
            written, conversion = convert(paths[0], path, "fp16" if precision == "fp16" else "bf16")
            assert written == (path,)
            assert (conversion.kept_fp32, conversion.clipped) == ((), 0)
        found[name] = Exported(module, *paths)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_half_file_is_half_as_large_and_has_the_same_inputs_outputs_and_layers(
    exported: dict[str, Exported], name: str
) -> None:
    source = onnx.load(exported[name].fp32)
    for half in (HalfType.of("fp16"), HalfType.of("bf16")):
        path = exported[name].file(half.name)
        model = onnx.load(path)
        checker.check_model(model, full_check=True)
        check_dynamic_batch(path)
        assert path.stat().st_size < 0.6 * exported[name].fp32.stat().st_size
        kinds = [each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)]
        assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT]
        nodes = {node.name: node for node in model.graph.node}
        for node in source.graph.node:
            kept = nodes.pop(node.name)
            assert (kept.op_type, list(kept.metadata_props)) == (node.op_type, list(node.metadata_props))
        assert [node.op_type for node in nodes.values()] == ["Cast", "Cast"]
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        assert len(weights) == len(source.graph.initializer)
        for tensor in source.graph.initializer:
            array = numpy_helper.to_array(tensor)
            expected = half.round(array).values if tensor.data_type == TensorProto.FLOAT else array
            assert (numpy_helper.to_array(weights[tensor.name]) == expected).all()


@pytest.mark.parametrize("name", MODELS)
def test_fp16_computes_what_the_module_computes(exported: dict[str, Exported], name: str) -> None:
    parity = check_parity(exported[name].module, usable("ort"), exported[name].fp16, SIZE, precision="fp16")
    assert (parity.status, parity.reason) == ("passed", "")
    assert 0 < max(check.relative_diff for check in parity.checks) < 0.02
    assert [check.batch for check in parity.checks] == [1, 2, 5]


@pytest.mark.locked
@pytest.mark.parametrize(
    ("name", "precision", "products"),
    [
        ("test_resnet", "fp16", 16),
        ("test_resnet", "bf16", 16),
        ("test_vit", "fp16", 38),
    ],
)
def test_every_product_of_an_engine_is_half(
    exported: dict[str, Exported], tmp_path: Path, name: str, precision: Precision, products: int
) -> None:
    record = build_engine(exported[name].file(precision), spec(precision, batches=(1, 8)), tmp_path / "model.engine")
    assert record.share is not None
    assert (record.share.text, record.share.source) == (f"{products}/{products}", "build log")
    assert record.layer_types[TYPES[precision]] > record.layer_types["Float"] * 2
    assert set(record.layer_types) == {TYPES[precision], "Float"}
    assert record.warnings == ()


@pytest.mark.locked
def test_fp32_products_are_counted_too(exported: dict[str, Exported], tmp_path: Path) -> None:
    record = build_engine(exported["test_resnet"].fp32, spec(), tmp_path / "model.engine")
    assert record.share is not None
    assert record.share.text == "16/16"


@pytest.mark.locked
def test_turing_has_fp16_but_no_bf16(exported: dict[str, Exported], tmp_path: Path) -> None:
    error = refused(BuildError, exported["test_resnet"].bf16, spec("bf16", target="sm75"), tmp_path)
    assert "b16" in error.message
    assert "`precisions=('fp16',)`" in error.fix
    error = refused(BuildError, exported["test_resnet"].fp32, spec(target="sm75"), tmp_path)
    assert "`precisions=('fp16',)` alone" in error.fix
    record = build_engine(exported["test_resnet"].fp16, spec("fp16", target="sm75"), tmp_path / "model.engine")
    assert record.share is not None
    assert record.share.text == "16/16"


@pytest.mark.locked
def test_an_engine_whose_products_stayed_in_fp32_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch,8,8,8] x) => (float[batch,8,8,8] y) {
        a = Cast <to = 10> (x) b = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a) c = Cast <to = 1> (b)
        d = Conv (c, w) y = Conv (d, w)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.full((8, 8, 1, 1), 0.1, np.float32), "w"))
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "out").mkdir()
    error = refused(BuildError, tmp_path / "model.onnx", spec("fp16"), tmp_path / "out")
    assert "none of the engine's 2 convolutions and matrix products compute in Half" in error.message
