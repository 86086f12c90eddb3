"""The candidates of one comparison, one process each, and the token that lets exactly one of them run.

On a CPU everybody else is stopped meanwhile: with three ONNX Runtime sessions whose idle threads spin, a true ratio of 3.73 was
measured as 2.3 to 3.2 while the dense model against itself still read 1.00. On a GPU all candidates share one process and one
context by default, since contexts of several processes take turns on the device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prune_deploy.execution.candidate import Candidate, Failure, Observed
from prune_deploy.execution.lanes import Lanes
from prune_deploy.execution.workers.process import Watchdog, WorkerError, WorkerProcess
from prune_deploy.specs import MeasureSpec, Placement


class Group:
    """A `measure.runner.Launcher` over worker processes. Logs of theirs go to `logs`; torch.compile's cache lies in `caches`."""

    def __init__(
        self, candidates: Sequence[Candidate], spec: MeasureSpec, watchdog: Watchdog, *, logs: Path, caches: Path
    ) -> None:
        self._candidates = tuple(candidates)
        self._spec = spec
        self._watchdog = watchdog
        self._logs = logs
        self._caches = caches
        self.observed = [Observed() for _ in candidates]
        self.telemetry_notes: dict[str, str] = {}
        self.placement = placement(spec, candidates)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The candidates that are still alive."""
        return tuple(index for index, seen in enumerate(self.observed) if seen.failure is None)

    def now_s(self) -> float:
        """The clock, in seconds."""
        return time.perf_counter()

    @contextmanager
    def launch(self, number: int, order: Sequence[int]) -> Iterator[Lanes]:
        """Processes for the candidates in `order`, opened, and ended when the block ends."""
        lanes = Lanes(self, self._candidates, self._spec)
        try:
            lanes.open(number, order)
            yield lanes
            lanes.finish(number)
        finally:
            lanes.end()

    def lose(self, index: int, error: WorkerError) -> None:
        """Keep why a candidate is out; the first reason counts."""
        if self.observed[index].failure is None:
            self.observed[index].failure = Failure(status=error.status, reason=error.message, fix=error.fix)

    def start_worker(self, index: int) -> WorkerProcess:
        """A process for a candidate (for all of them, if they share one)."""
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(self._caches / "inductor")}
        limit = self._spec.memory_limit_mib
        log = self._logs / f"worker-{index}.log"
        return WorkerProcess(self._watchdog, log, environment, None if limit is None else limit << 20)


def placement(spec: MeasureSpec, candidates: Sequence[Candidate]) -> Placement:
    """Where candidates run: one process for all on a GPU unless one of them needs its own, one process each on a CPU."""
    if any(candidate.needs_own_process for candidate in candidates):
        return "isolated"
    if spec.placement is not None:
        return spec.placement
    return "shared" if spec.options.device == "cuda" else "isolated"
