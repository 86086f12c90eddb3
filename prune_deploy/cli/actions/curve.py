"""Measures a curve and prints its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prune_deploy.cli.actions.sweep import carry_out
from prune_deploy.cli.options.sweep import block_settings, sweep_of
from prune_deploy.cli.options.values import build
from prune_deploy.cli.output.console import data_console, say, table
from prune_deploy.cli.output.latency_table import print_reasons, print_warnings
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.curve import Curve, CurvePoint, curves
from prune_deploy.reporting.figures.formatting import interval, percent
from prune_deploy.reporting.figures.rows import row
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
    for found in curves(records):
        for point in found.points:
            if point.ratio:
                say(f"  {found.name} step {point.ratio:.2f}: {_figures(point)}")


def _figures(point: CurvePoint) -> str:
    each = point.row
    if each.latency_ms is None:
        return f"{each.status}: {each.reason}"
    return f"{each.latency_ms:.4g} ms, {interval(each.speedup, each.speedup_low, each.speedup_high)}×"


def _print_curves(records: Sequence[CaseRecord]) -> None:
    for found in curves(records):
        _print_curve(found)
    print_reasons(records)
    print_warnings([row(record) for record in records])


def _print_curve(found: Curve) -> None:
    """Return a curve as a table with bars.

    MACs and time stand side by side and show where one does not follow the other.
    """
    scored = any(point.row.top1 is not None for point in found.points)
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
        title=found.name,
    )
    dense_ms = found.points[0].row.latency_ms
    for point in found.points:
        each, record = point.row, point.record
        top1 = [percent(each.top1, each.top1_low, each.top1_high)] if scored else []
        if each.latency_ms is None or record.latency is None or dense_ms is None:
            rows.add_row(f"{point.ratio:.2f}", point.macs_g, point.params_m, each.status, "", "", "", "", *top1, "")
            continue
        bar = "█" * max(1, round(_BAR * each.latency_ms / dense_ms))
        rows.add_row(
            f"{point.ratio:.2f}",
            point.macs_g,
            point.params_m,
            f"{each.latency_ms:.4g}",
            interval(None, None, None)
            if each.latency_low_ms is None
            else f"{each.latency_low_ms:.4g} to {each.latency_high_ms:.4g}",
            f"{record.latency.mean_ms:.2f} ± {record.latency.stdev_ms:.2f}",
            interval(each.speedup, each.speedup_low, each.speedup_high),
            "-" if each.efficiency is None else f"{each.efficiency:.2f}",
            *top1,
            f"{bar}{'  ← slower than the step before' if point.is_slower else ''}",
        )
    data_console.print(rows)
