"""The timed loops, with nothing but the clock between two runs.

The clock is the host's monotonic one, or the device's events. `latency` waits for each run, as a client that needs the answer does.
`device` queues all runs and reads the time between events on the device. `throughput` keeps two runs queued and takes the time
between completions. The three are different experiments, and figures of one are never derived from another.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_deploy.errors import CannotRunError, install_extra
from prune_deploy.interfaces import Session
from prune_deploy.specs import Mode


def time_runs(session: Session, runs: int, mode: Mode) -> NDArray[np.int64]:
    """Return durations of `runs` runs in nanoseconds, shape (runs,).

    Raises:
        CannotRunError: the mode needs a device stream, which this session does not have.
    """
    if mode == "latency":
        return time_each(session, runs)
    if session.stream is None:
        raise CannotRunError(
            f"mode {mode} needs a CUDA stream, and this backend has none here", fix="measure with `mode='latency'`, or on a GPU"
        )
    return _time_queued(session, runs) if mode == "device" else _time_saturated(session, runs)


def time_each(session: Session, runs: int) -> NDArray[np.int64]:
    """Measure host time from each run's start until its outputs are there."""
    clock, run, synchronize = time.perf_counter_ns, session.run, session.synchronize
    samples = [0] * runs
    for index in range(runs):
        begin = clock()
        run()
        synchronize()
        samples[index] = clock() - begin
    return np.array(samples, dtype=np.int64)


def _time_queued(session: Session, runs: int) -> NDArray[np.int64]:
    """Measure device time between events around queued runs.

    The runs are queued without waiting. The resolution is about 0.5 µs.
    """
    runtime = _cuda_runtime()
    events = [_checked(runtime.cudaEventCreate()) for _ in range(runs + 1)]
    try:
        session.synchronize()
        _checked(runtime.cudaEventRecord(events[0], session.stream))
        for event in events[1:]:
            session.run()
            _checked(runtime.cudaEventRecord(event, session.stream))
        session.synchronize()
        elapsed_ms = [_checked(runtime.cudaEventElapsedTime(begin, end)) for begin, end in itertools.pairwise(events)]
        return np.array([round(duration * 1e6) for duration in elapsed_ms], dtype=np.int64)
    finally:
        for event in events:
            _checked(runtime.cudaEventDestroy(event))


def _time_saturated(session: Session, runs: int) -> NDArray[np.int64]:
    """Measure host time between completions, with two runs always queued."""
    runtime = _cuda_runtime()
    flags = runtime.cudaEventBlockingSync
    events = [_checked(runtime.cudaEventCreateWithFlags(flags)) for _ in range(2)]
    completed = []
    try:
        session.synchronize()
        for index in range(runs + 2):
            event = events[index % 2]
            if index >= 2:  # the run before the last must be over before another is queued
                _checked(runtime.cudaEventSynchronize(event))
                completed.append(time.perf_counter_ns())
            session.run()
            _checked(runtime.cudaEventRecord(event, session.stream))
        for index in range(runs + 2, runs + 4):
            _checked(runtime.cudaEventSynchronize(events[index % 2]))
            completed.append(time.perf_counter_ns())
        return np.array([end - begin for begin, end in itertools.pairwise(completed)][:runs], dtype=np.int64)
    finally:
        for event in events:
            _checked(runtime.cudaEventDestroy(event))


def _cuda_runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise CannotRunError(f"CUDA events need cuda-bindings: {error}", fix=install_extra("gpu")) from error
    return runtime


def _checked(answer: tuple[Any, ...]) -> Any:
    """Return the value of a successful CUDA call.

    Raises:
        CannotRunError: the call failed.
    """
    error, *values = answer
    if int(error) != 0:
        raise CannotRunError(f"CUDA said {error.name} while timing", fix="see: prune-deploy doctor")
    return values[0] if values else None
