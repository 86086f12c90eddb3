"""A time limit for pure Python work that may explode."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_REPEAT_S = 0.5
_SOON_S = 0.001


@contextmanager
def time_limit(limit_s: float, *, of_processor: bool = False) -> Iterator[None]:
    """Raise TimeoutError inside the block once it has run for `limit_s` seconds, or used so many of the processor.

    Processor time is for choices that must come out the same on a busy machine.
    Python delivers signals to the main thread only; elsewhere the block runs without a limit, and a process around it must set one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    number, timer = (signal.SIGVTALRM, signal.ITIMER_VIRTUAL) if of_processor else (signal.SIGALRM, signal.ITIMER_REAL)
    clock = time.process_time if of_processor else time.monotonic
    started = clock()
    handler = signal.signal(number, expire)
    # Again and again after the first: torch-pruning's tracer holds a bare except that would swallow a single one.
    pending_s, interval_s = signal.setitimer(timer, limit_s, _REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, handler)
        if pending_s:  # somebody else's alarm was set: it goes off when it would have
            signal.setitimer(timer, max(pending_s - (clock() - started), _SOON_S), interval_s)
