"""Judge of strangers' inputs: each gives a value or a short error."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from prune_deploy.errors import LONGEST_TEXT, PruneDeployError

T = TypeVar("T")

HANGING_S = 300.0
"""What takes longer than this hangs, however busy the machine is."""

_WORK_S = 20.0
"""Processor seconds that a small input may take."""

_MEMORY_BYTES = 3 << 30

counts: Counter[str] = Counter()
"""Inputs of the test that runs, by what came of them."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events with the positions of the paths that they change.
_CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "shutil.rmtree": (0,),
}
_NEVER = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
}


_FONTS = "fc-list"
"""matplotlib asks it for this machine's fonts."""


class HangingError(BaseException):
    """The input was waited for, or never came to an end.

    No reader that catches all exceptions of a library may catch this one.
    """


class Guard:
    """Watches files that are written, connections and programs.

    An audit hook cannot be taken away again, so there is one for the process, which looks only between `begin` and `end`.
    """

    def __init__(self) -> None:
        self._allowed: tuple[str, ...] | None = None
        self._programs: frozenset[str] = frozenset()
        self._found: list[str] = []
        sys.addaudithook(self._see)

    def begin(self, allowed: Collection[Path], programs: Collection[str]) -> None:
        """Watch from now on.

        What lies below `allowed` may be written, and `programs` may be started.
        """
        self._found = []
        self._programs = frozenset((*programs, _FONTS))
        self._allowed = tuple(f"{folder}/" for folder in allowed)

    def end(self) -> list[str]:
        """Stop watching, and return what should not have happened."""
        self._allowed = None
        return self._found

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._allowed is None:
            return
        if event in _NEVER or (event == "subprocess.Popen" and Path(os.fsdecode(arguments[0])).name not in self._programs):
            self._found.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self._judge(event, arguments[0])
        else:
            for position in _CHANGES.get(event, ()):
                self._judge(event, arguments[position])

    def _judge(self, event: str, path: Any) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)) or self._allowed is None:
            return  # a descriptor, which was judged when it was opened
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - any bytes
        place = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
        # Compiled modules are the interpreter's, and the null device keeps nothing.
        if f"{place}/".startswith(self._allowed) or folder.endswith("__pycache__") or place == os.devnull:
            return
        self._found.append(f"{event} {os.fsdecode(path)!r}")


_GUARD = Guard()


@contextmanager
def watched(folder: Path, programs: Collection[str] = ()) -> Iterator[None]:
    """Fail if the block hangs, writes outside `folder`, or calls anybody.

    It fails too if the block starts a program that is not among `programs`.
    """
    with _limited_time(), _limited_memory():
        cache, before = os.environ["XDG_CACHE_HOME"], tempfile.tempdir
        tempfile.tempdir = cache
        _GUARD.begin((folder, Path(cache)), programs)
        try:
            yield
        finally:
            found = _GUARD.end()
            tempfile.tempdir = before
    assert not found, found


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Refuse memory beyond what small inputs need.

    The machine survives a size that was believed.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _limited_time() -> Iterator[None]:
    """Raise HangingError after a while, in a call of the system too.

    pytest-timeout uses the same timer. It gets what was left of its time.
    """

    def expire(_number: int, _frame: Any) -> None:
        raise HangingError(f"no end after {HANGING_S:.0f} s")

    begun, worked = time.monotonic(), time.process_time()
    handler = signal.signal(signal.SIGALRM, expire)
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, HANGING_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left_s:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left_s - (time.monotonic() - begun)), interval_s)
    assert time.process_time() - worked <= _WORK_S, "a small input takes long"


def attempt(read: Callable[[], T], folder: Path) -> T | None:
    """Return a reader's value, or None where it refuses correctly.

    An error of the tree with a message and a fix is such a refusal. Everything else fails the test.
    """
    counts["inputs"] += 1
    value = _outcome(read, folder)
    counts["refused" if value is None else "accepted"] += 1
    return value


def use(call: Callable[[], T], folder: Path) -> T | None:
    """Use what a reader returned, and return what that gives.

    It may be refused like the input itself.
    """
    counts["uses"] += 1
    return _outcome(call, folder)


def _outcome(call: Callable[[], T], folder: Path) -> T | None:
    refusal = None
    with watched(folder):
        try:
            return call()
        except PruneDeployError as error:
            refusal = error
    for text in (refusal.message, refusal.fix):
        assert text.strip(), repr(refusal)
        assert len(text) <= LONGEST_TEXT, len(text)
    return None
