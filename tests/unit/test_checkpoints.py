"""Checkpoints as they come: from DistributedDataParallel, torch.compile, Lightning, timm's training script, with more than tensors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.models import create_model, load_weights, resolve
from prune_deploy.specs import ModelSpec

State = dict[str, torch.Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, tuple[Callable[[State], Any], str]] = {
    "plain": (lambda state: state, ""),
    "DistributedDataParallel": (lambda state: prefixed(state, "module."), "prefix 'module.' dropped"),
    "torch.compile": (lambda state: prefixed(state, "_orig_mod."), "prefix '_orig_mod.' dropped"),
    "both": (lambda state: prefixed(state, "module._orig_mod."), "prefix '_orig_mod.module.' dropped"),
    "Lightning": (
        lambda state: {
            "state_dict": prefixed(state, "model.") | {"criterion.weight": torch.ones(2)},
            "pytorch-lightning_version": "2.5",
            "callbacks": {},
        },
        "found under 'state_dict', prefix 'model.' dropped, 1 other tensors left out",
    ),
    "model_state_dict": (
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
        "found under 'model_state_dict'",
    ),
    "net": (lambda state: {"net": state, "acc": 93.1, "epoch": 3}, "found under 'net'"),
    "a name of one's own": (lambda state: {"weights_of_mine": state, "epoch": 3}, "found under 'weights_of_mine'"),
    "averaged weights first": (
        lambda state: {"state_dict": {name: tensor + 1 for name, tensor in state.items()}, "state_dict_ema": state},
        "found under 'state_dict_ema'",
    ),
    "timm's training script": (
        lambda state: {
            "state_dict": state,
            "args": argparse.Namespace(lr=0.1, model="x"),
            "metric": np.float64(71.2),
            "arch": "x",
        },
        "found under 'state_dict'",
    ),
    "NumPy's scalars": (
        lambda state: {"model": state, "best": np.float32(0.5), "step": np.int64(3), "done": np.bool_(True)},
        "found under 'model'",
    ),
    "without counters": (lambda state: {name: each for name, each in state.items() if "num_batches" not in name}, ""),
    "a profiler's counts": (
        lambda state: state | {"total_ops": torch.zeros(1), "0.total_params": torch.zeros(1), "0.total_ops": torch.zeros(1)},
        "",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_is_loaded_and_it_is_said_how(form: str, tmp_path: Path) -> None:
    state = {name: tensor + 2 for name, tensor in network().state_dict().items()}
    make, told = FORMS[form]
    torch.save(make(state), tmp_path / "checkpoint.pth.tar")
    module = network()
    assert load_weights(module, tmp_path / "checkpoint.pth.tar") == told
    expected = state | ({"1.num_batches_tracked": torch.tensor(0)} if form == "without counters" else {})
    assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


def test_the_way_it_was_read_is_on_record(tmp_path: Path) -> None:
    spec = ModelSpec(name="test_resnet", num_classes=7, input_size=(3, 64, 64))
    torch.save({"net": prefixed(create_model(spec).module.state_dict(), "model.")}, tmp_path / "w.pt")
    loaded = create_model(ModelSpec(name="test_resnet", num_classes=7, input_size=(3, 64, 64), weights=str(tmp_path / "w.pt")))
    assert loaded.weights.label == "file w.pt (found under 'net', prefix 'model.' dropped)"


class Custom:
    """A class of a user's own training script."""

    def __init__(self) -> None:
        self.value = 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"student": "state", "teacher": "state"}, "holds several state dicts: student, teacher"),
        ({"state_dict": "state", "config": Custom()}, "it holds an object of type test_checkpoints.Custom"),
        ({"model": {}, "epoch": 1}, "holds no state dict"),
    ],
)
def test_what_cannot_be_read_is_named_without_advice_to_unpickle(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({key: state if value == "state" else value for key, value in content.items()}, tmp_path / "c.pt")
    with pytest.raises(InputError) as caught:
        load_weights(network(), tmp_path / "c.pt")
    told = caught.value.message
    assert message.replace("test_checkpoints.", "") in told.replace(f"{Custom.__module__}.", "")
    assert not any(word in told + caught.value.fix for word in ("weights_only", "safe_globals", "\x1b"))


def test_the_first_mismatch_is_named_as_the_model_names_it(tmp_path: Path) -> None:
    state = prefixed(network().state_dict() | {"3.weight": torch.zeros(5, 4)}, "model.")
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"3\.weight has shape \(5, 4\), the model needs \(2, 4\)"):
        load_weights(network(), tmp_path / "c.pt")
    torch.save({name: each for name, each in state.items() if "1.weight" not in name}, tmp_path / "d.pt")
    with pytest.raises(InputError, match=r"lacks the tensor 1\.weight"):
        load_weights(network(), tmp_path / "d.pt")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("timm/resnet18.a1_in1k", "name it resnet18.a1_in1k"),
        ("hf-hub:timm/resnet18", "name it resnet18"),
        ("hf_hub:somebody/their-net", "name the architecture"),
        ("local-dir:/models/mine", "the file in that folder"),
        ("google/vit-base", "name the architecture"),
    ],
)
def test_a_hubs_name_is_answered_with_the_name_here(name: str, fix: str) -> None:
    with pytest.raises(InputError, match="unknown model") as caught:
        resolve(ModelSpec(name=name))
    assert fix in caught.value.fix
