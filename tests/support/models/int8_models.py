"""Small real networks as FP32 files for the INT8 tests.

Their preprocessing comes with them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from prune_deploy.export.int8.kernels import EXACT_PRODUCTS
from prune_deploy.export.int8.quantize import Int8File, make_int8
from prune_deploy.interfaces import Silent
from prune_deploy.records import Preprocessing, QdqPlacement
from prune_deploy.specs import QuantizeSpec
from support.shared import made_once

SIZE = 64
"""Height and width of the networks' inputs in pixels: enough, and fast."""


@pytest.fixture(scope="session")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with test_resnet.onnx and test_vit.onnx.

    They have 10 classes and random weights.
    """
    return made_once(tmp_path_factory, "int8_models", _export)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of ranges that no other test uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prune-deploy" / "calibration"


def _export(folder: Path) -> None:
    from prune_deploy.export.onnx import export_onnx
    from prune_deploy.models import create_model
    from prune_deploy.specs import ModelSpec

    for name in ("test_resnet", "test_vit"):
        loaded = create_model(ModelSpec(name=name, num_classes=10, input_size=(3, SIZE, SIZE)))
        export_onnx(loaded.module, (3, SIZE, SIZE), folder / f"{name}.onnx")


def preprocessing(channels: int = 3, size: int = SIZE) -> Preprocessing:
    """Return the preprocessing of the networks."""
    return Preprocessing(
        input_size=(channels, size, size),
        interpolation="bicubic",
        crop_pct=1.0,
        crop_mode="center",
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )


def quantized(source: Path, folder: Path, placement: QdqPlacement, **spec: Any) -> Int8File:
    """Return the INT8 file of one placement."""
    asked = QuantizeSpec(**{"calibration": "synthetic", "samples": 8, "rest": "fp32", "smooth": "off", **spec})
    return make_int8(source, folder, asked, preprocessing(), progress=Silent(), placements=[placement])[0]


def outputs(path: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the outputs of ONNX Runtime's CPU provider, shape (images, classes)."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_PRODUCTS)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def optimized(path: Path, folder: Path) -> Counter[str]:
    """Count the operators of a file's graph as ONNX Runtime optimises it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_PRODUCTS)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Return the graph's constants by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
