"""Rows of cases as a terminal table, and below it whatever needs a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from prune_deploy.cli.output import data_console
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.rows import Row, row

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


def print_records(records: Sequence[CaseRecord]) -> None:
    """Print the table of a run's cases, then reasons, warnings and the A/A controls."""
    rows = [row(record) for record in records]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in _COLUMNS:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for each in rows:
        table.add_row(*_cells(each))
    data_console.print(table)
    _print_reasons(rows)
    for each in rows:
        _print_sentences(each)
    _print_controls(records)


def _cells(each: Row) -> tuple[str, ...]:
    memory = each.peak_device_mib if each.peak_device_mib is not None else each.peak_rss_mib
    verdict = each.verdict or ("anchor" if each.role == "dense" and each.latency_ms is not None else each.status)
    return (
        each.bundle,
        each.backend,
        each.precision,
        str(each.batch),
        _with_half_width(each.latency_ms, each.latency_high_ms),
        _number(each.per_image_ms),
        _number(each.images_per_s),
        interval(each.speedup, each.speedup_low, each.speedup_high),
        verdict if each.converged in (None, True) else f"{verdict}*",
        "-" if each.role == "dense" or each.macs_ratio is None else f"{each.macs_ratio:.2f}×",
        _number(each.efficiency),
        _number(each.startup_s),
        "-" if memory is None else f"{memory:,.0f}",
    )


def _with_half_width(value: float | None, high: float | None) -> str:
    """A figure and how far its interval reaches, in percent: it is as wide to both sides, on a scale of ratios."""
    if value is None or high is None:
        return _number(value)
    return f"{_number(value)} ±{_percent(high / value - 1)}"


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < 0.01 else (f"{share:.1%}" if share < 0.1 else f"{share:.0%}")


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval, as many digits as the interval leaves meaning."""
    if value is None:
        return "-"
    if low is None or high is None:
        return _number(value)
    return f"{_number(value)} [{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    """Four significant digits; below a thousandth, one."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".") if value >= 0.001 else f"{value:.0e}"


def _print_reasons(rows: Sequence[Row]) -> None:
    """Why cases have no figures, each reason once."""
    reasons: dict[tuple[str, str, str, str], list[Row]] = {}
    for each in rows:
        if each.reason:
            reasons.setdefault((each.bundle, each.status, each.reason, each.fix), []).append(each)
    for (bundle, status, reason, fix), cases in reasons.items():
        ways = ", ".join(dict.fromkeys(f"{each.backend} {each.precision}" for each in cases))
        batches = ", ".join(dict.fromkeys(str(each.batch) for each in cases))
        data_console.print(f"{bundle} {ways} batch {batches}: {status}: {reason}\n  Fix: {fix}", soft_wrap=True)


def _print_sentences(each: Row) -> None:
    name = f"{each.bundle} {each.backend} {each.precision} batch {each.batch}"
    if each.compile_cold_s is not None:
        warm = "not measured in one launch" if each.compile_warm_s is None else f"{each.compile_warm_s:.1f} s with a filled one"
        data_console.print(f"{name}: compiled in {each.compile_cold_s:.1f} s with an empty cache, {warm}", soft_wrap=True)
    for warning in each.warnings:
        data_console.print(f"{name}: {warning}", soft_wrap=True)


def _print_controls(records: Sequence[CaseRecord]) -> None:
    """The dense model against its own copy, once per comparison, and what the marks mean."""
    for record in records:
        control = record.dense_against_copy
        if record.role == "dense" and control is not None:
            unit = "launches" if control.unit == "launch" else "rounds within one launch"
            data_console.print(
                f"{record.comparison}: the anchor against its own copy "
                f"{interval(control.value, control.low, control.high)}, {control.count} {unit}"
            )
    if any(record.speedup is not None and not record.speedup.converged for record in records):
        data_console.print("* the interval is wider than the rigor aims for: raise --budget-s, or quieten the machine")
