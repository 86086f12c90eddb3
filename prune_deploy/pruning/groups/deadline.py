"""Time limit for pure Python work that may explode."""

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
    """Raise TimeoutError inside the block after `limit_s` seconds.

    With `of_processor` the seconds are processor time, for choices that must be the same on a busy machine. Python delivers
    signals to the main thread only. Elsewhere the block runs without a limit, and a process around it must set one.
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
    # The timer repeats, because torch-pruning's tracer has a bare except that would swallow a single signal.
    pending_s, interval_s = signal.setitimer(timer, limit_s, _REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, handler)
        if pending_s:  # another alarm was set before: restore it with its remaining time
            signal.setitimer(timer, max(pending_s - (clock() - started), _SOON_S), interval_s)
