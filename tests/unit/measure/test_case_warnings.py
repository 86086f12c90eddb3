"""Warnings beside a ratio: each appears when its cause is in the samples, and none without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.pairing import WAITED
from prune_deploy.measure.samples import Samples
from prune_deploy.records import CandidateStats
from support.measuring import MS, WITH_COPY, Noise, clock_times, make_samples, noisy_times

DENSE, COPY, PRUNED = 0, 1, 2


def plain(ratio: float = 1.2, **changes: Any) -> Samples:
    """A steady machine."""
    times = clock_times((2 * MS * ratio, 2 * MS * ratio, 2 * MS), lambda seconds: 1.0, rounds=8)
    return make_samples(times, roles=WITH_COPY, **changes)


def read(samples: Samples, name: str, *values: float) -> Samples:
    """The same, with a reading beside each block: one value per candidate."""
    blocks = tuple(replace(b, readings={**b.readings, name: values[b.candidate]}) for b in samples.blocks)
    return replace(samples, blocks=blocks)


def stats_of(samples: Samples, index: int = PRUNED) -> CandidateStats:
    """What is said of one candidate."""
    found = analyze(samples).candidates[index]
    assert found is not None
    return found


def warned(samples: Samples, index: int = PRUNED) -> str:
    """All warnings of one candidate."""
    return "\n".join(stats_of(samples, index).warnings)


def verdict_of(samples: Samples, index: int = PRUNED) -> str:
    """The verdict on one candidate."""
    found = stats_of(samples, index).speedup
    assert found is not None
    return found.verdict


def test_a_steady_machine_gives_no_warning() -> None:
    samples = read(read(plain(), "sm_clock_mhz", 1400, 1400, 1400), "power_capped", 0, 0, 0)
    assert [warned(samples, index) for index in range(3)] == ["", "", ""]
    assert verdict_of(samples) == "FASTER"


def test_a_side_that_had_not_settled_is_named_and_nothing_is_the_same() -> None:
    alike = plain(ratio=1.0)
    assert verdict_of(alike) == "SAME"
    own = replace(alike, unsteady=((3, PRUNED), (1, PRUNED)))
    assert "it had not settled when the warm-up of 2 launches ended" in warned(own)
    assert (verdict_of(own), verdict_of(own, COPY), warned(own, DENSE)) == ("INCONCLUSIVE", "SAME", "")
    dense = replace(alike, unsteady=((0, DENSE),))
    assert "the dense model had not settled" in warned(dense)
    assert (verdict_of(dense), verdict_of(dense, COPY)) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert "it had not settled" in warned(dense, DENSE)


def test_a_few_fast_blocks_that_tell_another_story_are_contention() -> None:
    times = clock_times((2.4 * MS, 2 * MS), lambda seconds: 1.0, rounds=8)
    times[2, 3, 0] = 2 * MS
    samples = make_samples(times)
    assert "contended: the fastest blocks give a ratio of 1.000, all blocks 1.200" in warned(samples, 1)


def test_fast_blocks_within_the_interval_are_no_contention() -> None:
    """Launches that differ by themselves leave room for the ratio of the fastest blocks."""
    times = clock_times((2.4 * MS, 2 * MS), lambda seconds: 1.0, rounds=8)
    times[:, :, 0] *= np.array([0.97, 0.98, 1.0, 1.02, 1.03]).reshape(5, 1, 1)
    found = stats_of(make_samples(times), 1).speedup
    assert found is not None
    assert found.minimum_ratio == pytest.approx(0.97 * found.ratio.value, rel=1e-3)
    assert warned(make_samples(times), 1) == ""


def test_the_clock_s_share_of_a_ratio_is_named() -> None:
    """The candidate ran at a higher clock: in cycles both are alike."""
    samples = read(plain(ratio=1.2), "sm_clock_mhz", 1200, 1200, 1440)
    assert "clock effect: in clock cycles the ratio is 1.000, in time 1.200" in warned(samples)
    assert verdict_of(samples) == "INCONCLUSIVE"
    found = stats_of(samples).speedup
    assert found is not None
    assert found.cycle_ratio == pytest.approx(1.0)
    assert verdict_of(read(plain(ratio=1.2), "sm_clock_mhz", 1200, 1200, 1260)) == "FASTER", "1.14 in cycles is still faster"


def test_without_a_clock_on_both_sides_there_is_no_cycle_ratio() -> None:
    samples = plain()
    partly = replace(
        samples, blocks=tuple(replace(b, readings={"sm_clock_mhz": 1400.0}) if b.candidate else b for b in samples.blocks)
    )
    found = stats_of(partly).speedup
    assert found is not None
    assert found.cycle_ratio is None
    unreadable = stats_of(read(samples, "sm_clock_mhz", 0, 1400, 1400)).speedup
    assert unreadable is not None
    assert unreadable.cycle_ratio is None


@pytest.mark.parametrize(("capped_rounds", "expected"), [(0, False), (1, True)])
def test_the_power_limit_is_named_on_the_side_it_held_back(capped_rounds: int, expected: bool) -> None:
    samples = read(plain(), "power_capped", 0, 0, 0)
    blocks = tuple(
        replace(b, readings={"power_capped": float(b.candidate == DENSE and b.round < capped_rounds)}) for b in samples.blocks
    )
    capped = replace(samples, blocks=blocks)
    assert ("the dense model was slowed by the power limit in 12% of its blocks" in warned(capped)) is expected
    assert ("it was slowed by the power limit" in warned(capped, DENSE)) is expected
    assert "it was" not in warned(capped)


def test_launches_that_agree_by_luck_are_told_by_the_bootstrap() -> None:
    """Every launch has the same median, but the pairs within scatter by 10 %: the t interval shows none of that."""
    random = np.random.default_rng(0)
    times = np.repeat(noisy_times(random, (2 * MS, 1 * MS), noise=Noise(block=0.1), launches=1), 5, axis=0)
    times[:, :, 1] *= np.exp(np.linspace(0, 1e-4, 5))[:, np.newaxis, np.newaxis]
    assert "bootstrap interval" in warned(make_samples(times), 1)


def test_a_control_that_fails_is_told_beside_every_ratio() -> None:
    times = clock_times((2 * MS, 2.2 * MS, 2 * MS), lambda seconds: 1.0, rounds=8)
    samples = make_samples(times, roles=WITH_COPY)
    assert analyze(samples).margin == pytest.approx(1 - 1 / 1.1)
    assert "smaller effects are not resolved" in warned(samples)
    assert verdict_of(samples) == "INCONCLUSIVE"


def test_memory_that_was_full_in_timed_runs_is_named_on_its_side() -> None:
    full = read(plain(), "allocator_retries", 0, 0, 2)
    assert "the GPU's memory was full in 100% of the blocks of it: PyTorch freed its caches in timed runs" in warned(full)
    assert "memory was full" not in warned(read(plain(), "allocator_retries", 0, 0, 0))


def test_a_candidate_that_often_waited_for_a_core_says_so() -> None:
    calm, busy = read(plain(), WAITED, 0.01, 0.01, 0.01), read(plain(), WAITED, 0.01, 0.01, 0.6)
    assert "waited for a core" not in warned(calm)
    assert "it waited for a core in 100% of its blocks" in warned(busy)
    assert stats_of(busy).speedup == stats_of(calm).speedup, "where all pairs waited, all count"
