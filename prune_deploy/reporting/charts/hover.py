"""Texts of a point: the case and all its figures."""

from __future__ import annotations

from prune_deploy.records import NO_DENSE_SPEEDUP
from prune_deploy.reporting.charts.chart import Mark
from prune_deploy.reporting.figures.formatting import amount, interval, number, percent, plus_minus, ratio, with_half_width
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.rows import Row


def describe(row: Row, machine: str = "") -> tuple[str, ...]:
    """Return a case with its figures, the name first."""
    lines = [row.bundle, f"{backend_title(row.backend)}, {row.precision}, batch {row.batch}{f', {machine}' if machine else ''}"]
    if row.latency_ms is not None:
        lines.append(
            f"{with_half_width(row.latency_ms, row.latency_high_ms)} ms, mean ± sd {plus_minus(row.mean_ms, row.stdev_ms)}"
        )
        lines.append(f"{number(row.per_image_ms)} ms per image, {number(row.images_per_s)} images/s")
    if row.speedup is not None:
        lines.append(f"{interval(row.speedup, row.speedup_low, row.speedup_high)}× dense, {row.verdict_text}")
    if row.top1 is not None:
        lines.append(f"top-1 {percent(row.top1, row.top1_low, row.top1_high)} % of {row.data}")
    if row.params is not None:
        lines.append(f"{amount(row.params)} parameters, {amount(row.macs)} MACs")
    if row.macs_ratio is not None and row.role != "dense":
        efficiency = "" if row.known_efficiency is None else f", efficiency {row.efficiency_text}"
        lines.append(f"MACs ÷ {ratio(row.macs_ratio)[:-1]}{efficiency}")
    if row.zeroed:
        lines.append(NO_DENSE_SPEEDUP)
    return tuple(lines)


def mark(row: Row) -> Mark:
    """Return the reason why a case's point stands out."""
    if row.role == "dense":
        return "dense"
    if row.zeroed:
        return "zeroed"
    return "undecided" if row.verdict == "INCONCLUSIVE" else ""
