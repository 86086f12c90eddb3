"""Sentences that close a measurement: faster or not, and how surely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prune_deploy.measure.verdicts import CONTROL_LIMIT
from prune_deploy.reporting.figures import undecided
from prune_deploy.reporting.figures.formatting import share
from prune_deploy.reporting.figures.naming import plural
from prune_deploy.reporting.figures.rows import Row
from prune_deploy.reporting.figures.sentence import sentence
from prune_deploy.reporting.figures.summary_wording import ALL_NAMED, in_words

_DECIDED = ("FASTER", "SLOWER", "SAME")


def closing(rows: Sequence[Row]) -> list[str]:
    """Return a sentence per candidate of a comparison, or one for many."""
    comparisons: dict[str, list[Row]] = {}
    for row in rows:
        if row.role == "candidate" and row.speedup is not None and not row.zeroed:
            comparisons.setdefault(row.comparison, []).append(row)
    return [text for candidates in comparisons.values() for text in _of_comparison(candidates)]


def _of_comparison(rows: Sequence[Row]) -> Iterator[str]:
    if len(rows) <= ALL_NAMED:
        yield from map(claim, rows)
        return
    decided = sorted((row for row in rows if row.verdict in _DECIDED), key=lambda row: row.speedup or 0.0)
    if decided:
        ends = [
            {"bundle": row.bundle, "speedup": row.speedup, "low": row.speedup_low, "high": row.speedup_high}
            for row in decided[:1] + decided[1:][-1:]
        ]
        first = rows[0]
        yield in_words(sentence("range", model=first.model, backend=first.backend, batch=first.batch, ends=ends))
    yield from why_open(rows)


def why_open(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a sentence per reason that left candidates undecided.

    It counts them, and says what would decide. Of several cases the noisiest speaks for all.
    """
    by_reason: dict[str, list[Row]] = {}
    for row in rows:
        if row.verdict not in _DECIDED:
            by_reason.setdefault(undecided.why_undecided(row).key, []).append(row)
    for alike in by_reason.values():
        noisiest = max(alike, key=lambda row: row.margin or 0.0)
        yield f"{plural(len(alike), 'candidate')} undecided: {undecided.in_words(undecided.why_undecided(noisiest))}."


def claim(row: Row) -> str:
    """State what was found of a candidate, and why it is undecided."""
    span = {"speedup": row.speedup, "low": row.speedup_low, "high": row.speedup_high}
    where = {"bundle": row.bundle, "backend": row.backend, "batch": row.batch, "precision": row.precision}
    text = in_words(sentence("claim", verdict=str(row.verdict), **where, **span))
    if row.verdict in _DECIDED:
        return text
    return f"{text.rstrip('.')}. {_upper(undecided.in_words(undecided.why_undecided(row)))}."


def caution(rows: Sequence[Row]) -> str:
    """Return one line about noise, "" on a quiet machine."""
    margins = [row.margin for row in rows if row.margin is not None]
    worst = max(margins, default=0.0)
    if worst > CONTROL_LIMIT:
        differed = share(worst) if worst <= 1 else "more than 100%"
        return f"Noisy machine: the dense model may differ from its own copy by {differed}, smaller effects are not resolved."
    return ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
