"""Hierarchical bootstrap, the second opinion on an interval.

Launches are drawn with replacement, and pairs within each of them. Source: hierarchical resampling as in Kalibera and Jones,
"Rigorous benchmarking in reasonable time", ISMM 2013. The interval is the percentile interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.estimates import CONFIDENCE, t_quantile

if TYPE_CHECKING:
    from prune_deploy.records import Estimate

RESAMPLES = 10_000

_SEEDS = 2**32


def bootstrap_interval(launches: Sequence[NDArray[np.float64]], seed: int) -> tuple[float, float]:
    """Return the low and high end of the ratio's bootstrap interval.

    `launches` are logarithms, one array of shape (pairs,) per launch, at least two. The interval is that of the mean of launch
    medians, exponentiated. The same seed gives the same bits.
    """
    # RandomState on purpose: its stream is frozen for good, while that of numpy's newer Generator may change with a release.
    random = np.random.RandomState(seed % _SEEDS)
    drawn = random.randint(len(launches), size=(RESAMPLES, len(launches)))
    medians = np.empty(drawn.shape)
    for number, pairs in enumerate(launches):
        places = drawn == number
        resampled = pairs[random.randint(len(pairs), size=(int(places.sum()), len(pairs)))]
        medians[places] = np.median(resampled, axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians.mean(axis=1), (tail, 1 - tail))
    return math.exp(low), math.exp(high)


def width_ratio(low: float, high: float, ratio: Estimate) -> float | None:
    """Compare the width of the bootstrap interval with the t interval's.

    Both widths are taken on the log scale. The result is 1 when they agree, and None without a t interval. Resampling from few
    launches underestimates their spread and lacks the longer tails of Student's t. Both effects are known factors and are divided
    out. Otherwise five launches would look like a disagreement every time.
    """
    from scipy.special import ndtri

    if ratio.low is None or ratio.high is None or ratio.low == ratio.high:
        return None
    count = ratio.count
    expected = float(ndtri((1 + CONFIDENCE) / 2)) / t_quantile(count) * math.sqrt((count - 1) / count)
    return math.log(high / low) / (math.log(ratio.high / ratio.low) * expected)
