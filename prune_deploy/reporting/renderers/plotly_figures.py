"""Charts as plotly figures.

They are plain dictionaries, so a report needs plotly.js and none of plotly's Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from prune_deploy.reporting.charts import Scatter, Series
from prune_deploy.reporting.charts.chart import Chart, Cut, Mark, cut_off, reach
from prune_deploy.reporting.renderers.palette import INK, MUTED, WORSE, of_backend
from prune_deploy.reporting.renderers.plotly_rows import row_figure
from prune_deploy.reporting.renderers.plotly_style import axis_of, hover_lines, layout, rounded

_PLOT_PX = 420


def figure(chart: Chart) -> dict[str, Any]:
    """Return data and layout of a chart, in the light edition's colours."""
    return _scatter(chart) if isinstance(chart, Scatter) else row_figure(chart)


def _scatter(whole: Scatter) -> dict[str, Any]:
    chart, cuts = cut_off(whole)
    named = {series.backend: series for series in reversed(chart.series) if series.style != "front"}
    traces = [*map(_trace, chart.series), *map(_legend, reversed(named.values()))]
    points = [point for series in chart.series for point in series.points]
    xs = [point.x for point in points] + ([1.0] if chart.diagonal else [])
    low, high = reach(points)
    if chart.level is not None:
        low, high = min(low, chart.level), max(high, chart.level)
    data = [*_guides(chart), *traces, *_rings(chart), *_arrows(cuts)]
    return {"data": data, "layout": layout(axis_of(chart.x, xs), axis_of(chart.y, (low, high)), _PLOT_PX)}


def _legend(series: Series) -> dict[str, Any]:
    """Return a trace without points for the legend.

    plotly would draw the first point there, which is often a special one.
    """
    tone, symbol, _ = of_backend(series.backend)
    mode = "lines+markers" if series.style == "line" else "markers"
    look = {"marker": {"color": tone.light, "symbol": symbol, "size": 9}, "line": {"color": tone.light, "width": 2}}
    group = {"name": escape(series.name), "legendgroup": series.backend}
    return {"type": "scatter", "x": [None], "y": [None], "mode": mode, **group, **look}


def _trace(series: Series) -> dict[str, Any]:
    tone, symbol, _ = of_backend(series.backend)
    points = series.points
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": escape(series.name),
        "legendgroup": series.backend,
        "x": rounded([point.x for point in points]),
        "y": rounded([point.y for point in points]),
        "mode": {"points": "markers", "line": "lines+markers", "front": "lines"}[series.style],
        "line": {"color": tone.light, "width": 2 if series.style == "line" else 1.5, "dash": "solid"},
    }
    if series.style == "front":
        return trace | {"hoverinfo": "skip", "showlegend": False, "opacity": 0.5}
    if any(point.x_low is not None for point in points):
        trace["error_x"] = _error_bars([(point.x, point.x_low, point.x_high) for point in points], tone.light)
    return trace | {
        "showlegend": False,
        "marker": {
            "color": [INK.light if point.mark == "dense" else tone.light for point in points],
            "symbol": [_symbol(symbol, point.mark) for point in points],
            "size": 9,
            "line": {"color": tone.light, "width": 1.5},
        },
        "error_y": _error_bars([(point.y, point.low, point.high) for point in points], tone.light),
        "text": [hover_lines(point.text) for point in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _symbol(symbol: str, mark: Mark) -> str:
    """Return the marker's symbol.

    It is hollow where weights were only set to zero, and hollow with a dot where the verdict is open.
    """
    return f"{symbol}{ {'zeroed': '-open', 'undecided': '-open-dot'}.get(mark, '') }"


def _error_bars(intervals: Sequence[tuple[float, float | None, float | None]], colour: str) -> dict[str, Any]:
    """Return error bars for values with lower and upper ends."""
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded([None if high is None else high - value for value, _, high in intervals]),
        "arrayminus": rounded([None if low is None else value - low for value, low, _ in intervals]),
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def _rings(chart: Scatter) -> list[dict[str, Any]]:
    """Return rings around the steps that are slower than the one before."""
    slower = [point for series in chart.series for point in series.points if point.mark == "slower"]
    if not slower:
        return []
    return [
        {
            "type": "scatter",
            "name": "slower than the step before",
            "x": rounded([point.x for point in slower]),
            "y": rounded([point.y for point in slower]),
            "mode": "markers",
            "hoverinfo": "skip",
            "marker": {"symbol": "circle-open", "size": 19, "color": WORSE.light, "line": {"width": 2.5, "color": WORSE.light}},
        }
    ]


def _arrows(cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """Return arrows where intervals go on beyond the frame."""
    if not cuts:
        return []
    symbols = ["triangle-up" if cut.is_above else "triangle-down" for cut in cuts]
    marker = {"symbol": symbols, "size": 9, "color": [of_backend(cut.backend)[0].light for cut in cuts]}
    place = {"x": rounded([cut.x for cut in cuts]), "y": rounded([cut.y for cut in cuts])}
    return [{"type": "scatter", "mode": "markers", **place, "marker": marker, "hoverinfo": "skip", "showlegend": False}]


def _guides(chart: Scatter) -> list[dict[str, Any]]:
    """Return y = x and a level line, as wide as the data."""
    xs = [point.x for series in chart.series for point in series.points]
    if not xs:
        return []
    line: dict[str, Any] = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    low, high = min(xs), max(xs)
    lines = []
    if chart.level is not None:
        style = {"color": MUTED.light, "width": 1}
        lines.append({**line, "x": rounded([low, high]), "y": [chart.level, chart.level], "line": style})
    if chart.diagonal:
        ends = rounded([min(low, 1.0), high])
        style = {"color": MUTED.light, "width": 1.5, "dash": "dash"}
        lines.append({**line, "x": ends, "y": ends, "line": style, "name": escape(chart.guide), "showlegend": True})
    return lines
