"""A check in a thread beside work of the main thread.

A builder of engines uses one core, and a check of an ONNX file beside it the others.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch

from prune_deploy.errors import BuildError
from prune_deploy.interfaces import Progress, Stage
from prune_deploy.records import Parity

Check = Callable[[], Parity]


class Background:
    """A check that runs from the beginning of a block.

    The block's end waits for it. If the block raises, the check ends before its next batch of images.
    """

    def __init__(self, check: Check, stop: threading.Event) -> None:
        self._stop = stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parity")
        self._future: Future[Parity] = self._pool.submit(check)

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._stop.set()
        self._pool.shutdown()

    @property
    def has_ended(self) -> bool:
        """True once the result, or the error, is there."""
        return self._future.done()

    def result(self) -> Parity:
        """Wait for the result.

        Raises:
            PruneDeployError: what the check raised.
        """
        return self._future.result()


class Stoppable:
    """A module that refuses further images once it is told to stop."""

    def __init__(self, module: Callable[[torch.Tensor], Any]) -> None:
        self._module = module
        self.stop = threading.Event()

    def __call__(self, images: torch.Tensor) -> Any:
        if self.stop.is_set():
            raise BuildError("the check was stopped, because the work beside it failed", fix="see the other error")
        return self._module(images)


def return_freed_memory() -> None:
    """Give memory that the C allocator keeps back to the system.

    Only glibc offers it. After large tensors it keeps hundreds of megabytes, which a builder of engines then takes anew.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class BesideProgress:
    """Progress of work beside a check.

    The work's own stage is reported once the check has ended, and its failure ends the work.
    """

    def __init__(self, progress: Progress, check: Background) -> None:
        self._progress, self._check = progress, check
        self._waiting: tuple[Stage, str] | None = None

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Begin a stage, or keep it for later while the check runs."""
        self._waiting = stage, detail
        self._catch_up()

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Report how far the work is."""
        self._catch_up()
        self._progress.advance(done, total, detail)

    def note(self, message: str, /) -> None:
        """Report a result or a warning on the way."""
        self._progress.note(message)

    def finish(self) -> Parity:
        """Wait for the check and return its result."""
        parity = self._check.result()
        self._catch_up()
        return parity

    def _catch_up(self) -> None:
        if self._waiting is not None and self._check.has_ended:
            self._check.result()
            self._progress.stage(*self._waiting)
            self._waiting = None
