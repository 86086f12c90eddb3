"""Steady or not: series whose nature is known, at every moment of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from prune_deploy.measure.steadiness import is_first_slower, is_steady

NOISE = 0.003
SEEDS = range(8)

Series = NDArray[np.float64]


def with_noise(levels: Sequence[float] | Series, seed: int, share: float = NOISE) -> Series:
    values = np.asarray(levels, dtype=np.float64)
    return values * (1 + share * np.random.default_rng(seed).standard_normal(len(values)))


def first_steady(series: Series, start: int = 3) -> int | None:
    """The number of windows after which a series is first called steady."""
    return next((count for count in range(start, len(series) + 1) if is_steady(series[:count].tolist())), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_flat_is_steady_soon(seed: int) -> None:
    found = first_steady(with_noise(np.ones(30), seed), start=6)
    assert found is not None
    assert found <= 12


def test_flat_without_any_noise_is_steady_at_once() -> None:
    assert not is_steady([5.0, 5.0])
    assert all(is_steady([5.0] * count) for count in range(3, 40))


@pytest.mark.parametrize("seed", SEEDS)
def test_ramp_down_is_steady_once_settled_and_not_before(seed: int) -> None:
    ramp = np.linspace(1.5, 1.0, 12, endpoint=False)
    series = with_noise(np.concatenate([ramp, np.ones(40)]), seed)
    found = first_steady(series)
    assert found is not None
    assert len(ramp) + 3 <= found <= 2 * len(ramp) + 12


@pytest.mark.parametrize("seed", SEEDS)
def test_ramp_up_is_not_steady_while_it_ramps(seed: int) -> None:
    series = with_noise(np.linspace(1.0, 1.5, 40), seed)
    assert first_steady(series) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_creeping_ramp_is_found_by_its_trend(seed: int) -> None:
    # 0.4 % per window: three in a row lie within 1 %.
    series = with_noise([1.004**window for window in range(40)], seed, share=0.0002)
    assert first_steady(series, start=6) is None


def wave(shape: Callable[[Series], Series], period: float, phase: float, count: int = 64) -> Series:
    return 1 + 0.1 * shape(2 * np.pi * (np.arange(count) / period + phase))


@pytest.mark.parametrize("period", [2.5, 3, 4, 5, 6, 8, 10, 14, 20])
def test_a_sine_of_ten_percent_is_never_steady(period: float) -> None:
    for seed in SEEDS:
        series = with_noise(wave(np.sin, period, phase=seed / len(SEEDS)), seed)
        assert first_steady(series, start=6) is None, seed


def test_alternating_by_ten_percent_is_never_steady() -> None:
    for seed in SEEDS:
        assert first_steady(with_noise(np.tile([1.1, 0.9], 32), seed)) is None


@pytest.mark.parametrize("half", [2, 3, 4])
def test_switching_by_ten_percent_is_never_steady(half: int) -> None:
    for seed in SEEDS:
        levels = np.roll(np.tile(np.repeat([1.1, 0.9], half), 64 // (2 * half)), seed)
        assert first_steady(with_noise(levels, seed), start=6) is None, seed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [1.1, 0.9, 1.03])
def test_a_late_step_is_not_steady_until_it_has_settled_again(step: float, seed: int) -> None:
    before = 24
    series = with_noise(np.concatenate([np.ones(before), np.full(40, step)]), seed)
    after = [is_steady(series[:count].tolist()) for count in range(before + 1, len(series) + 1)]
    assert not any(after[:5])
    assert any(after[20:])


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_noisy_machine_is_steady_too(share: float) -> None:
    found = [first_steady(with_noise(np.ones(60), seed, share), start=6) for seed in SEEDS]
    assert all(count is not None and count <= 40 for count in found)
    assert np.median([count or 0 for count in found]) <= 20


def test_a_step_under_noise_is_not_steady_at_the_step() -> None:
    for seed in SEEDS:
        series = with_noise(np.concatenate([np.ones(30), np.full(3, 1.3)]), seed, 0.03)
        assert not any(is_steady(series[:count].tolist()) for count in (31, 32, 33))


def test_lone_slow_windows_do_not_matter() -> None:
    series = with_noise(np.ones(30), 3)
    series[[8, 15, 22]] *= 3
    assert first_steady(series[5:], start=12) is not None


def test_first_runs_that_are_slower_are_found() -> None:
    rng = np.random.default_rng(0)
    assert is_first_slower(list(0.05 + 0.02 * rng.standard_normal(10)), 0.01)
    assert is_first_slower([0.2, 0.19, 0.21], 0.01)
    assert is_first_slower([0.2, 0.2], 0.01)


def test_first_runs_that_are_not_slower_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    assert not is_first_slower([], 0.05)
    assert not is_first_slower([0.5], 0.05)
    assert not is_first_slower([0.0] * 10, 0.05)
    assert not is_first_slower([0.3, -0.2, 0.25], 0.05)
    assert not is_first_slower(list(-0.05 + 0.01 * rng.standard_normal(10)), 0.05)


def test_less_than_one_percent_is_not_worth_a_run() -> None:
    assert not is_first_slower([0.009, 0.0091, 0.0089] * 5, 0.05)
    assert is_first_slower([0.011, 0.0111, 0.0109] * 5, 0.05)


def test_noise_rarely_makes_first_runs_look_slower() -> None:
    rng = np.random.default_rng(1)
    for count in (3, 5, 8, 12):
        found = sum(is_first_slower(list(0.05 * rng.standard_normal(count)), 0.05) for _ in range(400))
        assert found <= 34, count  # 20 are expected, three standard deviations allowed
