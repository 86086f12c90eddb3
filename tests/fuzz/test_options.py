"""Odd options end with a documented exit code and a fix."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fuzz.arguments import command_lines, make_oddities
from fuzz.oracle import counts, watched
from fuzz.originals import BUNDLE, copy_run
from prune_deploy.backends import usable
from prune_deploy.cli.main import COMMANDS
from prune_deploy.errors import CannotRunError
from prune_deploy.interfaces import Backend
from support.commands import call, command

_EXIT_CODES = {0, 1, 2, 3, 4}
_REACHED = "the options reached the work"

# Where each command begins its work. Options are the subject here, and hours of exporting and measuring are not, so these functions are
# replaced by one that says that it was reached. All that reads and checks before them is real.
_WORK = (
    "prune_deploy.pipeline.export.build_network",
    "prune_deploy.cli.actions.bench.measure_all",
    "prune_deploy.cli.actions.trace.trace_bundle",
    "prune_deploy.cli.actions.eval.evaluate_all",
    "prune_deploy.workflows.finetune._trained",
    "prune_deploy.workflows.sweep.Sweep.run",
    "prune_deploy.workflows.compatibility._try",
)
_SLOW = ("models", "doctor")
_RUNNING = ("verify", "run", "report", "compatibility", "methods", "backends")
_PROGRAMS = {"uname", Path(sys.executable).name}
"""What Python and the doctor start to look at this machine."""


def _reached(*_arguments: Any, **_options: Any) -> NoReturn:
    counts["reached the work"] += 1
    raise CannotRunError(_REACHED, fix="none is needed")


def _usable_quickly(name: str) -> Backend:
    """Return a backend, unless it would compile for a minute."""
    backend = usable(name)
    return _reached() if backend.compiles else backend


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of bundles, runs and oddities the current one."""
    place = tmp_path / "a" / "b" / "here"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    for module in dict.fromkeys(name.rpartition(".")[0].removesuffix(".Sweep") for name in _WORK):
        importlib.import_module(module)
    for name in _WORK:
        monkeypatch.setattr(name, _reached)
    monkeypatch.setattr("prune_deploy.evaluation.classify.usable", _usable_quickly)
    monkeypatch.setattr("prune_deploy.workflows.bench.dense_bundle", lambda *_, **__: place / "bundle")
    shutil.copytree(BUNDLE, place / "bundle")
    copy_run(place / "run")
    copy_run(place / "run2")
    (place / "images" / "class").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "image.png")
    shutil.copy(place / "image.png", place / "images" / "class")
    (place / "sweep.toml").write_text('backends = ["null"]\n[[blocks]]\nmodels = ["test_resnet"]\n')
    make_oddities(place)
    return place


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in (*_RUNNING, *_SLOW)])
@given(data=st.data())
@settings(max_examples=120)
def test_odd_options_end_with_a_documented_code(name: str, data: st.DataObject, folder: Path) -> None:
    _judge(name, data, folder)


@pytest.mark.parametrize("name", _RUNNING)
@given(data=st.data())
@settings(max_examples=50)
def test_so_do_those_of_commands_that_do_some_work(name: str, data: st.DataObject, folder: Path) -> None:
    _judge(name, data, folder)


@pytest.mark.parametrize("name", _SLOW)
@given(data=st.data())
@settings(max_examples=1)
def test_so_do_those_of_commands_that_take_a_second(name: str, data: st.DataObject, folder: Path) -> None:
    _judge(name, data, folder)


def _judge(name: str, data: st.DataObject, folder: Path) -> None:
    line = data.draw(command_lines(name, command(name)))
    counts["inputs"] += 1
    with watched(folder.parents[2], _PROGRAMS):
        result = call(name, *line)
    counts[f"exit code {result.code}"] += 1
    assert result.code in _EXIT_CODES, result
    assert "Traceback" not in result.stderr, result.stderr
    if result.code:
        lines = result.stderr.splitlines()
        assert any(each.startswith("Error: ") and each.removeprefix("Error: ").strip() for each in lines), result
        assert any(each.startswith("Fix: ") and each.removeprefix("Fix: ").strip() for each in lines), result
