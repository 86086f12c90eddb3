"""The open candidates of one launch, and the token that one of them holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.telemetry import Telemetry, free_device_bytes
from prune_deploy.execution.workers.process import WorkerError, WorkerProcess
from prune_deploy.measure.runner import CandidateLost, TimedRuns
from prune_deploy.records import Startup
from prune_deploy.specs import MeasureSpec

if TYPE_CHECKING:
    from prune_deploy.execution.group import Group

# Start-up is measured while nobody else runs, cold in the first launch and with warm caches in the second; later launches save time.
_LAUNCHES_ONE_BY_ONE = 2
_LEAST_LIMIT_S = 60.0
_SLACK = 30.0


class Lanes:
    """The open candidates of one launch: a `measure.runner.Runner`."""

    def __init__(self, group: Group, candidates: Sequence[Candidate], spec: MeasureSpec) -> None:
        self._group = group
        self._candidates = candidates
        self._spec = spec
        self._workers: dict[int, WorkerProcess] = {}
        self._processes: list[WorkerProcess] = []
        self._shared = group.placement == "shared"
        self._stops = not self._shared
        self._telemetry = Telemetry(spec.options.device)
        self._process_s = 0.0

    def now_s(self) -> float:
        """The clock, in seconds."""
        return self._group.now_s()

    def run(self, candidate: int, runs: int) -> TimedRuns:
        """Give the token to one candidate for a block.

        Raises:
            CandidateLost: it crashed, hung or was killed; the group keeps the reason.
        """
        worker = self._workers[candidate]
        starts = self._group.observed[candidate].starts
        limit_s = max(_LEAST_LIMIT_S, _SLACK * runs * starts[-1].first_run_s)
        header = {"kind": "run", "candidate": candidate, "runs": runs, "mode": self._spec.mode}
        try:
            with self._token(worker):
                message = worker.request(header, limit_s, "running")
        except WorkerError as error:
            self._lose(candidate, error)
            raise CandidateLost(candidate) from None
        samples = np.frombuffer(message.data, dtype=np.int64)
        ours = {each.pid for each in self._workers.values()}
        readings = self._telemetry.read(pid=worker.pid, own_pids=ours) | message.header["readings"]
        return TimedRuns(started_ns=message.header["started_ns"], samples_ns=samples, readings=readings)

    def open(self, number: int, order: Sequence[int]) -> None:
        """Open the candidates: one after the other where start-up is measured, else at the same time.

        The copy comes last in the first launch: it would fill the caches that the dense model is to find empty.
        """
        if number == 0:
            order = sorted(order, key=lambda index: self._candidates[index].role == "copy")
        if self._shared or number < _LAUNCHES_ONE_BY_ONE:
            for index in order:
                self._attempt(index, self._start, self._begin_opening, self._end_opening)
            return
        for index in order:
            self._attempt(index, self._start, self._begin_opening)
        for index in order:
            if index in self._workers:
                self._attempt(index, self._end_opening)

    def finish(self, number: int) -> None:
        """After the last block: was it all what it says, and what did it need."""
        for index in list(self._workers):
            self._attempt(index, self._check)
            if number == 0 and index in self._workers and self._spec.options.device == "cuda":
                self._attempt(index, self._measure_device_memory)

    def end(self) -> None:
        """End every process of the launch."""
        self._group.telemetry_notes |= self._telemetry.unavailable
        self._telemetry.close()
        for index, worker in self._workers.items():
            seen = self._group.observed[index]
            seen.peak_rss_bytes = max(seen.peak_rss_bytes, worker.peak_rss_bytes() or 0)
        for worker in self._processes:
            worker.end()
        self._workers.clear()

    @contextmanager
    def _token(self, worker: WorkerProcess) -> Iterator[None]:
        worker.resume()
        yield
        if self._stops:
            worker.suspend()

    def _attempt(self, index: int, *steps: Callable[[int], None]) -> None:
        """Take steps for one candidate; a failure is its loss and nobody else's."""
        try:
            for step in steps:
                step(index)
        except WorkerError as error:
            self._lose(index, error)

    def _lose(self, index: int, error: WorkerError) -> None:
        self._group.lose(index, error)
        worker = self._workers.pop(index, None)
        if worker is None:
            return
        seen = self._group.observed[index]
        seen.peak_rss_bytes = max(seen.peak_rss_bytes, worker.peak_rss_bytes() or 0)
        if not self._shared:
            worker.end()
        elif not worker.is_alive:
            fix = f"measure with --placement isolated ({error.fix})"
            for other in list(self._workers):
                self._group.lose(other, WorkerError(error.status, f"its process ended with {error.message}", fix))
                del self._workers[other]
            worker.end()

    def _start(self, index: int) -> None:
        shared = next((worker for worker in self._processes if self._shared and worker.is_alive), None)
        if shared is not None:
            self._workers[index] = shared
            return
        self._workers[index] = worker = self._group.start_worker(index)
        self._processes.append(worker)
        self._process_s = worker.await_ready(self._spec.open_limit_s)

    def _begin_opening(self, index: int) -> None:
        candidate = self._candidates[index]
        if candidate.options.device == "cuda":
            _require_free_memory(candidate.artifact)
        self._workers[index].ask(
            {
                "kind": "open",
                "candidate": index,
                "backend": candidate.backend,
                "artifact": str(candidate.artifact),
                "options": asdict(candidate.options),
                "inputs": self._spec.inputs,
                "shape": candidate.shape,
                "seed": self._spec.seed,
            }
        )

    def _end_opening(self, index: int) -> None:
        worker = self._workers[index]
        header = worker.answer(self._spec.open_limit_s, "opening").header
        seen = self._group.observed[index]
        seen.starts.append(Startup(process_s=self._process_s, open_s=header["open_s"], first_run_s=header["first_run_s"]))
        seen.settings = header["settings"]
        if self._stops:
            worker.suspend()

    def _check(self, index: int) -> None:
        worker = self._workers[index]
        with self._token(worker):
            answer = worker.request({"kind": "check", "candidate": index}, _LEAST_LIMIT_S, "checking")
        self._group.observed[index].settings = answer.header["settings"]

    def _measure_device_memory(self, index: int) -> None:
        worker = self._workers[index]
        with self._token(worker):
            answer = worker.request({"kind": "device_bytes", "candidate": index}, _LEAST_LIMIT_S, "measuring memory")
        self._group.observed[index].device_bytes = answer.header["bytes"]


def _require_free_memory(artifact: Path) -> None:
    """A model that does not even fit with its weights is told before it takes the device down with it."""
    files = (
        artifact.iterdir() if artifact.is_dir() else artifact.parent.glob(f"{artifact.name}*")
    )  # an ONNX file has its data beside it
    sizes = [path.stat().st_size for path in files if not artifact.is_dir() or path.suffix == ".safetensors"]
    free = free_device_bytes()
    if free is not None and free < sum(sizes):
        message = f"the device has {free >> 20} MiB free, the weights alone are {sum(sizes) >> 20} MiB"
        raise WorkerError("unavailable", message, "end what else uses the GPU, or measure on a larger one")
