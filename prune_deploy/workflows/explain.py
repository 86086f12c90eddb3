"""Explanations of a pruned model's time, layer by layer.

The model is measured beside its dense model, then both are traced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.environment import read_cpuinfo, usable_cpus
from prune_deploy.errors import InputError, setting, storage_errors
from prune_deploy.execution.baseline import is_dense
from prune_deploy.execution.failure import Failure, with_failure
from prune_deploy.execution.loaded_bundle import read_loaded_bundle
from prune_deploy.execution.planning import PlannedCase, PlannedComparison, parse_run_configs, plan
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.files import resolved, write_text
from prune_deploy.interfaces import Progress
from prune_deploy.records import CaseRecord, Explanation, Status, Trace, to_json
from prune_deploy.reporting.explain.alignment import alignment_of
from prune_deploy.reporting.explain.explanation import Machine, Timing, explain
from prune_deploy.runs import EXPLANATIONS_DIR, trace_stem
from prune_deploy.specs import MeasureSpec, RunOptions
from prune_deploy.store import read_bundle
from prune_deploy.tracing import tracer_for
from prune_deploy.workflows.bench import BenchRequest, plan_bench, require_runnable
from prune_deploy.workflows.forecast import Forecast
from prune_deploy.workflows.session import MeasuringSession
from prune_deploy.workflows.trace import trace_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The explanation of one measured case, or why there is none."""

    record: CaseRecord
    explanation: Explanation | None = None
    status: Status = "ok"
    reason: str = ""
    fix: str = ""


def plan_explanation(request: BenchRequest, progress: Progress, *, against: str | None = None) -> list[PlannedComparison]:
    """Plan the comparisons to measure before anything is explained.

    They are with the dense model, or with the bundle itself in precision `against`.

    Raises:
        InputError: the bundle is the dense model itself, both precisions are one, or as `plan_bench`.
        CannotRunError: the backend cannot be traced, or as `plan_bench`.
    """
    if against is not None:
        return _plan_precisions(request, against)
    for folder in request.bundles:
        if is_dense(read_bundle(folder)):
            raise InputError(
                f"{folder} is the dense model: there is nothing to hold it against", fix="name a bundle that was pruned from it"
            )
    planned = plan_bench(request, progress)
    for comparison in planned:
        tracer_for(comparison.cases[0].case.backend)
    return planned


def _plan_precisions(request: BenchRequest, against: str) -> list[PlannedComparison]:
    """Each bundle in a precision beside itself in another one."""
    if against in request.precisions:
        raise InputError(
            f"{setting('against', against)} is what it is compared with itself",
            fix=f"for example `precision='int8'` {setting('against', against)}",
            field="against",
        )
    configs = parse_run_configs(request.backends, (against, *request.precisions))
    tracer_for(configs[0].backend.name)
    bundles = [read_loaded_bundle(resolved(folder)) for folder in request.bundles]
    planned = [
        each for bundle in bundles for each in plan(bundle, (), configs, request.batches, request.spec, across="precisions")
    ]
    require_runnable(planned, ())
    return planned


def explain_comparison(
    planned: PlannedComparison, records: Sequence[CaseRecord], folder: Path, spec: MeasureSpec, forecast: Forecast
) -> Iterator[Explained]:
    """Trace a measured comparison's models, and explain the pruned ones.

    Each is traced in a child process. Traces and explanations go to the run's `folder`. The inputs are those that were measured.

    Raises:
        StorageError: the place cannot be written.
    """
    dense, *others = list(zip(planned.cases, records, strict=True))
    with storage_errors(folder, every=True):
        (folder / EXPLANATIONS_DIR).mkdir(exist_ok=True)
    log = Path("logs", f"{planned.name}-traces.log")
    with MeasuringSession.open(spec, folder, log=log, lock_clocks=False) as session:
        tracer = _Tracer(session, forecast)
        for other in others:
            yield _explained(dense, other, tracer)


class _Tracer:
    """Traces cases once each, and measures the machine once."""

    def __init__(self, session: MeasuringSession, forecast: Forecast) -> None:
        self._session, self._forecast = session, forecast
        self._traces: dict[str, Trace] = {}
        self._bandwidths: dict[RunOptions, float] = {}

    def trace(self, planned: PlannedCase, record: CaseRecord) -> Trace:
        """The trace of a case, taken now or before.

        Raises:
            WorkerError: it cannot be traced.
        """
        stem = trace_stem(record)
        if stem not in self._traces:
            self._forecast.begin("trace", trace_name(planned.case))
            self._traces[stem] = self._session.trace(planned, stem)
            self._forecast.end()
            if planned.candidate is not None and planned.candidate.needs_own_process:
                self._session.builder.end()
        return self._traces[stem]

    def bandwidth_gb_s(self, options: RunOptions) -> float:
        """Memory bandwidth with as many threads as the case has.

        Raises:
            WorkerError: it cannot be measured.
        """
        if options not in self._bandwidths:
            self._forecast.stage("measure memory")
            self._bandwidths[options] = self._session.bandwidth_gb_s(options.device, options.threads or usable_cpus())
        return self._bandwidths[options]

    def write(self, record: CaseRecord, explanation: Explanation) -> None:
        """Put a case's explanation into the run."""
        write_text(self._session.folder / EXPLANATIONS_DIR / f"{trace_stem(record)}.json", to_json(explanation))


def _explained(dense: tuple[PlannedCase, CaseRecord], other: tuple[PlannedCase, CaseRecord], tracer: _Tracer) -> Explained:
    record = other[1]
    timing = _timing(dense[1], record)
    if timing is None:
        untimed = record if record.latency is None else dense[1]
        return Explained(record=record, status=untimed.status, reason=untimed.reason or "it was not timed", fix=untimed.fix)
    options = record.case.options
    try:
        traces = tracer.trace(*dense), tracer.trace(*other)
        bandwidth_gb_s = tracer.bandwidth_gb_s(options)
    except WorkerError as error:
        return with_failure(Explained(record=record), Failure.of(error))
    flags = read_cpuinfo().get("flags", "").split()
    machine = Machine(bandwidth_gb_s=bandwidth_gb_s, alignment=alignment_of(record.case, flags))
    explanation = explain(*traces, timing, machine)
    tracer.write(record, explanation)
    return Explained(record=record, explanation=explanation)


def _timing(dense: CaseRecord, pruned: CaseRecord) -> Timing | None:
    """Return the times of both, None without figures of one."""
    if dense.latency is None or pruned.latency is None or pruned.counts is None or pruned.dense_counts is None:
        return None
    return Timing(
        dense_ms=dense.latency.median_ms.value,
        measured_ms=pruned.latency.median_ms.value,
        macs_ratio=pruned.dense_counts.macs_with_attention / pruned.counts.macs_with_attention,
        speedup=None if pruned.speedup is None else pruned.speedup.ratio,
    )
