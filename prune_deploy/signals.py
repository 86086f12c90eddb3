"""Handle Ctrl-C, SIGTERM and SIGHUP: now, or when a block ends.

Signals that whoever started the program ignores stay ignored, as `nohup` and `&` ask for. Python runs signal handlers in the main
thread only, so other threads neither defer nor receive anything.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.1
# While the first signal unwinds, files are being removed: a second one must not break that off.
_UNWINDING_S = 5.0


class StopRequest:
    """Remembers whether a signal asked to stop."""

    def __init__(self) -> None:
        self.arrived = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Remember the signal: a handler for `signal.signal`."""
        self.arrived = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has arrived."""
        if self.arrived:
            raise KeyboardInterrupt


@contextmanager
def deferred(*, unhandled: bool = False) -> Iterator[StopRequest]:
    """Note signals until the block ends, then raise KeyboardInterrupt for them.

    The KeyboardInterrupt takes precedence over an error that the block raises. A signal without a Python handler ends the process at
    once, as the system does it. With `unhandled` it is deferred too, for a block that has something to save.
    """
    request = StopRequest()
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: handler for number in _SIGNALS if _is_deferrable(handler := signal.getsignal(number), unhandled)}
    try:
        for number in before:
            signal.signal(number, request.note)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        request.check()


class ProgramSignals(StopRequest):
    """Raises KeyboardInterrupt at once, if the running code can bear it.

    `check` raises what a bare `except` of a library has swallowed: torch-pruning's tracer holds one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unwinding_until = 0.0

    def watch(self) -> None:
        """Handle the signals from now on."""
        self.arrived = False
        self._unwinding_until = 0.0
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.note)

    def ignore(self) -> None:
        """Ignore the signals while the program ends with a decided exit code."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal and raise.

        During an import it is raised later, and while another unwinds it is only remembered.
        """
        super().note(number, frame)
        if time.monotonic() < self._unwinding_until:
            return
        if not _is_importing(frame):
            self._unwinding_until = time.monotonic() + _UNWINDING_S
            raise KeyboardInterrupt
        # An exception in the midst of an import can end in C++ that initialises a module and aborts the process: try again soon.
        self._send_soon(number)

    def swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send a signal again whose exception nobody could catch: a `sys.unraisablehook`.

        It came in a destructor or a weak reference's callback, where Python prints exceptions and goes on.
        """
        if unraisable.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(unraisable)
            return
        self._unwinding_until = 0.0
        self._send_soon(signal.SIGINT)

    def _send_soon(self, number: int) -> None:
        again = threading.Timer(_AGAIN_S, self._send, [number])
        again.daemon = True
        again.start()

    def _send(self, number: int) -> None:
        if signal.getsignal(number) == self.note:
            os.kill(os.getpid(), number)


program = ProgramSignals()
"""The one that the command line watches with."""


def leave_to_parent(_worker: int) -> None:
    """Ignore Ctrl-C in a child process.

    Its parent gets the signal too, and still needs the child to end a step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_deferrable(handler: Any, unhandled: bool) -> bool:
    return callable(handler) or (unhandled and handler is signal.SIG_DFL)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
