"""Ratios of a network of about a millisecond, against long slices of each model alone. Half an hour on a quiet machine.

The ratio itself moves with the machine's state, so yardstick and comparison alternate, and each comparison is held against its neighbours.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from prune_deploy.specs import MeasureSpec
from support.timing_pairs import candidates, compared, exported
from support.yardstick import Slices, interval, slices

PAIRS = 12
PIXELS = 96


@pytest.mark.timeout(3600)
def test_the_ratio_of_a_quick_network_is_the_yardsticks(tmp_path: Path) -> None:
    """T15 for a millisecond: nothing shows that they differ by more than 2 %, and the interval is narrow enough to show it."""
    files = [exported(tmp_path, "resnet18", PIXELS, ratio=ratio) for ratio in (None, 0.5)]
    group = candidates(files, PIXELS, threads=None)

    def yardstick(seed: int) -> Slices:
        return slices(files[0], files[1], batch=1, pixels=PIXELS, rounds=8, seconds=2.0, seed=seed)

    before, differences = yardstick(0), []
    for pair in range(PAIRS):
        spec = MeasureSpec(rigor="full", budget_s=35.0, seed=pair)
        stats = compared(group, spec, tmp_path / str(pair)).candidates[1]
        assert stats is not None
        assert stats.speedup is not None
        after = yardstick(pair + 1)
        valid = [each.log_ratio for each in (before, after) if each.holds_one]
        ratio = stats.speedup.ratio.value
        told = ", ".join(f"{math.exp(each.log_ratio):.2f}{'' if each.holds_one else ' (not valid)'}" for each in (before, after))
        print(f"bench {ratio:.2f}, slices {told}")  # noqa: T201 - figures for the reader
        if valid:
            differences.append(math.log(ratio) - sum(valid) / len(valid))
        before = after
    assert len(differences) >= PAIRS / 2, "too few valid yardsticks: this machine is not quiet"
    centre, half = interval(differences)
    print(f"bench over slices, mean of {len(differences)}: {centre:+.1%} ± {half:.1%}")  # noqa: T201
    assert half <= 0.05
    assert abs(centre) <= 0.02 + half
