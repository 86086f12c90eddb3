"""Figures as text, with one rule for digits in all tables."""

from __future__ import annotations

from prune_deploy.records import Estimate

MISSING = "-"


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
    """Format a figure with its interval."""
    if value is None:
        return MISSING
    if low is None or high is None:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def with_half_width(value: float | None, high: float | None) -> str:
    """Format a figure with the half-width of its interval in percent.

    The interval is equally wide to both sides on a scale of ratios.
    """
    if value is None or high is None:
        return number(value)
    half = high / value - 1
    return f"{number(value)} ±{share(half) if half <= 1 else '>100%'}"


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
