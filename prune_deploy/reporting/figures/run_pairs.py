"""Two runs side by side, through each run's own dense model.

The result is a ratio of ratios, since absolute times of two days do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from prune_deploy.measure.estimates import ends, log_half_width
from prune_deploy.records import CaseRecord, Estimate, Verdict
from prune_deploy.runs import Run

_MARGIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCase:
    """The same case in two runs.

    `ratio` is the second run's speed-up over the first's. Absolute times carry no verdict.
    """

    name: str
    first_ms: float | None
    second_ms: float | None
    first_speedup: Estimate | None
    second_speedup: Estimate | None
    ratio: Estimate | None
    margin: float
    verdict: Verdict
    reason: str = ""


def pair_runs(first: Run, second: Run) -> Iterator[PairedCase]:
    """Pair the cases that two runs share, in the second run's order.

    They have the same model, amount of pruning, backend, precision, batch size and options.
    """
    known = {_identity(record): record for record in first.cases if record.role == "candidate"}
    for record in second.cases:
        if record.role == "candidate" and _identity(record) in known:
            yield _pair(known[_identity(record)], record)


def _identity(record: CaseRecord) -> tuple[object, ...]:
    case = record.case
    # Options say the precision again, in older runs they do not.
    return record.label, case.backend, case.precision, case.batch, replace(case.options, precision=None)


def _pair(first: CaseRecord, second: CaseRecord) -> PairedCase:
    case = second.case
    variant = f":{case.options.variant}" if case.options.variant else ""
    missing = next((record for record in (first, second) if record.speedup is None), None)
    ratio = ratio_of_ratios(first, second)
    return PairedCase(
        name=f"{second.label} {case.backend}{variant} {case.precision} batch {case.batch}",
        first_ms=None if first.latency is None else first.latency.median_ms.value,
        second_ms=None if second.latency is None else second.latency.median_ms.value,
        first_speedup=None if first.speedup is None else first.speedup.ratio,
        second_speedup=None if second.speedup is None else second.speedup.ratio,
        ratio=ratio,
        margin=_margin(first, second),
        verdict=_verdict(ratio, first, second),
        reason="" if missing is None else f"{missing.status}: {missing.reason}",
    )


def ratio_of_ratios(first: CaseRecord, second: CaseRecord) -> Estimate | None:
    """Divide the second speed-up by the first, with an interval.

    The half-widths of the logarithms add in quadrature, because the runs are independent.
    """
    if first.speedup is None or second.speedup is None:
        return None
    old, new = first.speedup.ratio, second.speedup.ratio
    centre = math.log(new.value / old.value)
    low = high = None
    old_half, new_half = log_half_width(old), log_half_width(new)
    if old_half is not None and new_half is not None:
        low, high = ends(centre, math.hypot(old_half, new_half))
    weaker = min((old, new), key=lambda each: (each.unit == "launch", each.count))
    return Estimate(
        value=math.exp(centre), low=low, high=high, confidence=weaker.confidence, unit=weaker.unit, count=weaker.count
    )


def _margin(first: CaseRecord, second: CaseRecord) -> float:
    return max([_MARGIN, *(record.speedup.margin for record in (first, second) if record.speedup is not None)])


def _verdict(ratio: Estimate | None, first: CaseRecord, second: CaseRecord) -> Verdict:
    """Derive the verdict from the interval, which must clear both margins."""
    if ratio is None or ratio.low is None or ratio.high is None or first.speedup is None or second.speedup is None:
        return "INCONCLUSIVE"
    margin = _margin(first, second)
    if ratio.low > 1 + margin:
        return "FASTER"
    if ratio.high < 1 / (1 + margin):
        return "SLOWER"
    inside = 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin
    return "SAME" if inside and first.speedup.converged and second.speedup.converged else "INCONCLUSIVE"
