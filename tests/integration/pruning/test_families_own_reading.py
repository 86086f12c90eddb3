"""Networks that only our own reading understands, on the whole road: pruned, run, written, loaded by another process, exported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prune_deploy.data import synthetic_images
from prune_deploy.evaluation.parity import onnx_parity
from prune_deploy.export.bundle import write_module
from prune_deploy.export.onnx import export_onnx
from prune_deploy.models import create_model
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import ModelSpec, PruneSpec
from support.reloading import UNCHANGED, reload, write_expected

SIZE = (3, 64, 64)
CLASSES = 10


@pytest.mark.parametrize("name", ["skresnet18"])
def test_a_network_read_by_its_axes_comes_back_and_exports(name: str, tmp_path: Path) -> None:
    loaded = create_model(ModelSpec(name=name, num_classes=CLASSES, input_size=SIZE))
    result = prune(loaded.module, PruneSpec(ratio=0.5), SIZE)
    assert result.receipt.shortfalls == ()
    assert result.receipt.after.params <= 0.5 * result.receipt.before.params
    folder = tmp_path / name
    folder.mkdir()
    write_module(loaded.module, loaded.resolved, result, folder)
    images = synthetic_images(2, SIZE, torch.Generator().manual_seed(0))
    assert write_expected(loaded.module, images, folder) == [(1, CLASSES), (2, CLASSES)]
    assert reload([folder]) == {name: UNCHANGED}
    export_onnx(loaded.module, SIZE, folder / "model.onnx")
    parity = onnx_parity(loaded.module, folder / "model.onnx", SIZE, "fp32")
    assert parity.status == "passed", parity.reason
