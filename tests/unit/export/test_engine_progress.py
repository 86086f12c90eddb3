"""Cancelling a build: what callbacks answer, and which exception comes out in the end."""

from __future__ import annotations

import signal

import pytest

from prune_deploy.export.tensorrt.progress import ProgressRelay
from prune_deploy.interfaces import Silent
from prune_deploy.signals import StopRequest
from support.fakes.recorded_progress import RecordedProgress


def test_the_outermost_phase_advances_and_the_one_that_runs_is_named() -> None:
    progress = RecordedProgress()
    relay = ProgressRelay(progress, StopRequest())
    relay.phase_start("Building engine", None, 6)
    relay.phase_start("Timing tactics", "Building engine", 40)
    assert relay.step_complete("Timing tactics", 0)
    relay.phase_finish("Timing tactics")
    assert relay.step_complete("Building engine", 0)
    relay.phase_finish("Building engine")
    relay.raise_if_stopped()
    assert progress.advances == [
        (0, 6, "Building engine"),
        (0, 6, "Timing tactics"),
        (0, 6, "Timing tactics"),
        (1, 6, "Building engine"),
        (6, 6, "Building engine"),
    ]


def test_what_progress_raises_cancels_for_good_and_comes_out_after_the_build() -> None:
    failure = RuntimeError("the terminal went away")
    progress = RecordedProgress(failure)
    relay = ProgressRelay(progress, StopRequest())
    assert not relay.step_complete("a", 0)
    progress.failure = None
    assert not relay.step_complete("a", 1)
    relay.phase_start("b", None, 2)
    relay.phase_finish("b")
    assert len(progress.advances) == 1, "progress that failed is not called again"
    with pytest.raises(RuntimeError) as caught:
        relay.raise_if_stopped()
    assert caught.value is failure


def test_an_interrupt_stops_the_build_at_the_next_step() -> None:
    stop = StopRequest()
    relay = ProgressRelay(Silent(), stop)
    assert relay.step_complete("a", 0)
    stop.note(signal.SIGINT, None)
    assert not relay.step_complete("a", 1)
    relay.raise_if_stopped()
