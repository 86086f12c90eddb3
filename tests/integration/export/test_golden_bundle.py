"""Bundles of every schema ever released stay loadable, and mean what they meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import prune_deploy
from prune_deploy.pruning.counting import count_params
from prune_deploy.records import SCHEMA_VERSION
from prune_deploy.store import file_sha256, is_complete, read_bundle
from support import GOLDEN

BUNDLES = sorted(path for path in GOLDEN.glob("bundle_v*") if path.is_dir())


def images(size: tuple[int, int, int]) -> torch.Tensor:
    """The two images of make_bundle.py: no random generator has a say in them."""
    count = 2 * size[0] * size[1] * size[2]
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.37).float().reshape(2, *size)


def test_every_schema_version_has_a_golden_bundle() -> None:
    assert [path.name for path in BUNDLES] == [f"bundle_v{version}" for version in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_a_golden_bundle_is_whole_and_loads(folder: Path) -> None:
    record = read_bundle(folder)
    assert is_complete(folder, record)
    assert [a.name for a in record.artifacts if file_sha256(folder / a.name) != a.sha256] == []
    assert count_params(prune_deploy.load(folder)) == record.receipt.after.params < record.receipt.before.params


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_a_golden_bundle_answers_as_it_did(folder: Path) -> None:
    size = read_bundle(folder).model.input_size
    expected = torch.tensor(json.loads(folder.with_suffix(".logits.json").read_text(encoding="utf-8")))
    with torch.inference_mode():
        logits = prune_deploy.load(folder)(images(size))
    # Another machine's kernels may round differently; a channel out of place would differ in the second digit.
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
