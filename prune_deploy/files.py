"""Reading of files from unknown sources: plain ones only, of bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prune_deploy.errors import InputError

_LARGEST_DOCUMENT = 1 << 30


def read_file(path: Path, *, fix: str = "restore it from its source", most_bytes: int = _LARGEST_DOCUMENT) -> bytes:
    """Return the content of a plain file.

    Bundles and runs come from unknown sources: a pipe would be waited for, and a device has no end.

    Raises:
        InputError: it cannot be read, is no plain file, or is larger than `most_bytes`.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{path} is no plain file", fix=fix)
            if found.st_size > most_bytes:
                raise InputError(f"{path} has {found.st_size:,} bytes, at most {most_bytes:,} are read", fix=fix)
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", fix=fix) from error
