"""Traces of a pruned model beside those of its dense model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum

from prune_deploy.records import BETWEEN_LAYERS, Trace
from prune_deploy.reporting.explain.layer_pairs import Joined, join
from prune_deploy.reporting.figures.naming import backend_title
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun

_LEAST_MS, _MOST_MS = 1e-9, 1e12
_KINDS = 7
"""Kinds of operators with a bar of their own. The rest share one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePair:
    """A pruned model's trace and its dense model's, joined.

    `name` is unique in a report. `stem` is that of the pruned trace.
    """

    name: str
    stem: str
    dense: Trace
    pruned: Trace
    joined: Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """Microseconds of one run in all layers of one kind of operator."""

    name: str
    dense_us: float
    pruned_us: float


def trace_pairs(report: Report) -> list[TracePair]:
    """Return the traced candidates whose dense model was traced beside them."""
    several = len({run.machine for run in report.runs}) > 1
    return [pair for run in report.runs for pair in _pairs(run, several=several)]


def paired_stems(pairs: Sequence[TracePair], run: ReportedRun) -> set[str]:
    """Return the stems of a run's traces that have a partner."""
    members = [trace for pair in pairs for trace in (pair.dense, pair.pruned)]
    return {stem for stem, trace in run.traces.items() if any(trace is member for member in members)}


def operator_times(joined: Joined) -> list[OperatorTime]:
    """Sum the layers' times by kind of operator, the longest first.

    The time between layers is the last one.
    """
    sums: dict[str, tuple[float, float]] = {}
    for pair in joined.pairs:
        dense, pruned = sums.get(pair.op, (0.0, 0.0))
        sums[pair.op] = (
            dense + (pair.dense.time_us if pair.dense is not None else 0.0),
            pruned + (pair.pruned.time_us if pair.pruned is not None else 0.0),
        )
    kinds = sorted(sums.items(), key=lambda kind: -max(kind[1]))
    shown, rest = (kinds, []) if len(kinds) <= _KINDS + 1 else (kinds[:_KINDS], kinds[_KINDS:])
    times = [OperatorTime(name=name, dense_us=dense, pruned_us=pruned) for name, (dense, pruned) in shown]
    if rest:
        dense_us, pruned_us = (sum(both[side] for _, both in rest) for side in (0, 1))
        times.append(OperatorTime(name=f"{len(rest)} other kinds", dense_us=dense_us, pruned_us=pruned_us))
    if any(joined.outside_us):
        times.append(OperatorTime(name=BETWEEN_LAYERS, dense_us=joined.outside_us[0], pruned_us=joined.outside_us[1]))
    return times


def _pairs(run: ReportedRun, *, several: bool) -> Iterator[TracePair]:
    traced = [line for line in run.lines if line.trace and _has_times(run.traces[line.trace])]
    for line in traced:
        dense = next((other for other in traced if other.row.role == "dense" and _is_beside(other, line)), None)
        if line.row.role == "dense" or dense is None:
            continue
        before, after = run.traces[dense.trace], run.traces[line.trace]
        where = f"{backend_title(line.row.backend)}, {line.row.precision}, batch {line.row.batch}"
        yield TracePair(
            name=f"{line.row.bundle}, {where}{f', {run.machine}' if several else ''}",
            stem=line.trace,
            dense=before,
            pruned=after,
            joined=join(before, after, _measured_ms(dense, before), _measured_ms(line, after)),
        )


def _has_times(trace: Trace) -> bool:
    """Return whether a trace's times can be scaled.

    A stranger may have written it.
    """
    times_ms = [trace.run_ms, trace.untraced_ms, fsum(layer.time_us for layer in trace.layers) / 1e3]
    return all(_LEAST_MS < each < _MOST_MS for each in times_ms) and all(layer.time_us >= 0 for layer in trace.layers)


def _measured_ms(line: Line, trace: Trace) -> float:
    """Return the latency of a case.

    One that was only traced has the tracer's own runs without the profiler.
    """
    return trace.untraced_ms if line.row.latency_ms is None else line.row.latency_ms


def _is_beside(dense: Line, other: Line) -> bool:
    """Return whether two cases were measured together in the same way."""
    one, two = dense.row, other.row
    return (one.comparison, one.backend, one.precision, one.batch) == (two.comparison, two.backend, two.precision, two.batch)
