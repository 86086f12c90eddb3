"""Rows of cases as a terminal table, with sentences below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from prune_deploy.cli.output.console import data_console
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.formatting import MISSING, interval, number, percent, ratio, with_half_width
from prune_deploy.reporting.figures.rows import Row, row
from prune_deploy.reporting.figures.run_warnings import UNCONVERGED, absences, accuracies, compile_sentence, controls, warned

_COLUMNS = (
    ("bundle", "left"),
    ("backend", "left"),
    ("precision", "left"),
    ("batch", "right"),
    ("ms", "right"),
    ("ms/image", "right"),
    ("images/s", "right"),
    ("speed-up", "right"),
    ("verdict", "left"),
    ("MACs", "right"),
    ("eff.", "right"),
    ("start s", "right"),
    ("peak MiB", "right"),
)
_ACCURACY = ("top-1 %", "right")
_NAMED = 3
"""Number of cases that a warning names.

A sweep may have it for hundreds.
"""


def print_records(records: Sequence[CaseRecord]) -> None:
    """Print the table of cases, then reasons, warnings and A/A controls."""
    rows = [row(record) for record in records]
    table = Table(box=None, pad_edge=False, header_style="bold")
    scored = any(case.top1 is not None for case in rows)
    for name, side in (*_COLUMNS, *([_ACCURACY] if scored else [])):
        # The first column holds names that users copy, so they stay on one line.
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold", no_wrap=name == "bundle")
    for case in rows:
        table.add_row(*_cells(case), *([percent(case.top1, case.top1_low, case.top1_high)] if scored else []))
    data_console.print(table)
    print_reasons(records)
    _print_sentences(records, rows)


def _cells(case: Row) -> tuple[str, ...]:
    return (
        case.bundle,
        case.backend,
        case.precision_text,
        str(case.batch),
        with_half_width(case.latency_ms, case.latency_high_ms),
        number(case.per_image_ms),
        number(case.images_per_s),
        interval(case.speedup, case.speedup_low, case.speedup_high),
        case.verdict_text,
        MISSING if case.role == "dense" else ratio(case.macs_ratio),
        number(case.efficiency),
        number(case.startup_s),
        MISSING if case.peak_mib is None else f"{case.peak_mib:,.0f}",
    )


def print_reasons(records: Sequence[CaseRecord]) -> None:
    """Print why cases have no figures, each reason once."""
    for absence in absences(row(record) for record in records):
        data_console.print(
            f"{', '.join(absence.bundles)} {absence.configs} batch {absence.batches}: {absence.status}: {absence.reason}\n"
            f"  Fix: {absence.fix}",
            soft_wrap=True,
        )


def _print_sentences(records: Sequence[CaseRecord], rows: Sequence[Row]) -> None:
    """Print what compiling took, warnings, and the A/A controls."""
    for case in rows:
        if sentence := compile_sentence(case):
            data_console.print(f"{case.name}: {sentence}", soft_wrap=True)
    print_warnings(rows)
    for control in controls(records):
        data_console.print(f"{control.comparison}: the baseline against its own copy {control.text}")
    if any(case.converged is False for case in rows):
        data_console.print(UNCONVERGED)


def print_warnings(rows: Sequence[Row]) -> None:
    """Print each warning once with its cases, and what accuracies are of."""
    for warning, cases in warned(rows):
        names = "; ".join(case.name for case in cases[:_NAMED])
        more = f"; and {len(cases) - _NAMED} more" if len(cases) > _NAMED else ""
        data_console.print(f"{warning}: {names}{more}", soft_wrap=True)
    for sentence in accuracies(rows):
        data_console.print(sentence, soft_wrap=True)
