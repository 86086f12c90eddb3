"""A second opinion on the interval: launches drawn with replacement, and within each of them pairs.

Source: hierarchical resampling as in Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013; percentile interval.
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
    """Low and high end of the interval of the mean of launch medians, exponentiated.

    `launches` are logarithms, one array of shape (pairs,) per launch, at least two. The same seed gives the same bits.
    """
    # RandomState on purpose: its stream is frozen for good, that of numpy's newer Generator may change with a release.
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
    """Width of the bootstrap interval over that of the t interval on the log scale, 1 when they agree; None without a t interval.

    Drawing from few launches underestimates their spread, and knows nothing of Student's longer tails. Both are known factors and
    are taken out, or five launches would look like a disagreement every time.
    """
    from scipy.special import ndtri

    if ratio.low is None or ratio.high is None or ratio.low == ratio.high:
        return None
    count = ratio.count
    expected = float(ndtri((1 + CONFIDENCE) / 2)) / t_quantile(count) * math.sqrt((count - 1) / count)
    return math.log(high / low) / (math.log(ratio.high / ratio.low) * expected)
