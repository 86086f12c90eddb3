"""Accuracy in a sweep, in short; tests/slow holds it against what plain PyTorch counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import call, here, refused
from PIL import Image

from prune_deploy.runs import read_run

__all__ = ["here"]  # a fixture


MODEL = "test_resnet"
NETWORK = ("--models", MODEL, "--num-classes", "10", "--input-size", "3,32,32")
SHORT = ("--budget-s", "0.5", "--share-machine")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--models", MODEL, "--data", "digits"),
            "digits has 10 classes, and no model of the sweep as many: test_resnet has 1000",
        ),
        ((*NETWORK, "--data", "imagefolder:nowhere"), "there is no folder nowhere"),
        ((*NETWORK, "--data", "imagenet"), "unknown data 'imagenet'"),
        ((*NETWORK, "--data-samples", "5"), "without --data"),
    ],
)
def test_data_that_cannot_be_used_is_told_before_anything_is_made(here: Path, options: tuple[str, ...], said: str) -> None:
    refused(call("sweep", *options, "--backends", "ort", "--out", "run"), 2, said, here)


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
