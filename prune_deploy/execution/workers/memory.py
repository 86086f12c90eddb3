"""Resident memory of processes, now and at most."""

from __future__ import annotations

import os
import time

import psutil

from prune_deploy.errors import LimitError
from prune_deploy.execution.telemetry.procfs import read_process

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TREE_EVERY_S = 1.0


def peak_rss_bytes(pid: int) -> int | None:
    """Return the most memory that a process has had resident, in bytes.

    It is None if the process is gone. The kernel's own high-water mark (VmHWM) is read, so a peak between two reads is not
    missed. It belongs to the program that runs now. `ru_maxrss` is handed on to a child and kept through exec, so a small worker
    would be charged with its coordinator's peak. Source: proc_pid_status(5), getrusage(2).
    """
    status = read_process(pid, "status")
    # A process that ended and was not waited for yet has a status, but no memory in it.
    _, mark, rest = (status or "").partition("\nVmHWM:")
    return int(rest.split(maxsplit=1)[0]) << 10 if mark else None


def rss_bytes(pid: int) -> int | None:
    """Return the memory that a process has resident now, in bytes.

    It is None if the process is gone.
    """
    pages = int((read_process(pid, "statm") or "0 0").split()[1])
    return pages * _PAGE_BYTES or None


def tree_rss_bytes(pid: int) -> int | None:
    """Return the resident memory of a process and its descendants, in bytes.

    It is None if the process is gone. Compilers are such descendants. Pages that several of them share count for each. The call
    reads all processes of the machine, which takes milliseconds.
    """
    own = rss_bytes(pid)
    return None if own is None else own + _descendants_bytes(pid)


class MemoryWatch:
    """Compares the memory of a process and its descendants with a limit.

    Resident memory is what runs out. RLIMIT_AS would bound the address space instead, of which CUDA and torch reserve many times
    what they use, so it would hit programs that are small.
    """

    def __init__(self, pid: int, limit_bytes: int) -> None:
        self._pid = pid
        self._limit_bytes = limit_bytes
        self._descendants_bytes = 0
        self._next_look_s = 0.0

    def check(self) -> int | None:
        """Return the resident bytes of the tree.

        It is None if the process is gone. Descendants are looked up once per second only.

        Raises:
            LimitError: it is more than the limit.
        """
        own = rss_bytes(self._pid)
        if own is None:
            return None
        if time.monotonic() >= self._next_look_s:
            self._descendants_bytes = _descendants_bytes(self._pid)
            self._next_look_s = time.monotonic() + _TREE_EVERY_S
        held_bytes = own + self._descendants_bytes
        if held_bytes > self._limit_bytes:
            raise LimitError(
                f"the process and those it started held {held_bytes / 2**20:.0f} MiB, the limit is {self._limit_bytes / 2**20:.0f} MiB",
                fix=f"raise `memory_limit_mib` above {held_bytes / 2**20:.0f} (MiB), leave it out, or take a smaller batch",
            )
        return held_bytes


def _descendants_bytes(pid: int) -> int:
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    return sum(rss_bytes(child.pid) or 0 for child in children)
