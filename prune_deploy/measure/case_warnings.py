"""Warnings that the samples of a comparison give rise to."""

from __future__ import annotations

from collections.abc import Iterable

from prune_deploy.measure.bootstrap import width_ratio
from prune_deploy.measure.pairing import UNDISTURBED, WAITED, TimedBlocks
from prune_deploy.measure.samples import Samples
from prune_deploy.measure.verdicts import CONTROL_LIMIT, has_clock_effect
from prune_deploy.records import Speedup

_CONTENTION = 0.01
_BOOTSTRAP_FACTOR = 2.0
_POWER_SHARE = 0.01
_WAITING_SHARE = 0.25


def unsteady_launches(samples: Samples, candidate: int) -> tuple[int, ...]:
    """Return the launches whose warm-up left the candidate unsettled."""
    return tuple(sorted(launch for launch, unsteady in samples.unsteady if unsteady == candidate))


def side_warnings(samples: Samples, candidate: int, timed: TimedBlocks, *, name: str) -> Iterable[str]:
    """Yield the warnings about one side of a comparison.

    `name` is the name of that side in the texts.
    """
    if launches := unsteady_launches(samples, candidate):
        count = "1 launch" if len(launches) == 1 else f"{len(launches)} launches"
        yield f"{name} had not settled when the warm-up of {count} ended"
    if (share := _share_above_zero(timed, "power_capped")) > _POWER_SHARE:
        yield f"{name} was slowed by the power limit in {share:.0%} of its blocks"
    if (share := _share_above(timed, WAITED, UNDISTURBED)) > _WAITING_SHARE:
        yield f"{name} waited for a core in {share:.0%} of its blocks: other work ran, or it has more threads than there are cores"
    if (share := _share_above_zero(timed, "allocator_retries")) > 0:
        yield f"the GPU's memory was full in {share:.0%} of the blocks of {name}: PyTorch freed its caches in timed runs"


def _share_above_zero(timed: TimedBlocks, reading: str) -> float:
    return _share_above(timed, reading, 0.0)


def _share_above(timed: TimedBlocks, reading: str, bound: float) -> float:
    """Return the share of blocks with a reading above a bound.

    Only blocks with that reading count.
    """
    above = [block.readings[reading] > bound for block in timed.blocks if reading in block.readings]
    return sum(above) / len(above) if above else 0.0


def speedup_warnings(speedup: Speedup) -> Iterable[str]:
    """Yield the warnings about the ratio itself."""
    ratio = speedup.ratio
    if _is_contended(speedup):
        yield f"contended: the fastest blocks give a ratio of {speedup.minimum_ratio:.3f}, all blocks {ratio.value:.3f}"
    if has_clock_effect(ratio, speedup.cycle_ratio):
        yield f"clock effect: in clock cycles the ratio is {speedup.cycle_ratio:.3f}, in time {ratio.value:.3f}"
    if speedup.bootstrap_low is not None and speedup.bootstrap_high is not None:
        factor = width_ratio(speedup.bootstrap_low, speedup.bootstrap_high, ratio)
        if factor is not None and not 1 / _BOOTSTRAP_FACTOR <= factor <= _BOOTSTRAP_FACTOR:
            yield f"the bootstrap interval is {factor:.2g} times as wide as expected from the t interval"
    if speedup.margin > CONTROL_LIMIT:
        share = f"{speedup.margin:.0%}" if speedup.margin <= 1 else "more than 100%"
        yield f"the dense model may differ from its own copy by {share}: smaller effects are not resolved"


def _is_contended(speedup: Speedup) -> bool:
    ratio, minimum = speedup.ratio, speedup.minimum_ratio
    inside = ratio.low is not None and ratio.high is not None and ratio.low <= minimum <= ratio.high
    return abs(minimum / ratio.value - 1) > _CONTENTION and not inside
