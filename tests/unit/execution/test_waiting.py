"""Linux's count of the time that threads waited for a core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prune_deploy.execution.workers import waiting

PIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
BUSY = PIN + "while os.getppid() == int(__import__('sys').argv[1]): pass"
MEASURE = (
    PIN
    + "import time\n"
    + "from prune_deploy.execution.workers.waiting import waited_ns\n"
    + "before, begin = waited_ns(), time.perf_counter_ns()\n"
    + "while time.perf_counter_ns() - begin < 500_000_000: pass\n"
    + "print((waited_ns() - before) / (time.perf_counter_ns() - begin))\n"
)


def share_waited(others: int) -> float:
    busy = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]) for _ in range(others)]
    try:
        ended = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=300)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    return float(ended.stdout)


@pytest.mark.skipif(waiting.waited_ns() is None, reason="this kernel does not count it")
def test_a_thread_that_shares_its_core_waits() -> None:
    """Three others on the same core leave it a quarter of the time, however busy the machine is."""
    assert share_waited(3) > 0.5


def test_a_kernel_that_does_not_count_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_TASKS", tmp_path / "none")
    assert waiting.waited_ns() is None
    (tmp_path / "tasks" / "1").mkdir(parents=True)
    (tmp_path / "tasks" / "1" / "schedstat").write_text("7")
    monkeypatch.setattr(waiting, "_TASKS", tmp_path / "tasks")
    assert waiting.waited_ns() is None
