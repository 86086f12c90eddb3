"""Files: read only if plain, written whole or not at all.

Bundles and runs come from unknown sources, so a pipe or a file without end may stand in a file's place.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.errors import InputError, described, storage_errors

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc.Buffer from Python 3.12 on

UNFINISHED = ".unfinished-"
"""Beginning of the names of files and folders that are being made. What a kill leaves of them is swept up."""

_LONGEST_STEM = 120
"""Characters of a file's name within the name of its temporary file, which file systems limit to 255 bytes."""

_LARGEST_DOCUMENT = 1 << 30
_RESTORE = "restore it from its source"


def resolved(path: Path) -> Path:
    """Return an absolute path, its links followed as far as possible.

    Links in a circle stay in it, and whoever reads the path says so. `Path.resolve` would raise a RuntimeError.
    """
    return Path(os.path.realpath(path))


def as_folder(place: object) -> Path:
    """Return a folder's path.

    It is given as text, or as anything that is a path.

    Raises:
        InputError: it is neither.
    """
    if isinstance(place, (str, os.PathLike)) and isinstance(text := os.fspath(place), str):
        return Path(text)
    raise InputError(
        f"a folder is asked for, got {described(place)}",
        fix="give its path, as text, as a Path, or as what `export_bundle` returned",
    )


@contextmanager
def open_plain(path: Path, *, fix: str = _RESTORE) -> Iterator[BufferedReader]:
    """Open a plain file to read.

    A pipe would be waited for, and a device has no end.

    Raises:
        InputError: it cannot be read, or is no plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a stranger's name that no file can have
        raise InputError(f"cannot read {str(path)!a}: {error}", fix=fix) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", fix=fix) from error
    try:
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InputError(f"{path} is no plain file", fix=fix)
            yield stream
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", fix=fix) from error


def read_file(path: Path, *, fix: str = _RESTORE, most_bytes: int = _LARGEST_DOCUMENT) -> bytes:
    """Return the content of a plain file.

    Raises:
        InputError: it cannot be read, is no plain file, or is larger than `most_bytes`.
    """
    with open_plain(path, fix=fix) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > most_bytes:
            raise InputError(f"{path} has {size:,} bytes, at most {most_bytes:,} are read", fix=fix)
        return stream.read()


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
