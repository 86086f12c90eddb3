"""Bundles on disk: atomic, keyed, complete or absent.

This module handles files and records, without torch.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from prune_deploy.errors import InputError, StorageError, setting, storage_errors
from prune_deploy.files import read_file
from prune_deploy.records import BundleRecord, from_json, to_json
from prune_deploy.specs import SHORT_CODES, ExportSpec

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc.Buffer from Python 3.12 on

BUNDLE_FILE = "bundle.json"
ENGINES_DIR = Path("engines")
UNFINISHED = ".unfinished-"
_REPLACE_ATTEMPTS = 10
_LONGEST_STEM = 120
"""Characters of a file's name within the name of its temporary file, which file systems limit to 255 bytes."""
_ZEROS = "0" * 64


def bundle_name(spec: ExportSpec) -> str:
    """Return the folder name of a bundle: model, method and amount.

    Examples are `resnet50-l2-r0.50` and `resnet50-mask-2to4-r0.50`.
    """
    model = SHORT_CODES.get(spec.model.name, spec.model.name)
    prune = spec.prune
    if spec.mask is not None:
        return f"{model}-mask-{spec.mask.kind.replace(':', 'to')}-{_share(spec.mask.ratio)}"
    if prune is None:
        return f"{model}-dense"
    if prune.ratio is not None:
        amount = _share(prune.ratio)
    elif prune.plan is not None:
        amount = f"plan{file_sha256(Path(prune.plan))[:8]}"
    elif prune.target_macs is not None:
        amount = f"macs{_tidy(prune.target_macs)}"
    else:
        amount = f"params{_tidy(str(prune.target_params))}"
    return f"{model}-{prune.method}-{amount}"


def _share(ratio: float) -> str:
    return f"r{ratio:.2f}" if round(ratio, 2) == ratio else f"r{ratio:g}"


def _tidy(amount: str) -> str:
    """Return "0.5x" as "0.50x".

    Other amounts keep their text, with slashes replaced, and are judged by the code that parses them.
    """
    try:
        share = float(amount[:-1]) if amount[-1:] in ("x", "X") else None
    except ValueError:
        share = None
    if share is None:
        return amount.replace("/", "_")
    return f"{share:.2f}x" if round(share, 2) == share else f"{share:g}x"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", fix="check the path and its permissions") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: completely or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: Buffer) -> None:
    """Write a file atomically: completely or not at all.

    It goes to a temporary file, fsync, rename.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    # A name that nobody can foresee, and no link that somebody planted: the folder may be open to others.
    temporary = path.with_name(f"{UNFINISHED}{path.name[:_LONGEST_STEM]}-{secrets.token_hex(4)}-{os.getpid()}")
    with storage_errors(path, every=True):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_bundle(folder: Path) -> BundleRecord:
    """Return the record of the bundle in `folder`.

    Raises:
        InputError: the folder is no bundle, is half written, or its record is damaged.
    """
    record = folder / BUNDLE_FILE
    try:
        if not folder.is_dir():
            raise InputError(f"{folder} is no directory", fix="name a bundle made by prune-deploy export, for example engines/…")
        if not record.is_file():
            raise InputError(f"{folder} is no bundle: it has no {BUNDLE_FILE}", fix="make one with prune-deploy export")
        read = from_json(BundleRecord, read_file(record, fix="check the path and its permissions"), source=str(record))
        outside = [artifact.name for artifact in read.artifacts if artifact.name != Path(artifact.name).name]
        if outside:  # bundles come from unknown sources, and the files they name are opened
            raise InputError(f"{record} names a file outside the bundle: {outside[0]}", fix="do not use this bundle")
        return read
    except OSError as error:
        raise InputError(f"cannot read {record}: {error.strerror}", fix="check the path and its permissions") from error


def write_record(folder: Path, record: BundleRecord) -> None:
    """Write bundle.json with a hash of itself inside.

    A flipped byte is therefore detected there as in any other file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    text = to_json(replace(record, own_sha256=_ZEROS))
    write_text(folder / BUNDLE_FILE, text.replace(_ZEROS, hashlib.sha256(text.encode()).hexdigest()))


def record_is_intact(folder: Path, record: BundleRecord) -> bool:
    """Return whether bundle.json is byte for byte as `write_record` wrote it."""
    zeroed = (folder / BUNDLE_FILE).read_bytes().replace(record.own_sha256.encode(), _ZEROS.encode())
    return hashlib.sha256(zeroed).hexdigest() == record.own_sha256


def require_intact(folder: Path, record: BundleRecord, roles: Collection[str]) -> None:
    """Refuse a bundle whose files of these roles were changed.

    Raises:
        InputError: a file is missing or its hash differs.
    """
    for artifact in record.artifacts:
        if artifact.role in roles and file_sha256(folder / artifact.name) != artifact.sha256:
            raise InputError(
                f"{folder / artifact.name} is not the file that was exported: its hash differs",
                fix="restore the bundle, or export it again with `force=True`",
            )


def is_complete(folder: Path, record: BundleRecord) -> bool:
    """Return whether every file of the record exists with its size.

    Hashes are checked by `verify`.
    """
    return all(_size(folder / artifact.name) == artifact.size_bytes for artifact in record.artifacts)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


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


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a folder to fill, which then replaces `destination`.

    It takes that place when the block succeeds, and is removed when it fails.

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
                _replace(working, place)
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
        _sweep_out(place.parent)
        working = place.with_name(f"{UNFINISHED}{place.name}-{secrets.token_hex(4)}-{os.getpid()}")
        working.mkdir()
        return working, _lock(working)
    finally:
        os.close(beside)


def _replace(working: Path, place: Path) -> None:
    """Put `working` where `place` is, in spite of concurrent changes there.

    At no moment does a half bundle exist under the final name. What is no bundle is never replaced, also if it came while the work went on.
    """
    outgoing = working.with_name(f"{UNFINISHED}{place.name}-old-{secrets.token_hex(4)}-{os.getpid()}")
    for _ in range(_REPLACE_ATTEMPTS):
        try:
            _require_replaceable(place)
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


def _require_replaceable(place: Path) -> None:
    try:
        entries = set(os.listdir(place))  # noqa: PTH208 - of one moment, while others may replace the folder
    except FileNotFoundError:
        return
    if not entries or BUNDLE_FILE in entries:
        return
    raise StorageError(f"{place} came into being meanwhile and is no bundle", fix="choose another place with `out=DIR`")


def _lock(folder: Path, *, wait: bool = False) -> int:
    """Lock a folder until the returned descriptor is closed.

    A kill closes it too, and containers with other process ids see it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # not every network file system has locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    return descriptor


def _sweep_out(folder: Path) -> None:
    """Remove leftovers of killed processes."""
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
