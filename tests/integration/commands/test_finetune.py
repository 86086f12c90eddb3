"""`prune-deploy finetune`: what a pruning costs comes back, in a new bundle that says where it comes from."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from prune_deploy import load
from prune_deploy.records import BundleRecord
from prune_deploy.store import file_sha256, read_bundle
from support.commands import Result, call, here, interrupt, refused, start

__all__ = ["here"]  # a fixture

MODEL = ("export", "--model", "test_resnet", "--num-classes", "10", "--input-size", "3,32,32")
FILES = ("--engine", "none", "--precision", "fp32")
ON_DIGITS = ("--data", "digits", "--batch", "32", "--device", "cpu")
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Trained:
    """A dense bundle that has learnt digits, the same pruned by half, and what was said in between."""

    dense: Path
    pruned: Path
    result: Result


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _train(tmp_path_factory.getbasetemp())


@functools.cache
def _train(base: Path) -> Trained:
    fresh, dense, pruned = (base / "digits" / name for name in ("fresh", "dense", "pruned"))
    assert call(*MODEL, "--dense", *FILES, "--out", fresh).code == 0
    result = call("finetune", fresh, *ON_DIGITS, "--epochs", "4", "--out", dense, "--json")
    assert result.code == 0, result.stderr
    made = call(*MODEL, "--weights", dense / WEIGHTS, "--ratio", "0.5", *FILES, "--out", pruned)
    assert made.code == 0, made.stderr
    return Trained(dense, pruned, result)


@pytest.fixture
def pruned(trained: Trained, here: Path) -> Path:
    """A copy of the pruned bundle in the current folder, with nothing beside it."""
    return Path(shutil.copytree(trained.pruned, here / "pruned"))


def training(folder: Path) -> tuple[BundleRecord, Any]:
    """A bundle's record and its training."""
    record = read_bundle(folder)
    assert record.training is not None
    return record, record.training


def test_a_dense_model_learns_from_nothing(trained: Trained) -> None:
    document, (record, message) = trained.result.document, training(trained.dense)
    assert record.receipt.request is None
    assert document["before"]["top1"] < 0.3
    assert document["after"]["top1"] >= 0.95
    assert document["after"]["low"] < document["after"]["top1"] < document["after"]["high"]
    assert (message.images, message.validated, message.validation) == (898, 899, "the test split of digits")
    assert "epoch 4/4: loss" in trained.result.stderr


@pytest.mark.release
def test_what_pruning_by_half_costs_comes_back_with_the_dense_model_s_help(trained: Trained) -> None:
    dense = trained.result.document["after"]["top1"]
    result = call("finetune", trained.pruned, *ON_DIGITS, "--epochs", "6", "--optimizer", "sgd", "--distill", "0.5", "--json")
    assert result.code == 0, result.stderr
    folder = trained.pruned.with_name("pruned-finetuned")
    assert Path(result.document["bundle"]) == folder
    assert result.document["before"]["top1"] < dense - 0.2
    assert result.document["after"]["top1"] > dense - 0.03
    parent, (record, message) = read_bundle(trained.pruned), training(folder)
    assert (message.parent.name, message.parent.key) == ("pruned", parent.key)
    assert message.parent.weights_sha256 == file_sha256(trained.pruned / WEIGHTS)
    assert message.teacher == "dense"
    assert (record.request, record.receipt, record.weights) == (parent.request, parent.receipt, parent.weights)
    assert record.key != parent.key
    assert {each.name: each.role for each in record.artifacts} == {
        **{each.name: each.role for each in parent.artifacts},
        "training.png": "plot",
    }
    assert Image.open(folder / "training.png").format == "PNG"
    assert not folder.with_name("pruned-finetuned.training").exists()
    verified = call("verify", folder)
    assert verified.code == 0, verified.stdout
    again = call("finetune", trained.pruned, *ON_DIGITS, "--epochs", "6", "--optimizer", "sgd", "--distill", "0.5")
    assert again.code == 0
    assert "was there already" in again.stderr
    assert [line.split()[0] for line in again.stdout.splitlines()[1:8]] == ["before", *"123456"]
    other = ("--epochs", "7", "--optimizer", "sgd", "--distill", "0.5")
    refused(call("finetune", trained.pruned, *ON_DIGITS, *other), 2, "--epochs 6 there, 7 asked for")


@pytest.mark.release
def test_ctrl_c_leaves_a_training_that_goes_on_to_the_same_bits(pruned: Path) -> None:
    options = (*ON_DIGITS, "--samples", "200", "--epochs", "3", "--augment")
    with start("finetune", pruned.name, *options, folder=pruned.parent) as child:
        message = interrupt(child, "epoch 1/3")
    assert "the same command goes on" in message
    waiting = Path("pruned-finetuned.training")
    assert json.loads((waiting / "state.json").read_text())["history"]["step"] >= 7
    assert not Path("pruned-finetuned").exists()
    refused(call("finetune", "pruned", *options, "--lr", "0.01"), 2, "--lr None there, 0.01 asked for")
    result = call("finetune", "pruned", *options)
    assert result.code == 0, result.stderr
    assert "resuming after" in result.stderr
    assert "epoch 1/3" not in result.stderr
    assert not waiting.exists()
    whole = call("finetune", "pruned", *options, "--out", "whole")
    assert whole.code == 0, whole.stderr
    assert "epoch 1/3" in whole.stderr
    assert file_sha256(Path("whole") / WEIGHTS) == file_sha256(Path("pruned-finetuned") / WEIGHTS)


