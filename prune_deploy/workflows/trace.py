"""One bundle through a profiler: where the time of a run goes, layer by layer. Nothing is timed for a comparison here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.backends import usable
from prune_deploy.environment import capture
from prune_deploy.errors import CannotRunError, InputError, VerificationError
from prune_deploy.execution.comparison import base_record
from prune_deploy.execution.planning import PlannedComparison, parse_run_configs, plan, read_loaded_bundle
from prune_deploy.execution.traces import RUNS, Traced, trace_cases
from prune_deploy.records import CaseRecord, RunRecord
from prune_deploy.runs import append_cases, create_run, trace_stem
from prune_deploy.specs import MeasureSpec
from prune_deploy.tracing import tracer_for

_TRACED_ONLY = "traced, not timed"
_TIMED_BY = "time it with prune-deploy bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """What to trace: a bundle, by one backend ("trt:cuda-graph" for a variant), at one precision, at batch sizes, `runs` times."""

    bundle: Path
    backend: str
    precision: str = "fp32"
    batches: tuple[int, ...] = (1,)
    runs: int = RUNS
    spec: MeasureSpec

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InputError(f"--runs must be at least 1, got {self.runs}", fix=f"{RUNS} is usual")


def plan_traces(request: TraceRequest) -> list[PlannedComparison]:
    """One case for each batch.

    Raises:
        InputError: the folder is no bundle, or the backend is unknown.
        CannotRunError: the backend cannot run or be traced here, or the bundle has nothing that it opens.
        VerificationError: the bundle's files are not those that were exported.
    """
    bundle = read_loaded_bundle(request.bundle.resolve())
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
    starting: Callable[[str], None],
) -> Iterator[tuple[CaseRecord, Traced]]:
    """Trace planned cases into a new run; each one's record is on the disk when it is yielded.

    Raises:
        InputError: something lies in the run's folder already.
        StorageError: the disk is full or the place cannot be written.
    """
    environment = capture()
    cases = [comparison.cases[0] for comparison in planned]
    run = RunRecord(
        id=folder.name,
        command=tuple(command),
        spec=request.spec,
        cases=tuple(case.case for case in cases),
        environment=environment,
        started_at=environment.captured_at,
    )
    create_run(folder, run)
    # The only case of a comparison that is none: it is no baseline, and its dense model is not at hand.
    records = [replace(base_record(each, each.cases[0], index=-1), role="candidate", dense_counts=None) for each in planned]
    wanted = [(trace_stem(record), case) for record, case in zip(records, cases, strict=True)]
    traced = trace_cases(wanted, request.spec, folder, starting, request.runs)
    for record, found in zip(records, traced, strict=True):
        done = _with_outcome(record, found)
        append_cases(folder, [done])
        yield done, found


def _with_outcome(record: CaseRecord, found: Traced) -> CaseRecord:
    """The record of a case that was traced, or could not be: in either case it has no latency, and says why."""
    if found.failure is not None:
        return replace(record, status=found.failure.status, reason=found.failure.reason, fix=found.failure.fix)
    settings = {} if found.trace is None else found.trace.settings
    return replace(record, reason=_TRACED_ONLY, fix=_TIMED_BY, settings=settings)
