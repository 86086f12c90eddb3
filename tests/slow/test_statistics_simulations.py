"""Simulated sessions at full length: a thousand per true ratio, two thousand that stop when they are narrow enough."""

from __future__ import annotations

import numpy as np
import pytest

from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.estimates import estimate
from support.measuring import Noise, covers, launches_until_converged, session_with_copy, share


@pytest.mark.parametrize(("ratio", "found"), [(1.02, 0.5), (1.05, 0.9), (1.60, 0.99)])
def test_intervals_contain_the_true_ratio_and_real_effects_are_found(ratio: float, found: float) -> None:
    """T4, through the whole analysis."""
    random = np.random.default_rng(40)
    covered, faster = [], []
    for _ in range(1000):
        candidate = analyze(session_with_copy(random, ratio, Noise())).candidates[2]
        assert candidate is not None
        assert candidate.speedup is not None
        covered.append(covers(candidate.speedup.ratio, ratio))
        faster.append(candidate.speedup.verdict == "FASTER")
    assert share(covered) >= 0.93
    assert share(faster) >= found


def test_models_that_are_alike_are_not_called_faster_or_slower() -> None:
    random = np.random.default_rng(41)
    verdicts = []
    for _ in range(500):
        candidate = analyze(session_with_copy(random, 1.0, Noise())).candidates[2]
        assert candidate is not None
        assert candidate.speedup is not None
        verdicts.append(candidate.speedup.verdict)
    assert share([verdict in ("FASTER", "SLOWER") for verdict in verdicts]) <= 0.005
    assert share([verdict == "SAME" for verdict in verdicts]) >= 0.5


@pytest.mark.parametrize(
    "noise",
    [
        Noise(launch=0.006),
        Noise(launch=0.004),
        Noise(launch=0.006, tail_freedom=2.2),
        Noise(launch=0.006, drift=0.01, memory=0.95),
    ],
    ids=["loud", "quieter", "heavier tails", "wandering"],
)
def test_stopping_when_narrow_keeps_coverage_and_ignoring_launches_loses_it(noise: Noise) -> None:
    """T5. The second half proves that the first would notice."""
    random = np.random.default_rng(50)
    sessions = [launches_until_converged(random, 1.05, noise) for _ in range(2000)]
    assert len({len(launches) for launches in sessions}) >= 3, "the sessions must stop at different looks"
    assert share([covers(estimate(launches, "full"), 1.05) for launches in sessions]) >= 0.94
    pooled = [estimate([np.concatenate(launches)], "quick") for launches in sessions]
    assert share([covers(figure, 1.05) for figure in pooled]) <= 0.85
