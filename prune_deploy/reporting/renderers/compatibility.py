"""Markdown table of the architectures' compatibility."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prune_deploy.records import STAGES, Compatibility
from prune_deploy.reporting.figures.formatting import amount
from prune_deploy.specs.options import as_options

_NAMED = 3
_HEAD = "| model | parameters | left | gone | reached | verdict | s | what keeps its channels, or what is in the way |"
_RULE = "| --- | --: | --: | --: | --- | --- | --: | --- |"


def counts(rows: Sequence[Compatibility]) -> str:
    """Count the rows by verdict: "40 PASS, 12 PARTIAL"."""
    verdicts = Counter(row.verdict for row in rows)
    return ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("PASS", "PARTIAL", "FAIL", "TIMEOUT") if verdicts[verdict])


def markdown_table(rows: Sequence[Compatibility]) -> str:
    """Return the table, with a line for each row."""
    return "\n".join([_HEAD, _RULE, *map(_line, rows)])


def obstacle(row: Compatibility) -> str:
    """Return what is in the way of an architecture.

    It is the error, or the groups that keep their channels, the first of them by name.
    """
    if row.reason:
        return row.reason
    if not row.protected:
        return ""
    named = ", ".join(name for name, _ in row.protected[:_NAMED])
    more = len(row.protected) - _NAMED
    return f"{named}{f' and {more} more' if more > 0 else ''}: {row.protected[0][1]}"


def _line(row: Compatibility) -> str:
    gone = "-" if row.gone is None else f"{row.gone:.0%}"
    reached = "all" if row.reached == STAGES[-1] else (row.reached or "none")
    cells = (row.model, amount(row.params_before), amount(row.params_after), gone, reached, row.verdict, f"{row.seconds:.0f}")
    text = as_options(obstacle(row), quote="`").replace("|", "\\|").replace("\n", " ")
    return f"| {' | '.join(cells)} | {text} |"
