"""Point estimates and intervals from logarithms of pairs, one array per launch.

The unit that counts as independent decides how honest an interval is. Two launches of one program differ by more than the rounds
within a launch show (memory layout, core, clock). Intervals over pooled rounds are therefore far too narrow.

- Rigor "full": the launch is the unit. Its value is the median of its pairs, which tolerates up to half of them being outliers.
  The estimate is the mean over launches with Student's t interval.
- Rigor "quick": there is one launch, and the interval describes that launch only. It is centred on the median of its pairs. The
  standard error is that of a mean times √(π/2), the cost of the median under normal noise. Contaminated rounds inflate the
  standard deviation but hardly move the median, so the interval errs on the wide side.

Intervals are cut at 1e30 to both sides. Block values lie between a nanosecond and a day, and clocks within five powers of ten. No
ratio of them is as far away, nor a ratio of two such ratios. Otherwise two launches that differ by a factor of hundreds would give an
interval to infinity.

The stated confidence is 97.5 %. Measuring stops as soon as the interval is narrow, and looking several times costs coverage. The
remaining coverage is above 94 % (tests/slow/test_statistics_simulations.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prune_deploy.records import Estimate
from prune_deploy.specs import Rigor

CONFIDENCE = 0.975

_FURTHEST = math.log(1e30)
_MEDIAN_ERROR = math.sqrt(math.pi / 2)


def estimate(launches: Sequence[NDArray[np.float64]], rigor: Rigor) -> Estimate:
    """Estimate a value and its interval from logarithms.

    `launches` has one array of shape (pairs,) per launch, at least one launch, none empty. The result is exponentiated. An
    interval needs two units. Below that, `low` and `high` are None.
    """
    if rigor == "quick":
        pairs = np.concatenate(launches)
        return _with_interval(float(np.median(pairs)), pairs, unit="round", error_factor=_MEDIAN_ERROR)
    medians = np.array([np.median(pairs) for pairs in launches])
    return _with_interval(float(np.mean(medians)), medians, unit="launch", error_factor=1.0)


def _with_interval(
    centre: float, units: NDArray[np.float64], *, unit: Literal["launch", "round"], error_factor: float
) -> Estimate:
    count = len(units)
    low = high = None
    if count > 1:
        half_width = t_quantile(count) * error_factor * float(np.std(units, ddof=1)) / math.sqrt(count)
        low, high = ends(centre, half_width)
    return Estimate(value=math.exp(centre), low=low, high=high, confidence=CONFIDENCE, unit=unit, count=count)


def ends(centre: float, half: float) -> tuple[float, float]:
    """Return both ends of an interval from logarithms, exponentiated.

    They are cut to what a time or a ratio can be.
    """
    return math.exp(max(centre - half, -_FURTHEST)), math.exp(min(centre + half, _FURTHEST))


def t_quantile(count: int) -> float:
    """Return the half-width of Student's interval in standard errors.

    The interval is two-sided with confidence CONFIDENCE, for `count` units.
    """
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))


def log_half_width(figure: Estimate) -> float | None:
    """Return half the width of the interval of log(figure).

    It is None where there is no interval. 0.01 reads as ±1 %.
    """
    if figure.low is None or figure.high is None:
        return None
    return math.log(figure.high / figure.low) / 2


def half_width(figure: Estimate) -> float | None:
    """Return half the width of the interval, or None without one.

    It is in the figure's own unit.
    """
    return None if figure.low is None or figure.high is None else (figure.high - figure.low) / 2
