"""Findings of a run, made from its records.

No claim is without its interval. The texts are in `summary_wording`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prune_deploy.reporting.charts.curve import LEAST_POINTS
from prune_deploy.reporting.figures.closing import caution, why_open
from prune_deploy.reporting.figures.curve import curves
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.reproduce import longer_command
from prune_deploy.reporting.figures.rows import Row
from prune_deploy.reporting.figures.sentence import Sentence, sentence
from prune_deploy.reporting.figures.summary_wording import ALL_NAMED, in_words
from prune_deploy.specs import RANDOM_WEIGHTS

_DECIDED = ("FASTER", "SLOWER", "SAME")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Findings of one run, in words.

    `caution` is one sentence about noise, "" on a quiet machine. `undecided` says why cases are, and what would decide them.
    `longer` is the command that measures the first of them at more length, "" without one.
    """

    machine: str
    id: str
    sentences: tuple[str, ...]
    caution: str = ""
    undecided: tuple[str, ...] = ()
    longer: str = ""


def summaries(report: Report) -> list[RunSummary]:
    """Summarise each run in words."""
    return [_summary(run) for run in report.runs]


def _summary(run: ReportedRun) -> RunSummary:
    unsettled = [line for line in run.lines if _is_timed_candidate(line.row) and line.row.verdict not in _DECIDED]
    return RunSummary(
        machine=run.machine,
        id=run.id,
        sentences=tuple(map(in_words, findings(run))),
        caution=caution([line.row for line in run.lines]),
        undecided=tuple(why_open(line.row for line in unsettled)),
        longer=longer_command(unsettled[0].record, run.run.record) if unsettled else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Cases of a report, each counted once.

    `verdicts` counts the timed candidates whose channels were removed, as the sentences do. `zeroed` only had weights set to zero,
    `not_timed` have no time and a reason for it.
    """

    verdicts: Mapping[str, int]
    zeroed: int
    not_timed: int


def tally(report: Report) -> Tally:
    """Count the cases of a report by what became of them."""
    lines = list(report.lines)
    return Tally(
        verdicts=_verdicts(timed_candidates(lines)),
        zeroed=sum(line.row.zeroed and line.row.speedup is not None for line in lines),
        not_timed=sum(_is_lost(line.row) for line in lines),
    )


def timed_candidates(lines: Iterable[Line]) -> list[Row]:
    """Return the candidates with a speed-up, those with zeroed weights left out."""
    return [line.row for line in lines if _is_timed_candidate(line.row)]


def _is_timed_candidate(row: Row) -> bool:
    return row.role == "candidate" and not row.zeroed and row.speedup is not None


def weights_note(report: Report) -> str:
    """Return what random weights leave real, "" where none are random."""
    untrained = [line.row for line in report.lines if line.row.untrained and line.row.latency_ms is not None]
    if not untrained:
        return ""
    note = f"{RANDOM_WEIGHTS[:1].upper()}{RANDOM_WEIGHTS[1:]}"
    models = list(dict.fromkeys(row.model for row in untrained))
    trained = {line.row.model for line in report.lines if line.row.untrained is False}
    return f"{note} ({', '.join(models)})." if trained else f"{note}."


def findings(run: ReportedRun) -> tuple[Sentence, ...]:
    """State what a run found, as keys with values."""
    return tuple(_findings(run))


def _findings(run: ReportedRun) -> Iterator[Sentence]:
    lines = [line for line in run.lines if line.row.role == "candidate"]
    timed = timed_candidates(lines)
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
    lost = sum(map(_is_lost, without))
    if lost < len(without):
        yield sentence("only-traced", cases=len(without) - lost)
    if lost:
        yield sentence("not-timed", cases=lost)


def _is_lost(row: Row) -> bool:
    """Return whether a case has no time, for a reason.

    One that was only traced has none.
    """
    return row.latency_ms is None and row.status != "ok"
