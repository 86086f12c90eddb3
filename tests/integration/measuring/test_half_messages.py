"""A worker that stalls in the midst of an answer is bounded in time and memory like any other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prune_deploy.execution.workers.process import Watchdog, WorkerError, WorkerProcess
from support import ROOT

LIMIT_MIB = 150


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with Watchdog() as watchdog:
        log = tmp_path / "worker.log"
        process = WorkerProcess(watchdog, log, environment, LIMIT_MIB << 20, "support.fakes.stalling_worker")
        try:
            process.await_ready(60.0)
            yield process
        finally:
            process.end()


def test_a_worker_that_is_stopped_in_the_midst_of_its_answer_runs_into_its_limit(worker: WorkerProcess) -> None:
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="no answer within 1 s while running") as error:
        worker.request({"kind": "stop"}, 1.0, "running")
    assert error.value.status == "timeout"
    assert time.monotonic() - begin < 20.0


def test_a_worker_that_grows_in_the_midst_of_its_answer_is_ended_by_its_memory_limit(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerError, match=f"the limit is {LIMIT_MIB} MiB") as error:
        worker.request({"kind": "grow"}, 120.0, "running")
    assert error.value.status == "failed"
