"""Accuracy in a sweep, in short; tests/slow holds it against what plain PyTorch counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import call, here, refused

__all__ = ["here"]  # a fixture


MODEL = "test_resnet"
NETWORK = ("--models", MODEL, "--num-classes", "10", "--input-size", "3,32,32")
SHORT = ("--budget-s", "0.5", "--share-machine")


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_data_that_cannot_be_used_is_told_before_anything_is_made(here: Path, options: tuple[str, ...], message: str) -> None:
    refused(call("sweep", *options, "--backends", "ort", "--out", "run"), 2, message, here)
