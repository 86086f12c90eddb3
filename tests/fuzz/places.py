"""Odd things in the place of a file or of a folder."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

ODD = ("folder", "fifo", "socket", "dangling", "loop", "endless", "secret", "empty", "missing", "large")
"""Things that are no file to be read, or none of the size that it should have."""

_LARGE = 1 << 42


def put(path: Path, kind: str, content: bytes = b"") -> None:
    """Put a thing where nothing lies.

    `content` is that of whole and damaged files.
    """
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        _listen(path)
    elif kind == "dangling":
        path.symlink_to("nothing-there")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind != "missing":
        path.write_bytes({"whole": content, "secret": content, "damaged": content[: len(content) // 2]}.get(kind, b""))
        if kind == "large":
            os.truncate(path, _LARGE)  # without blocks on the disk
        path.chmod(0 if kind == "secret" else 0o644)


def _listen(path: Path) -> None:
    """Bind a socket, whose address must be short."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{os.fsdecode(path.name)[:20]}")
    finally:
        os.close(folder)


def clear(path: Path) -> None:
    """Remove whatever lies at a path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
