"""Plots of a report as PNG files, drawn by matplotlib.

They have the light edition's colours.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from prune_deploy.reporting.charts import (
    Axis,
    Bars,
    Boxes,
    Forest,
    PairedBars,
    Scatter,
    Series,
    curve_views,
    distribution_views,
    forest,
    operator_views,
    tradeoff_views,
    waterfall_views,
)
from prune_deploy.reporting.charts.chart import Chart, cut_off, reach
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.explain.trace_pairs import trace_pairs
from prune_deploy.reporting.figures.formatting import number
from prune_deploy.reporting.figures.report import Report
from prune_deploy.reporting.renderers.palette import BETTER, GRID, INK, MUTED, WORSE, of_backend
from prune_deploy.reporting.renderers.png_forest import draw_forest, set_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 160
_WIDTH_IN = 7.0
_ROW_IN = 0.55
_FOREST_ROW_IN = 0.27
_NOTE_CHARACTERS = 140
_LONGEST_NAME = 120
_LONGEST_TEXT = 1000
_UNDRAWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def render_plots(report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield every plot with its file's name.

    Raises:
        InputError: a file of samples is damaged.
        VerificationError: samples differ from those that were measured.
    """
    overview = forest(report)
    if overview is not None:
        yield f"{overview.name}.png", _draw(_drawable(overview))
    sections = (curve_views, tradeoff_views, distribution_views, waterfall_views)
    for views in (*(section(report) for section in sections), operator_views(trace_pairs(report))):
        for view in views:
            for chart in view.charts:
                name = re.sub(r"[^A-Za-z0-9._-]+", "-", view.name)[:_LONGEST_NAME].strip("-")
                yield f"{chart.name}-{name}.png", _draw(_drawable(chart))


def _drawable(value: Any) -> Any:
    """Return a chart with texts that a font has glyphs for.

    Names come from unknown sources. Control characters and half surrogate pairs become question marks.
    """
    if isinstance(value, str):
        return _UNDRAWABLE.sub("?", value)[:_LONGEST_TEXT]
    if isinstance(value, tuple):
        return tuple(map(_drawable, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _drawable(getattr(value, each.name)) for each in fields(value)})
    return value


_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.edgecolor": GRID.light,
    "axes.labelcolor": MUTED.light,
    "text.color": INK.light,
    "text.parse_math": False,  # a label may hold a dollar sign
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


