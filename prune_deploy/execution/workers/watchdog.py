"""Watchdog over the process groups of a coordinator: `python watchdog.py FD`.

It ends them when the coordinator is gone. A worker asks the kernel to die with its coordinator, but its children, compilers for
example, do not. This process holds one end of a pipe. Lines in it add ("+123") and remove ("-123") process groups. The pipe's
end, which a kill -9 brings too, ends those that are left. The file runs without the package, so that it starts in a few
milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys


def watch(descriptor: int) -> None:
    """Read process groups until the pipe ends, then kill those left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with os.fdopen(descriptor) as lines:
        for line in lines:
            group = int(line[1:])
            if line[0] == "+":
                groups.add(group)
            else:
                groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    watch(int(sys.argv[1]))
