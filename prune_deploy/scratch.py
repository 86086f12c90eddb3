"""Temporary folders, which the next process sweeps up after a kill.

They lie in a folder of this user within the one for temporary files, which is everybody's. Nothing planted there is followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from prune_deploy.errors import StorageError

_PREFIX = "scratch-"
_KEPT, _KEPT_S = ".kept", 7 * 86400.0
_ROOM_BYTES = 1 << 20
_YOUNG_S = 60.0
"""Age below which an unlocked folder may be one that is just being made."""


def user_folder() -> Path:
    """Return the folder for this user's temporary files and locks.

    It is made if it is not there.

    Raises:
        StorageError: it cannot be made, or what lies there is not this user's folder.
    """
    folder = Path(tempfile.gettempdir()) / f"prune-deploy-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "not a folder of this user")
    except OSError as error:
        raise StorageError(
            f"cannot use {folder}: {error.strerror or error}", fix="remove what lies there, or set TMPDIR to a folder of your own"
        ) from error
    return folder


class Scratch:
    """A temporary folder, removed with the block or by the next process.

    A block that fails while there is no room for its files ends with a StorageError. Libraries report a file that they could not write as
    a damaged model.
    """

    def __init__(self) -> None:
        base = user_folder()
        _sweep(base)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self._lock: int | None = _try_lock(self.path)

    def remove(self) -> None:
        """Remove the folder with all in it.

        It is safe to call again.
        """
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            self._unlock()

    def leave(self) -> None:
        """Leave the folder for somebody to read.

        It is swept up after a week.
        """
        if self._lock is not None:
            (self.path / _KEPT).touch()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if isinstance(error, Exception) and not isinstance(error, StorageError):
                _require_room(self.path)
        finally:
            self.remove()


def _require_room(folder: Path) -> None:
    """Try to write a file a little larger than the largest.

    Raises:
        StorageError: it cannot.
    """
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(0, max(sizes, default=0) + _ROOM_BYTES, _ROOM_BYTES):
                file.write(bytes(_ROOM_BYTES))
    except OSError as error:
        raise StorageError(
            f"no room for temporary files in {folder}: {error.strerror or error}",
            fix="free space on that disk, or set TMPDIR to a folder on another",
        ) from error


def _try_lock(folder: Path) -> int | None:
    """Return the descriptor of a folder's lock.

    It is None if another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(base: Path) -> None:
    """Remove the folders of processes that are gone."""
    for leftover in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            young_s = _KEPT_S if (leftover / _KEPT).exists() else _YOUNG_S
            if time.time() - leftover.lstat().st_mtime < young_s or (lock := _try_lock(leftover)) is None:
                continue
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)
