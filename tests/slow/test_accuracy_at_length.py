"""Accuracy in a sweep: of a network that has learnt something, the same number that plain PyTorch counts, through every runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from timm.data import create_transform, resolve_data_config
from torch import nn

import prune_deploy
from prune_deploy.data import Batches, open_images
from prune_deploy.models import create_model
from prune_deploy.records import CaseRecord
from prune_deploy.runs import RECORDS_FILE, read_run
from prune_deploy.specs import ModelSpec
from support.commands import call, here, spawn

__all__ = ["here"]  # a fixture


MODEL = "test_resnet"
SIZE = (3, 32, 32)
NETWORK = ("--models", MODEL, "--num-classes", "10", "--input-size", "3,32,32")
DIGITS = 899
ASKED = (*NETWORK, "--methods", "l2", "--ratios", "0.25", "--backends", "eager,ort", "--batch", "8", "--data", "digits")
SHORT = ("--budget-s", "0.5", "--share-machine")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that some seconds of training on the first half of the digits gave."""
    torch.manual_seed(0)
    loaded = create_model(ModelSpec(name=MODEL, num_classes=10, input_size=SIZE))
    module = loaded.module.train()
    batches = list(Batches(open_images("digits", "train"), loaded.preprocessing, 32))
    epochs = 4
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for number in torch.randperm(len(batches)).tolist():
            inputs, labels = batches[number]
            loss = nn.functional.cross_entropy(module(torch.from_numpy(inputs)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save_file(module.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def measured(weights: Path) -> Path:
    """A finished sweep of the trained network, and what it said."""
    done = spawn("sweep", *ASKED, "--weights", str(weights), *SHORT, "--out", "run", folder=weights.parent)
    assert done.code == 0, done.stderr
    (weights.parent / "said.txt").write_text(done.stderr)
    (weights.parent / "printed.txt").write_text(done.stdout)
    return weights.parent / "run"


def counted(module: nn.Module) -> float:
    """The share of the digits that a module names right, by nothing of ours but the module."""
    config = resolve_data_config({"input_size": SIZE}, model=module)
    transform = create_transform(**config, is_training=False)
    digits = load_digits()
    images = [Image.fromarray((each * 255 / 16).round().astype(np.uint8)).convert("RGB") for each in digits.images[-DIGITS:]]
    with torch.inference_mode():
        guesses = module(torch.stack([transform(image) for image in images])).argmax(1).numpy()
    return float((guesses == digits.target[-DIGITS:]).mean())


def scored(folder: Path) -> dict[tuple[str, str], set[Any]]:
    """The accuracies in a run's records by bundle and backend."""
    found: dict[tuple[str, str], set[Any]] = {}
    for record in read_run(folder).cases:
        found.setdefault((record.label, record.case.backend), set()).add(record.accuracy)
    return found


def test_every_runtime_is_as_accurate_as_plain_pytorch_counts(measured: Path) -> None:
    found = scored(measured)
    assert len(found) == 4
    for (label, backend), accuracies in found.items():
        (accuracy,) = accuracies
        expected = counted(prune_deploy.load(measured / "bundles" / label).eval())
        assert accuracy.top1 == pytest.approx(expected, abs=0 if backend == "eager" else 2 / DIGITS), label
        assert (accuracy.images, accuracy.batch, accuracy.random_weights) == (DIGITS, 8, False)
        assert accuracy.low < accuracy.top1 < accuracy.high
        assert accuracy.top1 <= accuracy.top5 <= 1
    (dense,) = found[f"{MODEL}-dense", "ort"]
    assert dense.low > 0.8


def test_each_artifact_is_scored_once_and_the_figure_is_printed(measured: Path) -> None:
    message = (measured.parent / "said.txt").read_text()
    assert len(re.findall(r"evaluating \S+ (?:eager|ort) fp32 on digits", message)) == 4
    printed = (measured.parent / "printed.txt").read_text()
    assert "top-1 %" in printed
    assert f"Top-1: of {DIGITS} images of digits" in printed
    assert "random" not in printed
    (dense,) = scored(measured)[f"{MODEL}-dense", "eager"]
    assert f"{100 * dense.top1:.1f} [{100 * dense.low:.1f}," in printed


def why(record: CaseRecord) -> str:
    """The sentence of a record that has no accuracy."""
    assert record.accuracy is None
    return next(each for each in record.warnings if each.startswith("no accuracy: "))


def test_what_has_no_accuracy_says_why_and_is_measured_and_no_accuracy_is_taken_twice(here: Path) -> None:
    grid = (*NETWORK, "--methods", "l2", "--ratios", "0.5", "--ignore", "none", "--round-to", "1", "--backends", "ort,null,trt")
    asked = ("sweep", *grid, *SHORT, "--batch", "1,2", "--data", "digits", "--data-samples", "50", "--out", "run")
    done = call(*asked, "--json")
    assert done.code == 0, done.stderr
    first = read_run(here / "run").cases
    found = {(record.label.removeprefix(f"{MODEL}-"), record.case.backend): record for record in first}
    dense, pruned = found["dense", "ort"], found["l2-r0.50", "ort"]
    assert dense.accuracy is not None
    assert (dense.accuracy.images, dense.accuracy.batch, dense.accuracy.random_weights) == (50, 2, True)
    assert pruned.latency is not None
    assert "has 5 classes, digits has 10" in why(pruned)
    assert "has 1 classes" in why(found["dense", "null"])
    assert "no CUDA device" in why(found["dense", "trt"])
    notes = {case["accuracy_note"] for case in done.document["cases"] if case["top1"] is not None}
    assert notes == {"weights are random: chance level, 10 %, is expected"}
    of_dense = [record.accuracy for record in first if (record.label, record.case.backend) == (dense.label, "ort")]
    assert of_dense == [dense.accuracy] * 2
    assert done.stderr.count("evaluating test_resnet-dense ort") == 1

    records = here / "run" / RECORDS_FILE
    kept = [line for line in records.read_bytes().splitlines(keepends=True) if b"-ort-fp32-b2-" not in line]
    records.write_bytes(b"".join(kept))
    again = call(*asked)
    assert again.code == 0, again.stderr
    assert "evaluating test_resnet-dense ort" not in again.stderr
    last = read_run(here / "run").cases[-2]
    assert (last.label, last.case.batch, last.accuracy) == (dense.label, 2, dense.accuracy)


def test_unreadable_images_are_named_in_the_record_and_the_curve_shows_accuracy(here: Path) -> None:
    for name in map(str, range(10)):
        (here / "images" / name).mkdir(parents=True)
        Image.new("L", (40, 40), 20 * int(name)).save(here / "images" / name / "a.png")
    (here / "images" / "3" / "b.png").write_bytes(b"no image")
    options = ("--model", MODEL, "--num-classes", "10", "--input-size", "3,32,32", "--ignore", "head", "--steps", "2")
    asked = (*options, "--to-ratio", "0.5", "--backends", "ort", "--batch", "4", "--data", "imagefolder:images")
    done = call("curve", *asked, *SHORT, "--out", "run")
    assert done.code == 0, done.stderr
    for record in read_run(here / "run").cases:
        assert record.accuracy is not None
        assert (record.accuracy.images, record.accuracy.unreadable_names) == (10, ("3/b.png",))
        assert "1 image of imagefolder:images could not be read: 3/b.png" in record.warnings
    assert "top-1 %" in done.stdout
    assert "could not be read: 3/b.png" in done.stdout
    assert "weights are random" in done.stdout
