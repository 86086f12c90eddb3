"""An explanation's steps as bars of text."""

from __future__ import annotations

from collections.abc import Iterator

from prune_deploy.records import Explanation

_BAR_WIDTH = 32
_NAMES_WIDTH = 22


def waterfall(explanation: Explanation) -> Iterator[str]:
    """Yield the steps from predicted to measured time as bars.

    The printed figures add up as the exact ones do.
    """
    levels = [explanation.predicted_ms]
    for step in explanation.steps:
        levels.append(levels[-1] + step.delta_ms)
    digits = _digits(explanation.measured_ms)
    most = max(explanation.dense_ms, *levels)
    yield _bar(explanation.against or "dense", 0.0, explanation.dense_ms, most, _number(explanation.dense_ms, digits))
    if not explanation.against:
        yield _bar("predicted by MACs", 0.0, explanation.predicted_ms, most, _number(explanation.predicted_ms, digits))
    for step, begin, end in zip(explanation.steps, levels, levels[1:], strict=False):
        shown = round(end, digits) - round(begin, digits)
        yield _bar(f"{step.cause} ({step.layers})", begin, end, most, f"{shown:+.{digits}f}")
    yield _bar("measured", 0.0, explanation.measured_ms, most, _number(explanation.measured_ms, digits))


def _number(value_ms: float, digits: int) -> str:
    return f"{value_ms:.{digits}f}"


def _digits(value_ms: float) -> int:
    """Decimals that leave about four significant digits."""
    return 1 if value_ms >= 100 else (2 if value_ms >= 10 else 3)


def _bar(name: str, begin: float, end: float, most: float, figure: str) -> str:
    """Return a line: name, figure, and a bar between two levels."""
    low, high = sorted((begin, end))
    left, right = (round(_BAR_WIDTH * max(0.0, level) / most) for level in (low, high))
    mark = "░" if end < begin else "█"
    bar = " " * left + mark * max(right - left, 1 if high > low else 0)
    return f"{name:<{_NAMES_WIDTH}}{figure:>10} ms  {bar}"
