"""Time limit of what runs in this process.

A file of unknown origin may hold a loop without end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prune_deploy.errors import InputError, LimitError
from prune_deploy.interfaces import Session

RUN_LIMIT_S = 600.0
"""Longest time for the runs of one file on a few images."""


@contextmanager
def bounded(session: Session, limit_s: float = RUN_LIMIT_S) -> Iterator[None]:
    """End the session's run where the runtime lets another thread do so.

    Raises:
        LimitError: the block took longer.
    """
    terminate = getattr(session, "terminate", None)
    if terminate is None:
        yield
        return
    expired = threading.Event()

    def end() -> None:
        expired.set()
        terminate()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except InputError as error:
        if not expired.is_set():
            raise
        raise LimitError(
            f"a run did not end within {limit_s:.0f} s", fix="do not use this file: it may hold a loop without end"
        ) from error
    finally:
        timer.cancel()
