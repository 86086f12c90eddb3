"""Runs the installed script in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from support.commands import COMMAND, HANGING_S


def in_terminal(*arguments: str | Path, columns: int = 80) -> tuple[int, bytes]:
    """Return the exit code, and all bytes that reached the terminal."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    child = subprocess.Popen([COMMAND, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    try:
        written = _all_of(leader)
    finally:
        os.close(leader)
    return child.wait(timeout=HANGING_S), written


def _all_of(leader: int) -> bytes:
    written = b""
    while True:
        try:
            part = os.read(leader, 1 << 16)
        except OSError:  # Linux's way to say that the other end is closed
            return written
        if not part:
            return written
        written += part
