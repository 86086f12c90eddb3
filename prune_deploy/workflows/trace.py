"""Traces of one bundle: where the time of a run goes.

Nothing is timed for a comparison here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.backends import usable
from prune_deploy.errors import CannotRunError, InputError, VerificationError
from prune_deploy.execution.comparison import base_record
from prune_deploy.execution.costs import traces_of
from prune_deploy.execution.failure import Failure, with_failure
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.execution.planning import PlannedCase, PlannedComparison, parse_run_configs, plan
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.records import CaseRecord, Trace
from prune_deploy.runs import trace_stem
from prune_deploy.specs import Case, Device, MeasureSpec
from prune_deploy.tracing import DEFAULT_RUNS, tracer_for
from prune_deploy.workflows.forecast import Forecast, Task
from prune_deploy.workflows.session import MeasuringSession, begin_run

TRACES_LOG = Path("logs", "traces.log")

_TRACED_ONLY = "traced, not timed"
_TIMED_BY = "time it with prune-deploy bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """A bundle to trace by one backend at one precision.

    Each batch size is traced `runs` times. A backend's variant is asked for as in "trt:cuda-graph".
    """

    bundle: Path
    backend: str
    precision: str = "fp32"
    batches: tuple[int, ...] = (1,)
    runs: int = DEFAULT_RUNS
    spec: MeasureSpec

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InputError(f"`runs` must be at least 1, got {self.runs}", fix=f"{DEFAULT_RUNS} is usual", field="runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """The trace of one case, or why there is none.

    `stem` is the name of its files in the run's traces.
    """

    planned: PlannedCase
    stem: str
    trace: Trace | None = None
    failure: Failure | None = None


def plan_traces(request: TraceRequest) -> list[PlannedComparison]:
    """One case for each batch.

    Raises:
        InputError: the folder is no bundle, or the backend is unknown.
        CannotRunError: the backend cannot run or be traced here, or the bundle has nothing that it opens.
        VerificationError: the bundle's files are not those that were exported.
    """
    bundle = read_loaded_bundle(resolved(request.bundle))
    config = parse_run_configs((request.backend,), (request.precision,))[0]
    tracer_for(config.backend.name)
    planned = plan(bundle, (), (config,), request.batches, request.spec)
    for comparison in planned:
        failure = comparison.cases[0].failure
        if failure is not None and failure.status == "unavailable":
            raise CannotRunError(failure.reason, fix=failure.fix)
        if failure is not None:
            raise VerificationError(failure.reason, fix=failure.fix)
    usable(config.backend.name)
    return planned


def trace_bundle(
    planned: Sequence[PlannedComparison],
    request: TraceRequest,
    folder: Path,
    command: Sequence[str],
    forecast: Forecast,
) -> Iterator[tuple[CaseRecord, Traced]]:
    """Trace planned cases into a new run.

    Each one's record is on the disk when it is yielded.

    Raises:
        InputError: something lies in the run's folder already.
        StorageError: the disk is full or the place cannot be written.
    """
    cases = [comparison.cases[0] for comparison in planned]
    begin_run(folder, request.spec, [case.case for case in cases], command=command)
    # The only case of a comparison that is none: it is no baseline, and its dense model is not at hand.
    records = [replace(base_record(each, each.cases[0], index=-1), role="candidate", dense_counts=None) for each in planned]
    cases_by_stem = [(trace_stem(record), case) for record, case in zip(records, cases, strict=True)]
    with MeasuringSession.open(request.spec, folder, log=TRACES_LOG, lock_clocks=False) as session:
        for record, traced in zip(records, trace_cases(cases_by_stem, session, forecast, request.runs), strict=True):
            done = _with_outcome(record, traced)
            session.append([done])
            yield done, traced


def trace_cases(
    cases: Sequence[tuple[str, PlannedCase]],
    session: MeasuringSession,
    forecast: Forecast,
    runs: int = DEFAULT_RUNS,
) -> Iterator[Traced]:
    """Trace cases, given by their stems, into the session's run.

    Raises:
        StorageError: the place cannot be written.
    """
    for stem, planned in cases:
        forecast.begin("trace", trace_name(planned.case))
        try:
            traced = Traced(planned=planned, stem=stem, trace=session.trace(planned, stem, runs))
        except WorkerError as error:
            traced = Traced(planned=planned, stem=stem, failure=Failure.of(error))
        forecast.end()
        yield traced


def trace_forecast(planned: Sequence[PlannedComparison], request: TraceRequest, progress: Progress) -> Forecast:
    """Return the forecast of tracing planned cases."""
    cases = [comparison.cases[0] for comparison in planned]
    return Forecast(progress, trace_tasks(cases, request.spec.options.device, request.runs))


def trace_tasks(cases: Sequence[PlannedCase], device: Device, runs: int = DEFAULT_RUNS) -> list[Task]:
    """Return the traces of planned cases as tasks."""
    seconds = traces_of(cases, device, runs)
    return [Task(stage="trace", name=trace_name(each.case), expected_s=took) for each, took in zip(cases, seconds, strict=True)]


def trace_name(case: Case) -> str:
    """Return the name of a case's trace for readers."""
    backend = f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend
    return f"{case.bundle} {backend} {case.precision} batch {case.batch}"


def _with_outcome(record: CaseRecord, traced: Traced) -> CaseRecord:
    """Return the record of a traced case.

    Or it could not be traced. In either case it has no latency, and says why.
    """
    if traced.failure is not None:
        return with_failure(record, traced.failure)
    settings = {} if traced.trace is None else traced.trace.settings
    return replace(record, reason=_TRACED_ONLY, fix=_TIMED_BY, settings=settings)
