"""A lock of the machine: two sweeps would measure each other.

It holds among the sweeps of one user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from prune_deploy.errors import CannotRunError
from prune_deploy.scratch import user_folder

LOCK_FILE = "prune-deploy-measuring.lock"


@contextmanager
def machine(*, share: bool) -> Iterator[None]:
    """Hold the machine while the block runs.

    With `share` nothing is held, whoever else measures on it.

    Raises:
        CannotRunError: another sweep holds it, or it cannot be locked.
    """
    if share:
        yield
        return
    descriptor = _opened()
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise CannotRunError(
                f"another sweep is measuring on this machine (process {holder})",
                fix="wait for its end, or measure with `share_machine=True`",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _opened() -> int:
    """Open the file to lock, and nothing else in its place."""
    path = user_folder() / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a plain file")
    except OSError as error:
        raise CannotRunError(
            f"cannot lock the machine with {path}: {error.strerror or error}",
            fix="remove what lies there, or measure with `share_machine=True`",
        ) from error
    return descriptor
