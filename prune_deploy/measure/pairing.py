"""Pairs of rounds, in which drift cancels.

The value of a block is the median of its counted runs. Rounds 2k and 2k+1 of a launch go through the candidates in opposite
orders, so within such a pair every candidate is timed at the same moment on average. Drift that is linear from block to block
slows all means of a pair alike and cancels in their ratio. Of any other drift, only the second-order part within one pair is
left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.samples import Block, Samples

Pair = tuple[int, int]
"""Launch, and the number k of the pair within it."""


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
    """Return log(dense mean / other mean) of every pair that both completed.

    There is one array of shape (pairs,) per launch that has any. With a `reading` ("sm_clock_mhz") each value is multiplied by
    what was read beside its block. Blocks without that reading are left out.
    """
    ours, theirs = _complete(_pairs(dense, reading)), _complete(_pairs(other, reading))
    return _by_launch({pair: math.log(mean / theirs[pair]) for pair, mean in ours.items() if pair in theirs})


def log_means(blocks: TimedBlocks) -> list[NDArray[np.float64]]:
    """Return the log of a candidate's mean nanoseconds in every pair.

    There is one array of shape (pairs,) per launch. Half a pair counts too.
    """
    return _by_launch({pair: math.log(_mean(rounds)) for pair, rounds in _pairs(blocks, None).items()})


def _pairs(timed: TimedBlocks, reading: str | None) -> dict[Pair, dict[int, float]]:
    """Map each pair to its rounds, and each round to its value."""
    pairs: dict[Pair, dict[int, float]] = {}
    for block, value_ns in zip(timed.blocks, timed.values_ns, strict=True):
        factor = 1.0 if reading is None else block.readings.get(reading)
        if factor is not None and factor > 0:
            pairs.setdefault((block.launch, block.round // 2), {})[block.round] = value_ns * factor
    return pairs


def _complete(pairs: dict[Pair, dict[int, float]]) -> dict[Pair, float]:
    return {pair: _mean(rounds) for pair, rounds in pairs.items() if len(rounds) == 2}


def _mean(rounds: dict[int, float]) -> float:
    return sum(rounds.values()) / len(rounds)


def _by_launch(values: dict[Pair, float]) -> list[NDArray[np.float64]]:
    launches: dict[int, list[float]] = {}
    for (launch, _), value in sorted(values.items()):
        launches.setdefault(launch, []).append(value)
    return [np.array(launch) for launch in launches.values()]
