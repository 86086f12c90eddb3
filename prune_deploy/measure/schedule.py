"""Order and length of the candidates' turns.

The orders depend only on the seed, the launch and the place in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from prune_deploy.specs import Device, Mode, Rigor

LEAST_BLOCK_S: dict[Device, float] = {"cpu": 0.02, "cuda": 0.05}
"""Least seconds of a block.

GPUs control their power over about 20 ms. Shorter blocks would see that control at work.
"""

LEAD_IN_S: dict[Device, float] = {"cpu": 0.04, "cuda": 0.01}
"""Seconds of runs before the counted ones, where first runs proved slower.

Caches and idle thread pools take that long after a switch. Measured on two CPU cores with a network of 0.9 ms in ONNX Runtime:
its first run after a switch took half as long again. Its ratio to a network of 4 ms was 6 % too small with blocks of 20 ms, and
right to 2 % behind a lead-in of 30 ms.
"""

_LEAST_SATURATED_BLOCK_S: dict[Rigor, float] = {"quick": 1.0, "full": 2.0}

_MOST_RUNS = 50_000
"""Most runs per block.

It keeps a backend that does nothing from filling the memory with its samples.
"""


def least_block_s(device: Device, mode: Mode, rigor: Rigor) -> float:
    """Return the least seconds of a timed block.

    In mode "throughput" it is long enough to make filling and draining a queue negligible.
    """
    return _LEAST_SATURATED_BLOCK_S[rigor] if mode == "throughput" else LEAST_BLOCK_S[device]


def runs_lasting(seconds: float, run_s: float) -> int:
    """Return the fewest runs of `run_s` seconds that last `seconds`.

    It is at least one.
    """
    # The margin keeps 20 ms / 1 ms from becoming 21 runs by a rounding error.
    return _MOST_RUNS if run_s * _MOST_RUNS <= seconds else max(1, math.ceil(seconds / run_s - 1e-9))


def opening_order(seed: int, launch: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """Return the order in which a launch opens its candidates.

    They take turns in the same order while warming up.
    """
    return _shuffled(f"{seed}/{launch}/open", candidates)


def abba_order(seed: int, launch: int, abba_pair: int, candidates: Sequence[int]) -> tuple[int, ...]:
    """Return the order of round 2 × `abba_pair`.

    The next round takes the reverse order, so that linear drift cancels between the two.
    """
    return _shuffled(f"{seed}/{launch}/{abba_pair}", candidates)


def _shuffled(key: str, candidates: Sequence[int]) -> tuple[int, ...]:
    order = list(candidates)
    # A seed of text gives the same order on every platform, and allows negative seeds.
    random.Random(key).shuffle(order)
    return tuple(order)
