"""Accuracy back within an export, from a trained network to its bundle, and what users get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from prune_deploy.store import read_bundle
from support.commands import call, refused

NETWORK = ("--model", "test_resnet", "--num-classes", "10", "--input-size", "3,32,32", "--engine", "none", "--precision", "fp32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that knows the digits."""
    folder = tmp_path_factory.mktemp("trained")
    assert call("export", *NETWORK, "--dense", "--out", folder / "dense").code == 0
    tuned = call("finetune", folder / "dense", "--data", "digits", "--epochs", "6", "--out", folder / "tuned")
    assert tuned.code == 0, tuned.stderr
    return folder / "tuned" / "weights.safetensors"


def test_most_of_what_pruning_destroyed_comes_back(trained: Path, tmp_path: Path) -> None:
    command = ("export", *NETWORK, "--weights", trained, "--ratio", "0.5", "--calib", "digits", "--recover")
    recovered = call(*command, "linear", "--out", tmp_path / "linear")
    assert recovered.code == 0, recovered.stderr
    assert "recovering accuracy from digits" in recovered.stderr
    assert "fold and batch norms" in recovered.stdout
    assert "recovered from 256 images of digits" in recovered.stdout

    found = read_bundle(tmp_path / "linear").recovery
    assert found is not None
    assert found.dense_top1 is not None
    assert found.dense_top1 > 0.9
    top1 = {step.name: step.top1 for step in found.steps}
    assert list(top1) == ["pruned", "batch norms", "fold"]
    assert top1["pruned"] is not None
    assert top1["fold"] is not None
    assert top1["fold"] - top1["pruned"] > 0.7 * (found.dense_top1 - top1["pruned"])
    assert read_bundle(tmp_path / "linear").weights_label.endswith(", recovered")

    # What is judged within the export holds for the file that is shipped, on images that no part of it saw.
    scores = call("eval", tmp_path / "linear", "--backend", "ort", "--data", "digits", "--json").document
    assert all(row["accuracy"]["top1"] > 0.8 for row in scores["rows"])
    assert call("verify", tmp_path / "linear").code == 0

    again = call(*command, "linear", "--out", tmp_path / "linear")
    assert "was there already" in again.stderr
    refused(call(*command, "bn", "--out", tmp_path / "linear"), 2, "holds another bundle")
    norms = call(*command, "bn", "--out", tmp_path / "bn", "--json").document["recovery"]
    assert [step["name"] for step in norms["steps"]] == ["pruned", "batch norms"]
    assert norms["folds"] == []
    assert norms["steps"][1]["kl"] == pytest.approx(found.steps[1].kl)


def test_a_bundle_recovers_as_an_export_does_and_names_its_parent(trained: Path, tmp_path: Path) -> None:
    command = ("export", *NETWORK, "--weights", trained, "--ratio", "0.5")
    assert call(*command, "--out", tmp_path / "plain").code == 0
    done = call("recover", tmp_path / "plain", "--calib", "digits", "--json")
    assert done.code == 0, done.stderr
    folder = tmp_path / "plain-recovered"
    assert done.document["bundle"] == str(folder)
    found = read_bundle(folder)
    assert found.recovery is not None
    assert found.recovery.parent is not None
    assert found.recovery.parent.name == "plain"
    assert found.recovery.parent.key == read_bundle(tmp_path / "plain").key

    assert call(*command, "--calib", "digits", "--recover", "linear", "--out", tmp_path / "whole").code == 0
    weights = [load_file(place / "weights.safetensors") for place in (folder, tmp_path / "whole")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name])
    assert call("verify", folder).code == 0
    assert "was there already" in call("recover", tmp_path / "plain", "--calib", "digits").stderr

    refused(call("recover", folder, "--calib", "digits"), 2, "is recovered already")
    refused(
        call("recover", tmp_path / "plain", "--calib", "digits", "--out", tmp_path / "plain"),
        2,
        "is the bundle that is recovered",
    )
    refused(call("recover", trained.parent, "--calib", "digits"), 2, "is not pruned")
    refused(call("recover", tmp_path / "plain", "--calib", "synthetic", "--out", tmp_path / "x"), 2, "teach a network nothing")
    tuned = call("finetune", folder, "--data", "digits", "--epochs", "1", "--samples", "64", "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.stderr
    assert read_bundle(tmp_path / "tuned").recovery == found.recovery, "fine-tuning keeps what it began from"
    assert read_bundle(tmp_path / "tuned").weights_label.endswith(", recovered, fine-tuned")
    refused(call("recover", tmp_path / "tuned", "--calib", "digits"), 2, "was trained after pruning")


def _folder(place: Path, count: int) -> Path:
    place.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return place


def test_what_cannot_be_recovered_from_is_refused_before_or_without_a_bundle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("export", *NETWORK, "--out", out)
    ratio = ("--ratio", "0.5", "--allow-shortfall")
    refused(call(*command, *ratio, "--recover", "linear"), 2, "--recover linear needs images")
    refused(call(*command, *ratio, "--recover", "bn", "--calib", "synthetic"), 2, "synthetic images teach a network nothing")
    refused(call(*command, *ratio, "--calib", "digits"), 2, "--calib is for INT8")
    refused(call(*command, "--dense", "--recover", "bn", "--calib", "digits"), 2, "only a pruned model is recovered")
    refused(call(*command, *ratio, "--recover", "bn", "--calib", "digits", "--recover-samples", "1"), 2, "--recover-samples must")
    refused(
        call(*command, *ratio, "--recover", "bn", "--calib", _folder(tmp_path / "few", 3)), 2, "has 3 images, recovery needs 6"
    )
    assert not out.exists()


def test_a_folder_without_labels_recovers_and_has_no_accuracy(tmp_path: Path) -> None:
    images = _folder(tmp_path / "images", 24)
    done = call(
        "export", *NETWORK, "--ratio", "0.3", "--recover", "linear", "--calib", images, "--out", tmp_path / "out", "--json"
    )
    assert done.code == 0, done.stderr
    found = done.document["recovery"]
    assert (found["images"], found["judged"], found["dense_top1"]) == (16, 8, None)
    assert all(step["top1"] is None for step in found["steps"])
