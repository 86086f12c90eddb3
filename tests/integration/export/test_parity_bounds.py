"""Bounds of parity: wide for random weights, tight for trained ones, and it is said which were used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from prune_deploy.errors import ParityError
from prune_deploy.evaluation.parity import onnx_parity, require_passed
from prune_deploy.evaluation.verify import verify_bundle
from prune_deploy.export.onnx import export_onnx
from prune_deploy.specs import PRECISIONS, Precision
from prune_deploy.store import read_bundle
from support.commands import call
from support.models import tiny_models as tiny

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "bundle.md"


class Off(nn.Module):
    """A module whose answers are off by a share of their spread."""

    def __init__(self, module: nn.Module, share: float) -> None:
        super().__init__()
        self.module, self.share = module, share

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(images)
        signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0])
        return logits + self.share * logits.std(dim=1, keepdim=True) * signs


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.02), ("fp16", 0.1), ("fp16", 0.3), ("int8", 1.0), ("int8", 3.0)])
def test_a_poor_file_passes_for_random_weights_only(tmp_path: Path, precision: Precision, share: float) -> None:
    module = tiny.lively(tiny.Plain())
    (path,) = export_onnx(module, tiny.SIZE, tmp_path / "model.onnx")
    row = PRECISIONS[precision]
    by_weights = {
        trained: onnx_parity(Off(module, share), path, tiny.SIZE, precision, trained=trained) for trained in (False, True)
    }
    for trained, bounds in ((False, row.parity), (True, row.parity_trained)):
        parity = by_weights[trained]
        cosine = min(check.cosine for check in parity.checks)
        within = share < bounds.relative_diff * 0.9 and cosine >= bounds.cosine
        assert parity.status == ("passed" if within else "failed"), parity.reason
        assert (parity.thresholds, parity.threshold_cosine) == ("trained" if trained else "random", bounds.cosine)
    if by_weights[True].status == "failed":
        with pytest.raises(ParityError) as caught:
            require_passed("model.onnx", by_weights[True], precision)
        assert ("calibrate on more images" in caught.value.fix) == (precision == "int8")


@pytest.mark.parametrize("weights", ["random", "trained"])
def test_a_bundle_and_its_verification_say_whose_bounds_were_used(tmp_path: Path, weights: str) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model("test_byobnet", num_classes=10).state_dict(), tmp_path / "weights.safetensors")
    asked = ["--weights", str(tmp_path / "weights.safetensors")] if weights == "trained" else []
    made = call(
        "export",
        "--model",
        "test_byobnet",
        "--num-classes",
        "10",
        "--ratio",
        "0.5",
        *asked,
        "--precision",
        "fp32",
        "--engine",
        "none",
        "--out",
        str(tmp_path / "b"),
    )
    assert made.code == 0, made.stderr
    (parity,) = [each.parity for each in read_bundle(tmp_path / "b").artifacts if each.parity is not None]
    assert parity.thresholds == weights
    assert f"for {weights} weights" in " ".join(made.stdout.split())
    (finding,) = [each for each in verify_bundle(tmp_path / "b") if each.check == "parity"]
    assert f"for {weights} weights" in finding.detail


def test_the_bounds_in_the_documents_are_those_in_force() -> None:
    rows = re.findall(r"^\| ([A-Z]+\d*) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert [(label, *map(float, numbers)) for label, *numbers in rows] == [
        (row.label, row.parity.relative_diff, row.parity_trained.relative_diff, row.parity.cosine, row.parity_trained.cosine)
        for row in PRECISIONS.values()
    ]
