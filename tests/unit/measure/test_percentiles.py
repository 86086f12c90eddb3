"""Percentiles are upper bounds that hold with 99 % confidence, or are not given at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prune_deploy.measure.percentiles import PERCENTS, samples_needed, upper_bounds
from support.measuring import share


def bounds_ms(samples_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[float, float | None]:
    """Percent → bound."""
    return {percentile.percent: percentile.bound_ms for percentile in upper_bounds(samples_ns)}


def exceeded_at_most_once(samples: int, percent: float) -> float:
    """Probability that at most one of so many samples lies beyond the percentile, from first principles."""
    below = percent / 100
    return math.pow(below, samples) + samples * (1 - below) * math.pow(below, samples - 1)


@pytest.mark.parametrize(("percent", "needs"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_the_least_number_of_samples_is_the_published_one(percent: float, needs: int) -> None:
    """MLPerf's early stopping prints 662 for p99; the others follow from the same rule."""
    assert samples_needed(percent) == needs
    assert exceeded_at_most_once(needs, percent) <= 0.01 < exceeded_at_most_once(needs - 1, percent)


@pytest.mark.parametrize("percent", PERCENTS)
def test_one_sample_too_few_gives_no_bound(percent: float) -> None:
    """T8: 661 samples give no p99, 662 do, and it is the last but one of them."""
    needs = samples_needed(percent)
    samples_ns = np.random.default_rng(0).permutation(np.arange(1, needs + 1) * 1_000_000)
    assert bounds_ms(samples_ns)[percent] == needs - 1
    assert bounds_ms(samples_ns[:-1])[percent] is None
    assert next(found for found in upper_bounds(samples_ns[:-1]) if found.percent == percent).needs == needs


def test_bounds_lie_above_the_true_percentile_as_often_as_they_say() -> None:
    """T8, second half: latencies with a long tail."""
    random = np.random.default_rng(1)
    sessions = [bounds_ms(np.rint(1e6 * random.lognormal(size=700)).astype(np.int64)) for _ in range(600)]
    for percent, standard_normal in ((50.0, 0.0), (90.0, 1.2816), (99.0, 2.3263)):
        held = [bound >= math.exp(standard_normal) for session in sessions if (bound := session[percent]) is not None]
        assert len(held) == 600
        assert share(held) >= 0.98, percent


def test_bounds_tighten_with_more_samples() -> None:
    """With plenty of samples the bound lies just above the quantile, so it is no mere maximum."""
    samples_ns = np.random.default_rng(2).permutation(np.arange(1, 100_001))
    bound = bounds_ms(samples_ns)[90]
    assert bound is not None
    assert 0.0900 < bound < 0.0903
