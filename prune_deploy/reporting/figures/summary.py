"""Findings of a run, made from its records.

No claim is without its interval. The texts are in `summary_wording`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prune_deploy.reporting.charts.curve import LEAST_POINTS
from prune_deploy.reporting.figures.curve import curves
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.rows import Row
from prune_deploy.reporting.figures.sentence import Sentence, sentence
from prune_deploy.reporting.figures.summary_wording import ALL_NAMED, in_words

_DECIDED = ("FASTER", "SLOWER", "SAME")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Findings of one run, in words."""

    machine: str
    id: str
    sentences: tuple[str, ...]


def summaries(report: Report) -> list[RunSummary]:
    """Summarise each run in words."""
    return [RunSummary(machine=run.machine, id=run.id, sentences=tuple(map(in_words, findings(run)))) for run in report.runs]


def findings(run: ReportedRun) -> tuple[Sentence, ...]:
    """State what a run found, as keys with values."""
    return tuple(_findings(run))


def _findings(run: ReportedRun) -> Iterator[Sentence]:
    lines = [line for line in run.lines if line.row.role == "candidate"]
    timed = [line.row for line in lines if not line.row.zeroed and line.row.speedup is not None]
    yield from _unfinished(run)
    if len(timed) <= ALL_NAMED:
        yield from (sentence("claim", verdict=str(row.verdict), **_where(row), **_span(row)) for row in timed)
    else:
        yield sentence("counts", cases=len(timed), verdicts=_verdicts(timed))
        yield from _ranges(timed)
        yield from _slower(timed)
    yield from _slower_steps(run)
    yield from _accuracies(run)
    yield from _zeroed([line.row for line in lines if line.row.zeroed])
    yield from _missing(run.lines)


def _unfinished(run: ReportedRun) -> Iterator[Sentence]:
    done, planned = len(run.lines), len(run.run.record.cases)
    if run.run.record.is_open:
        yield sentence("open", done=done)
    elif done < planned:
        yield sentence("unfinished", done=done, planned=planned)


def _where(row: Row) -> dict[str, str | int]:
    return {"bundle": row.bundle, "backend": row.backend, "batch": row.batch, "precision": row.precision}


def _span(row: Row) -> dict[str, float | None]:
    return {"speedup": row.speedup, "low": row.speedup_low, "high": row.speedup_high}


def _verdicts(rows: Iterable[Row]) -> Mapping[str, int]:
    return Counter(str(row.verdict) for row in rows)


def _ranges(timed: Sequence[Row]) -> Iterator[Sentence]:
    """Yield the smallest and the largest speed-up per model and backend.

    Both are at the largest batch there.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in timed:
        groups.setdefault((row.model, row.backend), []).append(row)
    undecided: list[tuple[str, str]] = []
    for (model, backend), rows in groups.items():
        batch = max(row.batch for row in rows)
        decided = sorted(
            (row for row in rows if row.batch == batch and row.verdict in _DECIDED), key=lambda row: row.speedup or 0.0
        )
        if not decided:
            undecided.append((model, backend))
            continue
        ends = [{"bundle": row.bundle, **_span(row)} for row in (decided[0], decided[-1])]
        yield sentence("range", model=model, backend=backend, batch=batch, ends=ends[:1] if len(decided) == 1 else ends)
    # Where nothing at all is decided, the counts have said so.
    if undecided and len(undecided) < len(groups):
        yield sentence("undecided", configs=undecided)


def _slower(timed: Sequence[Row]) -> Iterator[Sentence]:
    rows = [row for row in timed if row.verdict == "SLOWER"]
    if rows:
        named = [{**_where(row), **_span(row)} for row in rows[:ALL_NAMED]]
        yield sentence("slower", cases=named, more=len(rows) - len(named))


def _slower_steps(run: ReportedRun) -> Iterator[Sentence]:
    """Yield the steps of curves that cost time though they removed channels."""
    found: dict[tuple[str, str], list[tuple[int, list[float]]]] = {}
    for curve in curves(run.run.cases):
        ratios = [point.ratio for point in curve.points if point.is_slower]
        if ratios and len(curve.points) >= LEAST_POINTS:
            found.setdefault((curve.model, curve.backend), []).append((curve.batch, ratios))
    for (model, backend), steps in found.items():
        yield sentence("slower-steps", model=model, backend=backend, steps=steps)


def _accuracies(run: ReportedRun) -> Iterator[Sentence]:
    """Yield the accuracies per model and set of images.

    These are the dense model's, and the worst and the best of the others.
    """
    found: dict[tuple[str, str, int | None, str], list[Row]] = {}
    for row in (line.row for line in run.lines if line.row.top1 is not None):
        found.setdefault((row.model, row.data, row.accuracy_images, row.accuracy_note), []).append(row)
    for (model, data, images, note), rows in found.items():
        dense = next((_top1(row) for row in rows if row.role == "dense"), None)
        others = sorted((row for row in rows if row.role != "dense"), key=lambda row: row.top1 or 0.0)
        ends = [{"bundle": row.bundle, "backend": row.backend, **_top1(row)} for row in others[:1] + others[1:][-1:]]
        yield sentence("accuracy", model=model, data=data, images=images, note=note, dense=dense, ends=ends)


def _top1(row: Row) -> dict[str, float | None]:
    return {"top1": row.top1, "low": row.top1_low, "high": row.top1_high}


def _zeroed(rows: Sequence[Row]) -> Iterator[Sentence]:
    bundles = list(dict.fromkeys(row.bundle for row in rows))
    if bundles:
        yield sentence("zeroed", bundles=bundles, verdicts=_verdicts(row for row in rows if row.speedup is not None))


def _missing(lines: Iterable[Line]) -> Iterator[Sentence]:
    without = [line.row for line in lines if line.row.latency_ms is None]
    traced = sum(row.status == "ok" for row in without)
    if traced:
        yield sentence("only-traced", cases=traced)
    if len(without) > traced:
        yield sentence("not-timed", cases=len(without) - traced)
