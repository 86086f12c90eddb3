"""Rows of cases as a terminal table, with sentences below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from prune_deploy.cli.output.console import data_console, printable
from prune_deploy.cli.output.table_options import table_options
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.closing import caution, closing
from prune_deploy.reporting.figures.formatting import MISSING, interval, number, percent, ratio, with_half_width
from prune_deploy.reporting.figures.naming import plural
from prune_deploy.reporting.figures.rows import Row, has_marks, row
from prune_deploy.reporting.figures.run_warnings import absences, accuracies, compile_sentence, controls, warned, widths_note

_NAMED = 3
"""Number of cases that a warning names.

A sweep may have it for hundreds.
"""
_GAP = 2


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its name, its side, and its text of a row."""

    name: str
    is_number: bool
    text: Callable[[Row], str]

    def width(self, rows: Sequence[Row]) -> int:
        """Return the width of its longest text, with a gap."""
        return max(len(self.name), *(len(printable(self.text(each))) for each in rows)) + _GAP


_BUNDLE = _Column("bundle", False, lambda each: each.bundle)
_SHORT = _Column("model", False, lambda each: _short(each))
_PRECISION = _Column("precision", False, lambda each: each.precision_text)
_TOP1 = _Column("top-1 %", True, lambda each: percent(each.top1, each.top1_low, each.top1_high))
_TOP1_ALONE = _Column("top-1 %", True, lambda each: percent(each.top1))
_BACKEND = _Column("backend", False, lambda each: each.backend)
_BATCH = _Column("batch", True, lambda each: str(each.batch))
_MS = _Column("ms", True, lambda each: with_half_width(each.latency_ms, each.latency_high_ms))
_SPEEDUP = _Column("speed-up", True, lambda each: interval(each.speedup, each.speedup_low, each.speedup_high))
_FURTHER = (
    _Column("MACs", True, lambda each: MISSING if each.role == "dense" else ratio(each.macs_ratio)),
    _Column("eff.", True, lambda each: each.efficiency_text),
    _Column("images/s", True, lambda each: number(each.images_per_s)),
    _Column("peak MiB", True, lambda each: MISSING if each.peak_mib is None else f"{each.peak_mib:,.0f}"),
    _Column("start s", True, lambda each: number(each.startup_s)),
    _Column("ms/image", True, lambda each: number(each.per_image_ms)),
)
"""Columns that are shown where there is room, the most telling first."""


def print_records(records: Sequence[CaseRecord]) -> None:
    """Print the table of cases, what it says in sentences, and reasons."""
    rows = [row(record) for record in records]
    if rows:
        _print_table(rows)
    print_reasons(records)
    for sentence in closing(rows):
        data_console.print(sentence)
    print_remarks(records)


def print_remarks(records: Sequence[CaseRecord]) -> None:
    """Print what accuracies are of, a line of caution, details on request."""
    rows = [row(record) for record in records]
    for line in (*accuracies(rows), caution(rows)):
        if line:
            data_console.print(line)
    if table_options().verbose:
        _print_details(records, rows)
    elif hidden := warned(rows):
        data_console.print(f"{plural(len(hidden), 'remark')} on these measurements: --verbose, or the report")


def _print_table(rows: Sequence[Row]) -> None:
    """Print the columns that answer, then those for which there is room.

    Where bundles' names leave no room, rows stand below their model's name. Names that are too long even then have lines of their own.
    """
    width, answers = data_console.width, _answers(rows)
    needed = sum(column.width(rows) for column in answers) - _GAP
    if needed > width:
        answers = tuple(_TOP1_ALONE if column is _TOP1 else column for column in answers)
    if table_options().wide:
        _print_columns(rows, (_BUNDLE, *answers, *_FURTHER))
    elif needed + _BUNDLE.width(rows) <= width:
        _print_columns(rows, (_BUNDLE, *answers, *_fitting(rows, width - needed - _BUNDLE.width(rows))))
    else:
        stacked = needed + _SHORT.width(rows) > width
        for model, group in groupby(rows, key=lambda each: each.model):
            of_model = list(group)
            data_console.print(model, style="bold", soft_wrap=True)
            if not stacked:
                _print_columns(of_model, (_SHORT, *answers, *_fitting(rows, width - needed - _SHORT.width(rows))), sized_by=rows)
                continue
            _print_columns([], answers, sized_by=rows)
            for name, cases in groupby(of_model, key=_short):
                data_console.print(name, soft_wrap=True)
                _print_columns(list(cases), answers, sized_by=rows, with_head=False)


def _answers(rows: Sequence[Row]) -> tuple[_Column, ...]:
    """Return the columns that say which model is faster, and how surely.

    The precision is one of them unless all is FP32, and so is an accuracy that was taken.
    """
    marks = has_marks(rows)
    verdict = _Column("verdict", False, lambda each: each.marked_verdict(marks))
    precision = (_PRECISION,) if {each.precision for each in rows} != {"fp32"} else ()
    top1 = (_TOP1,) if any(each.top1 is not None for each in rows) else ()
    return _BACKEND, *precision, _BATCH, _MS, _SPEEDUP, verdict, *top1


def _fitting(rows: Sequence[Row], room: int) -> list[_Column]:
    """Return the further columns that fit into so many characters."""
    fitting = []
    for column in _FURTHER:
        if column.width(rows) > room:
            break
        room -= column.width(rows)
        fitting.append(column)
    return fitting


def _print_columns(
    rows: Sequence[Row], columns: Sequence[_Column], sized_by: Sequence[Row] | None = None, *, with_head: bool = True
) -> None:
    """Print rows, in columns as wide as those of `sized_by` need.

    A library's table would drop or fold columns that its console has no room for.
    """
    widths = [column.width(sized_by or rows) - _GAP for column in columns]

    def line(texts: Sequence[str]) -> str:
        sides = zip(columns, texts, widths, strict=True)
        return (" " * _GAP).join(t.rjust(width) if column.is_number else t.ljust(width) for column, t, width in sides).rstrip()

    if with_head:
        data_console.print(line([column.name for column in columns]), style="bold", soft_wrap=True)
    for each in rows:
        data_console.print(line([printable(column.text(each)) for column in columns]), soft_wrap=True)


def _short(each: Row) -> str:
    """Return a bundle's name without its model's."""
    return each.bundle.removeprefix(f"{each.model}-")


def print_reasons(records: Sequence[CaseRecord]) -> None:
    """Print why cases have no figures, each reason once."""
    for absence in absences(row(record) for record in records):
        data_console.print(
            f"{', '.join(absence.bundles)} {absence.configs} batch {absence.batches}: {absence.status}: {absence.reason}\n"
            f"  Fix: {absence.fix}",
            soft_wrap=True,
        )


def _print_details(records: Sequence[CaseRecord], rows: Sequence[Row]) -> None:
    """Print what compiling took, warnings, and the A/A controls."""
    for case in rows:
        if sentence := compile_sentence(case):
            data_console.print(f"{case.name}: {sentence}", soft_wrap=True)
    for warning, cases in warned(rows):
        names = "; ".join(case.name for case in cases[:_NAMED])
        more = f"; and {len(cases) - _NAMED} more" if len(cases) > _NAMED else ""
        data_console.print(f"{warning}: {names}{more}", soft_wrap=True)
    for control in controls(records):
        data_console.print(f"{control.comparison}: the baseline against its own copy {control.text}")
    if note := widths_note(rows):
        data_console.print(note)
