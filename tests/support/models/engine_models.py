"""Small real models as ONNX files, and requests for their engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest

from prune_deploy.errors import PruneDeployError
from prune_deploy.export.tensorrt.engine import build_engine
from prune_deploy.specs import EngineBuild
from support.shared import made_once


def spec(precision: str = "fp32", **options: Any) -> EngineBuild:
    """Return an EngineBuild, of any precision the builder knows."""
    return EngineBuild(precision=cast(Any, precision), **{"batches": (1,), "library": "tensorrt-rtx", **options})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small ONNX files.

    These are resnet.onnx and vit.onnx (timm's smallest, random weights) and FP16 and INT8 versions of resnet.onnx.
    """
    return made_once(tmp_path_factory, "engine_models", _export)


def _export(folder: Path) -> None:
    import timm
    import torch

    for short, name in (("resnet", "test_resnet.r160_in1k"), ("vit", "test_vit.r160_in1k")):
        torch.manual_seed(0)
        module = timm.create_model(name, pretrained=False, num_classes=10).eval()
        program = torch.onnx.export(
            module,
            (torch.zeros(2, 3, 160, 160),),
            dynamo=True,
            opset_version=20,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        assert program is not None
        program.save(str(folder / f"{short}.onnx"))
    _save_half(folder / "resnet.onnx", folder / "resnet.fp16.onnx")
    _save_int8(folder / "resnet.onnx", folder / "resnet.int8.onnx")


def _save_half(source: Path, destination: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), destination)


def _save_int8(source: Path, destination: Path) -> None:
    """Save an INT8 file in the form that TensorRT accepts.

    It is symmetric, per channel, with Q/DQ at the inputs of the products only.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]  # the base class is published without types
        def __init__(self) -> None:
            self.left = [np.random.default_rng(0).standard_normal((2, 3, 160, 160), dtype=np.float32)]

        def get_next(self) -> dict[str, Any] | None:
            return {"input": self.left.pop()} if self.left else None

    quantize_static(
        str(source),
        str(destination),
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options={"QuantizeBias": False, "ActivationSymmetric": True, "OpTypesToExcludeOutputQuantization": ["Conv"]},
    )


def refused(kind: type[PruneDeployError], onnx_path: Path, asked: EngineBuild, folder: Path, **options: Any) -> PruneDeployError:
    """Return the error of a build that must fail.

    Nothing may be left in `folder`.
    """
    with pytest.raises(kind) as caught:
        build_engine(onnx_path, asked, folder / "model.engine", **options)
    assert type(caught.value) is kind
    assert list(folder.iterdir()) == []
    return caught.value
