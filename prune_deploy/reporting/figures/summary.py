"""A run in a few sentences, made from its records: never a claim without its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prune_deploy.reporting.charts.curve import LEAST_POINTS
from prune_deploy.reporting.figures.curve import curves
from prune_deploy.reporting.figures.formatting import number, percent
from prune_deploy.reporting.figures.naming import backend_title, plural
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.rows import Row

_ALL_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What one run found."""

    machine: str
    id: str
    sentences: tuple[str, ...]


def summaries(report: Report) -> list[RunSummary]:
    """What the runs found, run by run."""
    return [RunSummary(machine=run.machine, id=run.id, sentences=tuple(_of_run(run))) for run in report.runs]


def _of_run(run: ReportedRun) -> list[str]:
    lines = [line for line in run.lines if line.row.role == "candidate"]
    real = [line for line in lines if not line.row.zeroed]
    timed = [line for line in real if line.row.speedup is not None]
    few = len(timed) <= _ALL_NAMED
    message = [_claim(line.row) for line in timed] if few else [_counts(timed), *_ranges(timed), *_slower(timed)]
    return [*_unfinished(run), *message, *_slower_steps(run), *_accuracies(run), *_zeroed(lines), *_missing(run.lines)]


def _unfinished(run: ReportedRun) -> list[str]:
    there, planned = len(run.lines), len(run.run.record.cases)
    return [f"The run is not finished: {there} of {plural(planned, 'case')} so far."] if there < planned else []


def _claim(row: Row) -> str:
    """One case against its dense model."""
    where = f"on {backend_title(row.backend)} at batch {row.batch}"
    span = _span(row)
    claims = {
        "FASTER": f"{row.bundle} is {span} faster than dense {where}.",
        "SLOWER": f"{row.bundle} is slower than dense {where}: {span} its speed.",
        "SAME": f"{row.bundle} is as fast as dense {where}: {span}.",
    }
    return claims.get(str(row.verdict), f"Whether {row.bundle} is faster than dense {where} is undecided: {span}.")


def _span(row: Row) -> str:
    if row.speedup_low is None or row.speedup_high is None:
        return f"{number(row.speedup)}× (too few rounds for an interval)"
    return f"{_short(row.speedup)}× [{_short(row.speedup_low)}, {_short(row.speedup_high)}]"


def _short(value: float | None) -> str:
    """Three significant digits: a sentence is read, not computed with."""
    return number(value) if value is None or value >= 100 else f"{value:#.3g}"


def _counts(timed: Sequence[Line]) -> str:
    found = Counter(str(line.row.verdict) for line in timed)
    words = {"FASTER": "faster than dense", "SLOWER": "slower", "SAME": "the same", "INCONCLUSIVE": "undecided"}
    if len(found) == 1:
        return f"All {len(timed)} measured cases are {words[next(iter(found))]}."
    parts = [f"{found[verdict]} {word}" for verdict, word in words.items() if found[verdict]]
    return f"Of {plural(len(timed), 'measured case')}, {_listed(parts)}."


def _ranges(timed: Sequence[Line]) -> list[str]:
    """Per model and backend, at each one's largest batch: from the smallest speed-up to the largest."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for line in timed:
        groups.setdefault((line.row.model, line.row.backend), []).append(line.row)
    message: list[str] = []
    undecided: list[str] = []
    for (model, backend), rows in groups.items():
        batch = max(row.batch for row in rows)
        decided = [row for row in rows if row.batch == batch and row.verdict in ("FASTER", "SLOWER", "SAME")]
        if not decided:
            undecided.append(f"{model} on {backend_title(backend)}")
            continue
        least, most = min(decided, key=_value), max(decided, key=_value)
        where = f"{model} on {backend_title(backend)} at batch {batch}"
        span = f"{_span(least)} ({least.bundle})"
        message.append(f"{where}: {span}." if least is most else f"{where}: from {span} to {_span(most)} ({most.bundle}).")
    # Where nothing at all is decided, the counts have said so.
    return [*message, *([f"Nothing is decided at the largest batch of {_listed(undecided)}."] if message and undecided else [])]


def _value(row: Row) -> float:
    return row.speedup or 0.0


def _slower(timed: Sequence[Line]) -> list[str]:
    rows = [line.row for line in timed if line.row.verdict == "SLOWER"]
    if not rows:
        return []
    named = [f"{row.bundle} on {backend_title(row.backend)} at batch {row.batch}, {_span(row)}" for row in rows[:_ALL_NAMED]]
    more = [f"{len(rows) - _ALL_NAMED} more"] if len(rows) > _ALL_NAMED else []
    return [f"Slower than dense: {'; '.join([*named, *more])}."]


def _slower_steps(run: ReportedRun) -> list[str]:
    """Steps of a curve that cost time though they removed channels."""
    found: dict[tuple[str, str], list[str]] = {}
    for curve in curves(run.run.cases):
        steps = [f"{point.ratio:g}" for point in curve.points if point.is_slower]
        if steps and len(curve.points) >= LEAST_POINTS:
            found.setdefault((curve.model, curve.backend), []).append(f"{_listed(steps)} at batch {curve.batch}")
    return [
        f"Steps of {model}'s curve on {backend_title(backend)} that are slower than the step before: {'; '.join(steps)}."
        for (model, backend), steps in found.items()
    ]


def _accuracies(run: ReportedRun) -> list[str]:
    """Per model and set of images: the dense model's accuracy, and from the worst of the others to the best."""
    found: dict[tuple[str, str, int | None, str], list[Row]] = {}
    for row in (line.row for line in run.lines if line.row.top1 is not None):
        found.setdefault((row.model, row.data, row.accuracy_images, row.accuracy_note), []).append(row)
    message = []
    for (model, data, images, note), rows in found.items():
        dense = next((_right(row) for row in rows if row.role == "dense"), None)
        others = sorted((row for row in rows if row.role != "dense"), key=lambda row: row.top1 or 0.0)
        spans = [f"{_right(row)} ({row.bundle} on {backend_title(row.backend)})" for row in others[:1] + others[1:][-1:]]
        parts = [*([f"dense {dense}"] if dense is not None else []), *([" to ".join(spans)] if spans else [])]
        message.append(
            f"Top-1 of {model} on {images:,} images of {data}: {', pruned or masked '.join(parts)}{f'; {note}' if note else ''}."
        )
    return message


def _right(row: Row) -> str:
    value, _, span = percent(row.top1, row.top1_low, row.top1_high).partition(" ")
    return f"{value} % {span}"


def _zeroed(lines: Sequence[Line]) -> list[str]:
    bundles = dict.fromkeys(line.row.bundle for line in lines if line.row.zeroed)
    if not bundles:
        return []
    rows = [line.row for line in lines if line.row.zeroed and line.row.speedup is not None]
    found = Counter(str(row.verdict) for row in rows)
    verdicts = f", {_listed([f'{count} {verdict}' for verdict, count in found.items()])}" if rows else ""
    names = _listed(list(bundles)) if len(bundles) <= _ALL_NAMED else plural(len(bundles), "model")
    return [f"{names} only had weights set to zero: no dense speed-up expected{verdicts}."]


def _missing(lines: Iterable[Line]) -> list[str]:
    without = [line.row for line in lines if line.row.latency_ms is None]
    traced = sum(row.status == "ok" for row in without)
    message = [f"{plural(traced, 'case')} only traced, not timed."] if traced else []
    lost = len(without) - traced
    return [*message, *([f"{plural(lost, 'case')} could not be timed; the reasons are below."] if lost else [])]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
