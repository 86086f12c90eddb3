"""Measures bundles for `bench`, and shares its steps with other actions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prune_deploy.cli.options.measure import measure_spec
from prune_deploy.cli.output.console import data_console, emit_json, say
from prune_deploy.cli.output.latency_table import print_records
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.errors import InputError
from prune_deploy.execution.planning import PlannedComparison
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.records import FAILED_STATUSES, CaseRecord
from prune_deploy.reporting.figures.rows import row
from prune_deploy.runs import PROFILES_DIR, TRACES_DIR, new_run_id
from prune_deploy.specs import Across, MeasureSpec
from prune_deploy.workflows.bench import BenchRequest, bench_forecast, measure_all, plan_bench, trace_measured
from prune_deploy.workflows.forecast import Forecast
from prune_deploy.workflows.trace import Traced

PERFETTO = "https://ui.perfetto.dev"
_DEFAULT_BACKENDS = ("eager", "compile", "ort", "trt")


def bench_bundles(bundles: tuple[Path, ...], as_json: bool, values: dict[str, Any]) -> int:
    """Measure bundles beside their dense models and return the exit code."""
    if values["across_backends"] and values["across_precisions"]:
        raise InputError("--across-backends holds all precisions already", fix="drop --across-precisions")
    across: Across = "backends" if values["across_backends"] else ("precisions" if values["across_precisions"] else "")
    bench_request = request(bundles, _DEFAULT_BACKENDS, values, across=across)
    with StageLines() as progress:
        planned = plan_bench(bench_request, progress)
        folder = run_folder("bench", "-".join(resolved(path).name for path in bundles), values["out"])
        forecast = bench_forecast(planned, bench_request.spec, progress, trace=values["trace"])
        records = measure(planned, bench_request.spec, folder, forecast, progress)
        traced = list(trace_measured(planned, records, bench_request.spec, folder, forecast)) if values["trace"] else []
    if not values["trace"]:
        show(folder, records, as_json)
        return exit_code(records)
    show(folder, records, as_json, traces=[str(folder / TRACES_DIR / each.trace.chrome_file) for each in traced if each.trace])
    if not as_json:
        data_console.print(f"traces: {folder / TRACES_DIR} (open them at {PERFETTO})", soft_wrap=True)
    return max(exit_code(records), say_untraced(traced))


def request(bundles: tuple[Path, ...], backends: tuple[str, ...], values: dict[str, Any], *, across: Across = "") -> BenchRequest:
    """Return the request of parsed options, with `backends` as the default."""
    return BenchRequest(
        bundles=bundles,
        backends=backends if values["backend"] is None else values["backend"],
        precisions=values["precision"],
        batches=values["batch"],
        across=across,
        require=values["require"],
        spec=measure_spec(values),
    )


def show(folder: Path, records: Sequence[CaseRecord], as_json: bool, **more: Any) -> None:
    """Print a run's cases as a table, or as one JSON document.

    The document has `more` in it.
    """
    if as_json:
        emit_json({"run": str(folder), "cases": documents(records), **more})
    else:
        print_records(records)
        data_console.print(f"run: {folder} (a page with plots: prune-deploy report {folder})", soft_wrap=True)


def run(
    plan: Callable[[BenchRequest, Progress], list[PlannedComparison]],
    request: BenchRequest,
    name: str,
    bundle: str,
    out: str | None,
) -> tuple[Path, list[CaseRecord]]:
    """Plan and measure with progress on stderr.

    Returns the run's folder and all records.
    """
    with StageLines() as progress:
        planned = plan(request, progress)
        folder = run_folder(name, bundle, out)
        return folder, measure(planned, request.spec, folder, bench_forecast(planned, request.spec, progress), progress)


def run_folder(command: str, bundle: str, out: str | None) -> Path:
    """Return the folder of a run, the named or a new one."""
    return Path(out) if out else PROFILES_DIR / new_run_id(command, bundle)


def measure(
    planned: Sequence[PlannedComparison], spec: MeasureSpec, folder: Path, forecast: Forecast, progress: StageLines
) -> list[CaseRecord]:
    """Measure planned comparisons.

    An interruption names the folder of the finished ones.
    """
    progress.expect(forecast)
    records: list[CaseRecord] = []
    try:
        for _, new_records in measure_all(planned, spec, folder, sys.argv[1:], forecast):
            records += new_records
    except KeyboardInterrupt:
        say(f"what was measured so far is in {folder}")
        raise
    return records


def say_untraced(traced: Sequence[Traced]) -> int:
    """Report the cases that could not be traced on stderr.

    Returns 1 if one of them failed.
    """
    failures = [(each.stem, each.failure) for each in traced if each.failure is not None]
    for stem, failure in failures:
        say(f"{stem}: not traced: {failure.status}: {failure.reason}\n  Fix: {failure.fix}")
    return 1 if any(failure.status in FAILED_STATUSES for _, failure in failures) else 0


def documents(records: Sequence[CaseRecord]) -> list[dict[str, Any]]:
    """Rows for JSON."""
    return [dataclasses.asdict(row(record)) for record in records]


def exit_code(records: Sequence[CaseRecord]) -> int:
    """1 if a case failed."""
    return 1 if any(record.status in FAILED_STATUSES for record in records) else 0
