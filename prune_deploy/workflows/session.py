"""A measuring session: owner of what a run needs while it works.

That is its processes, the machine, the GPU's clock and the run's folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.environment import capture
from prune_deploy.errors import storage_errors
from prune_deploy.execution.accuracy import AccuracyRequest, measure_accuracy
from prune_deploy.execution.comparison import CACHES_DIR, run_comparison
from prune_deploy.execution.jobs.client import BuildWorkerClient
from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import PlannedCase, PlannedComparison
from prune_deploy.execution.telemetry.clocks import locked_clocks
from prune_deploy.execution.traces import trace_case
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.interfaces import Progress
from prune_deploy.records import Accuracy, CaseRecord, Environment, RunRecord, Trace
from prune_deploy.runs import TRACES_DIR, SoleWriter, append_cases, create_run
from prune_deploy.scratch import Scratch
from prune_deploy.specs import Case, Device, ExportSpec, MeasureSpec, SweepSpec
from prune_deploy.tracing import DEFAULT_RUNS
from prune_deploy.workflows.machine_lock import machine

_LOG = Path("logs", "jobs.log")
_BANDWIDTH_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class MeasuringSession:
    """Exports, measures, traces and evaluates for a run, and appends its records.

    Open one with `MeasuringSession.open`. Everything that `spec` says of limits, inputs and seeds holds for all that it does.
    A case that fails raises WorkerError, or has its failure in its record, and the session goes on.
    """

    spec: MeasureSpec
    folder: Path
    watchdog: Watchdog
    builder: BuildWorkerClient

    @classmethod
    @contextmanager
    def open(
        cls,
        spec: MeasureSpec,
        folder: Path | None = None,
        *,
        log: Path = _LOG,
        exclusive: bool = False,
        lock_clocks: bool = True,
    ) -> Iterator[MeasuringSession]:
        """Hold what the work needs until the block ends.

        The build worker is started when it is first needed. Without a run's `folder` the session has a temporary one, which stays
        only if an error named the log in it. `log` is the build worker's, within the folder. An `exclusive` session holds the
        machine. With `lock_clocks` the GPU's clock is held as `spec` says.

        Raises:
            CannotRunError: another exclusive session runs on this machine, another process writes in the folder, or the clock cannot
                be locked.
            StorageError: the folder cannot be written.
        """
        clocks_mhz = spec.lock_clocks_mhz if lock_clocks else None
        with machine(share=not exclusive), Watchdog() as watchdog, locked_clocks(clocks_mhz):
            scratch, place = None, folder
            if place is None:
                scratch = Scratch()
                place = scratch.path
            builder = BuildWorkerClient(watchdog, place / log, spec.memory_limit_bytes)
            try:
                with storage_errors(place / log, every=True):
                    (place / log).parent.mkdir(parents=True, exist_ok=True)
                with nullcontext() if folder is None else SoleWriter(folder), builder:
                    yield cls(spec, place, watchdog, builder)
            finally:
                shutil.rmtree(place / CACHES_DIR, ignore_errors=True)
                if scratch is not None:
                    scratch.leave() if builder.has_named_log else scratch.remove()

    def export(self, request: ExportSpec, folder: Path, stages: tuple[float, ...] = (), *, limit_s: float) -> LoadedBundle:
        """Make a bundle in a child process, or find it made.

        With `stages` it is the last of these ratios of one iterative pruning, whose earlier ones were made just before.

        Raises:
            WorkerError: it cannot be made, or not within `limit_s` seconds.
        """
        self.builder.export(request, folder, stages, limit_s)
        return read_loaded_bundle(folder)

    def measure(self, planned: PlannedComparison, progress: Progress) -> list[CaseRecord]:
        """Measure a comparison.

        A record is returned for each case, in the plan's order.

        Raises:
            ComparisonInterrupted: the user interrupted the measuring. It has the records of what was measured until then.
            StorageError: the disk is full or the folder cannot be written.
        """
        return run_comparison(planned, self.spec, self.folder, self.watchdog, progress)

    def trace(self, case: PlannedCase, stem: str, runs: int = DEFAULT_RUNS) -> Trace:
        """Trace a case in a child process.

        Its files have the name `stem` in the run's traces.

        Raises:
            WorkerError: it cannot run or be traced here, or took longer than a candidate may take to open.
            StorageError: the folder cannot be written.
        """
        traces = self.folder / TRACES_DIR
        with storage_errors(traces, every=True):
            traces.mkdir(exist_ok=True)
        return trace_case(case, traces, stem, self.builder, self.spec, runs)

    def accuracy(self, case: PlannedCase, request: AccuracyRequest) -> tuple[Accuracy, dict[str, str]]:
        """Take the accuracy of a case in a child process.

        It is returned with the settings that were in force.

        Raises:
            WorkerError: it cannot be had, or took longer than the request allows.
        """
        return measure_accuracy(case, request, self.builder)

    def bandwidth_gb_s(self, device: Device, threads: int) -> float:
        """Measure the memory bandwidth with so many threads.

        Raises:
            WorkerError: it cannot be measured.
        """
        header = {"device": device, "threads": threads}
        bandwidth_gb_s: float = self.builder.ask("bandwidth", header, _BANDWIDTH_LIMIT_S, "measuring memory")["gb_s"]
        return bandwidth_gb_s

    def append(self, records: Sequence[CaseRecord]) -> None:
        """Add a comparison's records to the run.

        They are on the disk when this returns.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        append_cases(self.folder, records)


def begin_run(
    folder: Path,
    spec: MeasureSpec,
    cases: Sequence[Case] | None,
    *,
    command: Sequence[str],
    sweep: SweepSpec | None = None,
    environment: Environment | None = None,
) -> RunRecord:
    """Create a run of these cases in its folder.

    `cases` None begins an open run, whose cases are not known beforehand. `runs.close_run` ends it. `environment` is this machine's,
    captured now unless it is given.

    Raises:
        InputError: something lies in the folder already.
        StorageError: the disk is full or the place cannot be written.
    """
    environment = environment or capture()
    record = RunRecord(
        id=folder.name,
        command=tuple(command),
        spec=spec,
        cases=tuple(cases or ()),
        environment=environment,
        started_at=environment.captured_at,
        sweep=sweep,
        is_open=cases is None,
    )
    create_run(folder, record)
    return record
