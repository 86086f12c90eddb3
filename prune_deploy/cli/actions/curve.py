"""Measures a curve and prints its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prune_deploy.cli.actions.sweep import carry_out
from prune_deploy.cli.options.sweep import block_settings, sweep_of
from prune_deploy.cli.options.values import build
from prune_deploy.cli.output.console import data_console, say, table
from prune_deploy.cli.output.latency_table import print_reasons, print_remarks
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.curve import Curve, CurvePoint, curves
from prune_deploy.reporting.figures.formatting import interval, percent
from prune_deploy.specs import Block
from prune_deploy.workflows.sweep import folder_of

_BAR = 24


def measure_curve(values: dict[str, Any], as_json: bool) -> int:
    """Measure the curve, or resume it, and return the exit code."""
    steps, end = values["steps"], values["to_ratio"]
    block = build(
        Block,
        values,
        models=(values["model"],),
        methods=(values["method"],),
        ratios=tuple(round(end * step / steps, 6) for step in range(1, steps + 1)),
        seeds=(values["seed"],),
        iterative=True,
        settings=block_settings(values),
    )
    spec = sweep_of(block, values)
    folder = values["out"] or folder_of(spec, f"curve-{values['model']}-b{'-'.join(map(str, values['batch']))}")
    return carry_out(spec, folder, values, as_json, _print_points, _print_curves)


def _print_points(records: Sequence[CaseRecord]) -> None:
    """The steps that have just been measured."""
    for curve in curves(records):
        for point in curve.points:
            if point.ratio:
                say(f"  {curve.name} step {point.ratio:.2f}: {_figures(point)}")


def _figures(point: CurvePoint) -> str:
    figures = point.row
    if figures.latency_ms is None:
        return f"{figures.status}: {figures.reason}"
    return f"{figures.latency_ms:.4g} ms, {interval(figures.speedup, figures.speedup_low, figures.speedup_high)}×"


def _print_curves(records: Sequence[CaseRecord]) -> None:
    for curve in curves(records):
        _print_curve(curve)
    print_reasons(records)
    print_remarks(records)


def _print_curve(curve: Curve) -> None:
    """Return a curve as a table with bars.

    MACs and time stand side by side and show where one does not follow the other.
    """
    scored = any(point.row.top1 is not None for point in curve.points)
    rows = table(
        "ratio",
        "MACs G",
        "params M",
        "latency ms",
        "interval",
        "mean ± stdev",
        "speed-up",
        "eff.",
        *(["top-1 %"] if scored else []),
        "latency beside the dense model",
        title=curve.name,
    )
    dense_ms = curve.points[0].row.latency_ms
    for point in curve.points:
        figures, record = point.row, point.record
        top1 = [percent(figures.top1, figures.top1_low, figures.top1_high)] if scored else []
        if figures.latency_ms is None or record.latency is None or dense_ms is None:
            rows.add_row(f"{point.ratio:.2f}", point.macs_g, point.params_m, figures.status, "", "", "", "", *top1, "")
            continue
        bar = "█" * max(1, round(_BAR * figures.latency_ms / dense_ms))
        rows.add_row(
            f"{point.ratio:.2f}",
            point.macs_g,
            point.params_m,
            f"{figures.latency_ms:.4g}",
            interval(None, None, None)
            if figures.latency_low_ms is None
            else f"{figures.latency_low_ms:.4g} to {figures.latency_high_ms:.4g}",
            f"{record.latency.mean_ms:.2f} ± {record.latency.stdev_ms:.2f}",
            interval(figures.speedup, figures.speedup_low, figures.speedup_high),
            figures.efficiency_text,
            *top1,
            f"{bar}{'  ← slower than the step before' if point.is_slower else ''}",
        )
    data_console.print(rows)
