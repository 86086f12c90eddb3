"""Analysis of raw samples: latencies, ratios, verdicts and warnings.

The same samples give the same figures, bit for bit. Only blocks of the phase "timed" count, and of each block only the runs after
its leading ones. Everything else that was timed is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prune_deploy.measure.bootstrap import bootstrap_interval
from prune_deploy.measure.case_warnings import side_warnings, speedup_warnings, unsteady_launches
from prune_deploy.measure.estimates import estimate
from prune_deploy.measure.pairing import TimedBlocks, log_means, log_ratios, timed_blocks
from prune_deploy.measure.percentiles import upper_bounds
from prune_deploy.measure.samples import CLOCK, Samples
from prune_deploy.measure.verdicts import is_converged, required_margin, verdict
from prune_deploy.records import CandidateStats, ComparisonStats, Estimate, Latency, Speedup
from prune_deploy.specs import Rigor

_NS_PER_MS = 1e6
_TUKEY_RANGES = 1.5


def analyze(samples: Samples) -> ComparisonStats:
    """Return the statistics of every candidate and of the control.

    The candidates keep their order. A candidate without timed runs is None.
    """
    timed = [timed_blocks(samples, candidate) for candidate in range(len(samples.candidates))]
    control = None if samples.copy is None else _ratio(timed[samples.dense], timed[samples.copy], samples.rigor)
    margin = required_margin(control)
    return ComparisonStats(
        candidates=tuple(_candidate_stats(samples, timed, index, margin) for index in range(len(timed))),
        dense_against_copy=control,
        margin=margin,
    )


def ratio_estimate(samples: Samples, candidate: int) -> Estimate | None:
    """Estimate dense time over a candidate's time, without the rest of `analyze`.

    It serves the decision after each launch whether to go on. Returns None for the dense model itself, and where no pair of
    rounds is complete on both sides.
    """
    if candidate == samples.dense:
        return None
    return _ratio(timed_blocks(samples, samples.dense), timed_blocks(samples, candidate), samples.rigor)


def _ratio(dense: TimedBlocks, other: TimedBlocks, rigor: Rigor, *, reading: str | None = None) -> Estimate | None:
    launches = log_ratios(dense, other, reading=reading)
    return estimate(launches, rigor) if launches else None


def _candidate_stats(samples: Samples, timed: Sequence[TimedBlocks], index: int, margin: float) -> CandidateStats | None:
    own = timed[index]
    if not own.blocks:
        return None
    latency = _latency(own, samples.rigor)
    warnings = list(side_warnings(samples, index, own, name="it"))
    if index == samples.dense:
        return CandidateStats(latency=latency, speedup=None, warnings=tuple(warnings))
    warnings += side_warnings(samples, samples.dense, timed[samples.dense], name="the dense model")
    speedup = _speedup(samples, timed, index, margin)
    if speedup is None:
        warnings.append("no ratio: the dense model and it completed no pair of rounds together")
    else:
        warnings += speedup_warnings(speedup)
    return CandidateStats(latency=latency, speedup=speedup, warnings=tuple(warnings))


def _latency(timed: TimedBlocks, rigor: Rigor) -> Latency:
    samples_ns = timed.samples_ns()
    lower, upper = np.percentile(samples_ns, (25, 75))
    reach = _TUKEY_RANGES * (upper - lower)
    return Latency(
        median_ms=_in_ms(estimate(log_means(timed), rigor)),
        mean_ms=float(samples_ns.mean()) / _NS_PER_MS,
        # One run has no spread. 0 keeps the record complete.
        stdev_ms=float(samples_ns.std(ddof=1)) / _NS_PER_MS if samples_ns.size > 1 else 0.0,
        minimum_ms=float(samples_ns.min()) / _NS_PER_MS,
        percentiles=upper_bounds(samples_ns),
        samples=samples_ns.size,
        outliers=int(np.count_nonzero((samples_ns < lower - reach) | (samples_ns > upper + reach))),
    )


def _in_ms(time_ns: Estimate) -> Estimate:
    low = None if time_ns.low is None else time_ns.low / _NS_PER_MS
    high = None if time_ns.high is None else time_ns.high / _NS_PER_MS
    return replace(time_ns, value=time_ns.value / _NS_PER_MS, low=low, high=high)


def _speedup(samples: Samples, timed: Sequence[TimedBlocks], index: int, margin: float) -> Speedup | None:
    dense, other = timed[samples.dense], timed[index]
    launches = log_ratios(dense, other)
    if not launches:
        return None
    ratio = estimate(launches, samples.rigor)
    cycles = _ratio(dense, other, samples.rigor, reading=CLOCK)
    cycle_ratio = None if cycles is None else cycles.value
    steady = not (unsteady_launches(samples, index) or unsteady_launches(samples, samples.dense))
    low, high = (None, None) if ratio.unit == "round" or ratio.count < 2 else bootstrap_interval(launches, samples.seed)
    return Speedup(
        ratio=ratio,
        verdict=verdict(ratio, margin=margin, device=samples.device, steady=steady, cycle_ratio=cycle_ratio),
        margin=margin,
        converged=is_converged(ratio, samples.device),
        rounds=2 * sum(len(pairs) for pairs in launches),
        launches=len(launches),
        minimum_ratio=min(dense.values_ns) / min(other.values_ns),
        cycle_ratio=cycle_ratio,
        bootstrap_low=low,
        bootstrap_high=high,
    )
