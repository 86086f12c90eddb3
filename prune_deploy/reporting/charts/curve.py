"""Iterative curve: time and speed-up per step, with slower steps marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from prune_deploy.reporting.charts.chart import Axis, Point, Scatter, Series, View
from prune_deploy.reporting.charts.hover import describe, mark
from prune_deploy.reporting.figures.curve import Curve, CurvePoint, curves
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.report import Report

LEAST_POINTS = 4
"""Fewest points of a curve: the dense model and three ratios."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveGroup:
    """Curves of one model and method at one batch, one per backend."""

    name: str
    machine: str
    curves: tuple[Curve, ...]


def curve_groups(report: Report) -> list[CurveGroup]:
    """Return all curves of a report, grouped by picture."""
    several = len({run.machine for run in report.runs}) > 1
    groups: dict[tuple[str, str], list[Curve]] = {}
    for run in report.runs:
        for curve in curves(run.run.cases):
            if len(curve.points) >= LEAST_POINTS and any(point.row.latency_ms is not None for point in curve.points):
                name = curve.name.replace(f" {curve.backend} ", " ")
                groups.setdefault((name, run.machine), []).append(curve)
    return [
        CurveGroup(name=f"{name}, {machine}" if several else name, machine=machine, curves=tuple(group_curves))
        for (name, machine), group_curves in groups.items()
    ]


def curve_views(report: Report) -> list[View]:
    """Return one view per group: latency and speed-up over the ratio."""
    return [View(name=group.name, charts=(_latency(group), _speedup(group))) for group in curve_groups(report)]


def _latency(group: CurveGroup) -> Scatter:
    return Scatter(
        name="curve-latency",
        title="Latency step by step",
        x=Axis(title="Share of channels removed (ratio)"),
        y=Axis(title="Latency (ms per batch)", scale="log"),
        series=_series(group.curves, lambda p: _point(p, p.row.latency_ms, p.row.latency_low_ms, p.row.latency_high_ms)),
        note=f"{group.name}. Ringed steps are slower than the one before: their speed-up intervals do not overlap. "
        "Where a line is broken, a step could not be timed.",
    )


def _speedup(group: CurveGroup) -> Scatter:
    return Scatter(
        name="curve-speedup",
        title="Speed-up step by step",
        x=Axis(title="Share of channels removed (ratio)"),
        y=Axis(title="Speed-up over dense (×)", scale="log"),
        series=_series(group.curves, _speedup_point),
        level=1.0,
        guide="dense",
        note=f"{group.name}. Each step is measured beside the dense model, so drift between steps cancels.",
    )


def _series(group_curves: Sequence[Curve], place: Callable[[CurvePoint], Point | None]) -> tuple[Series, ...]:
    """Return a series for each unbroken stretch of a curve.

    A step that was not timed breaks the line.
    """
    made = []
    for curve in group_curves:
        for is_there, stretch in groupby(map(place, curve.points), key=lambda point: point is not None):
            if is_there:
                points = tuple(point for point in stretch if point is not None)
                made.append(Series(name=backend_title(curve.backend), backend=curve.backend, style="line", points=points))
    return tuple(made)


def _speedup_point(step: CurvePoint) -> Point | None:
    row = step.row
    if row.role == "dense":  # the unit of the axis, wherever it was timed
        return None if row.latency_ms is None else _point(step, 1.0, None, None)
    return _point(step, row.speedup, row.speedup_low, row.speedup_high)


def _point(step: CurvePoint, value: float | None, low: float | None, high: float | None) -> Point | None:
    """Return the step in the chart, None where it was not timed."""
    if value is None:
        return None
    return Point(
        x=step.ratio, y=value, low=low, high=high, mark="slower" if step.is_slower else mark(step.row), text=describe(step.row)
    )
