"""Temporary folders: removed with their block, or by the next process after a kill."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from prune_deploy.errors import StorageError
from prune_deploy.scratch import Scratch, user_folder

CHILD = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from prune_deploy.errors import StorageError
from prune_deploy.scratch import Scratch
scratch = Scratch()
(scratch.path / "cache").write_text("much")
print(scratch.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def age(folder: Path, seconds: float) -> None:
    past = folder.stat().st_mtime - seconds
    os.utime(folder, (past, past))


def test_it_goes_with_its_block() -> None:
    with Scratch() as folder:
        (folder / "file").touch()
    assert list(user_folder().iterdir()) == []


def test_what_a_kill_left_is_swept_up_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(child.stdout.strip())
    assert (left / "cache").exists()
    in_use = Scratch()
    for each in (left, in_use.path):
        age(each, 100)
    with Scratch():
        assert not left.exists()
        assert in_use.path.exists()
    in_use.remove()
    in_use.remove()  # again
    assert not in_use.path.exists()


def test_a_new_one_of_another_process_is_not_taken_for_left() -> None:
    new = Path(tempfile.mkdtemp(prefix="scratch-", dir=user_folder()))  # not locked yet
    with Scratch():
        assert new.exists()


def test_one_that_is_left_for_a_reader_stays_for_a_week() -> None:
    scratch = Scratch()
    scratch.leave()
    age(scratch.path, 86400)
    with Scratch():
        assert scratch.path.exists()
    age(scratch.path, 8 * 86400)
    with Scratch():
        assert not scratch.path.exists()


def test_a_failure_without_room_is_the_disks_and_any_other_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime calls a model damaged whose optimised graph it could not write."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="damaged"), Scratch():
        raise ValueError("damaged")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, hard))
    try:
        with pytest.raises(StorageError, match="no room for temporary files") as caught, Scratch():
            raise ValueError("damaged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TMPDIR" in caught.value.fix
    assert list(tmp_path.glob("*/scratch-*")) == []
