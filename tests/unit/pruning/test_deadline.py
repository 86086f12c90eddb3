"""The time limit: it ends what runs too long, and nothing else."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from prune_deploy.pruning.groups.deadline import time_limit

ENDLESS_S = 300.0
"""Work that only an interruption ends: by itself it would raise nothing."""


def work(seconds: float) -> None:
    """Pure Python work that ends by itself after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def limited(limit_s: float, seconds: float) -> None:
    with time_limit(limit_s):
        work(seconds)


@pytest.fixture(autouse=True)
def _no_alarm_left() -> None:
    """The tests of alarms start without one; pytest-timeout's own is set anew for each test."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_work_that_runs_too_long_is_interrupted() -> None:
    with pytest.raises(TimeoutError):
        limited(0.1, ENDLESS_S)


def test_work_that_ends_in_time_is_not_interrupted_then_or_later() -> None:
    limited(60, 0.01)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "no alarm is left to go off"


def test_the_former_handler_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGALRM)
    limited(60, 0.01)
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(TimeoutError):
        limited(0.05, ENDLESS_S)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_that_somebody_else_set_is_still_set() -> None:
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 10_000.0)
    limited(60, 0.05)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    passed = time.monotonic() - started
    assert 10_000 - passed - 0.01 <= remaining <= 10_000 - 0.04


def test_a_limit_inside_a_limit_ends_first() -> None:
    with time_limit(500):
        with pytest.raises(TimeoutError):
            limited(0.05, ENDLESS_S)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500


def swallowing(seconds: float) -> None:
    try:
        work(seconds)
    except:  # noqa: E722 - as torch-pruning's tracer does
        work(seconds)


def test_code_that_swallows_the_first_interruption_is_interrupted_again() -> None:
    with pytest.raises(TimeoutError), time_limit(0.05):
        swallowing(ENDLESS_S)


def test_errors_of_the_work_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(60):
        _ = 1 / 0


def test_other_threads_run_without_a_limit() -> None:
    done: list[bool] = []

    def run() -> None:
        limited(0.01, 0.1)
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]
