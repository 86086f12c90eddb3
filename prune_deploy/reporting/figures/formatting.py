"""Figures as text, with one rule for digits in all tables."""

from __future__ import annotations

import math

from prune_deploy.records import Estimate

MISSING = "-"
_ROUNDING = 1e-9
"""So that a half-width of 0.1 that was computed as 0.0999… has one decimal place."""


def number(value: float | None) -> str:
    """Format with four significant digits.

    Numbers below a thousandth get one, and numbers from a thousand on are whole with commas.
    """
    if value is None:
        return MISSING
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".") if value >= 0.001 or value == 0 else f"{value:.0e}"


def share(value: float) -> str:
    """Format a share in percent, with more digits for smaller ones."""
    size = abs(value)
    return f"{value:.2%}" if size < 0.01 else (f"{value:.1%}" if size < 0.1 else f"{value:.0%}")


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Format a figure with its interval, in the digits that this allows.

    An interval that reaches beyond twice the figure says nothing, and is not printed.
    """
    if value is None:
        return MISSING
    if low is None or high is None:
        return number(value)
    if not is_known(value, high):
        return f"{value:,.{_decimals(value, value / 4)}f} [not known]"
    digits = _decimals(value, (high - low) / 2)
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def times(value: float | None, low: float | None, high: float | None) -> str:
    """Format a speed-up with its interval, like "2.25× [2.23, 2.26]"."""
    if value is None:
        return MISSING
    text, _, span = interval(value, low, high).partition(" ")
    return f"{text}× {span}".rstrip()


def with_half_width(value: float | None, high: float | None) -> str:
    """Format a figure with the half-width of its interval in percent.

    The interval is equally wide to both sides on a scale of ratios.
    """
    if value is None or high is None:
        return number(value)
    if not is_known(value, high):
        return f"{value:,.{_decimals(value, value / 4)}f} ± not known"
    return f"{value:,.{_decimals(value, high - value)}f} ±{share(high / value - 1)}"


def is_known(value: float, high: float) -> bool:
    """Return whether an interval says anything: it ends within twice the figure."""
    return high <= 2 * value


def _decimals(value: float, half: float) -> int:
    """Return the decimal places at which the interval's half-width begins.

    A figure below 10 has one at least, and none has more than four significant digits.
    """
    if value <= 0:
        return 3
    most = max(0, 3 - math.floor(math.log10(value)))
    if half <= 0:
        return most
    return min(most, max(-math.floor(math.log10(half) + _ROUNDING), 1 if value < 10 else 0))


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Format a share in percent with its interval: "94.1 [92.1, 95.6]"."""
    if value is None:
        return MISSING
    return f"{100 * value:.1f}" if low is None or high is None else f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def plus_minus(mean: float | None, stdev: float | None) -> str:
    """Format mean and standard deviation of single runs.

    Published latency tables print them so. This is not a confidence interval.
    """
    if mean is None or stdev is None:
        return MISSING
    return f"{mean:,.2f} ± {stdev:,.2f}" if mean >= 1 else f"{number(mean)} ± {stdev:.2g}"


def ratio(value: float | None) -> str:
    """Format a quotient: "3.80×"."""
    if value is None:
        return MISSING
    return f"{value:.2f}×" if value < 1000 else f"{value:,.0f}×"


def amount(value: float | None) -> str:
    """Format a count with a prefix: "25.56 M", "4.12 G", "950"."""
    if value is None:
        return MISSING
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:,.2f} {unit}"
    return f"{value:,.0f}"


def units(figure: Estimate) -> str:
    """Name what an interval was counted from, such as "5 launches"."""
    one, many = ("launch", "launches") if figure.unit == "launch" else ("round within one launch", "rounds within one launch")
    return f"{figure.count} {one if figure.count == 1 else many}"
