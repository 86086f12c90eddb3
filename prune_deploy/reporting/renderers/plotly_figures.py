"""Charts as plotly figures.

They are plain dictionaries, so a report needs plotly.js and none of plotly's Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from prune_deploy.reporting.charts import Axis, Bars, Boxes, Scatter, Series
from prune_deploy.reporting.charts.chart import Chart, Mark, reach
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.figures.formatting import number
from prune_deploy.reporting.renderers.palette import BETTER, GRID, INK, MUTED, PAPER, WORSE, of_backend

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
_ROW_PX = 62
_PLOT_PX = 420
_DIGITS = 5


def figure(chart: Chart) -> dict[str, Any]:
    """Return data and layout of a chart, in the light edition's colours."""
    if isinstance(chart, Scatter):
        return _scatter(chart)
    return _boxes(chart) if isinstance(chart, Boxes) else _bars(chart)


def _layout(x: dict[str, Any], y: dict[str, Any], height: int, **more: Any) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 52, "r": 14, "t": 10, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": MUTED.light},
        "hoverlabel": {
            "align": "left",
            "bgcolor": PAPER.light,
            "bordercolor": GRID.light,
            "font": {"family": FONT, "size": 12, "color": INK.light},
        },
        "hovermode": "closest",
        "xaxis": x,
        "yaxis": y,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
        **more,
    }


def _axis(axis: Axis, values: Sequence[float] = (), **more: Any) -> dict[str, Any]:
    """Return an axis for these values.

    plotly's own labels of a logarithmic axis would be every digit, or none.
    """
    scale: dict[str, Any] = {"type": axis.scale, "nticks": 9}
    if axis.scale == "log" and values:
        low, high = math.log10(min(values)), math.log10(max(values))
        room = 0.05 * (high - low) + 0.02
        ticks = log_ticks(10 ** (low - room), 10 ** (high + room))
        scale |= {"range": [round(low - room, 4), round(high + room, 4)], "tickmode": "array", "tickvals": ticks}
        scale |= {"ticktext": [f"{tick:g}" for tick in ticks]}
    return {
        "title": {"text": escape(axis.title), "standoff": 8},
        "gridcolor": GRID.light,
        "linecolor": GRID.light,
        "zeroline": False,
        "automargin": True,
        **scale,
        **more,
    }


def _scatter(chart: Scatter) -> dict[str, Any]:
    named = {series.backend: series for series in reversed(chart.series) if series.style != "front"}
    traces = [*map(_trace, chart.series), *map(_legend, reversed(named.values()))]
    points = [point for series in chart.series for point in series.points]
    xs = [point.x for point in points] + ([1.0] if chart.diagonal else [])
    low, high = reach(points)
    if chart.level is not None:
        low, high = min(low, chart.level), max(high, chart.level)
    data = [*_guides(chart), *traces, *_rings(chart)]
    return {"data": data, "layout": _layout(_axis(chart.x, xs), _axis(chart.y, (low, high)), _PLOT_PX)}


def _legend(series: Series) -> dict[str, Any]:
    """Return a trace without points for the legend.

    plotly would draw the first point there, which is often a special one.
    """
    tone, symbol, _ = of_backend(series.backend)
    mode = "lines+markers" if series.style == "line" else "markers"
    look = {"marker": {"color": tone.light, "symbol": symbol, "size": 9}, "line": {"color": tone.light, "width": 2}}
    group = {"name": escape(series.name), "legendgroup": series.backend}
    return {"type": "scatter", "x": [None], "y": [None], "mode": mode, **group, **look}


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    """Round to enough digits for a pixel.

    It keeps the file small, because reports are sent by mail.
    """
    return [None if value is None else float(f"{value:.{_DIGITS}g}") for value in values]


def _trace(series: Series) -> dict[str, Any]:
    tone, symbol, _ = of_backend(series.backend)
    points = series.points
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": escape(series.name),
        "legendgroup": series.backend,
        "x": _rounded([point.x for point in points]),
        "y": _rounded([point.y for point in points]),
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
        "text": [_lines(point.text) for point in points],
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
        "array": _rounded([None if high is None else high - value for value, _, high in intervals]),
        "arrayminus": _rounded([None if low is None else value - low for value, low, _ in intervals]),
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def _lines(text: Sequence[str]) -> str:
    if not text:
        return ""
    first, *rest = (escape(line) for line in text)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _rings(chart: Scatter) -> list[dict[str, Any]]:
    """Return rings around the steps that are slower than the one before."""
    slower = [point for series in chart.series for point in series.points if point.mark == "slower"]
    if not slower:
        return []
    return [
        {
            "type": "scatter",
            "name": "slower than the step before",
            "x": _rounded([point.x for point in slower]),
            "y": _rounded([point.y for point in slower]),
            "mode": "markers",
            "hoverinfo": "skip",
            "marker": {"symbol": "circle-open", "size": 19, "color": WORSE.light, "line": {"width": 2.5, "color": WORSE.light}},
        }
    ]


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
        lines.append({**line, "x": _rounded([low, high]), "y": [chart.level, chart.level], "line": style})
    if chart.diagonal:
        ends = _rounded([min(low, 1.0), high])
        style = {"color": MUTED.light, "width": 1.5, "dash": "dash"}
        lines.append({**line, "x": ends, "y": ends, "line": style, "name": escape(chart.guide), "showlegend": True})
    return lines


