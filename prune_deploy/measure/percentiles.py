"""Latency percentiles as upper bounds.

A percentile is stated only when enough samples were taken to bound it. With n independent samples, the number that lies at or
below the p-quantile is binomial(n, p). So the k-th smallest sample is at or above the quantile with probability P(binomial(n, p)
< k). The bound is the first k for which that probability reaches 99 %. At least one sample must lie above it, as in the early
stopping of MLPerf's LoadGen: p99 then needs 662 samples. Neighbouring runs are somewhat dependent, so the bound describes the
time that was measured and makes no claim about other days.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prune_deploy.records import Percentile

PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)
CONFIDENCE = 0.99

_NS_PER_MS = 1e6
_ABOVE = 1  # samples that must lie above the bound


def samples_needed(percent: float) -> int:
    """Return the fewest samples for which the percentile has a bound."""
    from scipy.stats import nbinom

    # The draws until the (_ABOVE + 1)-th sample beyond the quantile are that many plus a negative binomial number of others.
    beyond = _ABOVE + 1
    return beyond + int(nbinom.ppf(CONFIDENCE, beyond, 1 - percent / 100))


def upper_bounds(samples_ns: NDArray[np.int64]) -> tuple[Percentile, ...]:
    """Return the bounds of PERCENTS in milliseconds.

    `samples_ns` are nanoseconds, shape (samples,).
    """
    ordered = np.sort(samples_ns)
    return tuple(_upper_bound(ordered, percent) for percent in PERCENTS)


def _upper_bound(ordered_ns: NDArray[np.int64], percent: float) -> Percentile:
    from scipy.stats import binom

    count, needs = len(ordered_ns), samples_needed(percent)
    if count < needs:
        return Percentile(percent=percent, bound_ms=None, needs=needs)
    # ppf is the first number of samples reached with the confidence. The bound is the sample after them, and lists count from 0.
    index = int(binom.ppf(CONFIDENCE, count, percent / 100))
    return Percentile(percent=percent, bound_ms=float(ordered_ns[index]) / _NS_PER_MS, needs=needs)
