"""Candidates in processes of their own: one runs while the others stand still, and however one ends, the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from prune_deploy.execution import worker_group
from prune_deploy.execution.candidate import Candidate, memory_of
from prune_deploy.execution.worker_group import ProcessLaunch, WorkerGroup
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.measure.runner import CandidateLost
from prune_deploy.records import Role
from prune_deploy.specs import Device, MeasureSpec, RunOptions
from support.fakes.faulty_backends import artifact, install


@pytest.fixture(autouse=True)
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in install(tmp_path / "path").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog() as watchdog:
        yield watchdog


def candidate(path: Path, role: Role = "candidate", device: Device = "cpu") -> Candidate:
    options = RunOptions(device=device)
    return Candidate(label=path.stem, role=role, backend="faulty", artifact=path, shape=(1, 3, 8, 8), options=options)


def made(folder: Path, watchdog: Watchdog, *behaviours: dict[str, Any], device: Device = "cpu", **spec: Any) -> WorkerGroup:
    """A group of the dense model, which runs 2 ms, and one candidate per behaviour."""
    paths = [artifact(folder, "dense", run_ms=2.0)]
    paths += [artifact(folder, f"other{number}", **each) for number, each in enumerate(behaviours)]
    candidates = [candidate(path, "dense" if path is paths[0] else "candidate", device) for path in paths]
    return WorkerGroup(
        candidates, MeasureSpec(options=RunOptions(device=device), **spec), watchdog, logs=folder, caches=folder / "caches"
    )


def run_often(launch: ProcessLaunch, index: int) -> None:
    for _ in range(50):
        launch.run(index, 2)


def children() -> list[psutil.Process]:
    """Workers of this process that are still there, and what they started."""
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if "prune_deploy.execution.workers.measure_worker" in " ".join(each.cmdline())
    ]


def test_one_runs_and_the_others_stand_still(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0}, {"run_ms": 4.0})
    with group.launch(0, [2, 0, 1]) as launch:
        assert [each.status() for each in children()] == [psutil.STATUS_STOPPED] * 3
        for index, expected_ms in ((0, 2.0), (1, 1.0), (2, 4.0), (0, 2.0)):
            begin_ns = time.perf_counter_ns()
            timed = launch.run(index, 5)
            elapsed_ns = time.perf_counter_ns() - begin_ns
            assert timed.samples_ns.shape == (5,)
            assert timed.samples_ns.dtype == np.int64
            assert expected_ms * 1e6 <= timed.samples_ns.min()
            assert timed.samples_ns.sum() <= elapsed_ns
            assert [each.status() for each in children()] == [psutil.STATUS_STOPPED] * 3
    assert children() == []
    assert group.candidates == (0, 1, 2)
    for outcome in group.outcomes:
        assert outcome.peak_rss_bytes > 10 << 20
        assert outcome.starts[0].process_s > 0.01
        assert int(outcome.settings["runs"]) >= 6


def test_while_one_runs_the_others_are_stopped(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0})
    with group.launch(0, [0, 1]) as launch:
        worker = launch.workers[0]
        with launch.token(worker):
            worker.ask({"kind": "run", "candidate": 0, "runs": 100, "mode": "latency"})
            time.sleep(0.05)
            states = {each.pid: each.status() for each in children()}
            worker.answer(60, "running")
    assert states.pop(worker.pid) != psutil.STATUS_STOPPED
    assert list(states.values()) == [psutil.STATUS_STOPPED]


FAULTS = [
    ("segfault", {"fault": "segfault", "at_run": 3}, "failed", "SIGSEGV"),
    ("kill", {"fault": "kill", "at_run": 3}, "failed", "SIGKILL"),
    ("exit", {"fault": "exit", "at_run": 3}, "failed", "exit code 3"),
    ("raise", {"fault": "raise", "at_run": 3}, "failed", "RuntimeError: the kernel returned 42"),
    ("hang", {"fault": "hang", "at_run": 3}, "timeout", "no answer within 4 s while running"),
    ("hungry", {"fault": "hungry", "at_run": 3}, "failed", "the limit is 400 MiB"),
    ("crash at opening", {"fault": "segfault", "at_run": 0}, "failed", "SIGSEGV"),
    ("raise at opening", {"fault": "raise", "at_run": 0}, "failed", "the kernel returned 42"),
    ("hang at opening", {"fault": "hang", "at_run": 0}, "timeout", "while opening"),
]


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    # A hang ends with its time limit.
    [pytest.param(*each, id=name, marks=pytest.mark.release if "hang" in name else ()) for name, *each in FAULTS],
)
def test_however_one_ends_the_others_go_on(
    tmp_path: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch, behaviour: dict[str, Any], status: str, message: str
) -> None:
    # Short where somebody hangs, yet long enough for those that do not, on a busy machine too.
    monkeypatch.setattr(worker_group, "_LEAST_LIMIT_S", 4.0 if behaviour["fault"] == "hang" else 60.0)
    open_limit_s = 12.0 if behaviour["fault"] == "hang" else 60.0
    group = made(
        tmp_path, watchdog, {"run_ms": 1.0, **behaviour}, {"run_ms": 1.0}, memory_limit_mib=400, open_limit_s=open_limit_s
    )
    with group.launch(0, [0, 1, 2]) as launch:
        if behaviour["at_run"]:
            with pytest.raises(CandidateLost) as lost:
                run_often(launch, 1)
            assert lost.value.candidate == 1
        assert group.candidates == (0, 2)
        assert len(launch.run(0, 3).samples_ns) == len(launch.run(2, 3).samples_ns) == 3
        assert len(children()) == 2
    failure = group.outcomes[1].failure
    assert failure is not None
    assert failure.status == status
    assert message in failure.reason
    assert failure.fix
    assert group.outcomes[0].failure is group.outcomes[2].failure is None
    assert children() == []


def test_candidates_can_share_a_process(tmp_path: Path, watchdog: Watchdog) -> None:
    broken = {"run_ms": 1.0, "fault": "raise", "at_run": 3}
    group = made(tmp_path, watchdog, broken, {"run_ms": 1.0}, placement="shared")
    with group.launch(0, [0, 1, 2]) as launch:
        assert len(children()) == 1
        with pytest.raises(CandidateLost):
            run_often(launch, 1)
        assert group.candidates == (0, 2)
        assert len(launch.run(2, 3).samples_ns) == 3
    assert children() == []


def test_a_crash_in_a_shared_process_takes_all_with_it_and_says_so(tmp_path: Path, watchdog: Watchdog) -> None:
    broken = {"run_ms": 1.0, "fault": "segfault", "at_run": 3}
    group = made(tmp_path, watchdog, broken, {"run_ms": 1.0}, placement="shared")
    with group.launch(0, [0, 1, 2]) as launch, pytest.raises(CandidateLost):
        run_often(launch, 1)
    failures = [outcome.failure for outcome in group.outcomes]
    assert all(failure is not None for failure in failures)
    assert failures[1] is not None
    assert failures[2] is not None
    assert "SIGSEGV" in failures[1].reason
    assert failures[2].reason.startswith("its process ended with")
    assert "`placement='isolated'`" in failures[2].fix
    assert children() == []


def test_a_worker_killed_while_it_stands_still_is_its_own_record(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0})
    with group.launch(0, [0, 1]) as launch:
        os.kill(launch.workers[1].pid, signal.SIGKILL)
        assert len(launch.run(0, 3).samples_ns) == 3
        with pytest.raises(CandidateLost):
            launch.run(1, 1)
        assert group.candidates == (0,)
    failure = group.outcomes[1].failure
    assert failure is not None
    assert "SIGKILL" in failure.reason


def test_what_a_session_finds_wrong_after_its_runs_is_the_status(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0, "fault": "recompiled"})
    with group.launch(0, [0, 1]) as launch:
        launch.run(1, 3)
    failure = group.outcomes[1].failure
    assert failure is not None
    assert (failure.status, failure.reason) == ("recompiled", "compiled again")


def test_a_label_that_does_not_hold_is_told_before_anything_is_timed(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0, "fault": "mislabelled"})
    with group.launch(0, [0, 1]) as launch:
        assert len(launch.run(0, 2).samples_ns) == 2, "the other one goes on"
    failure = group.outcomes[1].failure
    assert failure is not None
    assert (failure.status, failure.reason) == ("failed", "no layer has that precision")


def test_later_launches_open_together_and_keep_the_first_start(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0, "cold_runs": 1, "cold_ms": 30.0})
    for number in range(3):
        with group.launch(number, [1, 0]) as launch:
            assert len(launch.run(1, 2).samples_ns) == 2
            assert [each.status() for each in children()] == [psutil.STATUS_STOPPED] * 2
    assert [len(outcome.starts) for outcome in group.outcomes] == [3, 3]
    assert group.outcomes[1].starts[0].first_run_s >= 0.03


def test_an_interruption_leaves_no_process(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0})
    with pytest.raises(KeyboardInterrupt), group.launch(0, [0, 1]):  # noqa: PT012 - the block is what is interrupted
        assert len(children()) == 2
        raise KeyboardInterrupt
    assert children() == []


COORDINATOR = """
import json, sys, time
from pathlib import Path
from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.worker_group import WorkerGroup
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.specs import MeasureSpec, RunOptions
here = Path(sys.argv[1])
candidates = [Candidate(label=name, role="candidate", backend="faulty", artifact=here / f"{name}.json", shape=(1, 3, 8, 8),
                        options=RunOptions()) for name in ("dense", "other")]
