"""A yardstick for the ratio of two ONNX files.

Long slices of each alone come in turns, while the others are stopped.

It is independent of the harness that it judges: sessions of ONNX Runtime in processes of their own, and nothing else.

    python yardstick.py FILE BATCH PIXELS    (the worker: a line of seconds in, a line of the median nanoseconds out)
"""

from __future__ import annotations

import math
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WARM_RUNS = 20
_DROPPED = 5
"""The first of so many parts of a slice is dropped: caches and thread pools are not yet as in a service."""


@dataclass(frozen=True)
class Slices:
    """Logarithms of ratios, one for each round of slices."""

    ratios: tuple[float, ...]
    controls: tuple[float, ...]

    @property
    def log_ratio(self) -> float:
        """Mean log of the first file's time over the second's."""
        return statistics.fmean(self.ratios)

    @property
    def holds_one(self) -> bool:
        """Tell whether the interval of the control holds 1."""
        centre, half = interval(self.controls)
        return abs(centre) <= half


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the width of its 95 % interval (Student)."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def slices(dense: Path, pruned: Path, *, batch: int, pixels: int, rounds: int, seconds: float, seed: int) -> Slices:
    """Let dense, pruned and a second dense run alone, in random order.

    Each runs for `seconds` in each of `rounds`.
    """
    order = random.Random(seed)
    seen: list[list[float]] = []
    with _workers((dense, pruned, dense), batch, pixels) as workers:
        for _ in range(rounds):
            found = [0.0] * len(workers)
            for index in order.sample(range(len(workers)), len(workers)):
                found[index] = _slice(workers[index], seconds)
            seen.append(found)
    return Slices(
        ratios=tuple(math.log(first / second) for first, second, _ in seen),
        controls=tuple(math.log(first / other) for first, _, other in seen),
    )


@contextmanager
def _workers(files: Sequence[Path], batch: int, pixels: int) -> Iterator[list[subprocess.Popen[str]]]:
    workers = []
    try:
        for file in files:
            command = [sys.executable, __file__, str(file), str(batch), str(pixels)]
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            workers.append(worker)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            worker.send_signal(signal.SIGSTOP)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _slice(worker: subprocess.Popen[str], seconds: float) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.send_signal(signal.SIGCONT)
    worker.stdin.write(f"{seconds}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    worker.send_signal(signal.SIGSTOP)
    return float(answer)


def main() -> None:
    """Run one file on request."""
    import numpy as np
    import onnxruntime

    file, batch, pixels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((batch, 3, pixels, pixels)).astype(np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, images)
    binding.bind_output(session.get_outputs()[0].name)
    for _ in range(_WARM_RUNS):
        session.run_with_iobinding(binding)
    print("ready", flush=True)  # noqa: T201 - its answer
    for line in sys.stdin:
        ends, taken = time.perf_counter() + float(line), []
        while time.perf_counter() < ends:
            begin = time.perf_counter_ns()
            session.run_with_iobinding(binding)
            taken.append(time.perf_counter_ns() - begin)
        print(statistics.median(taken[len(taken) // _DROPPED :]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
