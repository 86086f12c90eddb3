"""Time that threads of this process waited for a core.

Linux counts it. The second field of a task's `schedstat` is the nanoseconds that it was ready and not running (the kernel's
Documentation/scheduler/sched-stats.rst).
"""

from __future__ import annotations

from pathlib import Path

_TASKS = Path("/proc/self/task")


def waited_ns() -> int | None:
    """Return the nanoseconds that all threads have waited so far, or None.

    None means that this kernel does not count them.
    """
    total = None
    try:
        for task in _TASKS.iterdir():
            fields = (task / "schedstat").read_text().split()
            total = (total or 0) + int(fields[1])
    except (OSError, ValueError, IndexError):  # no such file, or a thread has just ended
        return None
    return total
