"""Layers in reports: explanations and traces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prune_deploy.files import resolved
from prune_deploy.records import Trace
from prune_deploy.reporting.charts.waterfall import CAUSES, explanation_name
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


def traced(report: Report, folder: Path) -> list[TracePart]:
    """Return all traces, with links from a report in `folder`."""
    return [_traced(run, trace, folder) for run in report.runs for trace in run.traces.values()]


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
