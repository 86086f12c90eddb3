"""`export --weights PATH`: what is taken, what is refused, and that nothing is unpickled but tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import prune_deploy
from support.commands import TINY, call, here, refused, remains

__all__ = ["here"]  # a fixture


def dense(classes: int = 10) -> nn.Module:
    """The model of TINY with weights that no seed of ours gives."""
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        module: nn.Module = timm.create_model("test_byobnet", num_classes=classes).eval()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.05)
    return module


def logits(module: nn.Module) -> torch.Tensor:
    image = torch.sin(torch.arange(3 * 160 * 160, dtype=torch.float64) * 0.37).float().reshape(1, 3, 160, 160)
    with torch.inference_mode():
        result: torch.Tensor = module(image)
    return result


def save(kind: str, module: nn.Module) -> Path:
    """A weights file of one of the kinds that are around."""
    path = Path(f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}")
    state = module.state_dict()
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        contents: dict[str, Any] = {
            "state dict": state,
            "checkpoint": {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        }
        torch.save(contents[kind], path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "checkpoint"])
def test_weights_of_a_file_reach_the_bundle_unchanged(here: Path, kind: str) -> None:
    original = dense()
    result = call(*TINY, "--dense", "--weights", save(kind, original), "--engine", "none", "--json")
    assert result.code == 0, result.stderr
    assert torch.equal(logits(prune_deploy.load(result.document["bundle"])), logits(original))
    assert result.document["weights"].startswith("file weights.")
    record = json.loads(Path(result.document["bundle"], "bundle.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{64}", record["weights"]["sha256"])


def test_the_same_weights_by_another_path_are_the_same_request(here: Path) -> None:
    path = save("safetensors", dense())
    arguments = (*TINY, "--dense", "--engine", "none", "--out", "b", "--json")
    assert call(*arguments, "--weights", path).document["reused"] is False
    assert call(*arguments, "--weights", path.absolute()).document["reused"] is True
    changed = dense()
    nn.init.zeros_(next(changed.parameters()))
    save("safetensors", changed)
    refused(call(*arguments, "--weights", path), 2, "other files")


@pytest.mark.parametrize("kind", ["safetensors", "state dict"])
def test_another_number_of_classes_names_the_first_tensor_that_does_not_fit(here: Path, kind: str) -> None:
    path = save(kind, dense(classes=7))
    refused(
        call(*TINY, "--dense", "--weights", path, "--engine", "none"),
        2,
        "head.fc.weight has shape (7, 256), the model needs (10, 256)",
    )
    assert remains(here) == [path.name]


def test_weights_of_another_model_name_the_first_tensor_that_is_missing(here: Path) -> None:
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), "other.safetensors")
    refused(
        call(*TINY, "--dense", "--weights", "other.safetensors"), 2, "lacks the tensor stem.conv.weight of shape (24, 3, 3, 3)"
    )
    safetensors.torch.save_file({**dense().state_dict(), "extra": torch.zeros(1)}, "more.safetensors")
    refused(call(*TINY, "--dense", "--weights", "more.safetensors"), 2, "a tensor the model does not know: extra")


@pytest.mark.parametrize("kind", ["safetensors", "state dict"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_refused(here: Path, kind: str, share: float) -> None:
    path = save(kind, dense())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(call(*TINY, "--dense", "--weights", path), 2, path.name)
    assert remains(here) == [path.name]


@pytest.mark.parametrize("content", [{1: torch.zeros(2)}, [torch.zeros(2)], {"epoch": 3}, torch.zeros(2)])
def test_a_file_without_a_state_dict_is_refused(here: Path, content: object) -> None:
    torch.save(content, "odd.pth")
    refused(call(*TINY, "--dense", "--weights", "odd.pth"), 2, "holds no state dict")


class Bomb:
    """Whoever unpickles it writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path("exploded").write_text, ("boom",)


@pytest.mark.parametrize("wrapped", [Bomb(), {"state_dict": Bomb()}, {"head.weight": Bomb()}, "module"])
def test_a_pickled_object_is_refused_without_being_executed(here: Path, wrapped: object) -> None:
    torch.save(dense() if wrapped == "module" else wrapped, "model.pth")
    if wrapped != "module":
        torch.load("model.pth", weights_only=False)
        assert Path("exploded").exists(), "the bomb works"
        Path("exploded").unlink()
    refused(call(*TINY, "--dense", "--weights", "model.pth"), 2, "whole pickled models are refused")
    assert remains(here) == ["model.pth"]
