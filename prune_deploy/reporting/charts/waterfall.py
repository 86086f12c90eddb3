"""Waterfall from the dense model's time to the pruned one's.

It starts with the prediction by MACs, and adds the effect of each cause.
"""

from __future__ import annotations

from prune_deploy.records import Cause, Explanation
from prune_deploy.reporting.charts.chart import Axis, Bar, Bars, View
from prune_deploy.reporting.figures.formatting import number
from prune_deploy.reporting.figures.naming import backend_title, plural
from prune_deploy.reporting.figures.report import Report

CAUSES: dict[Cause, str] = {
    "as-predicted": "scales as predicted",
    "memory-bound": "memory-bound",
    "overhead-bound": "overhead-bound",
    "misaligned": "misaligned channels",
    "reformat": "reformats and copies",
    "not-pruned": "not pruned",
    "kernel": "slower kernels",
    "faster": "faster than predicted",
    "other": "other",
}


def explanation_name(explanation: Explanation) -> str:
    """Return the title of an explanation: its case and precision."""
    case = explanation.case
    variant = f":{case.options.variant}" if case.options.variant else ""
    precision = f"{case.precision} against {explanation.against}" if explanation.against else case.precision
    return f"{explanation.label}, {backend_title(case.backend + variant)}, {precision}, batch {case.batch}"


def waterfall_views(report: Report) -> list[View]:
    """Return one view per explanation."""
    several = len(report.runs) > 1
    return [
        View(
            name=f"{explanation_name(explanation)}, {run.machine}" if several else explanation_name(explanation),
            charts=(_bars(explanation),),
        )
        for run in report.runs
        for explanation in run.explanations.values()
    ]


def _bars(explanation: Explanation) -> Bars:
    dense, predicted, measured = explanation.dense_ms, explanation.predicted_ms, explanation.measured_ms
    bars = [_total(f"{explanation.against}, measured", dense)] if explanation.against else _pruning_bars(explanation)
    at = predicted
    for step in explanation.steps:
        end = at + step.delta_ms
        bars.append(
            Bar(
                name=CAUSES[step.cause],
                start=at,
                end=end,
                kind="more" if step.delta_ms >= 0 else "less",
                text=_signed(step.delta_ms),
                detail=plural(step.layers, "layer"),
            )
        )
        at = end
    last = explanation.case.precision if explanation.against else "pruned"
    return Bars(
        name="waterfall",
        title="Where the time went",
        x=Axis(title="Time of one batch (ms)"),
        bars=(*bars, _total(f"{last}, measured", measured)),
        note=f"{explanation_name(explanation)}. Per-layer times are from profiled runs, never from timed ones.",
    )


def _pruning_bars(explanation: Explanation) -> list[Bar]:
    """Return the bars from dense time to the prediction by MACs."""
    dense, predicted = explanation.dense_ms, explanation.predicted_ms
    return [
        _total("dense, measured", dense),
        Bar(
            name="saved if time followed MACs",
            start=dense,
            end=predicted,
            kind="less",
            text=_signed(predicted - dense),
            detail=f"MACs ÷ {explanation.macs_ratio:.2f}",
        ),
        _total("pruned, predicted by MACs", predicted),
    ]


def _signed(delta_ms: float) -> str:
    return f"{delta_ms:+.3g} ms".replace("-", "−")


def _total(name: str, value_ms: float) -> Bar:
    return Bar(name=name, start=0.0, end=value_ms, kind="total", text=f"{number(value_ms)} ms")