@pytest.mark.release
def test_a_mask_outlives_the_training(trained: Trained, here: Path) -> None:
    masked = call(
        *MODEL, "--weights", trained.dense / WEIGHTS, "--mask", "l1-unstructured", "--ratio", "0.6", *FILES, "--out", "masked"
    )
    assert masked.code == 0, masked.stderr
    assert call("finetune", "masked", *ON_DIGITS, "--samples", "200", "--epochs", "1").code == 0
    before, after = (dict(load(name).named_parameters()) for name in ("masked", "masked-finetuned"))
    zeros = {name: tensor == 0 for name, tensor in before.items() if tensor.dim() > 1}
    assert sum(int(where.sum()) for where in zeros.values()) > 0.5 * sum(where.numel() for where in zeros.values())
    assert all(torch.equal(after[name] == 0, where) for name, where in zeros.items())
    assert not any(torch.equal(before[name], after[name]) for name in zeros)
    receipt = read_bundle(Path("masked-finetuned")).receipt
    assert receipt.nonzero_params == sum(int(tensor.count_nonzero()) for tensor in after.values())


def test_a_folder_of_images_some_of_which_are_broken(pruned: Path) -> None:
    for label in range(10):
        place = Path("data") / f"class {label}"
        place.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20, 20), (25 * label, 10 * number, 0)).save(place / f"{number}.png")
    Path("data/class 3/2.png").write_bytes(b"no image")
    result = call("finetune", pruned, "--data", "imagefolder:data", "--epochs", "1", "--batch", "16", "--device", "cpu")
    assert result.code == 0, result.stderr
    assert "images that could not be read, and took no part: 1" in result.stderr
    assert "4 of the 40 images of imagefolder:data, held out" in result.stdout
    _, message = training(Path("pruned-finetuned"))
    assert (message.images + message.validated, message.unreadable) == (39, 1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--data", "digits", "--epochs", "0"), 2, "--epochs must be at least 1"),
        (("--data", "imagenet"), 2, "unknown data 'imagenet'"),
        (("--data", "imagefolder:nowhere"), 2, "there is no folder nowhere"),
        (("--data", "imagefolder:two"), 2, "has 10 classes, imagefolder:two has 2"),
        (("--data", "digits", "--val-data", "imagefolder:two"), 2, "has 2 classes, digits has 10"),
        (("--data", "digits", "--lr", "1e36", "--optimizer", "sgd", "--device", "cpu"), 1, "the loss is nan"),
        (("--data", "digits", "--out", "pruned", "--force"), 2, "is the bundle that is trained"),
        (("--data", "digits", "--out", "/proc/bundle", "--device", "cpu"), 4, "cannot write /proc/bundle"),
    ],
)
def test_refusals_leave_nothing(pruned: Path, options: tuple[str, ...], code: int, message: str) -> None:
    for name in "ab":
        (Path("two") / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(Path("two") / name / f"{number}.png")
    refused(call("finetune", pruned.name, *options), code, message)
    assert sorted(path.name for path in Path().iterdir()) == ["pruned", "two"]


def test_a_damaged_checkpoint_is_forgotten_when_told_to_and_strangers_files_never(pruned: Path) -> None:
    diverging = ("finetune", "pruned", *ON_DIGITS, "--lr", "1e36", "--optimizer", "sgd")
    waiting = Path("pruned-finetuned.training")
    waiting.mkdir()
    (waiting / "state.json").write_text("{")
    refused(call(*diverging), 2, "begin anew with --restart")
    (waiting / "notes.txt").write_text("mine")
    refused(call(*diverging, "--restart"), 2, "notes.txt, which is no part of a training")
    (waiting / "notes.txt").unlink()
    refused(call(*diverging, "--restart"), 1, "the loss is nan")
    assert [path.name for path in Path().iterdir()] == ["pruned"]


def test_random_weights_teach_nothing(here: Path, trained: Trained) -> None:
    fresh = trained.dense.with_name("fresh")
    refused(call("finetune", fresh, *ON_DIGITS, "--distill", "0.5", "--out", "other"), 2, "its answers mean nothing", here)


def test_a_teacher_that_is_gone_is_said(pruned: Path) -> None:
    record = json.loads((pruned / "bundle.json").read_text())
    assert record["weights"]["kind"] == "file"
    weights = Path(record["model"]["weights"])
    weights.rename(weights.with_suffix(".away"))
    try:
        refused(call("finetune", "pruned", *ON_DIGITS, "--distill", "0.5"), 2, "weights.safetensors")
    finally:
        weights.with_suffix(".away").rename(weights)


def test_damaged_weights_are_not_trained(pruned: Path) -> None:
    content = bytearray((pruned / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (pruned / WEIGHTS).write_bytes(content)
    refused(call("finetune", "pruned", *ON_DIGITS), 2, "its weights were changed")
    refused(call("finetune", "nowhere", *ON_DIGITS), 2, "is no directory")
