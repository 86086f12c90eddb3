"""Time by kind of operator, the dense model's beside the pruned one's."""

from __future__ import annotations

from collections.abc import Sequence

from prune_deploy.reporting.charts.chart import Axis, PairedBar, PairedBars, View
from prune_deploy.reporting.explain.trace_pairs import TracePair, operator_times
from prune_deploy.reporting.figures.formatting import number

_US_PER_MS = 1e3


def operator_views(pairs: Sequence[TracePair]) -> list[View]:
    """Return one view per pair of traces."""
    return [View(name=pair.name, charts=(_bars(pair),)) for pair in pairs]


def _bars(pair: TracePair) -> PairedBars:
    bars = [
        PairedBar(
            name=each.name,
            before=each.dense_us / _US_PER_MS,
            after=each.pruned_us / _US_PER_MS,
            text=f"{number(each.dense_us / _US_PER_MS)} → {number(each.pruned_us / _US_PER_MS)} ms",
        )
        for each in operator_times(pair.joined)
    ]
    return PairedBars(
        name="operators",
        title="Time by kind of operator",
        x=Axis(title="Time in one run of a batch (ms)"),
        names=("dense", "pruned"),
        bars=tuple(bars),
        note=f"{pair.name}. Sums over all layers of a kind, from profiled runs, scaled to the latency without the profiler.",
    )