def _draw(chart: Chart | Forest) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, _height_in(chart)), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.grid(True, color=GRID.light, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(chart.title, fontsize=11)
        axes.set_xlabel(chart.x.title)
        _draw_on(axes, chart)
        # matplotlib's own wrapping takes what stands between dollar signs for a formula.
        note = textwrap.fill(chart.note, _NOTE_CHARACTERS)
        figure.supxlabel(note, fontsize=7, color=MUTED.light, x=0.01, ha="left")
        stream = io.BytesIO()
        # The file contains no date and no version, so the same run gives the same file.
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _height_in(chart: Chart | Forest) -> float:
    """Return the height of a picture, which follows its rows."""
    if isinstance(chart, Scatter):
        return 4.4
    if isinstance(chart, Forest):
        return 1.4 + _FOREST_ROW_IN * (len(chart.rows) + len(chart.groups))
    return 1.2 + _ROW_IN * len(chart.boxes if isinstance(chart, Boxes) else chart.bars)


def _draw_on(axes: Axes, chart: Chart | Forest) -> None:
    if isinstance(chart, Forest):
        draw_forest(axes, chart)
    elif isinstance(chart, Scatter):
        _draw_scatter(axes, chart)
    elif isinstance(chart, Boxes):
        _draw_boxes(axes, chart)
    elif isinstance(chart, Bars):
        _draw_bars(axes, chart)
    else:
        _draw_pairs(axes, chart)


def _draw_scatter(axes: Axes, whole: Scatter) -> None:
    chart, cuts = cut_off(whole)
    axes.set_ylabel(chart.y.title)
    points = [point for series in chart.series for point in series.points]
    xs = [point.x for point in points]
    low, high = reach(points)
    if chart.level is not None:
        axes.axhline(chart.level, color=MUTED.light, linewidth=0.8)
    if chart.diagonal:
        ends = [min(1.0, *xs), max(xs)]
        axes.plot(ends, ends, color=MUTED.light, linewidth=1.2, linestyle="--", label=chart.guide)
    named: set[str] = set()
    for series in chart.series:
        _draw_series(axes, series, is_named=series.backend not in named)
        named |= {series.backend} if series.style != "front" else set()
    for cut in cuts:  # the interval goes on beyond the frame
        axes.plot(cut.x, cut.y, marker="^" if cut.is_above else "v", markersize=5, color=of_backend(cut.backend)[0].light)
    slower = [point for point in points if point.mark == "slower"]
    if slower:
        axes.scatter(
            [point.x for point in slower],
            [point.y for point in slower],
            s=150,
            facecolors="none",
            edgecolors=WORSE.light,
            linewidths=1.8,
            label="slower than the step before",
        )
    _scale(axes, "x", chart.x, xs)
    _scale(axes, "y", chart.y, [low, high])
    axes.set_ylim(low / 1.1, high * 1.1)
    axes.legend(frameon=False, fontsize=8, loc="best")


def _draw_series(axes: Axes, series: Series, *, is_named: bool) -> None:
    tone, _, marker = of_backend(series.backend)
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
    if series.style == "front":
        axes.plot(xs, ys, color=tone.light, linewidth=1.0, alpha=0.5)
        return
    across = _reaches([(point.x, point.x_low, point.x_high) for point in series.points])
    along = _reaches([(point.y, point.low, point.high) for point in series.points])
    line = "-" if series.style == "line" else "none"
    axes.errorbar(xs, ys, xerr=across, yerr=along, color=tone.light, linewidth=1.4, linestyle=line, capsize=2.5, elinewidth=1.0)
    if is_named:
        axes.plot([], [], color=tone.light, marker=marker, linestyle=line, label=series.name)
    for point in series.points:
        face = "white" if point.mark in ("zeroed", "undecided") else (INK.light if point.mark == "dense" else tone.light)
        axes.plot(point.x, point.y, marker=marker, markersize=6, markerfacecolor=face, markeredgecolor=tone.light)


def _reaches(intervals: Sequence[tuple[float, float | None, float | None]]) -> list[list[float]] | None:
    """Return the distances from values to the ends of their intervals.

    It is None where no value has an interval.
    """
    if all(low is None and high is None for _, low, high in intervals):
        return None
    ends = [
        (value - (value if low is None else low), (value if high is None else high) - value) for value, low, high in intervals
    ]
    return [[below for below, _ in ends], [above for _, above in ends]]


def _scale(axes: Axes, which: str, axis: Axis, values: list[float]) -> None:
    """Set a logarithmic axis with round numbers, or keep a linear one."""
    if axis.scale == "linear":
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    set_ticks(axes.xaxis if which == "x" else axes.yaxis, log_ticks(0.95 * min(values), 1.05 * max(values)))


def _draw_boxes(axes: Axes, chart: Boxes) -> None:
    for row, box in enumerate(chart.boxes):
        tone = {"candidate": BETTER, "copy": MUTED}.get(box.role, INK)
        axes.plot(box.whiskers, [row, row], color=tone.light, linewidth=1.2)
        axes.barh(
            row, box.quartiles[1] - box.quartiles[0], left=box.quartiles[0], height=0.26, facecolor="white", edgecolor=tone.light
        )
        axes.plot([0, 0], [row - 0.13, row + 0.13], color=tone.light, linewidth=1.6)
        heights = [row + 0.22 + 0.18 * index / len(box.samples) for index in range(len(box.samples))]
        axes.scatter(box.samples, heights, s=3, color=tone.light, alpha=0.5, linewidths=0)
    _rows(axes, [f"{box.name}\n{number(box.median_ms)} ms" for box in chart.boxes])


def _draw_bars(axes: Axes, chart: Bars) -> None:
    colours = {"total": INK.light, "less": BETTER.light, "more": WORSE.light}
    for row, bar in enumerate(chart.bars):
        axes.barh(row, bar.end - bar.start, left=bar.start, height=0.5, color=colours[bar.kind])
    axes.set_xlim(0, 1.04 * max(max(bar.start, bar.end) for bar in chart.bars))
    _rows(axes, [f"{bar.name}\n{bar.text}" for bar in chart.bars])


def _draw_pairs(axes: Axes, chart: PairedBars) -> None:
    before, after = [bar.before for bar in chart.bars], [bar.after for bar in chart.bars]
    for name, tone, offset, values in ((chart.names[0], INK, -0.13, before), (chart.names[1], BETTER, 0.13, after)):
        axes.barh([row + offset for row in range(len(values))], values, height=0.22, color=tone.light, label=name)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _rows(axes, [f"{bar.name}\n{bar.text}" for bar in chart.bars])


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
