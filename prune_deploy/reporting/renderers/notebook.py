"""Results as small HTML tables for notebooks.

The figures are those of the report's page. There are no scripts and no styles, so the tables look like the notebook's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from prune_deploy.pruning.pruner import Pruned
from prune_deploy.records import BundleRecord, Receipt
from prune_deploy.reporting.figures.formatting import MISSING, amount, percent, share
from prune_deploy.reporting.figures.report import Report, make_report
from prune_deploy.reporting.figures.summary import summaries
from prune_deploy.reporting.renderers.html_table import table
from prune_deploy.reporting.renderers.receipts import groups_grid
from prune_deploy.runs import Run

_MOST_ROWS = 60
"""Rows of a table. The rest is counted."""


def view(result: Any) -> str:
    """Return the tables of a result.

    It is a receipt, a pruning, a bundle, a run or a report.
    """
    if isinstance(result, Pruned):
        return _receipt(result.receipt)
    if isinstance(result, Receipt):
        return _receipt(result)
    if isinstance(result, Run):
        return _report(make_report([result]))
    if isinstance(result, Report):
        return _report(result)
    return _bundle(Path(result), result.record)


def _receipt(receipt: Receipt) -> str:
    before, after = receipt.before, receipt.after
    fields = (("parameters", "params"), ("MACs", "macs"), ("MACs with attention", "macs_with_attention"))
    rows = [_size(name, getattr(before, field), getattr(after, field)) for name, field in fields]
    if receipt.nonzero_params is not None:
        rows.append(_size("parameters that are not zero", before.params, receipt.nonzero_params))
    parts = [_html_table(("", "Dense", "Now", "Change"), rows, (True, False, False, False)), *map(_paragraph, receipt.warnings)]
    if receipt.groups:
        grid = groups_grid(receipt.groups)
        words = [column < grid.words for column in range(len(grid.titles))]
        title = f"{len(grid.rows)} groups of channels"
        parts.append(f"<details><summary>{title}</summary>{_html_table(grid.titles, grid.rows, words)}</details>")
    return _whole(parts)


def _size(name: str, before: int, after: int) -> tuple[str, str, str, str]:
    return name, amount(before), amount(after), share(after / before - 1)


def _bundle(folder: Path, record: BundleRecord) -> str:
    model, training = record.model, record.training
    size = "×".join(map(str, model.input_size))
    parts = [
        _paragraph(f"{folder}: {model.name}, {model.num_classes} classes, input {size}, weights {record.weights.label}"),
        _html_table(
            ("File", "MB", "Precision", "Parity"),
            [
                (
                    artifact.name,
                    f"{artifact.size_bytes / 1e6:,.2f}",
                    artifact.precision or MISSING,
                    artifact.parity.status if artifact.parity else MISSING,
                )
                for artifact in record.artifacts
            ],
            (True, False, True, True),
        ),
    ]
    if training is not None:
        parts.append(
            _paragraph(f"trained: top-1 {percent(training.top1_before)} % before, {percent(training.top1_after)} % after")
        )
    return _whole([*parts, _receipt(record.receipt)])


def _report(report: Report) -> str:
    parts = [f"<strong>{escape(report.title)}</strong>"]
    parts += [_paragraph(text) for summary in summaries(report) for text in summary.sentences]
    found = table(report)
    rows = [tuple(cell.text for cell in row.cells) for row in found.rows]
    words = [not column.is_number for column in found.columns]
    parts.append(_html_table([column.title for column in found.columns], rows, words))
    if found.same:
        parts.append(_paragraph(f"All cases: {found.same}"))
    return _whole(parts)


def _html_table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[bool]) -> str:
    """Return a table whose `words` columns are aligned to the left."""
    head = "".join(_cell("th", *each) for each in zip(titles, words, strict=True))
    body = "".join(_row(row, words) for row in rows[:_MOST_ROWS])
    more = _paragraph(f"and {len(rows) - _MOST_ROWS} more") if len(rows) > _MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(row: Sequence[str], words: Sequence[bool]) -> str:
    return f"<tr>{''.join(_cell('td', *each) for each in zip(row, words, strict=True))}</tr>"


def _cell(tag: str, text: str, is_word: bool) -> str:
    return f'<{tag} style="text-align: {"left" if is_word else "right"}">{escape(text)}</{tag}>'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _whole(parts: Iterable[str]) -> str:
    return f"<div>{''.join(parts)}</div>"
