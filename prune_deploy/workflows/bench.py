"""Measurement of bundles beside their dense models, on each backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.errors import CannotRunError, InputError, setting
from prune_deploy.execution.baseline import dense_bundle, identity, is_dense, needed_files
from prune_deploy.execution.comparison import ComparisonInterrupted
from prune_deploy.execution.costs import expected_of
from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import PlannedComparison, RunConfig, parse_run_configs, plan
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.measure.prediction import predict
from prune_deploy.records import CaseRecord
from prune_deploy.runs import trace_stem
from prune_deploy.specs import Across, MeasureSpec
from prune_deploy.workflows.forecast import Forecast, Task
from prune_deploy.workflows.session import MeasuringSession, begin_run
from prune_deploy.workflows.trace import TRACES_LOG, Traced, trace_cases, trace_name, trace_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """Bundles to measure by backends, precisions and batch sizes.

    "trt:cuda-graph" names one variant of a backend. `across` has all backends, or all precisions of each, in one comparison. `require`
    names backends that must be able to run.
    """

    bundles: tuple[Path, ...]
    backends: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32",)
    batches: tuple[int, ...] = (1,)
    across: Across = ""
    require: tuple[str, ...] = ()
    spec: MeasureSpec


def plan_bench(request: BenchRequest, progress: Progress) -> list[PlannedComparison]:
    """Plan all comparisons of a request.

    The dense model of each bundle is exported where it is not there yet.

    Raises:
        InputError: a folder is no bundle, a backend is unknown, or a mode does not fit the device.
        CannotRunError: nothing that was asked for, or a backend in `require`, can run here.
    """
    _check_mode(request.spec)
    configs = parse_run_configs(request.backends, request.precisions)
    _check_required(request.require, request.backends)
    bundles = []
    for folder in dict.fromkeys(resolved(path) for path in request.bundles):
        progress.stage("check bundle", folder.name)
        bundles.append(read_loaded_bundle(folder))
    planned = [
        comparison
        for group in _by_model(bundles)
        for comparison in plan(
            *_with_baseline(group, configs, progress), configs, request.batches, request.spec, across=request.across
        )
    ]
    require_runnable(planned, request.require)
    return planned


def plan_pair(first: Path, second: Path, request: BenchRequest) -> list[PlannedComparison]:
    """The comparisons of one bundle with another, the first one the baseline.

    Raises:
        InputError, CannotRunError: as `plan_bench`.
    """
    _check_mode(request.spec)
    configs = parse_run_configs(request.backends, request.precisions)
    bundles = read_loaded_bundle(first), read_loaded_bundle(second)
    planned = plan(bundles[0], bundles[1:], configs, request.batches, request.spec)
    require_runnable(planned, request.require)
    return planned


def measure_all(
    planned: Sequence[PlannedComparison], spec: MeasureSpec, folder: Path, command: Sequence[str], forecast: Forecast
) -> Iterator[tuple[PlannedComparison, list[CaseRecord]]]:
    """Measure one comparison after the other.

    Each one's records are on the disk in the run `folder` when it is yielded.

    Raises:
        KeyboardInterrupt: after what was measured until then has been written.
        StorageError: the disk is full or the place cannot be written.
    """
    begin_run(folder, spec, [case.case for comparison in planned for case in comparison.cases], command=command)
    with MeasuringSession.open(spec, folder) as session:
        for comparison in planned:
            if comparison.can_run:
                forecast.begin("measure", comparison.name)
            try:
                records = session.measure(comparison, forecast)
            except ComparisonInterrupted as interruption:
                session.append(interruption.records)
                yield comparison, list(interruption.records)
                raise
            forecast.end()
            session.append(records)
            yield comparison, records


def trace_measured(
    planned: Sequence[PlannedComparison],
    records: Sequence[CaseRecord],
    spec: MeasureSpec,
    folder: Path,
    forecast: Forecast,
) -> Iterator[Traced]:
    """Trace every case that was timed, once all timing is over.

    Each has a process of its own. `records` are those of `planned`, in its order, as far as they go.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    cases = [case for comparison in planned for case in comparison.cases]
    timed = [(trace_stem(record), case) for case, record in zip(cases, records, strict=False) if record.latency is not None]
    forecast.keep([("trace", trace_name(case.case)) for _, case in timed])
    with MeasuringSession.open(spec, folder, log=TRACES_LOG, lock_clocks=False) as session:
        yield from trace_cases(timed, session, forecast)


def bench_forecast(
    planned: Sequence[PlannedComparison], spec: MeasureSpec, progress: Progress, *, trace: bool = False
) -> Forecast:
    """Return the forecast of measuring planned comparisons, and of tracing them.

    Those that cannot run take no time.
    """
    running = [comparison for comparison in planned if comparison.can_run]
    tasks = [Task(stage="measure", name=each.name, expected_s=predict(spec, expected_of(each.cases, spec))) for each in running]
    if trace:
        tasks += trace_tasks([case for each in running for case in each.cases if case.candidate is not None], spec.options.device)
    return Forecast(progress, tasks)


def _check_mode(spec: MeasureSpec) -> None:
    if spec.mode != "latency" and spec.options.device == "cpu":
        raise InputError(f"{setting('mode', spec.mode)} needs a GPU", fix="measure with `mode='latency'`", field="mode")


def _by_model(bundles: Sequence[LoadedBundle]) -> list[list[LoadedBundle]]:
    """Group bundles that come from the same dense model and weights."""
    groups: dict[tuple[object, ...], list[LoadedBundle]] = {}
    for bundle in bundles:
        groups.setdefault(identity(bundle.record), []).append(bundle)
    return list(groups.values())


def _with_baseline(
    group: Sequence[LoadedBundle], configs: Sequence[RunConfig], progress: Progress
) -> tuple[LoadedBundle, list[LoadedBundle]]:
    """The dense model of a group, and the others."""
    dense = next((bundle for bundle in group if is_dense(bundle.record) and bundle.damage is None), None)
    others = [bundle for bundle in group if bundle is not dense]
    if dense is None:
        folder = dense_bundle(others[0].record, [], needed_files(configs), progress=progress)
        dense = read_loaded_bundle(resolved(folder))
    return dense, others


def _check_required(required: Sequence[str], backends: Sequence[str]) -> None:
    unknown = [name for name in required if name not in backends]
    if unknown:
        raise InputError(
            f"`require` names {unknown[0]}, which is not among `backends`",
            fix=f"add it: {setting('backends', (..., unknown[0]))}",
            field="require",
        )


def require_runnable(planned: Sequence[PlannedComparison], required: Sequence[str]) -> None:
    """Refuse to measure where nothing can run, or not what must.

    Raises:
        CannotRunError: so it is, with the first reason.
    """
    for name in required:
        base, _, variant = name.partition(":")
        cases = [
            case
            for comparison in planned
            for case in comparison.cases
            if case.case.backend == base and (not variant or case.case.options.variant == variant)
        ]
        stuck = next((case for case in cases if case.failure is not None), None)
        if stuck is not None and stuck.failure is not None:
            raise CannotRunError(f"{setting('require', (name,))}: {stuck.failure.reason}", fix=stuck.failure.fix)
    failures = [case.failure for comparison in planned for case in comparison.cases if case.failure is not None]
    if failures and not any(comparison.can_run for comparison in planned):
        raise CannotRunError(f"nothing that was asked for can run here: {failures[0].reason}", fix=failures[0].fix)
