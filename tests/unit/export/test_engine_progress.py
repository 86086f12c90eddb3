"""Cancelling a build: what callbacks answer, and which exception comes out in the end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.progress import Interrupts, ProgressRelay, held_interrupts


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
    relay = ProgressRelay(watcher, Interrupts())
    relay.phase_start("Building engine", None, 6)
    assert relay.step_complete("Building engine", 0)
    relay.phase_finish("Building engine")
    relay.raise_if_stopped()
    assert watcher.calls == [("start", "Building engine", None, 6), ("step", "Building engine", 0), ("finish", "Building engine")]


def test_a_watcher_that_says_no_cancels_for_good() -> None:
    watcher = Watcher(goes_on=False)
    relay = ProgressRelay(watcher, Interrupts())
    assert not relay.step_complete("a", 0)
    watcher.goes_on = True
    assert not relay.step_complete("a", 1)
    with pytest.raises(BuildError, match="cancelled"):
        relay.raise_if_stopped()


def test_what_a_watcher_raises_comes_out_after_the_build() -> None:
    failure = RuntimeError("the terminal went away")
    watcher = Watcher(failure=failure)
    relay = ProgressRelay(watcher, Interrupts())
    assert not relay.step_complete("a", 0)
    relay.phase_finish("a")
    assert watcher.calls == [("step", "a", 0)], "a watcher that failed is not called again"
    with pytest.raises(RuntimeError) as caught:
        relay.raise_if_stopped()
    assert caught.value is failure


def test_an_interrupt_stops_the_build_at_the_next_step_with_or_without_a_watcher() -> None:
    interrupts = Interrupts()
    relay = ProgressRelay(None, interrupts)
    assert relay.step_complete("a", 0)
    interrupts.note()
    assert not relay.step_complete("a", 1)
    relay.raise_if_stopped()


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    seen: list[bool] = []

    def work() -> None:
        with held_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(interrupts.requested)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_wins_over_the_error_it_causes() -> None:
    def work() -> None:
        with held_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            raise BuildError("TensorRT returned nothing", fix="")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_sigterm_is_held_only_where_the_program_handles_it() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), held_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with held_interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        assert not interrupts.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing() -> None:
    done: list[bool] = []

    def work() -> None:
        with held_interrupts() as interrupts:
            done.append(interrupts.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]
