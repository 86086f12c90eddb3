"""The road of the data-centre library, driven with TensorRT-RTX's bindings, which share all calls on it but one (the inspector)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt import engine
from prune_deploy.export.tensorrt.engine import build_engine, engine_file_name
from prune_deploy.export.tensorrt.library import TensorRTLibrary, choose_library
from support.models.engine_models import models, refused, spec

pytestmark = pytest.mark.locked

__all__ = ["models"]  # a fixture


FLOAT_ENGINE = '{"Layers": [{"Name": "conv", "Inputs": [{"Name": "x", "Datatype": "Float"}], "Outputs": []}], "I/O Tensors": []}'


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Real bindings under TensorRT's name, as on a machine with a GPU; the inspector, which needs that GPU, answers a text."""
    real = choose_library("tensorrt-rtx", "sm86")
    library = TensorRTLibrary(name="TensorRT", version="11.4.0.5", module=real.module)
    monkeypatch.setattr(engine, "choose_library", lambda name, target: library)

    def answer(text: str) -> None:
        monkeypatch.setattr(engine, "_inspect", lambda library, log, plan: text)

    return answer


def test_tensorrt_uses_the_inspector(models: Path, tmp_path: Path, tensorrt: Callable[[str], None]) -> None:
    tensorrt(FLOAT_ENGINE)
    path = tmp_path / engine_file_name(spec(), TensorRTLibrary(name="TensorRT", version="11.4.0.5", module=None))
    record = build_engine(models / "resnet.onnx", spec(), path)
    assert (record.library, record.layer_source, record.layer_types) == ("TensorRT", "inspector", {"Float": 1})
    assert record.trtexec.startswith(
        "trtexec --onnx=resnet.onnx --saveEngine=model.fp32.sm86.b1.tensorrt-11.4.engine --stronglyTyped"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]


def test_tensorrts_label_is_checked_too(models: Path, tmp_path: Path, tensorrt: Callable[[str], None]) -> None:
    tensorrt(FLOAT_ENGINE.replace("Float", "Half"))
    assert "computes in Float" in refused(BuildError, models / "resnet.onnx", spec(), tmp_path).message
