"""Layers in reports: explanations and traces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prune_deploy.files import resolved
from prune_deploy.records import BETWEEN_LAYERS, Trace
from prune_deploy.reporting.charts.waterfall import CAUSES, explanation_name
from prune_deploy.reporting.explain.layer_pairs import LayerPair, Side
from prune_deploy.reporting.explain.trace_pairs import TracePair, paired_stems
from prune_deploy.reporting.figures.formatting import MISSING, number, share
from prune_deploy.reporting.figures.naming import backend_title, plural
from prune_deploy.reporting.figures.report import Report, ReportedRun
from prune_deploy.reporting.renderers.grids import Grid
from prune_deploy.runs import TRACES_DIR

_LAYERS_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedPart:
    """Explanation in words, and its layers."""

    name: str
    sentences: tuple[str, ...]
    advice: tuple[str, ...]
    grid: Grid


def explained(report: Report) -> list[ExplainedPart]:
    """Return all explanations, named like their waterfalls.

    Layers that cost most beyond their prediction come first.
    """
    several = len(report.runs) > 1
    parts = []
    for run in report.runs:
        for explanation in run.explanations.values():
            layers = sorted(explanation.layers, key=lambda layer: layer.predicted_us - layer.pruned_us)
            rows = tuple(
                (
                    layer.name,
                    layer.op,
                    CAUSES[layer.cause],
                    layer.evidence,
                    number(layer.dense_us),
                    number(layer.predicted_us),
                    number(layer.pruned_us),
                    f"{layer.pruned_us - layer.predicted_us:+,.1f}",
                )
                for layer in layers[:_LAYERS_SHOWN]
            )
            titles = ("Layer", "Op", "Why", "Evidence", "Dense, µs", "Predicted, µs", "Pruned, µs", "Difference, µs")
            name = f"{explanation_name(explanation)}, {run.machine}" if several else explanation_name(explanation)
            grid = Grid(name=name, titles=titles, rows=rows, words=4, wrap=3, note=_left_out(len(layers)))
            parts.append(ExplainedPart(name=name, sentences=explanation.sentences, advice=explanation.advice, grid=grid))
    return parts


def _left_out(count: int) -> str:
    rest = count - _LAYERS_SHOWN
    return f"{plural(rest, 'more layer')} in the run's folder." if rest > 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePart:
    """Trace: the link to its file, the profiler's cost, and its layers."""

    name: str
    link: str
    sentence: str
    warnings: tuple[str, ...]
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPart:
    """Dense and pruned model, layer by layer, with the traces behind it.

    `grid` is None where an explanation of the same case has its layers.
    """

    name: str
    traces: tuple[TracePart, ...]
    grid: Grid | None


def paired(report: Report, pairs: Sequence[TracePair], folder: Path) -> list[PairPart]:
    """Return all pairs of traces, in the order of `pairs`."""
    explained = {stem for run in report.runs for stem in run.explanations}
    runs = {id(trace): run for run in report.runs for trace in run.traces.values()}
    return [
        PairPart(
            name=pair.name,
            traces=tuple(_traced(runs[id(trace)], trace, folder) for trace in (pair.dense, pair.pruned)),
            grid=None if pair.stem in explained else _side_by_side(pair),
        )
        for pair in pairs
    ]


def _side_by_side(pair: TracePair) -> Grid:
    layers = sorted(pair.joined.pairs, key=lambda layer: -max(_time(layer.dense), _time(layer.pruned)))
    rows = [
        (
            layer.name,
            layer.op,
            _channels(layer),
            MISSING if layer.work_ratio is None else share(layer.work_ratio),
            number(_time(layer.dense)),
            number(_time(layer.pruned)),
            f"{_time(layer.pruned) - _time(layer.dense):+,.1f}",
        )
        for layer in layers[:_LAYERS_SHOWN]
    ]
    dense_us, pruned_us = pair.joined.outside_us
    if dense_us or pruned_us:
        rows.append((BETWEEN_LAYERS, "", "", "", number(dense_us), number(pruned_us), f"{pruned_us - dense_us:+,.1f}"))
    titles = ("Layer", "Op", "Channels", "Work left", "Dense, µs", "Pruned, µs", "Difference, µs")
    note = " ".join(filter(None, (_left_out(len(layers)), "Work is MACs, or bytes moved where a layer has none.")))
    return Grid(name=pair.name, titles=titles, rows=tuple(rows), words=3, note=note)


def _time(side: Side | None) -> float:
    return 0.0 if side is None else side.time_us


def _channels(layer: LayerPair) -> str:
    """Return the channels of a layer's output, "64 → 32"."""
    counts = [MISSING if side is None or side.channels is None else str(side.channels) for side in (layer.dense, layer.pruned)]
    return counts[0] if counts[0] == counts[1] else " → ".join(counts)


def traced(report: Report, pairs: Sequence[TracePair], folder: Path) -> list[TracePart]:
    """Return the traces without a partner.

    Their links start from a report in `folder`.
    """
    return [
        _traced(run, trace, folder)
        for run in report.runs
        for stem, trace in run.traces.items()
        if stem not in paired_stems(pairs, run)
    ]


def _traced(run: ReportedRun, trace: Trace, folder: Path) -> TracePart:
    layers = sorted(trace.layers, key=lambda layer: -layer.time_us)
    rows = tuple(
        (
            layer.name,
            layer.op,
            layer.dtype,
            "×".join(map(str, layer.shape)) or MISSING,
            layer.kernel or MISSING,
            number(layer.time_us),
            share(layer.share),
        )
        for layer in layers[:_LAYERS_SHOWN]
    )
    titles = ("Layer", "Op", "Type", "Output", "Kernel", "Time, µs", "Share")
    case = trace.case
    backend = f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend
    return TracePart(
        name=f"{trace.label}, {backend_title(backend)}, {case.precision}, batch {case.batch}, {run.machine}",
        link=link(run.run.folder, trace, folder),
        sentence=f"{plural(trace.runs, 'run')}, {number(trace.run_ms)} ms each under the profiler, {number(trace.untraced_ms)} ms "
        f"without it: {trace.overhead:+.0%}",
        warnings=trace.warnings,
        grid=Grid(name=trace.label, titles=titles, rows=rows, words=5, note=_left_out(len(layers))),
    )


def link(run: Path, trace: Trace, folder: Path) -> str:
    """Return a Chrome trace's relative address for a page in `folder`.

    The file itself is not looked at, since a stranger chose its name.
    """
    target = resolved(run) / TRACES_DIR / Path(trace.chrome_file).name
    return quote(os.path.relpath(target, resolved(folder)), errors="replace")
