"""From samples to figures: what counts, how drift cancels, and what does not depend on names or places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from prune_deploy.measure.analysis import analyze, ratio_estimate
from prune_deploy.measure.samples import Samples
from prune_deploy.records import CandidateStats, Estimate, Speedup, from_json, to_json
from prune_deploy.records.run import ComparisonStats
from support.measuring import MS, PAIR, WITH_COPY, Noise, clock_times, make_blocks, make_samples, noisy_times, without_most_of

COSTS_NS = (3.2 * MS, 3.2 * MS, 2 * MS)
RATIO = 1.6


def stats_of(samples: Samples, index: int) -> CandidateStats:
    """What is said of one candidate."""
    found = analyze(samples).candidates[index]
    assert found is not None
    return found


def speedup_of(samples: Samples, index: int = -1) -> Speedup:
    """The speed-up of one candidate, the last one unless said otherwise."""
    found = stats_of(samples, index).speedup
    assert found is not None
    return found


def noisy_samples(seed: int = 0, **changes: Any) -> Samples:
    """Five launches of a dense model, a copy in every fourth pair, and a candidate."""
    times = noisy_times(np.random.default_rng(seed), COSTS_NS, noise=Noise())
    return make_samples(without_most_of(times, 1, every=4), roles=WITH_COPY, **changes)


def linear_drift(place: Callable[[int, int], int]) -> Samples:
    """Blocks that are 1/128 of their model's time slower per place since the launch began; all times are whole nanoseconds."""
    times = np.empty((5, 24, 3, 1))
    for _, number, candidate in itertools.product(range(5), range(24), range(3)):
        times[:, number, candidate] = COSTS_NS[candidate] * (1 + place(number, candidate) / 128)
    return make_samples(times, roles=WITH_COPY)


def test_linear_drift_cancels_exactly() -> None:
    """T3: 56 % slower at the end than in the beginning. Passes that all go forth would show more than half a per cent of it."""
    samples = linear_drift(lambda number, candidate: 3 * number + (candidate if number % 2 == 0 else 2 - candidate))
    found = speedup_of(samples)
    assert found.ratio.value == pytest.approx(RATIO, rel=1e-12)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((RATIO, RATIO), rel=1e-12)
    assert found.verdict == "FASTER"
    one_way = linear_drift(lambda number, candidate: 3 * number + candidate)
    assert abs(speedup_of(one_way).ratio.value / RATIO - 1) > 0.005


@pytest.mark.parametrize(
    ("slowdown", "bound"),
    [
        (lambda seconds: 1 + 0.5 * seconds / 5, 2e-4),
        (lambda seconds: 1.5 if seconds > 1.3 else 1.0, 1e-6),
        (lambda seconds: 1 + 0.2 * math.sin(2 * math.pi * seconds / 3), 5e-3),
        (lambda seconds: 1 + 0.2 * math.exp(-seconds), 5e-3),
    ],
    ids=["linear +50 %", "step", "sine", "cooling"],
)
@pytest.mark.parametrize("rigor", ["full", "quick"])
def test_a_drifting_machine_does_not_move_the_ratio(rigor: str, slowdown: Callable[[float], float], bound: float) -> None:
    """T3: drift in time, which slow blocks stretch: what is left is of second order in the drift within one pair."""
    samples = make_samples(clock_times(COSTS_NS, slowdown, launches=5 if rigor == "full" else 1), roles=WITH_COPY, rigor=rigor)
    assert speedup_of(samples).ratio.value == pytest.approx(RATIO, rel=bound)
    control = analyze(samples).dense_against_copy
    assert control is not None
    assert control.value == pytest.approx(1, rel=bound)


@pytest.mark.parametrize("rigor", ["full", "quick"])
def test_contaminated_rounds_do_not_move_the_ratio(rigor: str) -> None:
    """T3: 30 % of the rounds disturbed, half as long again for one of the candidates."""
    random = np.random.default_rng(3)
    times = clock_times((3.2 * MS, 2 * MS), lambda seconds: 1.0, launches=5 if rigor == "full" else 1, rounds=40)
    disturbed = random.random(times.shape[:2]) < 0.3
    victim = random.integers(2, size=times.shape[:2])
    for candidate in (0, 1):
        times[disturbed & (victim == candidate), candidate] *= 1.5
    assert speedup_of(make_samples(times, rigor=rigor)).ratio.value == pytest.approx(RATIO, rel=0.005)


