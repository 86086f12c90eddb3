"""Cancelling a build: what callbacks answer, and which exception comes out in the end."""

from __future__ import annotations

import signal

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.progress import ProgressRelay
from prune_deploy.signals import StopRequest


class Watcher:
    """Records the calls; answers `goes_on`, or raises `failure`."""

    def __init__(self, *, goes_on: bool = True, failure: BaseException | None = None) -> None:
        self.goes_on, self.failure = goes_on, failure
        self.calls: list[tuple[object, ...]] = []

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        self.calls.append(("start", name, parent, steps))

    def step(self, name: str, done: int) -> bool:
        self.calls.append(("step", name, done))
        if self.failure is not None:
            raise self.failure
        return self.goes_on

    def phase_finish(self, name: str) -> None:
        self.calls.append(("finish", name))


def test_progress_is_forwarded() -> None:
    watcher = Watcher()
    relay = ProgressRelay(watcher, StopRequest())
    relay.phase_start("Building engine", None, 6)
    assert relay.step_complete("Building engine", 0)
    relay.phase_finish("Building engine")
    relay.raise_if_stopped()
    assert watcher.calls == [("start", "Building engine", None, 6), ("step", "Building engine", 0), ("finish", "Building engine")]


def test_a_watcher_that_says_no_cancels_for_good() -> None:
    watcher = Watcher(goes_on=False)
    relay = ProgressRelay(watcher, StopRequest())
    assert not relay.step_complete("a", 0)
    watcher.goes_on = True
    assert not relay.step_complete("a", 1)
    with pytest.raises(BuildError, match="cancelled"):
        relay.raise_if_stopped()


def test_what_a_watcher_raises_comes_out_after_the_build() -> None:
    failure = RuntimeError("the terminal went away")
    watcher = Watcher(failure=failure)
    relay = ProgressRelay(watcher, StopRequest())
    assert not relay.step_complete("a", 0)
    relay.phase_finish("a")
    assert watcher.calls == [("step", "a", 0)], "a watcher that failed is not called again"
    with pytest.raises(RuntimeError) as caught:
        relay.raise_if_stopped()
    assert caught.value is failure


def test_an_interrupt_stops_the_build_at_the_next_step_with_or_without_a_watcher() -> None:
    stop = StopRequest()
    relay = ProgressRelay(None, stop)
    assert relay.step_complete("a", 0)
    stop.note(signal.SIGINT, None)
    assert not relay.step_complete("a", 1)
    relay.raise_if_stopped()
