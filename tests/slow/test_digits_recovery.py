"""Three kinds of networks learn digits, lose half their channels, and learn them again: within three points of what they knew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("prune-deploy")

# What each kind needs to learn 898 images of 8 x 8 pixels: networks with batch norms take SGD, whose many small batches also settle
# the norms' statistics; a transformer takes AdamW.
KINDS = {
    "test_resnet": ("32", 95.0, ("--epochs", "10"), ("--epochs", "8", "--optimizer", "sgd")),
    "mobilenetv3_small_050": ("64", 95.0, ("--epochs", "10", "--optimizer", "sgd"), ("--epochs", "8", "--optimizer", "sgd")),
    "test_vit": ("32", 87.0, ("--epochs", "20", "--lr", "0.002"), ("--epochs", "10", "--lr", "0.002")),
}

GATE = "test_resnet"
"""Kind that gates a release. It learns fastest."""


def run(*arguments: str, folder: Path) -> Any:
    """A command's JSON document."""
    ended = subprocess.run([COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("model", [pytest.param(GATE, marks=pytest.mark.release), *(name for name in KINDS if name != GATE)])
def test_half_the_channels_and_nearly_all_the_accuracy(tmp_path: Path, model: str) -> None:
    size, least, learning, recovering = KINDS[model]
    export = ("export", "--model", model, "--num-classes", "10", "--input-size", size, "--engine", "none", "--precision", "fp32")
    digits = ("--data", "digits", "--batch", "32", "--device", "cpu")
    run(*export, "--dense", "--out", "fresh", folder=tmp_path)
    dense = run("finetune", "fresh", *digits, *learning, "--out", "dense", folder=tmp_path)
    receipt = run(*export, "--weights", "dense/weights.safetensors", "--ratio", "0.5", "--out", "pruned", folder=tmp_path)
    tuned = run("finetune", "pruned", *digits, *recovering, folder=tmp_path)
    knew, lost, knows = (100 * top1 for top1 in (dense["after"]["top1"], tuned["before"]["top1"], tuned["after"]["top1"]))
    print(f"{model}: dense {knew:.1f} %, pruned {lost:.1f} %, tuned {knows:.1f} %")  # noqa: T201 - the figures are the point
    assert knew >= least
    assert lost < knew - 10, "the pruning must cost something for its recovery to mean something"
    assert knows >= knew - 3
    assert receipt["receipt"]["after"]["params"] < 0.4 * receipt["receipt"]["before"]["params"]
    seconds = [sum(epoch["seconds"] for epoch in each["training"]["epochs"]) for each in (dense, tuned)]
    print(f"{model}: {seconds[0]:.0f} s to learn, {seconds[1]:.0f} s to recover")  # noqa: T201 - as above
