"""Each example is short and runs as its first lines say, on timm's smallest networks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import prune_deploy as pd
from prune_deploy.pipeline import Exported
from support import ROOT
from support.commands import COMMAND

EXAMPLES = ROOT / "examples"
QUICK = {"RIGOR": "quick", "BUDGET_S": "2", "THREADS": "1", "BATCH": "1"}


def run(*words: object, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GITHUB_STEP_SUMMARY": ""} | variables
    return subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Exported]:
    """A dense bundle and its pruned one."""
    folder = tmp_path_factory.mktemp("bundles")
    return (
        pd.export_bundle("test_resnet", folder / "dense", precisions="fp32", engine="none"),
        pd.export_bundle("test_resnet", folder / "pruned", prune=0.5, precisions="fp32", engine="none"),
    )


@pytest.mark.parametrize(
    "path", [path for path in sorted(EXAMPLES.iterdir()) if path.suffix != ".md"], ids=lambda path: path.name
)
def test_an_example_is_short_and_listed(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert f"]({path.name})" in (EXAMPLES / "README.md").read_text()
    assert os.access(path, os.X_OK) == (path.suffix == ".sh")


@pytest.mark.release
def test_an_own_checkpoint_becomes_a_verified_bundle(tmp_path: Path) -> None:
    result = run(sys.executable, EXAMPLES / "own_checkpoint.py", "test_byobnet", "1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    before, after = (int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", result.stdout.splitlines()[0]))
    assert after < 0.6 * before
    assert pd.read_run(next((tmp_path / "profiles").iterdir())).cases
    assert "failed" not in result.stdout
    assert "passed model.onnx parity" in result.stdout
    assert (tmp_path / "engines/own/tuned/model.onnx").is_file()


@pytest.mark.parametrize(("released", "new", "codes"), [(0, 1, {0, 3}), (1, 0, {1, 3})])
def test_the_gate_gives_its_verdict_and_a_report(
    tmp_path: Path, bundles: tuple[Exported, Exported], released: int, new: int, codes: set[int]
) -> None:
    page = tmp_path / "summary.md"
    result = run(
        EXAMPLES / "ci_gate.sh",
        bundles[released].folder,
        bundles[new].folder,
        folder=tmp_path,
        GITHUB_STEP_SUMMARY=str(page),
        **QUICK,
    )
    assert result.returncode in codes, result.stderr
    assert ("cannot decide" in result.stderr) == (result.returncode == 3)
    assert page.read_text() == (tmp_path / "profiles/gate/report.md").read_text()
    assert "| Model | Backend |" in page.read_text()


def test_the_gate_passes_on_mistakes(tmp_path: Path, bundles: tuple[Exported, Exported]) -> None:
    result = run(EXAMPLES / "ci_gate.sh", bundles[0].folder, tmp_path / "nowhere", folder=tmp_path, **QUICK)
    assert result.returncode == 2
    assert not (tmp_path / "profiles").exists()


def test_the_workflow_calls_the_gate_and_installs_without_a_gpu() -> None:
    workflow = yaml.safe_load((EXAMPLES / "ci_gate.yml").read_text())
    lines = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step]
    assert any(line.startswith("tool/examples/ci_gate.sh ") for line in lines)
    assert any("pip install './tool[cpu]'" in line for line in lines)
    made = next(line for line in lines if line.startswith("prune-deploy export"))
    options = set(re.findall(r"--[a-z-]+", made))
    known = subprocess.run([COMMAND, "export", "--help"], capture_output=True, text=True, check=True).stdout
    assert options <= set(re.findall(r"--[a-z-]+", known))


@pytest.mark.release
def test_int8_is_calibrated_checked_and_measured(tmp_path: Path) -> None:
    settings = QUICK | {"MODEL": "test_resnet", "SAMPLES": "16", "SIZE": "32"}
    result = run(EXAMPLES / "int8.sh", "mine", folder=tmp_path, **settings)
    assert result.returncode == 0, result.stderr
    assert re.search(r"model\.int8\.ort\.onnx.* int8 \d+/\d+ ", result.stdout)
    measured = {case.case.precision for case in pd.read_run(tmp_path / "mine-run").cases}
    assert measured == {"fp32", "int8"}
    assert (tmp_path / "mine-run/report.html").is_file()
