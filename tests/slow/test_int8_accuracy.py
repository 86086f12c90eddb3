"""INT8 against FP32 on networks that learnt handwritten digits: top-1 of the very files, on images that neither training nor ranges saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from prune_deploy.data import Batches, open_images
from prune_deploy.export.int8.kernels import EXACT_PRODUCTS
from prune_deploy.export.int8.quantize import make_int8
from prune_deploy.export.onnx import export_onnx
from prune_deploy.interfaces import Silent
from prune_deploy.models import LoadedModel, create_model
from prune_deploy.specs import ModelSpec, QuantizeSpec

_BATCH = 32
_LARGEST_DROP = 0.01
"""One point of top-1."""


def _images(loaded: LoadedModel, split: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    batches = list(Batches(open_images("digits", split), loaded.preprocessing, 64))
    return np.concatenate([each.inputs for each in batches]), np.concatenate([each.labels for each in batches])


def _train(loaded: LoadedModel, epochs: int) -> None:
    torch.manual_seed(0)
    inputs, labels = map(torch.from_numpy, _images(loaded, "train"))
    steps = len(inputs) // _BATCH
    optimizer = torch.optim.AdamW(loaded.module.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * steps)
    loaded.module.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs))[: steps * _BATCH].split(_BATCH):  # type: ignore[no-untyped-call]
            loss = torch.nn.functional.cross_entropy(loaded.module(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    loaded.module.eval()


def _top1(path: Path, inputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_PRODUCTS)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answers = np.concatenate(
        [session.run(None, {"input": part})[0].argmax(1) for part in np.split(inputs, range(64, len(inputs), 64))]
    )
    return float((answers == labels).mean())


@pytest.mark.parametrize(
    ("name", "size", "epochs", "learnt"),
    [
        pytest.param("test_resnet", 64, 8, 0.9, marks=pytest.mark.release),
        ("mobilenetv3_small_050", 64, 20, 0.85),
        ("test_vit", 64, 40, 0.8),
    ],
)
def test_int8_loses_no_more_than_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int, epochs: int, learnt: float
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loaded = create_model(ModelSpec(name=name, num_classes=10, input_size=(3, size, size)))
    _train(loaded, epochs)
    export_onnx(loaded.module, (3, size, size), tmp_path / "model.onnx")
    inputs, labels = _images(loaded, "test")
    before = _top1(tmp_path / "model.onnx", inputs, labels)
    assert before > learnt
    spec = QuantizeSpec(calibration="digits")
    for file in make_int8(tmp_path / "model.onnx", tmp_path, spec, loaded.preprocessing, progress=Silent()):
        drop = before - _top1(file.paths[0], inputs, labels)
        print(f"{name} {file.quantization.placement}: {before:.4f} top-1, {drop:+.4f} lost")  # noqa: T201
        assert drop <= _LARGEST_DROP
