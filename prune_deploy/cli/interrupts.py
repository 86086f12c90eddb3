"""Ctrl-C and SIGTERM: both end the program with KeyboardInterrupt, in Python code that can bear it."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.1
# While the first signal unwinds, files are being removed: a second one must not break that off.
_UNWINDING_S = 5.0


class Interrupts:
    """Whether somebody asked the program to stop."""

    def __init__(self) -> None:
        self._arrived = False
        self._unwinding_until = 0.0

    def watch(self) -> None:
        """Handle the signals, but for those that whoever started the program ignores, as `nohup` and `&` do."""
        self._arrived = False
        self._unwinding_until = 0.0
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def raise_again(self) -> None:
        """Raise what a bare `except` of a library has swallowed: torch-pruning's tracer holds one."""
        if self._arrived:
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From now on the program is ending anyway; a second Ctrl-C changes neither that nor the exit code."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived = True
        if time.monotonic() < self._unwinding_until:
            return
        if not _is_importing(frame):
            self._unwinding_until = time.monotonic() + _UNWINDING_S
            raise KeyboardInterrupt
        # An exception in the midst of an import can end in C++ that initialises a module and aborts the process: try again soon.
        again = threading.Timer(_AGAIN_S, self._send, [number])
        again.daemon = True
        again.start()

    def _send(self, number: int) -> None:
        if signal.getsignal(number) == self._note:
            os.kill(os.getpid(), number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


interrupts = Interrupts()
