"""How the command tests call `prune-deploy`, and the one bundle they share."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prune_deploy.cli.main import main

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
"""The request of the shared bundle: a transformer, so that its recipe has more than tensors."""
TINY = ("export", "--model", "test_byobnet", "--num-classes", "10", "--precision", "fp32")

"""The model that exports fastest; a convolutional network with grouped layers and channel attention."""


def engine_of(document: dict[str, Any]) -> dict[str, Any]:
    """The one engine of an export's document."""
    (engine,) = document["engines"].values()
    return dict(engine)


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    code: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.stdout)


def call(*arguments: str | Path) -> Result:
    """The command in this process, which has paid for the imports; exactly what the installed script calls."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), -1
    argv, start = sys.argv, time.monotonic()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
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
    return Result(code, stdout.getvalue(), stderr.getvalue(), time.monotonic() - start)


def spawn(*arguments: str | Path, folder: Path, **environment: str) -> Result:
    """The installed script in a process of its own."""
    start = time.monotonic()
    ended = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Result(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - start)


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """The installed script, running, its stderr to be read."""
    return subprocess.Popen([COMMAND, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def refused(result: Result, code: int, expected: str, folder: Path | None = None) -> None:
    """Assert a short, helpful refusal; with `folder`, that nothing appeared in it."""
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
    """Every path below a folder, as text, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True)
class Made:
    """The shared bundle, which nobody may change, and what its making printed."""

    folder: Path
    result: Result


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The bundle of SHARED, exported by the installed script; its parent is the folder it was called in."""
    return _make(tmp_path_factory.getbasetemp())


@functools.cache  # pytest makes a fixture again for each module that imports it
def _make(base: Path) -> Made:
    folder = base / "shared_bundle"
    folder.mkdir()
    result = spawn(*SHARED, folder=folder)
    assert result.code == 0, result.stderr
    return Made(folder / "bundle", result)


@pytest.fixture
def bundle(made: Made, here: Path) -> Path:
    """A copy of the shared bundle, to be damaged."""
    return Path(shutil.copytree(made.folder, here / "bundle"))
