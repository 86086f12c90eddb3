"""Checkpoints: they come back to the last bit, and whatever breaks off leaves the one before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from prune_deploy.errors import InputError, StorageError
from prune_deploy.interfaces import Silent
from prune_deploy.specs import FinetuneSpec
from prune_deploy.training.checkpoint import STATE_FILE, Checkpoint, History, State, discard
from prune_deploy.training.loop import Trainer
from support.models.tiny_models import Plain, lively
from support.training import PARENT, settings, setup


def saved(folder: Path, step: int = 3) -> tuple[Checkpoint, State]:
    """A checkpoint in `folder`, and what it holds."""
    checkpoint = Checkpoint(folder, settings(setup()))
    state = State(
        history=History(step=step, loss_sum=0.1 + 0.2, seen=24, top1_before=1 / 3), tensors={"model.a": torch.rand(3)}, scaler={}
    )
    checkpoint.write(state)
    return checkpoint, state


def test_a_checkpoint_comes_back_to_the_last_bit_and_only_the_last_is_kept(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "none", settings(setup())).read() is None
    saved(tmp_path / "training", step=2)
    checkpoint, state = saved(tmp_path / "training")
    found = checkpoint.read()
    assert found is not None
    assert found.history == state.history
    assert torch.equal(found.tensors["model.a"], state.tensors["model.a"])
    names = sorted(path.name for path in checkpoint.folder.iterdir())
    assert names[0] == STATE_FILE
    assert len(names) == 2
    checkpoint.discard()
    assert not checkpoint.folder.exists()
    checkpoint.discard()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, state = saved(tmp_path / "training")

    def full(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        checkpoint.write(replace(state, history=replace(state.history, step=9)))
    assert "free space" in caught.value.fix
    assert len(list(checkpoint.folder.iterdir())) == 2
    found = checkpoint.read()
    assert found is not None
    assert found.history.step == 3


def test_a_kill_between_the_two_files_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoint, state = saved(tmp_path / "training")
    (checkpoint.folder / "step-9-abcd.safetensors").write_bytes(b"half")
    found = checkpoint.read()
    assert found is not None
    assert found.history == state.history
    checkpoint.write(state)
    assert not (checkpoint.folder / "step-9-abcd.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec": FinetuneSpec(data="digits", epochs=7, batch=8)}, "`epochs=3` there, 7 asked for"),
        ({"parent": replace(PARENT, name="other")}, "another parent, parent"),
        ({"parent": replace(PARENT, weights_sha256="2")}, "other weights of its parent"),
        ({"train_sha256": "2"}, "other images"),
        ({"teacher": "somebody"}, "another teacher"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    saved(tmp_path / "training")
    with pytest.raises(InputError, match=message) as caught:
        Checkpoint(tmp_path / "training", replace(settings(setup()), **changes)).read()
    assert "`restart=True`" in caught.value.fix


@pytest.mark.parametrize("damage", ["json", "tensors", "missing", "outside"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    checkpoint, _ = saved(tmp_path / "training")
    state, (tensors,) = checkpoint.folder / STATE_FILE, checkpoint.folder.glob("step-*")
    if damage == "json":
        state.write_text("{")
    elif damage == "tensors":
        tensors.write_bytes(tensors.read_bytes()[:-4])
    elif damage == "missing":
        tensors.unlink()
    else:
        state.write_text(json.dumps(json.loads(state.read_text()) | {"tensors": "../step-3.safetensors"}))
    with pytest.raises(InputError) as caught:
        checkpoint.read()
    assert "`restart=True`" in caught.value.fix


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    _, state = saved(tmp_path / "training")
    with pytest.raises(InputError, match="not those of this network"):
        Trainer(lively(Plain()), setup(), Silent()).resume(state)


def test_nothing_but_a_checkpoint_is_discarded(tmp_path: Path) -> None:
    checkpoint, _ = saved(tmp_path / "training")
    (checkpoint.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        discard(checkpoint.folder)
    assert (checkpoint.folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "history",
    [
        {"seen": 10**400},
        {"seconds": 1e308 * 10},
        {"top1_before": 7.0},
        {"step": 10**13},
        {"epochs": [{"number": 1, "loss": 1.0, "top1": 2.0, "lr": 0.1, "seconds": 1.0}]},
        {"epochs": [{"number": 1, "loss": 1.0, "top1": 0.5, "lr": -0.1, "seconds": 1.0}]},
    ],
)
def test_a_history_that_no_training_has_is_refused(tmp_path: Path, history: dict[str, Any]) -> None:
    checkpoint, _ = saved(tmp_path / "training")
    state = checkpoint.folder / STATE_FILE
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"history": document["history"] | history}))
    with pytest.raises(InputError, match=r"state\.json"):
        checkpoint.read()


def test_steps_that_are_not_those_of_the_epochs_are_refused() -> None:
    with pytest.raises(InputError, match="not those of 0 epochs"):
        Trainer(lively(Plain()), setup(), Silent()).resume(State(history=History(step=10**6), tensors={}, scaler={}))


@pytest.mark.parametrize("damage", ["name", "number", "key", "shape", "missing"])
def test_tensors_of_another_optimizer_are_refused_before_a_step_fails(damage: str) -> None:
    states: list[State] = []
    Trainer(lively(Plain()), setup(), Silent()).run(states.append)
    tensors = dict(states[0].tensors)
    name = next(name for name in tensors if name.startswith("optimizer.") and name.endswith("exp_avg"))
    tensor = tensors.pop(name)
    if damage != "missing":
        other = {"name": "optimizer.x.exp_avg", "number": "optimizer.999.exp_avg", "key": f"{name}_other", "shape": name}[damage]
        tensors[other] = tensor[..., :1].repeat(*[1] * (tensor.dim() - 1), 7) if damage == "shape" else tensor
    with pytest.raises(InputError, match="not this optimizer's"):
        Trainer(lively(Plain()), setup(), Silent()).resume(replace(states[0], tensors=tensors))
    Trainer(lively(Plain()), setup(), Silent()).resume(states[0])
