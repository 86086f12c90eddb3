"""Charts as plain data: points with intervals, boxes of samples, bars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

_ROOM = 2.0

Scale = Literal["linear", "log"]
Style = Literal["points", "line", "front"]
"""Drawing style of a series.

- points: points alone.
- line: points joined by a line.
- front: a Pareto front, drawn as steps without points.
"""

Mark = Literal["", "dense", "zeroed", "slower", "undecided"]
"""Reason why a point stands out.

It is the dense model, zeroed weights, a step slower than the one before, or an open verdict.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Axis with its unit in the title."""

    title: str
    scale: Scale = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Figure with its interval along y, and optionally along x.

    `text` are the lines shown for it.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    mark: Mark = ""
    text: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one backend.

    `backend` determines their colour and shape.
    """

    name: str
    backend: str
    style: Style
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Series over common axes.

    `diagonal` draws y = x, and `level` a horizontal line. `guide` names both.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    diagonal: bool = False
    level: float | None = None
    guide: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Samples of one candidate, in percent above or below their median.

    Quartiles and whiskers (5 %, 95 %) are of all `count` samples. `samples` are some of them, evenly taken over time.
    """

    name: str
    role: str
    median_ms: float
    quartiles: tuple[float, float]
    whiskers: tuple[float, float]
    samples: tuple[float, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Distributions side by side, along x."""

    name: str
    title: str
    x: Axis
    boxes: tuple[Box, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Bar from `start` to `end`: a total, or an increase or decrease."""

    name: str
    start: float
    end: float
    kind: Literal["total", "less", "more"]
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Waterfall from the first bar to the last."""

    name: str
    title: str
    x: Axis
    bars: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedBar:
    """One quantity before and after, both from 0."""

    name: str
    before: float
    after: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedBars:
    """Quantities in pairs. `names` are those of the two sides."""

    name: str
    title: str
    x: Axis
    names: tuple[str, str]
    bars: tuple[PairedBar, ...]
    note: str = ""


def reach(points: Iterable[Point]) -> tuple[float, float]:
    """Return the range of y to show, both ends above 0.

    It includes all values, and intervals as far as they leave the values readable.
    """
    points = list(points)
    low, high = min(point.y for point in points), max(point.y for point in points)
    lows = [point.low for point in points if point.low is not None]
    highs = [point.high for point in points if point.high is not None]
    return max(min([low, *lows]), low / _ROOM), min(max([high, *highs]), high * _ROOM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Edge of the frame where an interval goes on beyond it."""

    x: float
    y: float
    backend: str
    is_above: bool


def cut_off(chart: Scatter) -> tuple[Scatter, tuple[Cut, ...]]:
    """Return a chart with its intervals cut off at its frame.

    The second value is where they were cut.
    """
    low, high = reach(point for series in chart.series for point in series.points)
    cuts: list[Cut] = []

    def framed(point: Point, backend: str) -> Point:
        if point.low is not None and point.low < low:
            cuts.append(Cut(x=point.x, y=low, backend=backend, is_above=False))
            point = replace(point, low=low)
        if point.high is not None and point.high > high:
            cuts.append(Cut(x=point.x, y=high, backend=backend, is_above=True))
            point = replace(point, high=high)
        return point

    series = tuple(
        replace(each, points=tuple(framed(point, each.backend) for point in each.points)) if each.style != "front" else each
        for each in chart.series
    )
    return replace(chart, series=series), tuple(cuts)


Chart = Scatter | Boxes | Bars | PairedBars


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Charts of the same cases, one of the choices of a reader.

    `name` is unique in its section.
    """

    name: str
    charts: tuple[Chart, ...] = field(default_factory=tuple)
