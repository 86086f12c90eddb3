"""Signals that wait for the end of a block, and signals that do not."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from prune_deploy.errors import BuildError
from prune_deploy.signals import deferred


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    seen: list[bool] = []

    def work() -> None:
        with deferred() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(stop.arrived)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_wins_over_the_error_it_causes() -> None:
    def work() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            raise BuildError("TensorRT returned nothing", fix="")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_sigterm_is_held_only_where_the_program_handles_it() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with deferred():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.arrived
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing() -> None:
    done: list[bool] = []

    def work() -> None:
        with deferred() as stop:
            done.append(stop.arrived)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_signals_wait_for_the_end_of_the_block_and_are_then_obeyed_once() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    reached = []

    def work() -> None:
        with deferred(unhandled=True):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_ignored_signals_stay_ignored_and_other_threads_are_none_of_its_business() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with deferred(unhandled=True) as stop:
            signal.raise_signal(signal.SIGTERM)
            stop.check()
    finally:
        signal.signal(signal.SIGTERM, before)
    seen: list[Any] = []
    handler = signal.getsignal(signal.SIGINT)

    def elsewhere() -> None:
        with deferred(unhandled=True):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [handler]
