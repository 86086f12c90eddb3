"""Verdict on an interval: FASTER, SLOWER, SAME or INCONCLUSIVE.

A ratio counts as 1 between 1 / (1 + f) and 1 + f, a range that stays the same when the two sides change places. The margin f is
1 %. It is more where the dense model against its own copy shows that this machine cannot tell equal models apart.

- FASTER: the whole interval lies above that range. SLOWER: the whole interval lies below it.
- SAME: the whole interval lies inside, it has converged, and both sides had settled before they were timed. Where the control is
  off by more than 5 %, nothing is called the same: a wide margin supports fewer claims.
- INCONCLUSIVE: everything else, and every ratio without an interval.

Within one launch (rigor "quick") the interval does not include how launches differ. FASTER and SLOWER then also need an effect of
more than 5 % and of more than three half-widths.

Several candidates of a comparison are not corrected for their number (Holm). The decision is made on intervals at 97.5 % that
have to clear a margin, which is stricter than a p-value at its edge.
"""

from __future__ import annotations

from prune_deploy.measure.estimates import half_width, log_half_width
from prune_deploy.records import Estimate, Verdict
from prune_deploy.specs import Device

LEAST_MARGIN = 0.01
CONTROL_LIMIT = 0.05

_TARGET: dict[Device, float] = {"cpu": 0.01, "cuda": 0.005}
_QUICK_EFFECT = 0.05
_QUICK_HALF_WIDTHS = 3
_CLOCK_TOLERANCE = 0.01


def required_margin(control: Estimate | None) -> float:
    """Return the share f by which an interval must clear 1.

    `control` is the ratio of the dense model to its copy, as far as it is known.
    """
    if control is None:
        return LEAST_MARGIN
    return max(LEAST_MARGIN, abs(control.value - 1) + (half_width(control) or 0.0))


def is_converged(ratio: Estimate, device: Device) -> bool:
    """Return whether the interval is as narrow as its target.

    The target is ±1 % on a CPU and ±0.5 % on a GPU.
    """
    width = log_half_width(ratio)
    return width is not None and width <= _TARGET[device]


def verdict(ratio: Estimate, *, margin: float, device: Device, steady: bool = True, cycle_ratio: float | None = None) -> Verdict:
    """Return the verdict on a ratio.

    `steady` says that both sides had finished warming up. `cycle_ratio` is the ratio of clock cycles. When the clock explains
    more than 1 % of the ratio, the cycles must show the same direction beyond the margin.
    """
    if ratio.low is None or ratio.high is None:
        return "INCONCLUSIVE"
    placed = _place(ratio.low, ratio.high, margin)
    if placed == "SAME":
        certain = steady and margin <= CONTROL_LIMIT and is_converged(ratio, device)
    else:
        certain = _is_large_enough(ratio) and not _is_contradicted(placed, ratio, cycle_ratio, margin)
    return placed if certain else "INCONCLUSIVE"


def _place(low: float, high: float, margin: float) -> Verdict:
    """Place an interval relative to the range that counts as 1.

    It lies above, below or inside. Across an edge it is INCONCLUSIVE.
    """
    if low > 1 + margin:
        return "FASTER"
    if high < 1 / (1 + margin):
        return "SLOWER"
    return "SAME" if 1 / (1 + margin) <= low and high <= 1 + margin else "INCONCLUSIVE"


def _is_large_enough(ratio: Estimate) -> bool:
    width = half_width(ratio)
    return ratio.unit == "launch" or (width is not None and abs(ratio.value - 1) > max(_QUICK_EFFECT, _QUICK_HALF_WIDTHS * width))


def has_clock_effect(ratio: Estimate, cycle_ratio: float | None) -> bool:
    """Return whether the clock itself made a difference.

    That is so when the ratio of cycles differs from that of times by more than 1 %.
    """
    return cycle_ratio is not None and abs(cycle_ratio / ratio.value - 1) > _CLOCK_TOLERANCE


def _is_contradicted(placed: Verdict, ratio: Estimate, cycle_ratio: float | None, margin: float) -> bool:
    return cycle_ratio is not None and has_clock_effect(ratio, cycle_ratio) and _place(cycle_ratio, cycle_ratio, margin) != placed
