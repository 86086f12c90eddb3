"""Tests of a warm-up: settled candidates, and slower first runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST_WINDOWS = 3
"""Fewest windows from which a candidate can count as settled."""

_QUIET_SPREAD = 1.01  # max / min of windows that need no statistics to be called equal
_TREND_WINDOWS = 6
_NOISY_WINDOWS = 16
_TREND_P = 0.05
# Looser than for a trend, so it rejects more: a missed oscillation is a wrong figure, a false alarm only a longer warm-up.
_RHYTHM_P = 0.10
_ROBUST_SPREADS = 3.0
_MAD_TO_DEVIATION = 1.4826  # median absolute deviation to standard deviation, for normal noise

_SLOWER_EXCESS = np.log(1.01)
_FEWEST_FOR_RANKS = 8  # the signed ranks of 8 can get below 0.4 %, those of three never below 12 %


def is_steady(window_medians: Sequence[float]) -> bool:
    """Return whether a candidate has settled.

    `window_medians` are the medians of its warm-up windows in the order of time, in any unit. Only the second half of the series
    is used, so a ramp at the start needs as long again of quiet. There are two ways to settle:

    - Quiet: the last three windows lie within 1 %, so do all medians of three windows in a row, and there is no trend.
    - Noisy, for a shared machine that never gets that quiet: at least 16 windows that look shuffled. They show no trend (Kendall)
      and no rhythm (Ljung and Box). The last three lie within the scatter of the windows before them.

    Fewer than six windows can show no trend. Of those, the last three need to lie within 1 %.
    """
    windows = np.asarray(window_medians, dtype=np.float64)
    count = len(windows)
    if count < FEWEST_WINDOWS:
        return False
    quiet = bool(_spread(windows[-FEWEST_WINDOWS:]) <= _QUIET_SPREAD)
    if count < _TREND_WINDOWS:
        return quiet
    if quiet and _is_level(windows[-max(_TREND_WINDOWS, count // 2) :]):
        return True
    return count >= _NOISY_WINDOWS and _looks_shuffled(windows[-max(_NOISY_WINDOWS, count // 2) :])


def _spread(windows: NDArray[np.float64]) -> float:
    return float(windows.max() / windows.min())


def _is_level(tail: NDArray[np.float64]) -> bool:
    # Medians of three tolerate a lone slow window, and still show a step or a wave.
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(tail, 3), axis=1)
    return _spread(smooth) <= _QUIET_SPREAD and not _has_trend(tail)


def _looks_shuffled(tail: NDArray[np.float64]) -> bool:
    last, before = tail[-FEWEST_WINDOWS:], tail[:-FEWEST_WINDOWS]
    reach = _ROBUST_SPREADS * _deviation(before)
    if np.any(np.abs(last - np.median(before)) > reach):
        return False
    return not _has_rhythm(tail) and not _has_trend(tail)


def _deviation(values: NDArray[np.float64]) -> float:
    return float(_MAD_TO_DEVIATION * np.median(np.abs(values - np.median(values))))


def _has_trend(values: NDArray[np.float64]) -> bool:
    from scipy.stats import kendalltau

    # Equal values have no order and so no trend. The p-value is then not a number.
    return bool(kendalltau(np.arange(len(values)), values).pvalue <= _TREND_P)


def _has_rhythm(values: NDArray[np.float64]) -> bool:
    """Return whether values depend on those before them.

    Source: G. Ljung, G. Box: On a measure of lack of fit in time series models, 1978.
    """
    from scipy.special import chdtrc

    centre, reach = np.median(values), _ROBUST_SPREADS * _deviation(values)
    clipped = np.clip(values, centre - reach, centre + reach)  # one huge window would drown all correlation
    clipped = clipped - clipped.mean()
    energy = float(clipped @ clipped)
    if energy == 0:
        return False
    count = len(values)
    lags = np.arange(1, count // 4 + 1)
    correlations = np.array([clipped[lag:] @ clipped[:-lag] for lag in lags]) / energy
    statistic = count * (count + 2) * float(np.sum(correlations**2 / (count - lags)))
    return bool(chdtrc(len(lags), statistic) <= _RHYTHM_P)


def is_first_slower(excesses: Sequence[float], level: float) -> bool:
    """Return whether first runs are proven slower.

    `excesses` are log(first run / median of the rest), one per window. The typical excess must be more than 1 %, and chance less
    likely than `level`. The test is Wilcoxon's signed ranks, or Student's t where windows are too few for ranks to prove
    anything.
    """
    if len(excesses) < 2 or float(np.median(excesses)) <= _SLOWER_EXCESS:
        return False
    from scipy.stats import ttest_1samp, wilcoxon

    if len(excesses) >= _FEWEST_FOR_RANKS:
        return bool(wilcoxon(excesses, alternative="greater").pvalue < level)
    if np.ptp(excesses) == 0:
        return True
    return bool(ttest_1samp(excesses, 0.0, alternative="greater").pvalue < level)
