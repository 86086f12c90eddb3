"""Progress of an engine build, and its end by Ctrl-C.

TensorRT calls Python back from C++ and swallows whatever a callback raises. It prints the exception and goes on, or cancels the
build without saying why. So callbacks here never raise: they note what happened, answer "stop", and the cause is raised later.
"""

from __future__ import annotations

import functools
from typing import Any

from prune_deploy.export.tensorrt.library import TensorRTLibrary
from prune_deploy.interfaces import Progress
from prune_deploy.signals import StopRequest


class ProgressRelay:
    """Forwards TensorRT's progress to a `Progress`.

    After each step it answers whether the build goes on. TensorRT's phases nest. The outermost one advances the stage, and the phase
    that runs is the detail.
    """

    def __init__(self, progress: Progress, stop: StopRequest) -> None:
        self._progress = progress
        self._stop = stop
        self._failure: BaseException | None = None
        self._outermost = ""
        self._done, self._steps = 0, 1

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Receive that a phase of `num_steps` steps begins."""
        if parent_phase is None:
            self._outermost, self._done, self._steps = phase_name, 0, num_steps
        self._advance(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Receive that a step, counted from 0, ended.

        Returns True to go on.
        """
        if phase_name == self._outermost:
            self._done = step + 1
        self._advance(phase_name)
        return self._failure is None and not self._stop.arrived

    def phase_finish(self, phase_name: str) -> None:
        """Receive that a phase ended, perhaps before its last step."""
        if phase_name == self._outermost:
            self._done = self._steps
            self._advance(phase_name)

    def raise_if_stopped(self) -> None:
        """Raise what the progress raised, which cancelled the build.

        `signals.deferred` raises for a signal.
        """
        if self._failure is not None:
            raise self._failure

    def _advance(self, detail: str) -> None:
        if self._failure is not None:
            return
        try:
            self._progress.advance(self._done, self._steps, detail)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised after the build
            self._failure = error


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
