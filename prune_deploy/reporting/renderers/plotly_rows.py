"""Charts of rows as plotly figures.

They are boxes of samples, waterfalls and pairs of bars, made of the types `scatter` and `bar` alone, which plotly's basic bundle has.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from prune_deploy.reporting.charts import Bars, Boxes, PairedBars
from prune_deploy.reporting.charts.chart import Box
from prune_deploy.reporting.figures.formatting import number
from prune_deploy.reporting.renderers.palette import BETTER, INK, MUTED, WORSE, Tone
from prune_deploy.reporting.renderers.plotly_style import axis_of, hover_lines, layout, rounded

_ROW_PX = 62


def row_figure(chart: Boxes | Bars | PairedBars) -> dict[str, Any]:
    """Return data and layout, in the light edition's colours."""
    if isinstance(chart, Boxes):
        return _boxes(chart)
    return _bars(chart) if isinstance(chart, Bars) else _paired(chart)


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
        data += _box(box, row)
        names.append(_row_name(f"<b>{escape(box.name)}</b>  {number(box.median_ms)} ms", row))
    axis = axis_of(chart.x, zeroline=True, zerolinecolor=MUTED.light, ticksuffix=" %")
    return {"data": data, "layout": _row_layout(axis, names)}


def _box(box: Box, row: int) -> list[dict[str, Any]]:
    """Return a box with whiskers and median, and samples below it."""
    tone = {"candidate": BETTER, "copy": MUTED}.get(box.role, INK)
    first, third = box.quartiles
    quiet: dict[str, Any] = {"showlegend": False, "hoverinfo": "skip"}
    line = {"color": tone.light, "width": 1.5}
    text = hover_lines(
        (
            box.name,
            f"median {number(box.median_ms)} ms of {box.count:,} runs",
            f"half of them within {first:+.2g} % and {third:+.2g} %",
            f"nine of ten within {box.whiskers[0]:+.2g} % and {box.whiskers[1]:+.2g} %",
        )
    )
    outline: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": [row],
        "base": rounded([first]),
        "x": rounded([third - first]),
    }
    outline |= {"width": 0.3, "offset": -0.15, "marker": {"color": "rgba(0,0,0,0)", "line": line}}
    drawn = len(box.samples)
    return [
        outline | quiet,
        _stroke((box.whiskers[0], first), (row, row), line) | quiet,
        _stroke((third, box.whiskers[1]), (row, row), line) | quiet,
        _stroke((0.0, 0.0), (row - 0.15, row + 0.15), line) | quiet,
        {
            "type": "scatter",
            "mode": "markers",
            "x": rounded(box.samples),
            "y": [round(row + 0.22 + 0.2 * index / drawn, 2) for index in range(drawn)],
            "marker": {"size": 3, "color": tone.light, "opacity": 0.45},
            "text": text,  # one for all points
            "hovertemplate": "%{x:+.2f} %<br>%{text}<extra></extra>",
            "showlegend": False,
        },
    ]


def _stroke(xs: Sequence[float], ys: Sequence[float], line: dict[str, Any]) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": rounded(xs), "y": list(ys), "line": line}


def _row_layout(axis: dict[str, Any], names: list[dict[str, Any]]) -> dict[str, Any]:
    height = 60 + _ROW_PX * len(names)
    return layout(axis, _row_axis(len(names)), height, annotations=names, margin={"l": 4, "r": 14, "t": 4, "b": 44})


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
            "base": rounded([min(bar.start, bar.end) for bar in chart.bars]),
            "x": rounded([abs(bar.end - bar.start) for bar in chart.bars]),
            "width": 0.36,
            "offset": -0.16,
            "marker": {"color": [colours[bar.kind] for bar in chart.bars], "line": {"width": 0}},
            "text": [hover_lines((bar.name, bar.text, *([bar.detail] if bar.detail else []))) for bar in chart.bars],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "showlegend": False,
        }
    ]
    return {"data": data, "layout": _row_layout(axis_of(chart.x, rangemode="tozero"), names)}


def _paired(chart: PairedBars) -> dict[str, Any]:
    names = [_row_name(f"{escape(bar.name)}  <b>{escape(bar.text)}</b>", row) for row, bar in enumerate(chart.bars)]
    data = [
        _side(chart, chart.names[0], [bar.before for bar in chart.bars], INK, offset=-0.14),
        _side(chart, chart.names[1], [bar.after for bar in chart.bars], BETTER, offset=0.08),
    ]
    made = _row_layout(axis_of(chart.x, rangemode="tozero"), names)
    made |= {"barmode": "overlay", "height": made["height"] + 30, "margin": made["margin"] | {"t": 30}}
    return {"data": data, "layout": made}


def _side(chart: PairedBars, name: str, values: Sequence[float], tone: Tone, *, offset: float) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": escape(name),
        "y": list(range(len(chart.bars))),
        "x": rounded(values),
        "width": 0.2,
        "offset": offset,
        "marker": {"color": tone.light, "line": {"width": 0}},
        "text": [hover_lines((bar.name, f"{name} {number(value)} ms")) for bar, value in zip(chart.bars, values, strict=True)],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