with Watchdog() as watchdog:
    group = WorkerGroup(candidates, MeasureSpec(), watchdog, logs=here, caches=here / "caches")
    with group.launch(0, [0, 1]) as launch:
        launch.run(1, 3)
        print(json.dumps([worker.pid for worker in launch.workers.values()]), flush=True)
        time.sleep(600)
"""


def test_a_killed_coordinator_leaves_nothing_behind(tmp_path: Path) -> None:
    artifact(tmp_path, "dense", run_ms=1.0)
    artifact(tmp_path, "other", run_ms=1.0, fault="child", at_run=2)  # a process of the worker's own, as a compiler would be
    (tmp_path / "coordinator.py").write_text(COORDINATOR)
    command = [sys.executable, str(tmp_path / "coordinator.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        pids = json.loads(coordinator.stdout.readline())
        started = [psutil.Process(pid) for pid in pids]
        started += [child for process in list(started) for child in process.children()]
        assert len(started) == 4, "two workers, and two children of the second one's"
        assert all(process.status() == psutil.STATUS_STOPPED for process in started[:2])
        coordinator.kill()
    _, alive = psutil.wait_procs(started, timeout=120)
    assert alive == []


def test_a_shared_process_that_hangs_ends_with_all_its_candidates(
    tmp_path: Path, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may read the answer that comes too late as its own."""
    monkeypatch.setattr(worker_group, "_LEAST_LIMIT_S", 4.0)
    group = made(tmp_path, watchdog, {"run_ms": 1.0, "fault": "hang", "at_run": 3}, placement="shared")
    with group.launch(0, [0, 1]) as launch:
        with pytest.raises(CandidateLost):
            run_often(launch, 1)
        assert children() == []
    assert [outcome.failure.status for outcome in group.outcomes if outcome.failure is not None] == ["timeout", "timeout"]
    assert "its process ended" in str(group.outcomes[0].failure)


