"""The committed sizes of the presets, which the documents show, come out again for all seven models and all steps of the curve."""

from __future__ import annotations

import csv
import importlib.util

import pytest

from prune_deploy.presets import preset
from prune_deploy.pruning.sizes import sizes
from support import ROOT


@pytest.mark.parametrize("name", ["pytorch-pruning", "resnet50-curve"])
def test_the_committed_sizes_come_out_again(name: str) -> None:
    spec = importlib.util.spec_from_file_location("preset_sizes", ROOT / "benchmarks" / "preset_sizes.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with (script.GOLDEN / f"{name}-sizes.csv").open(encoding="utf-8", newline="") as stream:
        assert script.rows(sizes(preset(name))) == list(csv.DictReader(stream))
