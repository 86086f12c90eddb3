"""Errors that cross from a worker to its coordinator: a full disk stays one, and is no result of a case."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prune_deploy.errors import CannotRunError, InputError, StorageError
from prune_deploy.execution.workers import process, server
from prune_deploy.execution.workers.process import RefusedError, Watchdog, WorkerProcess


def told(error: Exception) -> dict[str, Any]:
    """What a worker sends for an error."""
    return server._described(error) | {"lost": False}


def received(refusal: dict[str, Any]) -> WorkerProcess:
    """A worker's handle that gets this answer."""
    worker = object.__new__(WorkerProcess)
    worker._memory = None
    message = SimpleNamespace(header={"error": refusal}, data=b"")
    worker._channel = SimpleNamespace(receive=lambda timeout_s: message)  # type: ignore[assignment]
    return worker


@pytest.mark.parametrize(
    "error",
    [StorageError("cannot write x: No space left on device", fix="free space"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))],
)
def test_a_full_disk_is_a_storage_error_on_the_other_side(error: Exception) -> None:
    with pytest.raises(StorageError, match="No space left on device") as caught:
        received(told(error)).answer(1.0, "exporting")
    assert caught.value.exit_code == 4
    assert caught.value.fix


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CannotRunError("no GPU", fix="buy one"), "unavailable"),
        (InputError("bad", fix="good"), "failed"),
        (FileNotFoundError(errno.ENOENT, "gone"), "failed"),
        (RuntimeError("kernel"), "failed"),
    ],
)
def test_any_other_error_is_this_case_s_result(error: Exception, status: str) -> None:
    with pytest.raises(RefusedError) as caught:
        received(told(error)).answer(1.0, "exporting")
    assert caught.value.status == status


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog() as started:
        yield started


def test_a_watchdog_that_was_killed_is_replaced(watchdog: Watchdog) -> None:
    first = watchdog._process
    first.kill()
    first.wait()
    watchdog.add(999_999_999)
    watchdog.remove(999_999_999)
    assert watchdog._process is not first
    assert watchdog._process.poll() is None


def test_a_log_s_folder_that_was_removed_is_a_storage_error_with_a_fix(watchdog: Watchdog, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write") as caught:
        process.WorkerProcess(watchdog, tmp_path / "gone" / "worker.log", {}, None)
    assert caught.value.fix
