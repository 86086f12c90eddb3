"""Forest plot: the speed-up of each case with its interval, by backend.

Every picture of a speed-up has its scale from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prune_deploy.reporting.charts.chart import Axis, Mark, Point, reach
from prune_deploy.reporting.charts.hover import mark
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.figures.formatting import ratio, times
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.report import Line, Report
from prune_deploy.reporting.figures.rows import Row

_ROOM = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpan:
    """Logarithmic axis from `low` to `high`, both above 0."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return a value's place in percent, cut off at the edges."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[float]:
        """Return the round numbers to write below it."""
        return log_ticks(self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A speed-up's interval on an axis, in percent of its width.

    `goes_below` and `goes_above` tell that it was cut off there. `macs` is the place of the MACs ratio, None where it is unknown.
    """

    low: float
    value: float
    high: float
    dense: float
    macs: float | None
    goes_below: bool
    goes_above: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """One case: its name, its figures and its interval."""

    id: str
    name: str
    detail: str
    backend: str
    speedup: float
    low: float
    high: float
    macs_ratio: float | None
    verdict: str
    mark: Mark
    text: str
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestGroup:
    """Cases of one backend on one machine."""

    name: str
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Forest plot over one axis.

    `macs_ratio` is that of all rows, None where they differ and each has a tick of its own.
    """

    name: str
    title: str
    x: Axis
    span: LogSpan
    groups: tuple[ForestGroup, ...]
    macs_ratio: float | None
    note: str

    @property
    def rows(self) -> tuple[ForestRow, ...]:
        """Return the rows of all groups."""
        return tuple(row for group in self.groups for row in group.rows)


def speedup_span(rows: Iterable[Row]) -> LogSpan:
    """Return the axis for the speed-ups of cases.

    It includes 1 and the MACs ratios, and intervals as far as they leave the values readable.
    """
    timed = [row for row in rows if row.speedup is not None]
    points = [Point(x=0.0, y=row.speedup or 0.0, low=row.speedup_low, high=row.speedup_high) for row in timed]
    low, high = reach(points) if points else (1.0, 1.0)
    expected = [row.macs_ratio for row in timed if row.macs_ratio is not None]
    low, high = min(low, 1.0, *expected), max(high, 1.0, *expected)
    room = (high / low) ** _ROOM * 1.02
    return LogSpan(low=low / room, high=high * room)


def place_interval(row: Row, span: LogSpan) -> Interval | None:
    """Return a case's interval on an axis, None where it has none."""
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return None
    return Interval(
        low=span.place(row.speedup_low),
        value=span.place(row.speedup),
        high=span.place(row.speedup_high),
        dense=span.place(1.0),
        macs=None if row.macs_ratio is None else span.place(row.macs_ratio),
        goes_below=row.speedup_low < span.low,
        goes_above=row.speedup_high > span.high,
    )


def forest(report: Report) -> Forest | None:
    """Return the plot of all candidates with an interval, None without any."""
    lines = [line for line in report.lines if line.row.role == "candidate" and line.row.speedup_low is not None]
    if not lines:
        return None
    span = speedup_span(line.row for line in lines)
    groups: dict[str, list[Line]] = {}
    several = len({line.machine for line in lines}) > 1
    for line in lines:
        name = backend_title(line.row.backend)
        groups.setdefault(f"{name}, {line.machine}" if several else name, []).append(line)
    made = tuple(ForestGroup(name=name, rows=_rows(own, lines, span)) for name, own in groups.items())
    ratios = {ratio(line.row.macs_ratio) for line in lines}
    return Forest(
        name="forest",
        title="Speed-up over dense",
        x=Axis(title="Speed-up over dense (×)", scale="log"),
        span=span,
        groups=made,
        macs_ratio=lines[0].row.macs_ratio if len(ratios) == 1 else None,
        note=_note([row.interval for group in made for row in group.rows], several_ratios=len(ratios) > 1),
    )


def _rows(own: Sequence[Line], lines: Sequence[Line], span: LogSpan) -> tuple[ForestRow, ...]:
    differs = [name for name in ("precision", "batch") if len({getattr(line.row, name) for line in lines}) > 1]
    rows = []
    for line in sorted(own, key=lambda each: (each.row.model, each.row.precision, each.row.batch)):
        row, placed = line.row, place_interval(line.row, span)
        if placed is None or row.speedup is None or row.speedup_low is None or row.speedup_high is None:
            continue
        parts = {"precision": row.precision.upper(), "batch": f"batch {row.batch}"}
        details = [parts[name] for name in differs] + (["zeroed"] if row.zeroed else [])
        rows.append(
            ForestRow(
                id=line.id,
                name=row.bundle,
                detail=", ".join(details),
                backend=row.backend,
                speedup=row.speedup,
                low=row.speedup_low,
                high=row.speedup_high,
                macs_ratio=row.macs_ratio,
                verdict=(row.verdict or row.status),
                mark=mark(row),
                text=times(row.speedup, row.speedup_low, row.speedup_high),
                interval=placed,
            )
        )
    return tuple(rows)


def _note(intervals: Sequence[Interval], *, several_ratios: bool) -> str:
    """Explain the marks that are in the plot."""
    marks = "Ticks stand" if several_ratios else "The dashed line stands"
    parts = ["Dots are speed-ups with their 97.5 % intervals, on a logarithmic axis. The solid line at 1 is the dense model."]
    if any(each.macs is not None for each in intervals):
        parts.append(f"{marks} at dense MACs over the model's own, the speed-up that the count of MACs suggests.")
    if any(each.goes_below or each.goes_above for each in intervals):
        parts.append("An arrow marks an interval that goes on beyond the frame.")
    return " ".join(parts)
