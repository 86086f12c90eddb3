"""The rehearsal of the GPU reference: every step of the script and every GPU test that a CPU can run, and going on after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from prune_deploy.runs import read_run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_reference.py"

pytestmark = pytest.mark.release


def reference(out: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code of a rehearsal, and the result of each step."""
    # Without an installation, as on a borrowed machine: the checkout is found through the script's own PYTHONPATH.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(SCRIPT), "--rehearse", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if not line.startswith("packed")]
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, {name: f"{result} {rest}" for name, result, rest in lines}


@pytest.mark.timeout(1600)
def test_every_step_passes_on_a_cpu_and_none_runs_twice(tmp_path: Path) -> None:
    code, results = reference(tmp_path)
    logs = {
        name: (tmp_path / f"{name}.log").read_text()[-3000:] for name, result in results.items() if result.startswith("failed")
    }
    assert not logs, "\n".join(f"== {name}\n{text}" for name, text in logs.items())
    assert code == 0
    left_out = {name for name, result in results.items() if result.startswith("left out")}
    assert left_out == {"test-engine", "curve-trt", "int8-trt"}, "a CPU has no engines to run"
    curve = read_run(tmp_path / "curve")
    assert {record.case.backend for record in curve.cases if record.latency is not None} == {"eager", "ort"}
    with tarfile.open(tmp_path / "gpu-reference.tar.gz") as archive:
        names = archive.getnames()
    assert "curve/records.jsonl" in names
    assert not [name for name in names if "/bundles" in name or "/caches" in name]
    assert (tmp_path / "gpu-reference.tar.gz").stat().st_size < 16 << 20

    (tmp_path / "isolated.passed").unlink()
    subprocess.run(["rm", "-r", str(tmp_path / "isolated")], check=True)
    code, again = reference(tmp_path)
    assert code == 0
    assert [name for name, result in again.items() if result.startswith("passed") and "before" not in result] == ["isolated"]


def test_a_step_that_fails_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    code, results = reference(tmp_path, "--only", "doctor,isolated,trace-ort")
    assert code == 1
    assert results["doctor"].startswith("passed")
    assert all(results[name].startswith("failed") for name in ("isolated", "trace-ort")), "their bundles were never made"
    assert "is no directory" in (tmp_path / "isolated.log").read_text()