@pytest.mark.parametrize("fault", ["mislabelled", "nan", "raise"])
def test_what_fails_in_a_shared_process_is_closed_there(tmp_path: Path, watchdog: Watchdog, fault: str) -> None:
    """What a candidate holds on a device is free for the others, whether it failed at opening or later."""
    closed = tmp_path / "closed"
    fails = {"run_ms": 1.0, "fault": fault, "at_run": 3 if fault == "raise" else 1, "closed": str(closed), "cold_runs": 0}
    if fault == "nan":
        fails["at_run"] = 0
    group = made(tmp_path, watchdog, fails, {"run_ms": 1.0}, placement="shared")
    with group.launch(0, [0, 1, 2]) as launch:
        if fault == "raise":
            assert not closed.exists()
            with pytest.raises(CandidateLost):
                run_often(launch, 1)
        assert closed.exists(), "before the launch ends"
        assert len(launch.run(0, 3).samples_ns) == len(launch.run(2, 3).samples_ns) == 3
        assert len(children()) == 1
    assert group.candidates == (0, 2)


def test_a_failed_memory_pass_keeps_what_was_timed(tmp_path: Path, watchdog: Watchdog) -> None:
    group = made(tmp_path, watchdog, {"run_ms": 1.0, "fault": "memory pass"}, device="cuda")
    with group.launch(0, [0, 1]) as launch:
        launch.run(1, 3)
    assert group.candidates == (0, 1)
    memory = memory_of(group.outcomes[1], MeasureSpec(options=RunOptions(device="cuda")))
    assert memory is not None
    assert (memory.peak_device_bytes, memory.device_note) == (None, "a second session: not enough memory")


@pytest.mark.parametrize("placement", ["shared", "isolated"])
def test_a_gpu_that_is_lost_to_its_process_takes_all_candidates_of_that_process(
    tmp_path: Path, watchdog: Watchdog, placement: str
) -> None:
    """After some errors CUDA does nothing more in a process: the others would fail one by one, each with a reason of its own."""
    broken = {"run_ms": 1.0, "fault": "lose the gpu", "at_run": 3}
    group = made(tmp_path, watchdog, broken, {"run_ms": 1.0}, device="cuda", placement=placement)
    with group.launch(0, [0, 1, 2]) as launch:
        with pytest.raises(CandidateLost):
            run_often(launch, 1)
        assert len(children()) == (0 if placement == "shared" else 2)
    reasons = [outcome.failure.reason if outcome.failure is not None else "" for outcome in group.outcomes]
    assert reasons[1] == "the module: an illegal memory access"
    others = "its process ended with the module: an illegal memory access" if placement == "shared" else ""
    assert (reasons[0], reasons[2]) == (others, others)


@pytest.mark.parametrize(("device", "together"), [("cpu", True), ("cuda", False)])
def test_on_a_gpu_candidates_are_opened_one_by_one_in_every_launch(
    tmp_path: Path, watchdog: Watchdog, device: Device, together: bool
) -> None:
    """Kernels that are chosen by timing them must be alone on it. On a CPU only start-up is measured alone."""
    opened = tmp_path / "opened"
    slow = {"run_ms": 1.0, "opens": str(opened), "open_s": 0.4}
    group = made(tmp_path, watchdog, slow, slow, device=device, placement="isolated")
    with group.launch(3, [0, 1, 2]):
        begins = sorted(json.loads(line) for line in opened.read_text().splitlines())
    (_, first_ends), (second_begins, _) = begins
    assert (second_begins < first_ends) is together
