"""Calls of `prune-deploy` for the command tests, and their shared bundle."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from prune_deploy.cli.main import cli, main
from support.shared import made_once

HANGING_S = 500
"""What takes longer than this hangs, however busy the machine is."""

COMMAND = Path(sys.executable).with_name("prune-deploy")
SHARED = (
    "export",
    "--model",
    "test_vit",
    "--num-classes",
    "10",
    "--ratio",
    "0.5",
    "--batch",
    "1:4",
    "--out",
    "bundle",
    "--precision",
    "fp32",
    "--json",
)
"""Request of the shared bundle.

It is a transformer, so that its recipe has more than tensors.
"""
_OUTPUT = "output.json"
"""Holds what the export of the shared bundle printed."""

TINY = ("export", "--model", "test_byobnet", "--num-classes", "10", "--precision", "fp32")

"""Request of the model that exports fastest.

It is a convolutional network with grouped layers and channel attention.
"""


def engine_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the one engine of an export's document."""
    (engine,) = document["engines"].values()
    return dict(engine)


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str
    processor_s: float = 0.0
    """Processor seconds of a process of its own, which hardly depend on how busy the machine is."""

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)


def command(name: str) -> click.Command:
    """Return a command as the program finds it, by its name."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def call(*arguments: str | Path) -> Result:
    """Run the command in this process, which has already imported everything.

    It is exactly what the installed script calls.
    """
    stdout, stderr, code = io.StringIO(), io.StringIO(), -1
    argv = sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        sys.argv = ["prune-deploy", *map(str, arguments)]
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else -1
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Result(code, stdout.getvalue(), stderr.getvalue())


def spawn(*arguments: str | Path, folder: Path, **environment: str) -> Result:
    """Run the installed script in a process of its own."""
    before = _children_s()
    ended = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )
    return Result(ended.returncode, ended.stdout, ended.stderr, _children_s() - before)


def _children_s() -> float:
    """Return the processor seconds of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start the installed script, with its stderr to be read."""
    return subprocess.Popen([COMMAND, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def interrupt(child: subprocess.Popen[str], stage: str) -> str:
    """Send Ctrl-C once a line holds `stage`, and return the rest.

    It asserts that the command ends with code 130 and no traceback.
    """
    assert child.stderr is not None
    assert any(stage in line for line in child.stderr), f"{stage} never came"
    child.send_signal(signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait(timeout=HANGING_S) == 130, rest
    assert "Traceback" not in rest
    return rest


def refused(result: Result, code: int, expected: str, folder: Path | None = None) -> None:
    """Assert a short, helpful refusal.

    With `folder`, assert too that nothing appeared in it.
    """
    lines = result.stderr.strip().splitlines()
    assert result.code == code, result.stderr
    error = next(number for number, line in enumerate(lines) if line.startswith("Error: "))
    message = lines[error:]
    assert 2 <= len(message) <= 4, result.stderr
    assert any(line.startswith("Fix: ") and len(line) > len("Fix: ") for line in message), result.stderr
    assert expected in "\n".join(message), result.stderr
    # Nothing but the story so far comes before it, and Python's own story never comes.
    assert all(line.startswith(("[", "no GPU here", "the weights are random", "TensorRT-RTX does not")) for line in lines[:error])
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if folder is not None:
        assert remains(folder) == []


def remains(folder: Path) -> list[str]:
    """Return every path below a folder as text, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the current one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True)
class Made:
    """Shared bundle, and the output of its export.

    No test may change it.
    """

    folder: Path
    result: Result


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return the bundle of SHARED, exported by the installed script.

    Its parent is the folder in which the script was called.
    """
    folder = made_once(tmp_path_factory, "pruned", _make)
    output = json.loads((folder / _OUTPUT).read_text())
    return Made(folder / "bundle", Result(0, output["stdout"], output["stderr"]))


def _make(folder: Path) -> None:
    result = spawn(*SHARED, folder=folder)
    assert result.code == 0, result.stderr
    (folder / _OUTPUT).write_text(json.dumps({"stdout": result.stdout, "stderr": result.stderr}))


@pytest.fixture
def bundle(made: Made, here: Path) -> Path:
    """Return a copy of the shared bundle, to be damaged."""
    return Path(shutil.copytree(made.folder, here / "bundle"))
