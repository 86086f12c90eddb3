"""Size and accuracy against time.

The charts show which models are on the Pareto front, and how much of the saved arithmetic became saved time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from prune_deploy.reporting.charts.chart import Axis, Point, Scatter, Series, View
from prune_deploy.reporting.charts.hover import describe, mark
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.report import Line, Report

_LEAST_RATIOS = 3
"""Fewest ratios of a plot against size. Of fewer the forest plot says it already."""


def tradeoff_views(report: Report) -> list[View]:
    """Return one view per machine, model, precision and batch.

    Each shows speed-up against MACs and latency against MACs where there are three ratios or more, and latency against accuracy.
    Parameters fall as MACs do, and have no plot of their own. Absolute times are only shown together with those of the same machine.
    """
    groups: dict[tuple[str, str, str, int], list[Line]] = {}
    for line in report.lines:
        row = line.row
        if row.latency_ms is not None and row.params is not None:
            groups.setdefault((line.machine, row.model, row.precision, row.batch), []).append(line)
    several = len({machine for machine, *_ in groups}) > 1
    views = []
    for (machine, model, precision, batch), lines in groups.items():
        name = f"{model}, {precision}, batch {batch}{f', {machine}' if several else ''}"
        sized = [_speedups(name, lines), _sizes(name, lines)] if _ratios(lines) >= _LEAST_RATIOS else []
        charts = [*sized, _accuracies(name, lines)]
        views.append(View(name=name, charts=tuple(chart for chart in charts if chart.series)))
    return [view for view in views if view.charts]


def _speedups(name: str, lines: Sequence[Line]) -> Scatter:
    series = []
    for backend, own in _by_backend(lines):
        points = tuple(
            Point(
                x=line.row.macs_ratio,
                y=line.row.speedup,
                low=line.row.speedup_low,
                high=line.row.speedup_high,
                mark=mark(line.row),
                text=describe(line.row, line.machine),
            )
            for line in own
            if line.row.speedup is not None and line.row.macs_ratio is not None
        )
        if points:
            series.append(Series(name=backend_title(backend), backend=backend, style="points", points=points))
    return Scatter(
        name="speedup-macs",
        title="Speed-up against removed MACs",
        x=Axis(title="Dense MACs / this model's MACs", scale="log"),
        y=Axis(title="Speed-up over dense (×)", scale="log"),
        series=tuple(series),
        diagonal=True,
        level=1.0,
        guide="every removed MAC saves its share of time",
        note=f"{name}. Intervals are 97.5 %. On the dashed line time falls as MACs do; below 1 the pruned model is slower.",
    )


def _ratios(lines: Sequence[Line]) -> int:
    """Count the sizes of the pruned models, zeroed weights apart."""
    pruned = [line.row for line in lines if line.row.role == "candidate" and not line.row.zeroed]
    return len({row.macs_with_attention for row in pruned})


def _sizes(name: str, lines: Sequence[Line]) -> Scatter:
    def point(line: Line) -> Point:
        return _latency_at((line.row.macs_with_attention or 0) / 1e9, line)

    return Scatter(
        name="latency-macs",
        title="Latency against MACs",
        x=Axis(title="MACs per image (G)", scale="log"),
        y=Axis(title="Latency (ms per batch)", scale="log"),
        series=_with_fronts(lines, point, zeroed_count=False),
        note=f"{name}. The line is each backend's Pareto front: no other model keeps as much and is faster.",
    )


def _accuracies(name: str, lines: Sequence[Line]) -> Scatter:
    scored = [line for line in lines if line.row.top1 is not None]
    sets = ", ".join(dict.fromkeys(f"{line.row.accuracy_images:,} images of {line.row.data}" for line in scored))

    def point(line: Line) -> Point:
        row = line.row
        top1, low, high = (None if share is None else 100 * share for share in (row.top1, row.top1_low, row.top1_high))
        return replace(_latency_at(top1 or 0.0, line), x_low=low, x_high=high)

    return Scatter(
        name="latency-accuracy",
        title="Latency against accuracy",
        x=Axis(title="Top-1 (%)"),
        y=Axis(title="Latency (ms per batch)", scale="log"),
        series=_with_fronts(scored, point, zeroed_count=True),
        note=f"{name}, {sets}. Intervals are 97.5 %. The line is each backend's Pareto front: no other model is as accurate and faster.",
    )


def _latency_at(x: float, line: Line) -> Point:
    row = line.row
    return Point(
        x=x,
        y=row.latency_ms or 0.0,
        low=row.latency_low_ms,
        high=row.latency_high_ms,
        mark=mark(row),
        text=describe(row, line.machine),
    )


def _with_fronts(lines: Sequence[Line], point: Callable[[Line], Point], *, zeroed_count: bool) -> tuple[Series, ...]:
    """Return each backend's points and their Pareto front."""
    series = []
    for backend, own in _by_backend(_first_dense(lines)):
        points = tuple(map(point, own))
        series.append(Series(name=backend_title(backend), backend=backend, style="points", points=points))
        front = pareto_front(points, zeroed_count=zeroed_count)
        if len(front) > 1:
            series.append(Series(name=f"{backend_title(backend)}: Pareto front", backend=backend, style="front", points=front))
    return tuple(series)


def pareto_front(points: Iterable[Point], *, zeroed_count: bool = False) -> tuple[Point, ...]:
    """Return the points that no other one beats, by descending x.

    A point is beaten by another that has at least as much (x) at less time (y). Where no accuracy is known, the size that a
    network keeps stands for what it can learn. Zeroed weights are not kept. The accuracy of a network with zeroed weights counts
    like any other.
    """
    counted = [point for point in points if zeroed_count or point.mark != "zeroed"]
    front: list[Point] = []
    for point in sorted(counted, key=lambda point: (-point.x, point.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return tuple(front)


def _by_backend(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.row.backend, []).append(line)
    return list(groups.items())


def _first_dense(lines: Iterable[Line]) -> list[Line]:
    """Drop the repeats of the dense model.

    It is measured anew beside every few variants.
    """
    seen: set[tuple[str, str]] = set()
    kept = []
    for line in lines:
        key = (line.row.backend, line.row.bundle)
        if line.row.role != "dense" or key not in seen:
            kept.append(line)
            seen.add(key)
    return kept
