"""The iterative curve: time and speed-up step by step, steps that cost time marked."""

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
"""The dense model and three ratios: fewer are no curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveGroup:
    """The curves of one model and method at one batch, one per backend."""

    name: str
    machine: str
    curves: tuple[Curve, ...]


def curve_groups(report: Report) -> list[CurveGroup]:
    """All curves of a report, those together that belong into one picture."""
    several = len({run.machine for run in report.runs}) > 1
    groups: dict[tuple[str, str], list[Curve]] = {}
    for run in report.runs:
        for curve in curves(run.run.cases):
            if len(curve.points) >= LEAST_POINTS and any(point.row.latency_ms is not None for point in curve.points):
                name = curve.name.replace(f" {curve.backend} ", " ")
                groups.setdefault((name, run.machine), []).append(curve)
    return [
        CurveGroup(name=f"{name}, {machine}" if several else name, machine=machine, curves=tuple(found))
        for (name, machine), found in groups.items()
    ]


def curve_views(report: Report) -> list[View]:
    """One view per group: latency over the ratio, and speed-up over the ratio."""
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


def _series(found: Sequence[Curve], place: Callable[[CurvePoint], Point | None]) -> tuple[Series, ...]:
    """A series for each unbroken stretch of a curve: no line is drawn across a step that was not timed."""
    made = []
    for curve in found:
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
    """The step in the chart, None where it was not timed."""
    if value is None:
        return None
    return Point(
        x=step.ratio, y=value, low=low, high=high, mark="slower" if step.is_slower else mark(step.row), text=describe(step.row)
    )
