"""A figure and its interval from the logarithms of pairs, one array per launch.

What counts as independent decides how honest an interval is. Two launches of one program differ by more than the rounds within a launch
tell (memory layout, core, clock), so intervals over pooled rounds are far too narrow. Therefore:

- rigor "full": the launch is the unit. Its value is the median of its pairs, which shrugs off up to half of them; the estimate is the
  mean over launches with Student's t interval.
- rigor "quick": there is one launch, and the interval speaks of that launch only. It is centred on the median of its pairs; the standard
  error is that of a mean times √(π/2), the median's price under normal noise. Contaminated rounds blow up the standard deviation but
  hardly move the median, so the interval then errs on the wide side.

The stated confidence is 97.5 %: measuring stops as soon as the interval is narrow, and looking several times costs coverage. What
remains is above 94 % (tests/slow/test_statistics_simulations.py).
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

_MEDIAN_ERROR = math.sqrt(math.pi / 2)


def estimate(launches: Sequence[NDArray[np.float64]], rigor: Rigor) -> Estimate:
    """The estimate from logarithms, one array of shape (pairs,) per launch, at least one and none empty; the result is no logarithm.

    Two units are the least for an interval; below that `low` and `high` are None.
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
        low, high = math.exp(centre - half_width), math.exp(centre + half_width)
    return Estimate(value=math.exp(centre), low=low, high=high, confidence=CONFIDENCE, unit=unit, count=count)


def t_quantile(count: int) -> float:
    """How many standard errors Student's two-sided interval of CONFIDENCE reaches to either side, for so many units."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))


def log_half_width(figure: Estimate) -> float | None:
    """Half the width of the interval of log(figure), None where there is no interval. 0.01 reads as ±1 %."""
    if figure.low is None or figure.high is None:
        return None
    return math.log(figure.high / figure.low) / 2


def half_width(figure: Estimate) -> float | None:
    """Half the width of the interval in the figure's own unit, None where there is none."""
    return None if figure.low is None or figure.high is None else (figure.high - figure.low) / 2
