"""Figures of the campaign, told at the end of a run."""

from __future__ import annotations

from collections import Counter

import pytest

from support.campaign import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write how often each fault struck in time."""
    if not TALLY:
        return
    by_fault: Counter[str] = Counter()
    for (fault, _), count in TALLY.items():
        by_fault[fault] += count
    terminalreporter.section("campaign: faults that struck in time")
    for fault, count in by_fault.items():
        struck = ", ".join(f"{name} {number}" for (kind, name), number in TALLY.items() if kind == fault)
        terminalreporter.write_line(f"{fault}: {count} ({struck})")
