"""Worker processes of one comparison, one running at a time.

On a CPU all others are stopped meanwhile. With three ONNX Runtime sessions whose idle threads spin, a true ratio of 3.73 was
measured as 2.3 to 3.2, while the dense model against itself still read 1.00. On a GPU all candidates share one process and one
context by default, since contexts of several processes take turns on the device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from prune_deploy.backends.tensorrt.kernel_cache import FOLDER_VARIABLE as KERNEL_CACHE
from prune_deploy.execution.candidate import Candidate, CandidateOutcome
from prune_deploy.execution.output_check import OutputCheck, opening
from prune_deploy.execution.telemetry import Telemetry, free_device_bytes
from prune_deploy.execution.workers.process import RefusedError, Watchdog, WorkerError, WorkerProcess
from prune_deploy.measure.runner import CandidateLost, TimedRuns
from prune_deploy.records import Startup
from prune_deploy.specs import MeasureSpec, Placement

# Start-up is measured while no other worker runs: cold in the first launch, with warm caches in the second. Later launches save time.
_LAUNCHES_ONE_BY_ONE = 2
_LEAST_LIMIT_S = 60.0
_SLACK = 30.0

Spawn = Callable[[int], WorkerProcess]
"""Starts the process of a candidate, given by its number (of all of them, if they share one)."""


class WorkerGroup:
    """A `measure.runner.Launcher` over worker processes.

    Their logs go to `logs`, the cache of torch.compile to `caches`.
    """

    def __init__(
        self, candidates: Sequence[Candidate], spec: MeasureSpec, watchdog: Watchdog, *, logs: Path, caches: Path
    ) -> None:
        self._candidates = tuple(candidates)
        self._spec = spec
        self._watchdog = watchdog
        self._logs = logs
        self._caches = caches
        self.outcomes = [CandidateOutcome() for _ in candidates]
        self.telemetry_notes: dict[str, str] = {}
        self.placement = placement(spec, candidates)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The candidates that are still alive."""
        return tuple(index for index, outcome in enumerate(self.outcomes) if outcome.failure is None)

    def now_s(self) -> float:
        """The clock, in seconds."""
        return time.perf_counter()

    @contextmanager
    def launch(self, number: int, order: Sequence[int]) -> Iterator[ProcessLaunch]:
        """Open processes for the candidates in `order`, and end them afterwards."""
        shared = self.placement == "shared"
        check = self._output_check() if number == 0 and self._spec.options.device == "cuda" else None
        launch = ProcessLaunch(self._candidates, self.outcomes, self._spec, self._spawn, shared=shared, output_check=check)
        try:
            launch.open(number, order)
            yield launch
            launch.finish(number)
        finally:
            launch.end()
            self.telemetry_notes |= launch.telemetry_notes

    def _output_check(self) -> OutputCheck:
        """Compute what the candidates should answer, before any of them is open."""
        check = OutputCheck(self._spec, lambda: self._spawn_logged("reference", {}))
        for candidate in self._candidates:
            check.prepare(candidate)
        return check

    def _spawn(self, index: int) -> WorkerProcess:
        return self._spawn_logged(f"worker-{index}", self._candidates[index].environment)

    def _spawn_logged(self, name: str, variables: Mapping[str, str]) -> WorkerProcess:
        caches = {"TORCHINDUCTOR_CACHE_DIR": str(self._caches / "inductor"), KERNEL_CACHE: str(self._caches / "kernels")}
        environment = os.environ | caches | dict(variables)
        return WorkerProcess(self._watchdog, self._logs / f"{name}.log", environment, self._spec.memory_limit_bytes)


