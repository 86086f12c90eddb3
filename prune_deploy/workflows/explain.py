"""Why a pruned model takes the time it takes: measured beside its dense model, then both traced, then explained layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.environment import read_cpuinfo, usable_cpus
from prune_deploy.errors import InputError, storage_errors
from prune_deploy.execution.jobs.client import Jobs
from prune_deploy.execution.planning import PlannedCase, PlannedComparison, parse_run_configs, plan, read_loaded_bundle
from prune_deploy.execution.traces import trace_case
from prune_deploy.execution.workers.process import Watchdog, WorkerError
from prune_deploy.interfaces import Progress
from prune_deploy.records import CaseRecord, Explanation, Trace, to_json
from prune_deploy.reporting.explain.alignment import alignment_of
from prune_deploy.reporting.explain.explanation import Machine, Timing, explain
from prune_deploy.runs import EXPLANATIONS_DIR, TRACES_DIR, trace_stem
from prune_deploy.specs import MeasureSpec, RunOptions
from prune_deploy.store import read_bundle, write_text
from prune_deploy.tracing import tracer_for
from prune_deploy.workflows.bench import BenchRequest, plan_bench, require_runnable

_BANDWIDTH_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What became of one measured case: its explanation, or the sentence that says why there is none, and its fix."""

    record: CaseRecord
    explanation: Explanation | None = None
    status: str = "ok"
    reason: str = ""
    fix: str = ""


def plan_explanation(request: BenchRequest, progress: Progress, *, against: str | None = None) -> list[PlannedComparison]:
    """The comparisons to measure before anything is explained: with the dense model, or with the bundle itself in precision `against`.

    Raises:
        InputError: the bundle is the dense model itself, both precisions are one, or as `plan_bench`.
        CannotRunError: the backend cannot be traced, or as `plan_bench`.
    """
    if against is not None:
        return _plan_precisions(request, against)
    for folder in request.bundles:
        record = read_bundle(folder)
        if record.request.prune is None and record.request.mask is None:
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
            f"--against {against} is what it is compared with itself", fix=f"for example --precision int8 --against {against}"
        )
    configs = parse_run_configs(request.backends, (against, *request.precisions))
    tracer_for(configs[0].backend.name)
    bundles = [read_loaded_bundle(folder.resolve()) for folder in request.bundles]
    planned = [
        each for bundle in bundles for each in plan(bundle, (), configs, request.batches, request.spec, across="precisions")
    ]
    require_runnable(planned, ())
    return planned


def explain_comparison(
    planned: PlannedComparison, records: Sequence[CaseRecord], folder: Path, spec: MeasureSpec, say: Callable[[str], None]
) -> Iterator[Explained]:
    """Trace a measured comparison's models, each in a child process, and explain the pruned ones.

    Traces and explanations go to the run's `folder`; the inputs are those that were measured.

    Raises:
        StorageError: the place cannot be written.
    """
    dense, *others = list(zip(planned.cases, records, strict=True))
    with storage_errors(folder, every=True):
        for name in (TRACES_DIR, EXPLANATIONS_DIR, "logs"):
            (folder / name).mkdir(exist_ok=True)
    limit = None if spec.memory_limit_mib is None else spec.memory_limit_mib << 20
    with Watchdog() as watchdog, Jobs(watchdog, folder / "logs" / f"{planned.name}-traces.log", limit) as jobs:
        tracer = _Tracer(jobs, folder, spec, say)
        for other in others:
            yield _explained(dense, other, tracer)


class _Tracer:
    """Traces cases once each, and measures the machine once."""

    def __init__(self, jobs: Jobs, folder: Path, spec: MeasureSpec, say: Callable[[str], None]) -> None:
        self._jobs, self.folder, self._spec, self._say = jobs, folder, spec, say
        self._traces: dict[str, Trace] = {}
        self._bandwidths: dict[RunOptions, float] = {}

    def trace(self, planned: PlannedCase, record: CaseRecord) -> Trace:
        """The trace of a case, taken now or before.

        Raises:
            WorkerError: it cannot be traced.
        """
        stem = trace_stem(record)
        if stem not in self._traces:
            self._say(f"tracing {record.label}")
            spec, place = self._spec, self.folder / TRACES_DIR
            self._traces[stem] = trace_case(
                planned, place, stem, self._jobs, spec.open_limit_s, inputs=spec.inputs, seed=spec.seed
            )
            if planned.candidate is not None and planned.candidate.needs_own_process:
                self._jobs.end()
        return self._traces[stem]

    def bandwidth_gb_s(self, options: RunOptions) -> float:
        """Memory bandwidth with as many threads as the case has.

        Raises:
            WorkerError: it cannot be measured.
        """
        if options not in self._bandwidths:
            self._say("measuring memory bandwidth")
            header = {"device": options.device, "threads": options.threads or usable_cpus()}
            answer = self._jobs.ask("bandwidth", header, _BANDWIDTH_LIMIT_S, "measuring memory")
            self._bandwidths[options] = answer["gb_s"]
        return self._bandwidths[options]


def _explained(dense: tuple[PlannedCase, CaseRecord], other: tuple[PlannedCase, CaseRecord], tracer: _Tracer) -> Explained:
    record = other[1]
    timing = _timing(dense[1], record)
    if timing is None:
        lost = record if record.latency is None else dense[1]
        return Explained(record=record, status=lost.status, reason=lost.reason or "it was not timed", fix=lost.fix)
    options = record.case.options
    try:
        traces = tracer.trace(*dense), tracer.trace(*other)
        bandwidth_gb_s = tracer.bandwidth_gb_s(options)
    except WorkerError as error:
        return Explained(record=record, status=error.status, reason=error.message, fix=error.fix)
    flags = read_cpuinfo().get("flags", "").split()
    machine = Machine(bandwidth_gb_s=bandwidth_gb_s, alignment=alignment_of(record.case, flags))
    explanation = explain(*traces, timing, machine)
    write_text(tracer.folder / EXPLANATIONS_DIR / f"{trace_stem(record)}.json", to_json(explanation))
    return Explained(record=record, explanation=explanation)


def _timing(dense: CaseRecord, pruned: CaseRecord) -> Timing | None:
    """What was measured of both; None if one of them has no figures."""
    if dense.latency is None or pruned.latency is None or pruned.counts is None or pruned.dense_counts is None:
        return None
    return Timing(
        dense_ms=dense.latency.median_ms.value,
        measured_ms=pruned.latency.median_ms.value,
        macs_ratio=pruned.dense_counts.macs_with_attention / pruned.counts.macs_with_attention,
        speedup=None if pruned.speedup is None else pruned.speedup.ratio,
    )