def _row_axis(count: int) -> dict[str, Any]:
    """Return an axis of rows from top to bottom, without ticks.

    Each row's name stands above it, so that it has room on a telephone too.
    """
    return {"range": [count - 0.4, -0.65], "showgrid": False, "zeroline": False, "showticklabels": False, "fixedrange": True}


def _row_name(text: str, row: int) -> dict[str, Any]:
    return {
        "text": text,
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": row - 0.19,
        "yanchor": "bottom",
        "showarrow": False,
        "align": "left",
        "font": {"size": 12, "color": INK.light},
    }


def _boxes(chart: Boxes) -> dict[str, Any]:
    data: list[dict[str, Any]] = []
    names = []
    for row, box in enumerate(chart.boxes):
        tone = {"candidate": BETTER, "copy": MUTED}.get(box.role, INK)
        text = _lines(
            (
                box.name,
                f"median {number(box.median_ms)} ms of {box.count:,} runs",
                f"half of them within {box.quartiles[0]:+.2g} % and {box.quartiles[1]:+.2g} %",
                f"nine of ten within {box.whiskers[0]:+.2g} % and {box.whiskers[1]:+.2g} %",
            )
        )
        common = {"showlegend": False, "line": {"color": tone.light, "width": 1.5}}
        data.append(
            common
            | {
                "type": "box",
                "orientation": "h",
                "y": [row],
                "q1": _rounded(box.quartiles[:1]),
                "median": [0],
                "q3": _rounded(box.quartiles[1:]),
                "lowerfence": _rounded([box.whiskers[0]]),
                "upperfence": _rounded([box.whiskers[1]]),
                "width": 0.3,
                "fillcolor": "rgba(0,0,0,0)",
                "hoverinfo": "skip",
            }
        )
        drawn = len(box.samples)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": _rounded(box.samples),
                "y": [round(row + 0.22 + 0.2 * index / drawn, 3) for index in range(drawn)],
                "marker": {"size": 3, "color": tone.light, "opacity": 0.45},
                "text": [text] * drawn,
                "hovertemplate": "%{x:+.2f} %<br>%{text}<extra></extra>",
                "showlegend": False,
            }
        )
        names.append(_row_name(f"<b>{escape(box.name)}</b>  {number(box.median_ms)} ms", row))
    axis = _axis(chart.x, zeroline=True, zerolinecolor=MUTED.light, ticksuffix=" %")
    return {"data": data, "layout": _row_layout(axis, names)}


def _row_layout(axis: dict[str, Any], names: list[dict[str, Any]]) -> dict[str, Any]:
    height = 60 + _ROW_PX * len(names)
    return _layout(axis, _row_axis(len(names)), height, annotations=names, margin={"l": 4, "r": 14, "t": 4, "b": 44})


def _bars(chart: Bars) -> dict[str, Any]:
    colours = {"total": INK.light, "less": BETTER.light, "more": WORSE.light}
    names = []
    for row, bar in enumerate(chart.bars):
        detail = f", {escape(bar.detail)}" if bar.detail else ""
        names.append(_row_name(f"{escape(bar.name)}{detail}  <b>{escape(bar.text)}</b>", row))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "y": list(range(len(chart.bars))),
            "base": _rounded([min(bar.start, bar.end) for bar in chart.bars]),
            "x": _rounded([abs(bar.end - bar.start) for bar in chart.bars]),
            "width": 0.36,
            "offset": -0.16,
            "marker": {"color": [colours[bar.kind] for bar in chart.bars], "line": {"width": 0}},
            "text": [_lines((bar.name, bar.text, *([bar.detail] if bar.detail else []))) for bar in chart.bars],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "showlegend": False,
        }
    ]
    return {"data": data, "layout": _row_layout(_axis(chart.x, rangemode="tozero"), names)}
