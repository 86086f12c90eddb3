"""A lock of the machine: two sweeps would measure each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune_deploy.errors import CannotRunError

LOCK_FILE = "prune-deploy-measuring.lock"


@contextmanager
def machine(*, share: bool) -> Iterator[None]:
    """Hold the machine while the block runs.

    With `share` nothing is held, whoever else measures on it.

    Raises:
        CannotRunError: another sweep holds it.
    """
    if share:
        yield
        return
    path = Path(tempfile.gettempdir()) / LOCK_FILE
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8").strip() or "unknown"
            raise CannotRunError(
                f"another sweep is measuring on this machine (process {holder})",
                fix="wait for its end, or measure with `share_machine=True`",
            ) from None
        if os.access(path, os.W_OK):  # another user's file still locks, but this process cannot write its number into it
            path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the file to lock.

    A process can lock what it may read.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY)
