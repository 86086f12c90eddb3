"""What watching costs: a reading between two blocks, a look at memory, and the timed loop around a run that does nothing.

    python benchmarks/telemetry_cost.py [cpu|cuda]

Held against: a reading 200 µs in the median (1 % of the shortest block of 20 ms); the loop 1 µs per sample in the median and 5 µs at
the 99th percentile. It needs seconds.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from prune_deploy.backends.null import NullSession
from prune_deploy.execution.telemetry import Telemetry
from prune_deploy.execution.workers.memory import MemoryWatch, peak_rss_bytes
from prune_deploy.execution.workers.timing import time_each
from prune_deploy.specs import Device
from prune_deploy.tensors import named_input

LOOKS = 2_000
SAMPLES = 100_000


def durations_ns(look: Callable[[], object], count: int = LOOKS) -> NDArray[np.int64]:
    """How long each of `count` calls took, shape (count,)."""
    durations = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        look()
        durations.append(time.perf_counter_ns() - begin)
    return np.array(durations, dtype=np.int64)


def show(what: str, ns: NDArray[np.int64]) -> None:
    """One line: median and 99th percentile in microseconds."""
    median_us, p99_us = np.percentile(ns, [50, 99]) / 1e3
    print(f"{what:<52} median {median_us:9.2f} µs   p99 {p99_us:9.2f} µs   n {len(ns)}")


def main(device: Device) -> None:
    """Measure and print."""
    pid = os.getpid()
    with Telemetry(device) as telemetry:
        show(f"one reading ({device})", durations_ns(lambda: telemetry.read(pid=pid)))
        print(f"  read: {', '.join(telemetry.read(pid=pid))}")
        for key, reason in telemetry.unavailable.items():
            print(f"  unavailable: {key}: {reason}")
    show("peak memory of a process", durations_ns(lambda: peak_rss_bytes(pid)))
    watch = MemoryWatch(pid, 1 << 50)
    show("memory limit, the processes it started now and then", durations_ns(watch.check))
    show("memory limit, the processes it started every time", durations_ns(lambda: MemoryWatch(pid, 1 << 50).check(), 100))
    session = NullSession(named_input(np.zeros((1, 3, 8, 8), dtype=np.float32)))
    gc.disable()  # as in a worker
    begin_ns = time.perf_counter_ns()
    samples = time_each(session, SAMPLES)
    whole_ns = time.perf_counter_ns() - begin_ns
    show("timed loop, a run that does nothing: in the sample", samples)
    print(f"{'timed loop, a run that does nothing: in all':<52} mean   {whole_ns / SAMPLES / 1e3:9.2f} µs")


if __name__ == "__main__":
    main("cuda" if sys.argv[1:] == ["cuda"] else "cpu")
