"""Explains a bundle and prints causes by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_deploy.cli.actions.bench import exit_code, measure
from prune_deploy.cli.options.measure import measure_spec
from prune_deploy.cli.options.values import only
from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.files import resolved
from prune_deploy.records import FAILED_STATUSES, CaseRecord, Explanation
from prune_deploy.reporting.explain.waterfall import waterfall
from prune_deploy.reporting.figures.formatting import interval, number
from prune_deploy.runs import PROFILES_DIR, new_run_id
from prune_deploy.workflows.bench import BenchRequest, bench_forecast
from prune_deploy.workflows.explain import Explained, explain_comparison, plan_explanation


def explain_bundle(bundle: Path, as_json: bool, values: dict[str, Any]) -> int:
    """Measure, trace and explain a bundle, and return the exit code.

    Raises:
        InputError: no bundle, the dense one, or a bad option.
        CannotRunError: the backend cannot run here.
    """
    request = _request(bundle, values)
    with StageLines() as progress:
        planned = plan_explanation(request, progress, against=values["against"])
        folder = Path(values["out"]) if values["out"] else PROFILES_DIR / new_run_id("explain", resolved(bundle).name)
        forecast = bench_forecast(planned, request.spec, progress, trace=True)
        records = measure(planned, request.spec, folder, forecast, progress)
        explained: list[Explained] = []
        rest = list(records)
        for comparison in planned:
            measured, rest = rest[: len(comparison.cases)], rest[len(comparison.cases) :]
            explained += explain_comparison(comparison, measured, folder, request.spec, forecast)
    if as_json:
        emit_json({"run": str(folder), "explanations": [_document(each) for each in explained]})
    else:
        for each in explained:
            _show(each, values["top"])
        data_console.print(f"run: {folder}", soft_wrap=True)
    return _exit_code(records, explained)


def _request(bundle: Path, values: dict[str, Any]) -> BenchRequest:
    return BenchRequest(
        bundles=(bundle,),
        backends=(only(values, "backend", "backend"),),
        precisions=values["precision"],
        batches=values["batch"],
        spec=measure_spec(values),
    )


def _exit_code(records: Sequence[CaseRecord], explained: Sequence[Explained]) -> int:
    failed = any(each.explanation is None and each.status in FAILED_STATUSES for each in explained)
    return 1 if failed else exit_code(records)


def _document(explained: Explained) -> dict[str, Any]:
    case = explained.record.case
    base = {"bundle": explained.record.label, "backend": case.backend, "precision": case.precision, "batch": case.batch}
    if explained.explanation is None:
        return base | {"status": explained.status, "reason": explained.reason, "fix": explained.fix}
    return base | {"status": "ok", **dataclasses.asdict(explained.explanation)}


def _show(explained: Explained, top: int) -> None:
    case = explained.record.case
    name = f"{explained.record.label} {case.backend} {case.precision} batch {case.batch}"
    explanation = explained.explanation
    if explanation is None:
        data_console.print(f"{name}: not explained: {explained.reason}\n  Fix: {explained.fix}", soft_wrap=True)
        return
    data_console.print(name, style="bold")
    _print_headline(explanation)
    data_console.print()
    for line in waterfall(explanation):
        data_console.print(line)
    data_console.print()
    _print_layers(explanation, top)
    data_console.print()
    data_console.print(" ".join(explanation.sentences), soft_wrap=True)
    for advice in explanation.advice:
        data_console.print(f"→ {advice}", soft_wrap=True)
    data_console.print(
        f"Layer times are a profiler's, scaled to the times measured without it; memory moves {explanation.bandwidth_gb_s:.3g} GB/s here.",
        style="dim",
        soft_wrap=True,
    )


def _print_headline(explanation: Explanation) -> None:
    speedup = explanation.speedup
    measured = "-" if speedup is None else interval(speedup.value, speedup.low, speedup.high)
    data_console.print(f"MACs {explanation.macs_ratio:.2f}× fewer, speed-up {measured}")


def _print_layers(explanation: Explanation, top: int) -> None:
    """Return the layers that change the gap most."""
    first, second = (explanation.against, explanation.case.precision) if explanation.against else ("dense", "pruned")
    rows = table("layer", "op", f"{first} ms", "predicted ms", f"{second} ms", "gap ms", "cause", "evidence")
    for column in rows.columns[2:6]:
        column.justify = "right"
    for column, width in zip(rows.columns[:2], (40, 16), strict=True):  # names of fused kernels are long
        column.max_width, column.overflow, column.no_wrap = width, "ellipsis", True
    for layer in explanation.layers[:top]:
        figures = [number(value / 1000) for value in (layer.dense_us, layer.predicted_us, layer.pruned_us)]
        rows.add_row(layer.name, layer.op, *figures, f"{layer.delta_ms:+.4g}", layer.cause, layer.evidence)
    data_console.print(rows)
    if len(explanation.layers) > top:
        data_console.print(f"and {len(explanation.layers) - top} more layers (--top, --json)", style="dim")