def test_warm_up_and_leading_runs_do_not_count() -> None:
    """T2: whoever comes first pays 400 ms in its first five runs. All of that is warm-up, or runs after a switch."""
    times = clock_times(COSTS_NS, lambda seconds: 1.0, rounds=4, runs=5)
    cold = times.copy()
    cold[:, 0, 0] = 400 * MS
    times[..., :3] = 50 * MS
    samples = make_samples(times, roles=WITH_COPY, leading=3)
    cold_first = replace(samples, blocks=make_blocks(cold, phase="warmup") + samples.blocks)
    assert analyze(cold_first) == analyze(samples)
    assert speedup_of(cold_first).ratio.value == pytest.approx(RATIO, abs=1e-6)
    assert stats_of(cold_first, 0).latency.samples == 5 * 4 * 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_names_and_places_change_nothing(order: tuple[int, ...]) -> None:
    """T14: the same measurements under other names and indices give the same figures, to the last bit."""
    samples = noisy_samples(seed=14)
    place = {old: new for new, old in enumerate(order)}
    permuted = replace(
        samples,
        candidates=tuple(f"renamed {old}" for old in order),
        roles=tuple(samples.roles[old] for old in order),
        blocks=tuple(replace(block, candidate=place[block.candidate]) for block in samples.blocks),
    )
    before, after = analyze(samples), analyze(permuted)
    assert after.dense_against_copy == before.dense_against_copy
    assert after.candidates == tuple(before.candidates[old] for old in order)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_place_in_the_round_does_not_matter(order: tuple[int, ...]) -> None:
    """T14 under a clock that drifts by 10 % per second: whoever runs first, the ratio is the same up to second order."""
    times = clock_times([COSTS_NS[index] for index in order], lambda seconds: 1 + 0.1 * seconds)
    samples = make_samples(times, roles=tuple(WITH_COPY[index] for index in order))
    assert speedup_of(samples, order.index(2)).ratio.value == pytest.approx(RATIO, rel=3e-4)


def test_full_rigor_is_the_textbook_t_interval_over_launch_medians() -> None:
    times = noisy_times(np.random.default_rng(1), (2 * MS, 1 * MS), noise=Noise())
    found = speedup_of(make_samples(np.rint(times)))
    means = np.rint(times)[..., 0].reshape(5, 12, 2, 2).mean(axis=2)
    medians = np.median(np.log(means[..., 0] / means[..., 1]), axis=1)
    low, high = stats.t.interval(0.975, df=4, loc=medians.mean(), scale=stats.sem(medians))
    assert (found.ratio.unit, found.ratio.count, found.ratio.confidence) == ("launch", 5, 0.975)
    assert found.ratio.value == pytest.approx(math.exp(medians.mean()), rel=1e-12)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-10)
    assert (found.rounds, found.launches) == (120, 5)
    own_medians = np.median(np.log(means[..., 1] / MS), axis=1)
    latency = stats_of(make_samples(np.rint(times)), 1).latency.median_ms
    low, high = stats.t.interval(0.975, df=4, loc=own_medians.mean(), scale=stats.sem(own_medians))
    assert (latency.value, latency.low, latency.high) == pytest.approx(np.exp((own_medians.mean(), low, high)), rel=1e-10)


def test_quick_rigor_speaks_of_pairs_within_one_launch() -> None:
    times = noisy_times(np.random.default_rng(2), (2 * MS, 1 * MS), noise=Noise(), launches=1)
    found = speedup_of(make_samples(np.rint(times), rigor="quick"))
    means = np.rint(times)[0, ..., 0].reshape(12, 2, 2).mean(axis=1)
    logs = np.log(means[:, 0] / means[:, 1])
    reach = stats.t.ppf(0.9875, 11) * stats.sem(logs) * 1.2533
    assert (found.ratio.unit, found.ratio.count) == ("round", 12)
    assert found.ratio.value == pytest.approx(math.exp(np.median(logs)), rel=1e-12)
    assert found.ratio.high == pytest.approx(math.exp(np.median(logs) + reach), rel=1e-6)
    assert (found.bootstrap_low, found.bootstrap_high) == (None, None)


def test_the_cheap_estimate_is_the_one_in_the_analysis() -> None:
    samples = noisy_samples()
    stats = analyze(samples)
    assert ratio_estimate(samples, 0) is None
    assert ratio_estimate(samples, 1) == stats.dense_against_copy == speedup_of(samples, 1).ratio
    assert ratio_estimate(samples, 2) == speedup_of(samples, 2).ratio


@pytest.mark.parametrize(("rigor", "launches", "rounds"), [("full", 1, 24), ("quick", 1, 3)])
def test_one_unit_has_a_value_and_no_interval(rigor: str, launches: int, rounds: int) -> None:
    found = speedup_of(make_samples(clock_times((2 * MS, 1 * MS), lambda _: 1.0, launches=launches, rounds=rounds), rigor=rigor))
    assert found.ratio == Estimate(
        value=found.ratio.value, low=None, high=None, confidence=0.975, unit="launch" if rigor == "full" else "round", count=1
    )
    assert found.ratio.value == pytest.approx(2)
    assert (found.verdict, found.converged, found.bootstrap_low) == ("INCONCLUSIVE", False, None)


