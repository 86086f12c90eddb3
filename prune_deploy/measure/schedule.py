"""Who runs when, and for how long. The orders depend on the seed, the launch and the place in it, on nothing else."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from prune_deploy.specs import Device, Mode, Rigor

LEAST_BLOCK_S: dict[Device, float] = {"cpu": 0.02, "cuda": 0.05}
"""A block lasts at least so long. GPUs control their power over about 20 ms; shorter blocks would see that control at work."""

LEAD_IN_S: dict[Device, float] = {"cpu": 0.04, "cuda": 0.01}
"""Runs before the counted ones, where the first run after a switch proved slower: caches and idle thread pools take that long.

Measured on two CPU cores with a network of 0.9 ms in ONNX Runtime: its first run after a switch took half as long again, and its ratio
to a network of 4 ms was 6 % too small with blocks of 20 ms, and right to 2 % behind a lead-in of 30 ms.
"""

_LEAST_SATURATED_BLOCK_S: dict[Rigor, float] = {"quick": 1.0, "full": 2.0}

_MOST_RUNS = 50_000
"""Runs per block: a backend that does nothing must not fill the memory with its samples."""


def least_block_s(device: Device, mode: Mode, rigor: Rigor) -> float:
    """Seconds that a timed block lasts at least; in mode "throughput" long enough to fill and drain a queue unnoticed."""
    return _LEAST_SATURATED_BLOCK_S[rigor] if mode == "throughput" else LEAST_BLOCK_S[device]


def runs_lasting(seconds: float, run_s: float) -> int:
    """The fewest runs of `run_s` seconds each that last `seconds`, at least one."""
    # The margin keeps 20 ms / 1 ms from becoming 21 runs by a rounding error.
    return _MOST_RUNS if run_s * _MOST_RUNS <= seconds else max(1, math.ceil(seconds / run_s - 1e-9))


def opening_order(seed: int, launch: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """The order in which a launch opens its candidates, and in which they take turns while warming up."""
    return _shuffled(f"{seed}/{launch}/open", candidates)


def palindrome_order(seed: int, launch: int, abba_pair: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """The order of round 2 × `palindrome`; the next round takes its reverse, so that linear drift cancels between the two."""
    return _shuffled(f"{seed}/{launch}/{abba_pair}", candidates)


def _shuffled(key: str, candidates: Sequence[int]) -> tuple[int, ...]:
    order = list(candidates)
    # Seeded by text: the same on every platform, and any seed will do, negative ones included.
    random.Random(key).shuffle(order)
    return tuple(order)
