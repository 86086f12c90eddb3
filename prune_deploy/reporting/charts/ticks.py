"""Ticks of a logarithmic axis: a few round numbers.

They are few enough to be read on a telephone.
"""

from __future__ import annotations

import math

_MANTISSAS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
_ENOUGH = 4


def log_ticks(low: float, high: float) -> list[float]:
    """Return at least four round numbers from `low` to `high`.

    Both are above 0. The steps are equal where the range is too short for powers.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in _MANTISSAS:
        values = (float(f"{mantissa * 10.0**decade:.6g}") for decade in decades for mantissa in mantissas)
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) >= _ENOUGH:
            return ticks
    return _equal_steps(low, high)


def _equal_steps(low: float, high: float) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / _ENOUGH
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * max(factor for factor in (1, 2, 5) if factor * unit <= rough)
    first = math.ceil(low / step)
    return [float(f"{number * step:.6g}") for number in range(first, math.floor(high / step) + 1)]
