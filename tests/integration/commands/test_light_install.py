"""Installations without the GPU's packages, and without ONNX Runtime: the package works, or says which extra is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import COMMAND

GPU_PACKAGES = ("cuda", "pynvml", "tensorrt", "tensorrt_rtx")
EXPORT = ("export", "--engine", "none", "--model", "test_resnet", "--ratio", "0.5", "--precision", "fp32", "--out", "half")
BLOCKER = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""
IMPORT_ALL = """
import importlib, pkgutil, sys
import prune_deploy
for module in pkgutil.walk_packages(prune_deploy.__path__, "prune_deploy."):
    importlib.import_module(module.name)
print(sorted(set(sys.modules) & {names!r}))
"""


def without(*names: str, folder: Path) -> dict[str, str]:
    """Return an environment whose Python processes, workers too, cannot import these packages."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(BLOCKER.format(names=names))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])}


def run(*words: object, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_module_imports_without_the_gpus_packages(tmp_path: Path) -> None:
    environment = without(*GPU_PACKAGES, folder=tmp_path)
    code = IMPORT_ALL.format(names=set(GPU_PACKAGES))
    done = run(sys.executable, "-c", code, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.release
def test_a_cpu_installation_exports_and_measures(tmp_path: Path) -> None:
    environment = without(*GPU_PACKAGES, folder=tmp_path)
    made = run(COMMAND, *EXPORT, environment=environment, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    words = ("bench", "half", "--backend", "ort", "--rigor", "quick", "--budget-s", "2", "--json")
    measured = run(COMMAND, *words, environment=environment, folder=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert {case["status"] for case in json.loads(measured.stdout)["cases"]} <= {"ok", "inconclusive"}


def test_an_engine_that_is_asked_for_names_its_extra(tmp_path: Path) -> None:
    environment = without(*GPU_PACKAGES, folder=tmp_path)
    words = ("export", "--engine", "tensorrt-rtx", "--model", "test_resnet", "--ratio", "0.5", "--out", "half")
    refused = run(COMMAND, *words, environment=environment, folder=tmp_path)
    assert refused.returncode == 4
    assert "pip install 'prune-deploy[gpu]'" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        (
            "export",
            "--model",
            "test_resnet",
            "--ratio",
            "0.5",
            "--engine",
            "none",
            "--precision",
            "fp32,int8",
            "--calib",
            "synthetic",
        ),
        ("bench", "half", "--backend", "ort"),
    ],
)
def test_without_onnxruntime_both_extras_are_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    environment = without("onnxruntime", *GPU_PACKAGES, folder=tmp_path)
    made = run(COMMAND, *EXPORT, environment=environment, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "not run" in made.stdout  # parity, which needs a runtime
    refused = run(COMMAND, *words, environment=environment, folder=tmp_path)
    assert refused.returncode == 4
    assert "pip install 'prune-deploy[cpu]', or for an NVIDIA GPU pip install 'prune-deploy[gpu]'" in refused.stderr
    assert "Traceback" not in refused.stderr
