"""The forest plot of speed-ups, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prune_deploy.reporting.charts.forest import Forest, ForestRow
from prune_deploy.reporting.renderers.palette import BETTER, INK, MUTED, WORSE, Tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as MatplotlibAxis

_LONGEST_NAME = 60
_TONES = {"FASTER": BETTER, "SLOWER": WORSE, "SAME": INK}


def draw_forest(axes: Axes, chart: Forest) -> None:
    """Draw the rows of each group below the group's name."""
    axes.axvline(1.0, color=INK.light, linewidth=1.0)
    if chart.macs_ratio is not None:
        axes.axvline(chart.macs_ratio, color=MUTED.light, linewidth=1.0, linestyle="--")
    names: list[str] = []
    heads: list[int] = []
    for group in chart.groups:
        heads.append(len(names))
        names.append(_shortened(group.name))
        for row in group.rows:
            _draw_row(axes, chart, row, len(names))
            names.append(_shortened(f"{row.name} {row.detail}".strip()))
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for head in heads:
        axes.get_yticklabels()[head].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    _scale(axes, chart)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _draw_row(axes: Axes, chart: Forest, row: ForestRow, at: int) -> None:
    """Draw one case.

    Ends that lie beyond the frame become arrows at its edge.
    """
    tone: Tone = _TONES.get(row.verdict, MUTED)
    low, high = max(row.low, chart.span.low), min(row.high, chart.span.high)
    axes.plot([low, high], [at, at], color=tone.light, linewidth=1.4)
    for is_cut, end, marker in ((row.interval.goes_below, low, "<"), (row.interval.goes_above, high, ">")):
        axes.plot(end, at, marker=marker if is_cut else "|", markersize=5, color=tone.light, clip_on=False)
    if chart.macs_ratio is None and row.macs_ratio is not None:
        axes.plot([row.macs_ratio] * 2, [at - 0.35, at + 0.35], color=MUTED.light, linewidth=1.0, linestyle="--")
    face = "white" if row.mark in ("zeroed", "undecided") else tone.light
    axes.plot(row.speedup, at, marker="o", markersize=5, markerfacecolor=face, markeredgecolor=tone.light)
    axes.annotate(row.text, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=7, annotation_clip=False)


def _scale(axes: Axes, chart: Forest) -> None:
    axes.set_xscale("log")
    axes.set_xlim(chart.span.low, chart.span.high)
    set_ticks(axes.xaxis, chart.span.ticks)


def set_ticks(axis: MatplotlibAxis, ticks: Sequence[float]) -> None:
    """Write these numbers on a logarithmic axis, and no others."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
