"""A check beside other work: order of what is reported, failures of both sides, and an early end."""

from __future__ import annotations

import threading

import pytest
import torch

from prune_deploy.errors import BuildError, ParityError
from prune_deploy.pipeline.background import Background, BesideProgress, Stoppable
from prune_deploy.records import Parity
from support.fakes.recorded_progress import RecordedProgress

PASSED = Parity(status="passed")


def test_the_work_is_reported_once_the_check_has_ended() -> None:
    progress, go = RecordedProgress(), threading.Event()
    with Background(lambda: PASSED if go.wait(10) else Parity(status="failed"), threading.Event()) as check:
        beside = BesideProgress(progress, check)
        beside.stage("build engine", "fp32")
        beside.advance(1, 3, "Timing tactics")
        assert progress.stages == []
        go.set()
        assert beside.finish() is PASSED
    assert progress.stages == [("build engine", "fp32")]
    assert progress.advances == [(1, 3, "Timing tactics")]


def test_a_failed_check_ends_the_work_at_its_next_step() -> None:
    def fail() -> Parity:
        raise ParityError("it computes something else", fix="do not ship it")

    def work() -> None:
        with Background(fail, threading.Event()) as check:
            beside = BesideProgress(RecordedProgress(), check)
            beside.stage("build engine", "fp32")
            for step in range(10_000):
                beside.advance(step, 10_000)

    with pytest.raises(ParityError, match="something else"):
        work()


def test_failed_work_ends_the_check_before_its_next_images() -> None:
    module = Stoppable(lambda images: images)
    begun, seen = threading.Event(), []

    def check() -> Parity:
        begun.set()
        while True:
            seen.append(module(torch.zeros(1)))

    def work(running: Background) -> None:
        with running:
            assert begun.wait(10)
            raise BuildError("no memory", fix="use less")

    running = Background(check, module.stop)
    with pytest.raises(BuildError, match="no memory"):
        work(running)
    assert running.has_ended
    with pytest.raises(BuildError, match="was stopped"):
        running.result()
