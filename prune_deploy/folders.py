"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from prune_deploy.errors import InputError, StorageError, setting, storage_errors
from prune_deploy.files import UNFINISHED

_REPLACE_ATTEMPTS = 10


def check_place(folder: Path) -> None:
    """Refuse a place where `new_folder` could not put a folder.

    This is known before any work is done for it. Nothing is written.

    Raises:
        InputError: the folder is the current one or holds it.
        StorageError: it is a file or a mount point, or nothing can be written beside it.
    """
    with storage_errors(folder, every=True):
        place = Path(os.path.realpath(folder))
        if place == Path.cwd() or place in Path.cwd().parents:
            raise InputError(f"{folder} is the folder you are in, or holds it", fix="name a folder inside it with `out=DIR`")
        if place.is_mount():
            raise StorageError(
                f"{folder} is a mount point, which cannot be replaced", fix=f"for example {setting('out', folder / 'bundle')}"
            )
        beside = next(parent for parent in place.parents if parent.exists())
        if not beside.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{beside} is a file, not a folder")
        if not os.access(beside, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write in {beside}")


_WAIT_S = 2.0
"""Longer than a folder takes to be made and locked."""


@contextmanager
def new_folder(destination: Path, marker: str) -> Iterator[Path]:
    """Yield a folder to fill, which then replaces `destination`.

    It takes that place when the block succeeds, and is removed when it fails. Only a folder with a file `marker`, or an empty one, is
    ever replaced.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    with storage_errors(destination, every=True):
        place = Path(os.path.realpath(destination))  # a link stays, and its target is replaced
        place.parent.mkdir(parents=True, exist_ok=True)
        working, lock = _begin(place)
    try:
        with storage_errors(destination):
            yield working
            with storage_errors(destination, every=True):
                _sync(working)
                _replace(working, place, marker)
    except StorageError as error:
        # The reader knows the final name only.
        raise StorageError(error.message.replace(str(working), str(destination)), fix=error.fix) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
        os.close(lock)


def _begin(place: Path) -> tuple[Path, int]:
    """Return a folder to work in beside `place`, and its lock's descriptor."""
    beside = _lock(place.parent, wait=True)  # so that no process removes a folder that another is just making
    try:
        remove_leftovers(place.parent)
        working = place.with_name(f"{UNFINISHED}{place.name}-{secrets.token_hex(4)}-{os.getpid()}")
        working.mkdir()
        return working, _lock(working)
    finally:
        os.close(beside)


def _replace(working: Path, place: Path, marker: str) -> None:
    """Put `working` where `place` is, in spite of concurrent changes there.

    At no moment does a half bundle exist under the final name. What is no bundle is never replaced, also if it came while the work went on.
    """
    outgoing = working.with_name(f"{UNFINISHED}{place.name}-old-{secrets.token_hex(4)}-{os.getpid()}")
    for _ in range(_REPLACE_ATTEMPTS):
        try:
            _require_replaceable(place, marker)
            with suppress(FileNotFoundError):
                place.rename(outgoing)
            working.rename(place)
            return
        except OSError as error:
            # Another process put its folder there in between: remove that one too.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            if not place.exists():
                with suppress(OSError):
                    outgoing.rename(place)  # the replacement failed
            shutil.rmtree(outgoing, ignore_errors=True)
    raise OSError(errno.EBUSY, "other processes keep writing there")


def _require_replaceable(place: Path, marker: str) -> None:
    try:
        entries = set(os.listdir(place))  # noqa: PTH208 - of one moment, while others may replace the folder
    except FileNotFoundError:
        return
    if not entries or marker in entries:
        return
    raise StorageError(f"{place} came into being meanwhile and is no bundle", fix="choose another place with `out=DIR`")


def _lock(folder: Path, *, wait: bool = False) -> int:
    """Lock a folder until the returned descriptor is closed.

    A kill closes it too, and containers with other process ids see it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + (_WAIT_S if wait else 0)
    with suppress(OSError):  # not every network file system has locks
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:  # a run or a scratch folder is locked as long as it is in use
                    break
                time.sleep(0.01)
            else:
                break
    return descriptor


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder of bundles."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        owner = leftover.name.rpartition("-")[2]
        if not owner.isdigit():
            continue
        # In a container every run may have the same process id, so only the lock proves that it is in use.
        if (int(owner) == os.getpid() or not psutil.pid_exists(int(owner))) and not _is_locked(leftover):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with suppress(OSError):
                    leftover.unlink()


def _is_locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _sync(folder: Path) -> None:
    """Flush every file to the disk.

    This happens before the rename makes the bundle visible.
    """
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    with suppress(OSError):  # not every file system lets a directory be synced
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
