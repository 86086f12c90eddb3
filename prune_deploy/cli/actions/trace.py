"""Traces a bundle and prints its slowest layers."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from prune_deploy.cli.actions.bench import PERFETTO, exit_code, run_folder
from prune_deploy.cli.options.measure import measure_spec
from prune_deploy.cli.options.values import only
from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.cli.output.latency_table import print_reasons
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.files import resolved
from prune_deploy.records import CaseRecord, LayerTime, Trace
from prune_deploy.reporting.figures.formatting import number
from prune_deploy.runs import TRACES_DIR
from prune_deploy.workflows.trace import Traced, TraceRequest, plan_traces, trace_bundle, trace_forecast


def show_traces(bundle: Path, as_json: bool, values: dict[str, Any]) -> int:
    """Trace a bundle, print its layers, and return the exit code.

    Raises:
        InputError: no bundle, or a bad option.
        CannotRunError: the backend cannot run or be traced here.
    """
    request = _request(bundle, values)
    planned = plan_traces(request)
    folder = run_folder("trace", resolved(bundle).name, values["out"])
    with StageLines() as progress:
        forecast = trace_forecast(planned, request, progress)
        progress.expect(forecast)
        done = list(trace_bundle(planned, request, folder, sys.argv[1:], forecast))
    records = [record for record, _ in done]
    if as_json:
        emit_json({"run": str(folder), "traces": [_document(record, traced, folder) for record, traced in done]})
        return exit_code(records)
    for _, traced in done:
        if traced.trace is not None:
            _print_trace(traced.trace, folder, values["top"])
    print_reasons([record for record in records if record.status != "ok"])
    data_console.print(f"run: {folder}", soft_wrap=True)
    return exit_code(records)


def _request(bundle: Path, values: dict[str, Any]) -> TraceRequest:
    return TraceRequest(
        bundle=bundle,
        backend=only(values, "backend", "backend"),
        precision=only(values, "precision", "precision"),
        batches=values["batch"],
        runs=values["runs"],
        spec=measure_spec({"rigor": "quick", **values}),
    )


def _document(record: CaseRecord, traced: Traced, folder: Path) -> dict[str, Any]:
    case = record.case
    base = {"bundle": record.label, "backend": case.backend, "precision": case.precision, "batch": case.batch}
    if traced.trace is None:
        return base | {"status": record.status, "reason": record.reason, "fix": record.fix}
    chrome = folder / TRACES_DIR / traced.trace.chrome_file
    return base | {"status": "ok", "chrome": str(chrome), **dataclasses.asdict(traced.trace)}


def _print_trace(trace: Trace, folder: Path, top: int) -> None:
    """The slowest layers, what the profiler cost, and where the files lie."""
    case = trace.case
    title = f"{trace.label} {case.backend} {case.precision} batch {case.batch}: {number(trace.run_ms)} ms in the profiler"
    rows = table("layer", "op", "time µs", "share %", "shape", "dtype", "kernel", title=title)
    rows.columns[2].justify = "right"
    for layer in trace.layers[:top]:
        rows.add_row(*_cells(layer))
    data_console.print(rows)
    rest = trace.layers[top:]
    if rest:
        share = 100 * sum(layer.share for layer in rest)
        data_console.print(f"and {len(rest)} more, {share:.1f} % together (--top, --json)", style="dim")
    data_console.print(
        f"{trace.runs} runs; the profiler adds {100 * trace.overhead:+.1f} % to the {number(trace.untraced_ms)} ms of a run without it",
        soft_wrap=True,
    )
    for warning in trace.warnings:
        data_console.print(warning, soft_wrap=True)
    data_console.print(f"trace: {folder / TRACES_DIR / trace.chrome_file} (open it at {PERFETTO})", soft_wrap=True)


def _cells(layer: LayerTime) -> tuple[str, ...]:
    shape = "×".join(map(str, layer.shape))
    return layer.name, layer.op, f"{layer.time_us:,.1f}", f"{100 * layer.share:.1f}", shape, layer.dtype, layer.kernel
