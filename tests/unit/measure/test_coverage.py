"""Simulated sessions, short: intervals hold the truth as often as they say. tests/slow runs the same at full length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from prune_deploy.measure.analysis import analyze, ratio_estimate
from prune_deploy.measure.bootstrap import bootstrap_interval, width_ratio
from prune_deploy.measure.estimates import estimate
from prune_deploy.measure.pairing import log_ratios, timed_blocks
from prune_deploy.measure.verdicts import required_margin, verdict
from support.measuring import (
    MS,
    Noise,
    contended,
    covers,
    launches_until_converged,
    make_samples,
    noisy_times,
    session_with_copy,
    share,
)

QUIET = Noise()
LOUD = Noise(launch=0.006)


@pytest.mark.parametrize(("ratio", "found"), [(1.02, 0.5), (1.05, 0.9), (1.60, 0.99)])
def test_intervals_contain_the_true_ratio_and_real_effects_are_found(ratio: float, found: float) -> None:
    """T4, short."""
    random = np.random.default_rng(4)
    covered, faster = [], []
    for _ in range(100):
        samples = session_with_copy(random, ratio, QUIET)
        figure, control = ratio_estimate(samples, 2), ratio_estimate(samples, 1)
        assert figure is not None
        covered.append(covers(figure, ratio))
        faster.append(verdict(figure, margin=required_margin(control), device="cpu") == "FASTER")
    assert share(covered) >= 0.93
    assert share(faster) >= found


def test_stopping_when_narrow_keeps_coverage_and_ignoring_launches_loses_it() -> None:
    """T5, short. The second half proves that the first would notice."""
    random = np.random.default_rng(5)
    sessions = [launches_until_converged(random, 1.05, LOUD) for _ in range(200)]
    assert len({len(launches) for launches in sessions}) >= 3, "the sessions must stop at different looks"
    assert share([covers(estimate(launches, "full"), 1.05) for launches in sessions]) >= 0.94
    pooled = [estimate([np.concatenate(launches)], "quick") for launches in sessions]
    assert share([covers(figure, 1.05) for figure in pooled]) <= 0.75


@pytest.mark.parametrize(("contaminated", "least", "most"), [(0.0, 0.955, 0.99), (0.3, 0.99, 1.0)])
def test_the_interval_within_one_launch_is_honest_about_that_launch(contaminated: float, least: float, most: float) -> None:
    """Normal noise: what is stated. With a share of the pairs slowed on either side: wider than need be, never narrower."""
    random = np.random.default_rng(6)
    covered = []
    for _ in range(2000):
        logs = math.log(1.3) + 0.01 * random.standard_normal(24)
        logs += np.where(random.random(24) < contaminated, random.normal(0, 0.3, 24), 0)
        covered.append(covers(estimate([logs], "quick"), 1.3))
    assert least <= share(covered) <= most


def test_the_bootstrap_agrees_with_the_t_interval_when_nothing_is_odd() -> None:
    random = np.random.default_rng(7)
    factors = []
    for launches in (2, 3, 5, 5, 10, 30):
        samples = make_samples(noisy_times(random, (20 * MS, 10 * MS), noise=LOUD, launches=launches))
        logs = log_ratios(timed_blocks(samples, 0), timed_blocks(samples, 1))
        factors.append(width_ratio(*bootstrap_interval(logs, 0), estimate(logs, "full")))
    assert all(factor is not None and 0.7 < factor < 1.5 for factor in factors), factors


def test_a_loud_session_is_inconclusive_rather_than_wrong() -> None:
    """T13 as simulation: launches that scatter by 20 % decide nothing about two models that are alike."""
    random = np.random.default_rng(8)
    for _ in range(20):
        samples = session_with_copy(random, 1.0, Noise(launch=0.2))
        candidate = analyze(samples).candidates[2]
        assert candidate is not None
        assert candidate.speedup is not None
        assert candidate.speedup.verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("on", [0.3, 0.6])
def test_a_process_that_takes_a_core_does_not_bend_the_ratio(on: float) -> None:
    """It slows the quick model more. The second half proves that only the counted waiting tells the pairs apart."""
    random = np.random.default_rng(8)
    covered, controls, errors, blind = [], [], [], []
    for _ in range(100):
        samples = contended(random, session_with_copy(random, 4.0, QUIET), on=on, slowing=(1.0, 1.0, 2.5))
        figure, control = ratio_estimate(samples, 2), ratio_estimate(samples, 1)
        assert figure is not None
        assert control is not None
        covered.append(covers(figure, 4.0))
        controls.append(covers(control, 1.0))
        errors.append(abs(figure.value / 4.0 - 1))
        untold = replace(samples, blocks=tuple(replace(block, readings={}) for block in samples.blocks))
        blinded = ratio_estimate(untold, 2)
        assert blinded is not None
        blind.append(abs(blinded.value / 4.0 - 1))
    assert share(covered) >= 0.93
    assert share(controls) >= 0.93
    assert np.quantile(errors, 0.95) < 0.3 * np.quantile(blind, 0.95)
