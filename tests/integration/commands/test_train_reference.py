"""The script of the reference networks, on a small network and small files."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prune_deploy import load
from prune_deploy.specs import FinetuneSpec
from prune_deploy.store import read_bundle
from support import ROOT
from support.fashion_mnist import SMALL, published, write


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("train_reference", ROOT / "benchmarks" / "train_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_reference"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_reference"]


def test_the_references_are_three_kinds_that_the_images_fit(script: ModuleType) -> None:
    kinds = {reference.name: reference.least_top1 for reference in script.REFERENCES}
    assert kinds == {"resnet18": 0.92, "mobilenetv2_100": 0.90, "vit_tiny_patch16_224": 0.88}
    assert {reference.spec.data for reference in script.REFERENCES} == {"fashion-mnist"}


def test_what_is_there_is_not_trained_again(script: ModuleType, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    write(tmp_path / "small")
    word = f"fashion-mnist:{tmp_path / 'small'}"
    small = script.Reference("test_resnet", 0.0, FinetuneSpec(data=word, epochs=2, batch=8))
    monkeypatch.setattr(script, "REFERENCES", (small,))
    out = tmp_path / "references"
    with published():
        assert script.main(["--out", str(out), "--threads", "1"]) == 0
        first, printed = (out / "test_resnet" / "weights.safetensors").stat().st_mtime_ns, capsys.readouterr().out
        assert script.main(["--out", str(out), "--threads", "1"]) == 0
        assert "test_resnet is there" in capsys.readouterr().out
        assert (out / "test_resnet" / "weights.safetensors").stat().st_mtime_ns == first

        monkeypatch.setattr(script, "REFERENCES", (replace(small, spec=replace(small.spec, epochs=1), least_top1=1.0),))
        assert script.main(["--out", str(out), "--threads", "1"]) == 1, "no network names all of a few noisy images right"
        assert "MISSED" in capsys.readouterr().out
    recipe = json.loads((out / "test_resnet.json").read_text())
    training = read_bundle(out / "test_resnet").training
    assert training is not None
    assert (recipe["seed"], recipe["images"], len(recipe["epochs"])) == (0, SMALL["train"], 1)
    assert recipe["top1"] == training.top1_after
    assert recipe["processor_s"] > 0
    assert f"of {SMALL['test']} test images" in printed
    assert load(out / "test_resnet").num_classes == 10
    assert not list((out / "untrained").iterdir())


def test_names_that_are_no_reference(script: ModuleType, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        script.main(["--only", "resnet18,nosuch"])
    assert "no reference is called nosuch" in capsys.readouterr().err
