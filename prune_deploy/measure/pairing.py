"""Pairs of rounds, in which drift cancels.

The value of a block is the median of its counted runs. Rounds 2k and 2k+1 of a launch go through the candidates in opposite
orders, so within such a pair every candidate is timed at the same moment on average. Drift that is linear from block to block
slows all means of a pair alike and cancels in their ratio. Of any other drift, only the second-order part within one pair is
left.

Another process that takes a core slows a quick model more than a slow one, since each of its runs waits for the core's next turn. The
kernel tells how long threads waited. Blocks that waited long are left out, whatever their times are. Where that breaks most pairs of a
launch, its calm blocks are matched with the nearest calm ones of the other candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.samples import Block, Samples

WAITED = "waited_share"
"""Reading of the time that a block's threads waited for a core, over the block's own."""

UNDISTURBED = 0.05
"""Largest share of waiting of a calm block."""

_MOSTLY_CALM = 0.8
_FEWEST_VALUES, _FEWEST_LAUNCHES = 3, 0.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedBlocks:
    """Timed blocks of one candidate, in the order of time.

    `values_ns` holds the value of each block in nanoseconds.
    """

    blocks: tuple[Block, ...]
    values_ns: tuple[float, ...]

    def samples_ns(self) -> NDArray[np.int64]:
        """Return all runs that count, shape (runs,)."""
        return np.concatenate([block.counted_ns for block in self.blocks])


def timed_blocks(samples: Samples, candidate: int) -> TimedBlocks:
    """Return the timed blocks of one candidate.

    Warm-up blocks and leading runs are left out.
    """
    of_candidate = (block for block in samples.blocks if block.candidate == candidate and block.phase == "timed")
    blocks = tuple(block for block in of_candidate if block.counted_ns.size)
    return TimedBlocks(blocks=blocks, values_ns=tuple(_value_ns(block) for block in blocks))


def _value_ns(block: Block) -> float:
    # The clock counts whole nanoseconds: a run below its resolution took at most one, and every value needs a logarithm.
    return max(float(np.median(block.counted_ns)), 1.0)


def log_ratios(dense: TimedBlocks, other: TimedBlocks, *, reading: str | None = None) -> list[NDArray[np.float64]]:
    """Return log(dense mean / other mean) of every pair that counts.

    Both have completed it. There is one array of shape (pairs,) per launch that has any. With a `reading` (`CLOCK`) each value
    is multiplied by what was read beside its block. Blocks without that reading are left out.
    """
    ours, theirs = _by_launch(dense, reading), _by_launch(other, reading)
    every: dict[int, list[float]] = {}
    calm: dict[int, list[float]] = {}
    for launch in sorted(ours.keys() & theirs.keys()):
        first, second = _complete(ours[launch]), _complete(theirs[launch])
        both = {pair: (first[pair], second[pair]) for pair in first.keys() & second.keys()}
        if not both:
            continue
        ratios = {pair: math.log(_mean(one) / _mean(two)) for pair, (one, two) in sorted(both.items())}
        quiet = [ratios[pair] for pair in ratios if all(block.is_calm for side in both[pair] for block in side)]
        every[launch] = list(ratios.values())
        calm[launch] = quiet if len(quiet) >= _MOSTLY_CALM * len(ratios) else _matched(ours[launch], theirs[launch])
    return _chosen(calm, every)


def log_means(blocks: TimedBlocks) -> list[NDArray[np.float64]]:
    """Return the log of the mean nanoseconds in every pair that counts.

    There is one array of shape (pairs,) per launch. Half a pair counts too, and so does its calm half.
    """
    every: dict[int, list[float]] = {}
    calm: dict[int, list[float]] = {}
    for launch, pairs in sorted(_by_launch(blocks, None).items()):
        every[launch] = [math.log(_mean(pair)) for _, pair in sorted(pairs.items())]
        halves = [[block for block in pair if block.is_calm] for _, pair in sorted(pairs.items())]
        calm[launch] = [math.log(_mean(pair)) for pair in halves if pair]
    return _chosen(calm, every)


@dataclass(frozen=True, slots=True)
class _Value:
    """Value of one block, its beginning, and whether its threads hardly waited."""

    value: float
    started_ns: int
    is_calm: bool


def _by_launch(timed: TimedBlocks, reading: str | None) -> dict[int, dict[int, list[_Value]]]:
    """Map each launch to its pairs, and each pair to its values."""
    launches: dict[int, dict[int, list[_Value]]] = {}
    for block, value_ns in zip(timed.blocks, timed.values_ns, strict=True):
        factor = 1.0 if reading is None else block.readings.get(reading)
        if factor is not None and factor > 0:
            value = _Value(value_ns * factor, block.started_ns, block.readings.get(WAITED, 0.0) <= UNDISTURBED)
            launches.setdefault(block.launch, {}).setdefault(block.round // 2, []).append(value)
    return launches


def _complete(pairs: dict[int, list[_Value]]) -> dict[int, list[_Value]]:
    return {pair: values for pair, values in pairs.items() if len(values) == 2}


def _mean(values: Sequence[_Value]) -> float:
    return sum(each.value for each in values) / len(values)


def _matched(dense: dict[int, list[_Value]], other: dict[int, list[_Value]]) -> list[float]:
    """Return log ratios of calm blocks that are nearest in time.

    Each calm block of the candidate with fewer of them is matched once.
    """
    ours, theirs = ([each for pair in side.values() for each in pair if each.is_calm] for side in (dense, other))
    few, many = (ours, theirs) if len(ours) <= len(theirs) else (theirs, ours)
    if not few:
        return []
    sign = 1 if few is ours else -1
    nearest = [min(many, key=lambda found: abs(found.started_ns - each.started_ns)) for each in few]
    return [sign * math.log(each.value / found.value) for each, found in zip(few, nearest, strict=True)]


def _chosen(calm: dict[int, list[float]], every: dict[int, list[float]]) -> list[NDArray[np.float64]]:
    """Return the calm values, or all where too few are calm."""
    kept = {launch: values for launch, values in calm.items() if values}
    enough = sum(map(len, kept.values())) >= _FEWEST_VALUES and len(kept) >= _FEWEST_LAUNCHES * len(every)
    return [np.array(values) for values in (kept if enough else every).values()]
