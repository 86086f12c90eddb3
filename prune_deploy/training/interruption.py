"""Ctrl-C and SIGTERM while weights change: they wait for the end of the step, so that what is then written is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Inside its block, signals are noted, and `check` raises what they ask for.

    Signals that whoever started the program ignores stay ignored. Python runs handlers in the main thread only: elsewhere the block does
    nothing, and no signal arrives there either.
    """

    def __init__(self) -> None:
        self._arrived = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # The last step may have ended without another look.
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has arrived."""
        if self._arrived:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._arrived = True


def ignore_in_worker(_worker: int) -> None:
    """Leave Ctrl-C, which reaches the whole process group, to the process that trains: it still needs its batches to end the step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
