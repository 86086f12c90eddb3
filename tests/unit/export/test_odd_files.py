"""Odd files that an export or a bundle names are short errors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from prune_deploy.backends.ort import OrtBackend
from prune_deploy.errors import InputError, OutOfMemoryError
from prune_deploy.export.bundle import load
from prune_deploy.export.int8.calibration import _cached
from prune_deploy.export.onnx import load_graph
from prune_deploy.interfaces import Silent
from prune_deploy.tensors import named_input
from support import GOLDEN

pytestmark = pytest.mark.timeout(60)


def test_a_graph_is_read_from_a_plain_file_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "endless.onnx").symlink_to("/dev/zero")
    (tmp_path / "large.onnx").touch()
    os.truncate(tmp_path / "large.onnx", 1 << 42)  # sparse: it takes no room
    for name in ("pipe.onnx", "endless.onnx", "large.onnx", "missing.onnx"):
        with pytest.raises(InputError, match=name):
            load_graph(tmp_path / name)
    for name in ("pipe.onnx", "endless.onnx"):
        with (
            pytest.raises(InputError, match="no plain file"),
            OrtBackend().open(tmp_path / name, named_input(np.zeros((1, 3, 8, 8), np.float32))),
        ):
            pass


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"tensors": {}, "channels": {}, "images": Infinity, "unreadable": 0}', "\xff", "{}"]
)
def test_damaged_ranges_are_taken_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(content, encoding="latin-1")
    notes: list[str] = []
    assert _cached(path, _Notes(notes)) is None
    assert "are taken again" in notes[0]


def test_ranges_that_cannot_be_read_are_taken_again_and_missing_ones_are_no_news(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    notes: list[str] = []
    assert _cached(tmp_path / "missing", _Notes(notes)) is None
    assert notes == []
    assert _cached(tmp_path / "pipe", _Notes(notes)) is None
    assert "no plain file" in notes[0]
    good = {"tensors": {"x": [0, 1]}, "channels": {}, "images": 3, "unreadable": 0}
    (tmp_path / "good").write_text(json.dumps(good))
    ranges = _cached(tmp_path / "good", _Notes(notes))
    assert ranges is not None
    assert ranges.tensors == {"x": (0.0, 1.0)}


class _Notes(Silent):
    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def note(self, text: str) -> None:
        self._notes.append(text)


def test_weights_that_do_not_fit_into_memory_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError

    bundle = shutil.copytree(GOLDEN / "bundle_v2", tmp_path / "bundle")
    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(OutOfMemoryError, match="not enough memory to read"):
        load(bundle)
