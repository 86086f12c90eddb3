"""Pairs of rounds, in which drift cancels.

The value of a block is the median of its counted runs. Rounds 2k and 2k+1 of a launch go through the candidates in opposite
orders, so within such a pair every candidate is timed at the same moment on average. Drift that is linear from block to block
slows all means of a pair alike and cancels in their ratio. Of any other drift, only the second-order part within one pair is
left.

Another process that takes a core slows a quick model more than a slow one, since each of its runs waits for the core's next turn. The
kernel tells how long threads waited. Pairs in which any of the four blocks waited long are left out, whatever their times are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.samples import Block, Samples

WAITED = "waited_share"
"""Reading of the time that a block's threads waited for a core, over the block's own."""

UNDISTURBED = 0.05
"""Largest share of waiting of a pair that counts."""

_FEWEST_PAIRS, _FEWEST_LAUNCHES = 3, 0.4
"""Fewest such pairs, and the least share of launches that must have one."""

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
    """Return log(dense mean / other mean) of every pair that counts.

    Both have completed it. There is one array of shape (pairs,) per launch that has any. With a `reading` ("sm_clock_mhz") each value
    is multiplied by what was read beside its block. Blocks without that reading are left out.
    """
    ours, theirs = _complete(_pairs(dense, reading)), _complete(_pairs(other, reading))
    both = {
        pair: _Pair(value=math.log(of_dense.value / theirs[pair].value), waited=max(of_dense.waited, theirs[pair].waited))
        for pair, of_dense in ours.items()
        if pair in theirs
    }
    return _undisturbed(both)


def log_means(blocks: TimedBlocks) -> list[NDArray[np.float64]]:
    """Return the log of the mean nanoseconds in every pair that counts.

    There is one array of shape (pairs,) per launch. Half a pair counts too.
    """
    pairs = {pair: _joined(rounds) for pair, rounds in _pairs(blocks, None).items()}
    return _undisturbed({pair: _Pair(value=math.log(each.value), waited=each.waited) for pair, each in pairs.items()})


@dataclass(frozen=True, slots=True)
class _Pair:
    """A value, and the largest share of waiting in a block."""

    value: float
    waited: float


def _pairs(timed: TimedBlocks, reading: str | None) -> dict[Pair, dict[int, _Pair]]:
    """Map each pair to its rounds, and each round to its value."""
    pairs: dict[Pair, dict[int, _Pair]] = {}
    for block, value_ns in zip(timed.blocks, timed.values_ns, strict=True):
        factor = 1.0 if reading is None else block.readings.get(reading)
        if factor is not None and factor > 0:
            waited = block.readings.get(WAITED, 0.0)
            pairs.setdefault((block.launch, block.round // 2), {})[block.round] = _Pair(value_ns * factor, waited)
    return pairs


def _complete(pairs: dict[Pair, dict[int, _Pair]]) -> dict[Pair, _Pair]:
    return {pair: _joined(rounds) for pair, rounds in pairs.items() if len(rounds) == 2}


def _joined(rounds: dict[int, _Pair]) -> _Pair:
    values = [each.value for each in rounds.values()]
    return _Pair(value=sum(values) / len(values), waited=max(each.waited for each in rounds.values()))


def _undisturbed(pairs: dict[Pair, _Pair]) -> list[NDArray[np.float64]]:
    """Return the values of the pairs that count, one array per launch.

    These are the pairs that hardly waited for a core. Launches without any are left out. Where too little would be left, all count.
    """
    launches: dict[int, list[_Pair]] = {}
    for (launch, _), pair in sorted(pairs.items()):
        launches.setdefault(launch, []).append(pair)
    calm = [[each for each in of_launch if each.waited <= UNDISTURBED] for of_launch in launches.values()]
    calm = [of_launch for of_launch in calm if of_launch]
    enough = sum(map(len, calm)) >= _FEWEST_PAIRS and len(calm) >= _FEWEST_LAUNCHES * len(launches)
    return [np.array([each.value for each in of_launch]) for of_launch in (calm if enough else launches.values())]
