"""Memory of real processes: peaks, trees, limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from prune_deploy.errors import LimitError
from prune_deploy.execution.workers import memory as resident
from prune_deploy.execution.workers.memory import MemoryWatch, peak_rss_bytes, rss_bytes, tree_rss_bytes

MIB = 1 << 20
HOLD = "hold = lambda mib: bytearray(b'x' * 4096) * (mib << 8)\n"
"""A function of a child that allocates so many MiB and touches every page of them."""

Start = Callable[[str], "Child"]


class Child:
    """A Python process that tells, line by line, how far it is, and waits for a line before it goes on."""

    def __init__(self, code: str) -> None:
        command = [sys.executable, "-I", "-S", "-c", HOLD + code]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def next(self) -> str:
        """Let it go on until it says something."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[Child] = []

    def start(code: str) -> Child:
        children.append(Child(code))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()


def test_a_short_peak_is_not_missed(start: Start) -> None:
    """300 MB for 200 ms: nobody looks meanwhile."""
    child = start(
        "import time; input(); print('ready', flush=True); input()\n"
        "block = bytearray(b'x' * 4000) * 75_000; time.sleep(0.2); del block\n"
        "print('freed', flush=True); input()"
    )
    assert child.next() == "ready"
    baseline = peak_rss_bytes(child.pid)
    assert child.next() == "freed"
    peak, now = peak_rss_bytes(child.pid), rss_bytes(child.pid)
    assert baseline is not None
    assert peak is not None
    assert now is not None
    assert peak == pytest.approx(baseline + 300e6, rel=0.1)
    assert now < baseline + 30e6


def test_a_peak_is_not_inherited_from_whoever_started_it(start: Start) -> None:
    """The parent's peak comes back as the child's ru_maxrss, not as its high-water mark."""
    code = "import resource; input(); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True); input()"
    parent = start(
        "import subprocess, sys; block = hold(200)\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {code!r}], stdin=subprocess.PIPE)\n"
        "input(); print(child.pid, flush=True)\n"
        "child.stdin.write(b'\\n'); child.stdin.flush(); input(); child.kill()"
    )
    pid = int(parent.next())
    assert parent.process.stdout is not None
    inherited = int(parent.process.stdout.readline()) << 10
    peak = peak_rss_bytes(pid)
    assert inherited > 200 * MIB
    assert peak is not None
    assert peak < 60 * MIB


def test_own_figures_are_in_order() -> None:
    own, peak, tree = rss_bytes(os.getpid()), peak_rss_bytes(os.getpid()), tree_rss_bytes(os.getpid())
    assert own is not None
    assert peak is not None
    assert tree is not None
    # The kernel gathers its counts per processor now and then: they may lag by some pages.
    assert MIB < own <= peak + MIB
    assert tree >= own - MIB


def test_a_process_that_is_gone_is_none() -> None:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    functions = (peak_rss_bytes, rss_bytes, tree_rss_bytes, lambda pid: MemoryWatch(pid, 1).check())
    assert [function(process.pid) for function in functions] == [None] * 4, "ended, not waited for yet"
    process.wait()
    assert [function(process.pid) for function in functions] == [None] * 4


def start_with_compiler(start: Start, mib: int) -> Child:
    """A child whose own child holds so much; it says "up" when it does."""
    code = HOLD + f"block = hold({mib}); print('up', flush=True); input()"
    return start(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {code!r}], stdin=subprocess.PIPE)\n"
        "sys.stdin.readlines()\nchild.kill()"
    )


def test_the_tree_holds_what_was_started(start: Start) -> None:
    child = start_with_compiler(start, 150)
    assert child.next() == "up"
    own, tree = rss_bytes(child.pid), tree_rss_bytes(child.pid)
    assert own is not None
    assert tree is not None
    assert own < 60 * MIB
    assert own + 150 * MIB < tree < own + 210 * MIB


def test_the_limit_counts_what_was_started(start: Start) -> None:
    child = start_with_compiler(start, 150)
    assert child.next() == "up"
    with pytest.raises(LimitError, match=r"held \d+ MiB, the limit is 120 MiB") as caught:
        MemoryWatch(child.pid, 120 * MIB).check()
    assert "`memory_limit_mib`" in caught.value.fix
    held = MemoryWatch(child.pid, 1000 * MIB).check()
    assert held is not None
    assert held > 150 * MIB


def test_the_limit_is_passed_when_memory_grows(start: Start) -> None:
    child = start("input(); print('small', flush=True); input(); block = hold(300); print('large', flush=True); input()")
    assert child.next() == "small"
    watch = MemoryWatch(child.pid, 100 * MIB)
    small = watch.check()
    assert small is not None
    assert small < 60 * MIB
    assert child.next() == "large"
    with pytest.raises(LimitError):
        watch.check()
    peak, now = peak_rss_bytes(child.pid), rss_bytes(child.pid)
    assert now is not None
    assert peak == pytest.approx(now, abs=5 * MIB), "one figure from pages, the other from kibibytes"


def test_the_tree_is_looked_through_once_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    now_s = [100.0]

    def descendants_bytes(pid: int) -> int:
        looks.append(pid)
        return 10 * MIB

    monkeypatch.setattr(resident, "_descendants_bytes", descendants_bytes)
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    watch = MemoryWatch(os.getpid(), 1 << 40)
    own = rss_bytes(os.getpid())
    assert own is not None
    for elapsed_s, expected in ((0.0, 1), (0.5, 1), (1.0, 2), (1.9, 2), (2.1, 3)):
        now_s[0] = 100.0 + elapsed_s
        held = watch.check()
        assert len(looks) == expected
        assert held == pytest.approx(own + 10 * MIB, abs=2 * MIB)
