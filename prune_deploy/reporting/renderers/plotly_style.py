"""Parts of plotly figures that all kinds of charts share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from prune_deploy.reporting.charts import Axis
from prune_deploy.reporting.charts.ticks import log_ticks
from prune_deploy.reporting.renderers.palette import GRID, INK, MUTED, PAPER

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
_DIGITS = 5


def layout(x: dict[str, Any], y: dict[str, Any], height: int, **more: Any) -> dict[str, Any]:
    """Return the layout of a figure of this height in pixels."""
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


def axis_of(axis: Axis, values: Sequence[float] = (), **more: Any) -> dict[str, Any]:
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


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Round to enough digits for a pixel.

    It keeps the file small, because reports are sent by mail.
    """
    return [None if value is None else float(f"{value:.{_DIGITS}g}") for value in values]


def hover_lines(text: Sequence[str]) -> str:
    """Return the lines of a hover label, the first one bold."""
    if not text:
        return ""
    first, *rest = (escape(line) for line in text)
    return "<br>".join([f"<b>{first}</b>", *rest])
