"""Progress of an engine build, and its end by Ctrl-C.

TensorRT calls Python back from C++ and swallows whatever a callback raises. It prints the exception and goes on, or cancels the
build without saying why. So callbacks here never raise: they note what happened, answer "stop", and the cause is raised later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.library import TensorRTLibrary
from prune_deploy.signals import StopRequest


class BuildProgress(Protocol):
    """Somebody who watches an engine build. Phases nest: `parent` names the phase a new one belongs to."""

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins."""

    def step(self, name: str, done: int) -> bool:
        """Step number `done` (from 0) of a phase ended; False cancels the build."""

    def phase_finish(self, name: str) -> None:
        """A phase ended, perhaps before its last step."""


class ProgressRelay:
    """Forwards TensorRT's progress to a `BuildProgress`, and decides after each step whether the build goes on."""

    def __init__(self, progress: BuildProgress | None, stop: StopRequest) -> None:
        self._progress = progress
        self._stop = stop
        self._failure: BaseException | None = None
        self._cancelled = False

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """TensorRT's callback."""
        if self._progress is not None:
            self._guard(self._progress.phase_start, phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """TensorRT's callback: True to go on."""
        if self._progress is not None and self._guard(self._progress.step, phase_name, step) is False:
            self._cancelled = True
        return not (self._cancelled or self._failure is not None or self._stop.arrived)

    def phase_finish(self, phase_name: str) -> None:
        """TensorRT's callback."""
        if self._progress is not None:
            self._guard(self._progress.phase_finish, phase_name)

    def raise_if_stopped(self) -> None:
        """Raise what stopped the build, if it was not TensorRT itself. An interrupt is raised by `signals.deferred`.

        Raises:
            BuildError: the watcher cancelled the build.
        """
        if self._failure is not None:
            raise self._failure
        if self._cancelled:
            raise BuildError("the engine build was cancelled", fix="start it again")

    def _guard(self, callback: Callable[..., Any], *arguments: object) -> Any:
        if self._failure is not None:
            return None
        try:
            return callback(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised after the build
            self._failure = error
            return None


def progress_monitor(library: TensorRTLibrary, relay: ProgressRelay) -> Any:
    """The relay as an IProgressMonitor of `library`."""
    return _monitor_class(library.module)(relay)


@functools.cache
def _monitor_class(module: Any) -> Any:
    base = module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]  # the base class is chosen at run time
        def __init__(self, relay: ProgressRelay) -> None:
            base.__init__(self)
            self.relay = relay

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.relay.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self.relay.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            self.relay.phase_finish(phase_name)

    return Monitor
