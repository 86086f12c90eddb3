"""What doctor says of this machine, how it spells its fixes, and the command itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from prune_deploy.cli import main
from prune_deploy.diagnosis import Diagnosis, can_export, diagnose, system
from prune_deploy.diagnosis.finding import pip, problem, python_command, system_install, warning
from prune_deploy.environment import installed_version
from prune_deploy.errors import CannotRunError
from support.commands import command

GPU_FAULT = problem("CUDA libraries", "missing libcurand.so.10", fix="pip install 'onnxruntime-gpu[cuda,cudnn]'")
BLOCKING = problem("disk", "only 0.5 GiB free", fix="free space", blocks_export=True)
NO_GPU = warning("NVIDIA driver", "none [bold]here[/bold]", fix="find a machine with an NVIDIA GPU")


def programs(*names: str) -> Callable[[str], str | None]:
    """A path on which only these programs are found."""
    return lambda name: f"/usr/bin/{name}" if name in names else None


def test_diagnose_covers_everything_once() -> None:
    checks = diagnose()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {"Python", "libraries", "torch", "ONNX Runtime", "TensorRT-RTX", "TensorRT", "NVIDIA driver", "C++ compiler"} <= set(
        names
    )
    assert {"Python headers", "make", "disk", "output folder", "memory", "CPU"} <= set(names)


def test_diagnose_imports_no_runtime() -> None:
    code = "import sys; from prune_deploy.diagnosis import diagnose; diagnose(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "prune_deploy.diagnosis.libraries" in loaded
    assert not loaded & {"torch", "torchvision", "onnxruntime", "tensorrt", "tensorrt_rtx"}


@pytest.mark.parametrize(
    ("status", "fix", "blocks"),
    [("ok", "do it", False), ("warning", "", False), ("problem", "", False), ("warning", "do it", True)],
)
def test_diagnosis_refuses_contradictions(status: str, fix: str, blocks: bool) -> None:
    with pytest.raises(ValueError, match="a check"):
        Diagnosis(name="a check", status=status, detail="", fix=fix, blocks_export=blocks)  # type: ignore[arg-type]


def test_python_command_is_typable_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    here, home = str(tmp_path / ".venv/bin/python"), str(tmp_path.parent / "my env/bin/python")
    assert python_command(here, programs()) == ".venv/bin/python"
    assert python_command(home, programs()) == "~/'my env/bin/python'"
    assert python_command("/opt/py/bin/python", programs()) == "/opt/py/bin/python"
    assert python_command("/usr/bin/python", programs("python")) == "python"


def test_pip_quotes_for_the_shell() -> None:
    assert pip("install", "onnxruntime-gpu[cuda,cudnn]>=1.27").endswith(" -m pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27'")


def test_system_install_speaks_the_distributions_language() -> None:
    assert system_install("g++", "gcc-c++", which=programs("apt-get"), is_root=False) == "sudo apt-get install g++"
    assert system_install("g++", "gcc-c++", which=programs("dnf"), is_root=True) == "dnf install gcc-c++"
    assert "package manager" in system_install("g++", "gcc-c++", which=programs(), is_root=False)


def stage(monkeypatch: pytest.MonkeyPatch, *checks: Diagnosis) -> None:
    monkeypatch.setattr("prune_deploy.cli.actions.doctor.diagnose", lambda: checks)


def test_command_on_this_machine() -> None:
    result = CliRunner().invoke(command("doctor"), ["--json"])
    document = json.loads(result.stdout)
    assert set(document) == {"environment", "checks", "ok"}
    assert document["environment"]["libraries"]["timm"] == installed_version("timm")
    assert {tuple(check) for check in document["checks"]} == {("name", "status", "detail", "fix", "blocks_export")}
    assert document["ok"] == (result.exception is None)


def test_command_prints_a_table_and_numbered_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, NO_GPU, GPU_FAULT)
    result = CliRunner().invoke(command("doctor"))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split() == ["status", "check", "detail"]
    assert lines[1].strip().split(maxsplit=3) == ["warning", "NVIDIA", "driver", "none [bold]here[/bold]"]
    assert "1. NVIDIA driver: find a machine with an NVIDIA GPU" in lines
    assert "2. CUDA libraries: pip install 'onnxruntime-gpu[cuda,cudnn]'" in lines


def test_command_never_wraps_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, replace(GPU_FAULT, fix="pip install " + "a-long-name " * 40))
    assert "1. CUDA libraries: pip install " + "a-long-name " * 40 in CliRunner().invoke(command("doctor")).stdout.splitlines()


def test_command_without_faults_prints_no_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, system.check_python((3, 12, 1)))
    result = CliRunner().invoke(command("doctor"))
    assert result.exit_code == 0
    assert "Fixes" not in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_command_reports_before_it_fails(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, NO_GPU, BLOCKING)
    result = CliRunner().invoke(command("doctor"), arguments)
    assert isinstance(result.exception, CannotRunError)
    assert (result.exception.exit_code, result.exception.fix) == (4, "free space")
    assert "only 0.5 GiB free" in result.stdout
    if arguments:
        assert json.loads(result.stdout)["ok"] is False


@pytest.mark.parametrize(("check", "code"), [(BLOCKING, 4), (GPU_FAULT, 0)])
def test_exit_code_of_the_program(
    check: Diagnosis, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(monkeypatch, check)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["prune-deploy", "doctor", "--json"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] == (code == 0)
    assert captured.err == ("" if code == 0 else "Error: export cannot run here because of: disk\nFix: free space\n")


def test_can_export() -> None:
    assert can_export((NO_GPU, GPU_FAULT))
    assert not can_export((NO_GPU, BLOCKING))