class ProcessLaunch:
    """The open candidates of one launch: a `measure.runner.Runner`.

    Its observations of a candidate go to `outcomes`. `workers` are the processes of the open candidates. With `output_check` their first
    outputs are compared.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        outcomes: Sequence[CandidateOutcome],
        spec: MeasureSpec,
        spawn: Spawn,
        *,
        shared: bool,
        output_check: OutputCheck | None = None,
    ) -> None:
        self._candidates = candidates
        self._outcomes = outcomes
        self._spec = spec
        self._spawn = spawn
        self._shared = shared
        self._output_check = output_check
        self.workers: dict[int, WorkerProcess] = {}
        self._processes: list[WorkerProcess] = []
        self._telemetry = Telemetry(spec.options.device)
        self._process_s = 0.0

    @property
    def telemetry_notes(self) -> dict[str, str]:
        """The reasons for missing readings, by their names."""
        return dict(self._telemetry.unavailable)

    def now_s(self) -> float:
        """The clock, in seconds."""
        return time.perf_counter()

    def run(self, candidate: int, runs: int) -> TimedRuns:
        """Let one candidate run for a block.

        Raises:
            CandidateLost: it crashed, hung or was killed. Its outcome has the reason.
        """
        worker = self.workers[candidate]
        starts = self._outcomes[candidate].starts
        limit_s = max(_LEAST_LIMIT_S, _SLACK * runs * starts[-1].first_run_s)
        header = {"kind": "run", "candidate": candidate, "runs": runs, "mode": self._spec.mode}
        try:
            with self.token(worker):
                message = worker.request(header, limit_s, "running")
        except WorkerError as error:
            self._drop(candidate, error)
            raise CandidateLost(candidate) from None
        samples = np.frombuffer(message.data, dtype=np.int64)
        own_pids = {other.pid for other in self.workers.values()}
        readings = self._telemetry.read(pid=worker.pid, own_pids=own_pids) | message.header["readings"]
        return TimedRuns(started_ns=message.header["started_ns"], samples_ns=samples, readings=readings)

    @contextmanager
    def token(self, worker: WorkerProcess) -> Iterator[None]:
        """Let one worker run within the block.

        Afterwards it is stopped, where each candidate has a process of its own.
        """
        worker.resume()
        yield
        if not self._shared:
            worker.suspend()

    def open(self, number: int, order: Sequence[int]) -> None:
        """Open the candidates.

        Where start-up is measured they are opened one after the other, and on a GPU always: kernels that are chosen by timing them must
        be alone on it. Else they are opened at the same time. The copy comes last in the first launch, since it would fill the caches
        that the dense model is to find empty.
        """
        if number == 0:
            order = sorted(order, key=lambda index: self._candidates[index].role == "copy")
        if self._shared or number < _LAUNCHES_ONE_BY_ONE or self._spec.options.device == "cuda":
            for index in order:
                self._attempt(index, self._start, self._begin_opening, self._end_opening)
            return
        for index in order:
            self._attempt(index, self._start, self._begin_opening)
        for index in order:
            if index in self.workers:
                self._attempt(index, self._end_opening)

    def finish(self, number: int) -> None:
        """Check all runs against their labels, and measure device memory."""
        for index in list(self.workers):
            if index in self.workers:  # an earlier one may have ended the process that they share
                self._attempt(index, self._check)
            if number == 0 and index in self.workers and self._spec.options.device == "cuda":
                self._attempt(index, self._measure_device_memory)

    def end(self) -> None:
        """End every process of the launch."""
        self._telemetry.close()
        for index, worker in self.workers.items():
            self._outcomes[index].note_peak_rss(worker.peak_rss_bytes())
        for worker in self._processes:
            worker.end()
        self.workers.clear()

    def _attempt(self, index: int, *steps: Callable[[int], None]) -> None:
        """Take steps for one candidate. An error drops it alone."""
        try:
            for step in steps:
                step(index)
        except WorkerError as error:
            self._drop(index, error)

    def _drop(self, index: int, error: WorkerError) -> None:
        """Take a candidate out of the comparison.

        A shared process lives on after a refusal, without this candidate. After anything else its end takes the others with it.
        """
        self._outcomes[index].fail(error)
        worker = self.workers.pop(index, None)
        if worker is None:
            return
        self._outcomes[index].note_peak_rss(worker.peak_rss_bytes())
        if self._shared and isinstance(error, RefusedError):
            try:
                worker.request({"kind": "close", "candidate": index}, _LEAST_LIMIT_S, "closing")
            except RefusedError:
                return  # what cannot be closed keeps its memory, and harms nobody else
            except WorkerError as ended:
                error = ended
            else:
                return
        worker.end()
        fix = f"measure with `placement='isolated'` ({error.fix})"
        for other in [other for other, shared in self.workers.items() if shared is worker]:
            self._outcomes[other].fail(WorkerError(error.status, f"its process ended with {error.message}", fix))
            del self.workers[other]

    def _start(self, index: int) -> None:
        shared = next((worker for worker in self._processes if self._shared and worker.is_alive), None)
        if shared is not None:
            self.workers[index] = shared
            return
        self.workers[index] = worker = self._spawn(index)
        self._processes.append(worker)
        self._process_s = worker.await_ready(self._spec.open_limit_s)

    def _begin_opening(self, index: int) -> None:
        candidate = self._candidates[index]
        if candidate.options.device == "cuda":
            _require_free_memory(candidate.artifact)
        self.workers[index].ask(opening(candidate, index, self._spec))

    def _end_opening(self, index: int) -> None:
        worker = self.workers[index]
        header = worker.answer(self._spec.open_limit_s, "opening").header
        outcome = self._outcomes[index]
        outcome.starts.append(Startup(process_s=self._process_s, open_s=header["open_s"], first_run_s=header["first_run_s"]))
        outcome.settings = header["settings"]
        if self._output_check is not None:
            outcome.outputs = self._output_check.compare(self._candidates[index], index, worker)
        if not self._shared:
            worker.suspend()

    def _check(self, index: int) -> None:
        worker = self.workers[index]
        with self.token(worker):
            answer = worker.request({"kind": "check", "candidate": index}, _LEAST_LIMIT_S, "checking")
        self._outcomes[index].settings = answer.header["settings"]

    def _measure_device_memory(self, index: int) -> None:
        """Measure device memory, which may fail without harm to what was timed."""
        worker = self.workers[index]
        with self.token(worker):
            try:
                answer = worker.request({"kind": "device_bytes", "candidate": index}, _LEAST_LIMIT_S, "measuring memory")
            except RefusedError as error:
                self._outcomes[index].device_note = error.message
                return
        self._outcomes[index].device_bytes = answer.header["bytes"]


def placement(spec: MeasureSpec, candidates: Sequence[Candidate]) -> Placement:
    """Choose between one process for all candidates and one for each.

    They share one on a GPU, unless one of them needs its own. On a CPU each has its own.
    """
    if any(candidate.needs_own_process for candidate in candidates):
        return "isolated"
    if spec.placement is not None:
        return spec.placement
    return "shared" if spec.options.device == "cuda" else "isolated"


def _require_free_memory(artifact: Path) -> None:
    """Refuse a model whose weights alone do not fit on the device.

    Opening it could take the device down.
    """
    # An ONNX file has its data beside it.
    files = artifact.iterdir() if artifact.is_dir() else artifact.parent.glob(f"{artifact.name}*")
    sizes = [path.stat().st_size for path in files if not artifact.is_dir() or path.suffix == ".safetensors"]
    free_bytes = free_device_bytes()
    if free_bytes is not None and free_bytes < sum(sizes):
        message = f"the device has {free_bytes >> 20} MiB free, the weights alone are {sum(sizes) >> 20} MiB"
        raise WorkerError("unavailable", message, "end what else uses the GPU, or measure on a larger one")