@pytest.mark.parametrize("rigor", ["full", "quick"])
@pytest.mark.parametrize("odd_ns", [1, 300 * MS, 86_400 * 10**9])
def test_an_interval_ends_where_times_and_ratios_do(rigor: str, odd_ns: float) -> None:
    """A machine that slept through one launch: two launches that differ by hundreds give an interval to infinity."""
    times = np.full((2, 2, 2, 2), 1.0 * MS)
    times[0, :, 1] = odd_ns
    found = stats_of(make_samples(times, rigor=rigor), 1)
    assert found.speedup is not None
    for figure in (found.speedup.ratio, found.latency.median_ms):
        assert figure.low is not None
        assert figure.high is not None
        assert 1e-40 < figure.low < figure.value / 1e6
        assert figure.value * 1e6 < figure.high <= 1e30
    assert found.speedup.verdict == "INCONCLUSIVE"
    assert from_json(CandidateStats, to_json(found), source="here") == found


def test_a_candidate_that_was_lost_keeps_the_launches_it_has() -> None:
    samples = noisy_samples()
    lost = replace(samples, blocks=tuple(b for b in samples.blocks if b.candidate != 2 or (b.launch, b.round) < (3, 5)))
    found = speedup_of(lost, 2)
    assert (found.launches, found.ratio.count, found.rounds) == (4, 4, 3 * 24 + 4)
    assert speedup_of(lost, 1) == speedup_of(samples, 1)


def test_candidates_without_timed_runs_are_none_and_without_common_pairs_have_no_ratio() -> None:
    samples = noisy_samples()
    absent = analyze(replace(samples, blocks=tuple(b for b in samples.blocks if b.candidate != 1)))
    assert absent.candidates[1] is None
    assert (absent.dense_against_copy, absent.margin) == (None, 0.01)
    alone = replace(samples, blocks=tuple(b for b in samples.blocks if b.candidate == 0 or (b.candidate == 2 and b.round == 4)))
    assert ratio_estimate(alone, 2) is None
    found = stats_of(alone, 2)
    assert found.speedup is None
    assert any("no ratio" in warning for warning in found.warnings)
    assert found.latency.samples == 5
    assert analyze(replace(samples, blocks=())).candidates == (None, None, None)


def test_a_comparison_without_a_copy_has_the_least_margin() -> None:
    samples = make_samples(clock_times((2 * MS, 1 * MS), lambda seconds: 1.0), roles=PAIR)
    found = analyze(samples)
    assert (found.dense_against_copy, found.margin) == (None, 0.01)


def test_latency_is_over_every_counted_run() -> None:
    """Quartiles of 2.0 and 2.2 ms make 1.7 to 2.5 ms inconspicuous; what lies beyond is counted as such, and counts."""
    times = np.full((3, 4, 2, 5), 2.0 * MS)
    times[..., :2] = 2.2 * MS
    times[1, 2, 0, 0], times[1, 3, 0, 1] = 9 * MS, 2.45 * MS
    times[2, 0, 0, 4], times[0, 1, 0, 2] = 1 * MS, 1.75 * MS
    found = stats_of(make_samples(times), 0).latency
    runs_ms = times[:, :, 0].ravel() / MS
    assert (found.samples, found.outliers, found.minimum_ms) == (60, 2, 1.0)
    assert found.mean_ms == pytest.approx(runs_ms.mean())
    assert found.stdev_ms == pytest.approx(runs_ms.std(ddof=1))
    assert (found.median_ms.value, found.median_ms.low, found.median_ms.high) == pytest.approx((2.0, 2.0, 2.0))
    assert {percentile.percent: percentile.bound_ms for percentile in found.percentiles} == {
        50: 2.2, 90: None, 95: None, 99: None, 99.9: None
    }  # fmt: skip


def test_the_same_samples_give_the_same_bits_and_survive_json() -> None:
    samples = noisy_samples(seed=5)
    text = to_json(analyze(samples))
    assert to_json(analyze(samples)) == text
    assert from_json(ComparisonStats, text, source="stats") == analyze(samples)
    other_seed = speedup_of(replace(samples, seed=-1))
    assert other_seed.bootstrap_low != speedup_of(samples).bootstrap_low
    assert replace(other_seed, bootstrap_low=None, bootstrap_high=None) == replace(
        speedup_of(samples), bootstrap_low=None, bootstrap_high=None
    )


def test_times_below_the_clock_s_resolution_have_a_figure() -> None:
    found = speedup_of(make_samples(np.zeros((2, 4, 2, 3))))
    assert (found.ratio.value, found.ratio.low, found.ratio.high) == (1, 1, 1)
