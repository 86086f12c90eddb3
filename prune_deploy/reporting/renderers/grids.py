"""Plain tables of reports: curves in figures, machines side by side, controls."""

from __future__ import annotations

from dataclasses import dataclass

from prune_deploy.reporting.charts.curve import CurveGroup, curve_groups
from prune_deploy.reporting.figures.curve import CurvePoint
from prune_deploy.reporting.figures.formatting import MISSING, interval, percent, plus_minus, with_half_width
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.report import Line, Report
from prune_deploy.reporting.figures.rows import has_marks
from prune_deploy.reporting.figures.run_warnings import ASTERISK, controls


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Plain table of texts.

    The first `words` columns are words, the others figures. One of them may `wrap`. `marked` rows stand out.
    """

    name: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    wrap: int | None = None
    marked: frozenset[int] = frozenset()
    note: str = ""


def curve_grids(report: Report) -> list[Grid]:
    """Return each group of curves in figures, as in published tables.

    There is a row per ratio, and columns per backend.
    """
    return [_curve_grid(group) for group in curve_groups(report)]


def _curve_grid(group: CurveGroup) -> Grid:
    titles = ["Ratio", "MACs G", "Params M"]
    scored = any(point.row.top1 is not None for curve in group.curves for point in curve.points)
    for curve in group.curves:
        title = backend_title(curve.backend)
        titles += [f"{title}, ms", "mean ± sd", "speed-up", *(["top-1, %"] if scored else [])]
    ratios = sorted({point.ratio for curve in group.curves for point in curve.points})
    rows, marked = [], set()
    for index, value in enumerate(ratios):
        points = [next((point for point in curve.points if point.ratio == value), None) for curve in group.curves]
        first = next(point for point in points if point is not None)
        cells = [f"{value:g}", first.macs_g, first.params_m]
        for point in points:
            if point is None or point.row.latency_ms is None:
                cells += [MISSING if point is None else point.row.status, "", "", *_top1(point, scored)]
                continue
            row = point.row
            arrow = "  ▲" if point.is_slower else ""
            cells += [
                with_half_width(row.latency_ms, row.latency_high_ms) + arrow,
                plus_minus(row.mean_ms, row.stdev_ms),
                interval(row.speedup, row.speedup_low, row.speedup_high),
                *_top1(point, scored),
            ]
            if point.is_slower:
                marked.add(index)
        rows.append(tuple(cells))
    note = "▲ slower than the step before." if marked else ""
    return Grid(name=group.name, titles=tuple(titles), rows=tuple(rows), words=0, marked=frozenset(marked), note=note)


def _top1(point: CurvePoint | None, scored: bool) -> list[str]:
    """Return the cell of an accuracy, where there is such a column."""
    if not scored:
        return []
    return [MISSING if point is None else percent(point.row.top1, point.row.top1_low, point.row.top1_high)]


def side_by_side(report: Report) -> Grid | None:
    """Return the cases that several machines measured, with columns per machine.

    It is None where no two machines did. Speed-ups are comparable, each being over its own machine's dense model. Absolute times
    stand there without a verdict.
    """
    machines = list(dict.fromkeys(run.machine for run in report.runs))
    cases: dict[tuple[str, str, str, int], dict[str, Line]] = {}
    for line in report.lines:
        row = line.row
        cases.setdefault((row.bundle, row.backend, row.precision, row.batch), {}).setdefault(line.machine, line)
    shared = {key: lines for key, lines in cases.items() if len(lines) > 1}
    if not shared:
        return None
    titles = [
        "Model",
        "Backend",
        "Precision",
        "Batch",
        *(f"{machine}: {what}" for machine in machines for what in ("ms", "speed-up")),
    ]
    marks = has_marks(line.row for lines in shared.values() for line in lines.values())
    rows = []
    for (bundle, backend, precision, batch), lines in shared.items():
        cells = [bundle, backend, precision, str(batch)]
        for machine in machines:
            cells += _both_figures(lines.get(machine), marks)
        rows.append(tuple(cells))
    note = "Each speed-up is over the same machine's dense model. Times of different machines carry no verdict."
    if marks:
        note = f"{note} {ASTERISK}."
    return Grid(name="side by side", titles=tuple(titles), rows=tuple(rows), words=3, note=note)


def _both_figures(line: Line | None, marks: bool) -> list[str]:
    if line is None:
        return ["not measured", MISSING]
    row = line.row
    if row.latency_ms is None:
        return [row.status, MISSING]
    speedup = f"{interval(row.speedup, row.speedup_low, row.speedup_high)} {row.marked_verdict(marks)}"
    return [with_half_width(row.latency_ms, row.latency_high_ms), "baseline" if row.role == "dense" else speedup]


def controls_grid(report: Report) -> Grid:
    """Return the dense model against its own copy, in every comparison."""
    rows = tuple((run.machine, control.comparison, control.text) for run in report.runs for control in controls(run.run.cases))
    return Grid(name="controls", titles=("Machine", "Comparison", "Dense / its copy"), rows=rows, words=2)
