"""Warming up: how long, in which windows, who is called unsteady, and whether first runs are dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from prune_deploy.measure.recording import Recording
from prune_deploy.measure.samples import Samples
from prune_deploy.measure.warmup import LEAST_WARMUP_S, WarmedUp, WarmUp
from prune_deploy.specs import Device
from support.fakes.fake_runner import (
    FakeLauncher,
    Model,
    blocks_of,
    cold,
    constant,
    lost_when,
    make_spec,
    noisy,
    roles_for,
    slower_after_switch,
)


def warm(models: Sequence[Model], *, device: Device = "cpu", limit_s: float = 7.5) -> tuple[WarmedUp, Samples, FakeLauncher]:
    """Warm up fake models, the first of them dense, the second its copy."""
    launcher = FakeLauncher(models)
    count = len(models)
    recording = Recording([str(index) for index in range(count)], roles_for(count), make_spec(device=device))
    with launcher.launch(0, range(count)) as runner:
        warmed_up = WarmUp(recording, runner, launch=0, order=range(count), device=device).run(limit_s, lambda _phase: None)
    return warmed_up, recording.samples(), launcher


def seconds_of(samples: Samples, candidate: int) -> float:
    return float(sum(block.samples_ns.sum() for block in blocks_of(samples, "warmup", candidate=candidate))) * 1e-9


def runs_of(samples: Samples, candidate: int) -> list[int]:
    return [len(block.samples_ns) for block in blocks_of(samples, "warmup", candidate=candidate)]


def steady(run_s: float, seed: int = 0, share: float = 0.002) -> Model:
    return noisy(constant(run_s), share, seed)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_candidate_warms_up_for_the_least_time_in_windows(device: Device) -> None:
    warmed_up, samples, _ = warm([steady(0.002, 1), steady(0.002, 2), steady(0.0009, 3)], device=device)
    window_s = {"cpu": 0.02, "cuda": 0.05}[device]
    for candidate in range(3):
        blocks = blocks_of(samples, "warmup", candidate=candidate)
        assert len(blocks[0].samples_ns) == 1
        assert all(block.samples_ns.sum() * 1e-9 >= window_s * 0.98 for block in blocks[1:])
        assert LEAST_WARMUP_S[device] <= seconds_of(samples, candidate) <= 1.6 * LEAST_WARMUP_S[device]
    assert samples.unsteady == ()
    assert not warmed_up.first_is_slower
    assert warmed_up.run_s == pytest.approx({0: 0.002, 1: 0.002, 2: 0.0009}, rel=0.01)


def test_candidates_take_turns_and_nobody_runs_twice_in_a_row() -> None:
    _, samples, launcher = warm([steady(0.002, 1), steady(0.002, 2), steady(0.001, 3)])
    order = [candidate for candidate, _ in launcher.turns]
    assert order == [0, 1, 2] * (len(order) // 3)
    assert [block.round for block in samples.blocks] == [index // 3 for index in range(len(order))]
    assert [block.position for block in samples.blocks] == order
    assert all(block.phase == "warmup" and block.leading == 0 for block in samples.blocks)


def test_a_slow_model_warms_up_in_three_runs() -> None:
    warmed_up, samples, launcher = warm([steady(1.5, 1, 0.001), steady(1.5, 2, 0.001), steady(0.9, 3, 0.001)])
    assert [runs_of(samples, candidate) for candidate in range(3)] == [[1, 2]] * 3
    assert launcher.clock.now_s < 3 * (1.5 + 1.5 + 0.9) + 0.5
    assert samples.unsteady == ()
    assert not warmed_up.first_is_slower


def test_a_slow_model_does_not_wait_for_many_short_windows_of_a_fast_one() -> None:
    _, samples, _ = warm([steady(0.3, 1), steady(0.3, 2), steady(0.001, 3)])
    assert len(runs_of(samples, 0)) <= 10
    assert seconds_of(samples, 2) >= LEAST_WARMUP_S["cpu"]


def test_runs_of_up_to_a_tenth_of_a_second_are_done_ten_times() -> None:
    _, samples, _ = warm([steady(0.09, 1), steady(0.09, 2), steady(0.09, 3)])
    assert all(10 <= sum(runs_of(samples, candidate)) <= 20 for candidate in range(3))


def test_what_gets_faster_is_warmed_up_until_it_has_settled() -> None:
    def ramp(moment_run_s: float) -> Model:
        return lambda moment: moment_run_s * (1 + 0.5 * max(0.0, 1 - moment.call / 800))

    warmed_up, samples, _ = warm([steady(0.002, 1), steady(0.002, 2), noisy(ramp(0.001), 0.002)], limit_s=30.0)
    assert samples.unsteady == ()
    assert 800 < sum(runs_of(samples, 2)) < 2400
    assert warmed_up.run_s[2] == pytest.approx(0.001, rel=0.01)
    assert len(runs_of(samples, 0)) == len(runs_of(samples, 2)), "the others must not cool down meanwhile"


def test_what_never_settles_is_flagged_when_the_time_is_up() -> None:
    def swinging(moment_s: float) -> float:
        return 0.001 * (1 + 0.1 * float(np.sin(2 * np.pi * moment_s / 0.4)))

    _, samples, launcher = warm([steady(0.002, 1), steady(0.002, 2), lambda moment: swinging(moment.now_s)], limit_s=5.0)
    assert samples.unsteady == ((0, 2),)
    assert 4.8 < launcher.clock.now_s < 5.5


def test_the_least_number_of_runs_is_done_beyond_the_limit() -> None:
    _, samples, _ = warm([noisy(constant(run_s), 0.05, seed) for seed, run_s in enumerate((1.5, 1.5, 0.05))], limit_s=0.1)
    assert runs_of(samples, 0) == runs_of(samples, 1) == [1, 2, 2, 2]
    assert 10 <= sum(runs_of(samples, 2)) <= 14
    assert (0, 0) in samples.unsteady


def test_a_first_run_that_compiles_takes_nothing_from_the_warm_up() -> None:
    warmed_up, samples, _ = warm([cold(0.002, 20.0, 1), cold(0.002, 20.0, 1), cold(0.001, 20.0, 1)])
    assert samples.unsteady == ()
    assert all(sum(runs_of(samples, candidate)) >= 10 for candidate in range(3))
    assert warmed_up.run_s == pytest.approx({0: 0.002, 1: 0.002, 2: 0.001})


@pytest.mark.parametrize("run_s", [0.0005, 0.004, 0.03, 0.06, 0.2])
def test_a_slower_first_run_is_found_and_costs_everybody_one(run_s: float) -> None:
    models = [noisy(slower_after_switch(run_s, 1.2), 0.004, 1), steady(run_s, 2, 0.004), steady(run_s / 2, 3, 0.004)]
    models[1] = noisy(slower_after_switch(run_s, 1.2), 0.004, 2)
    warmed_up, _, _ = warm(models)
    assert warmed_up.first_is_slower


@pytest.mark.parametrize("run_s", [0.0005, 0.004, 0.03, 0.06, 0.2])
@pytest.mark.parametrize("factor", [1.0, 1.005])
def test_a_first_run_that_is_no_slower_is_kept(run_s: float, factor: float) -> None:
    models = [noisy(slower_after_switch(run_s, factor), 0.004, seed) for seed in range(3)]
    warmed_up, _, _ = warm(models)
    assert not warmed_up.first_is_slower


def test_cold_first_calls_are_not_mistaken_for_the_cost_of_a_switch() -> None:
    warmed_up, _, _ = warm([cold(0.002), steady(0.002, 2), steady(0.001, 3)])
    assert not warmed_up.first_is_slower


@pytest.mark.parametrize("call", [0, 1, 30])
def test_a_lost_candidate_does_not_stop_the_others(call: int) -> None:
    lost = lost_when(3, steady(0.001, 3), lambda moment: moment.call == call)
    warmed_up, samples, _ = warm([steady(0.002, 0), steady(0.002, 1), steady(0.001, 2), lost])
    assert set(warmed_up.run_s) == {0, 1, 2}
    assert seconds_of(samples, 2) >= LEAST_WARMUP_S["cpu"]


@pytest.mark.parametrize("call", [0, 1, 30])
def test_without_the_dense_model_there_is_nothing_to_warm_up_for(call: int) -> None:
    lost = lost_when(0, steady(0.002, 0), lambda moment: moment.call == call)
    warmed_up, samples, _ = warm([lost, steady(0.002, 1), steady(0.001, 2)])
    assert warmed_up == WarmedUp(run_s={}, first_is_slower=False)
    assert all(block.candidate != 0 or call > 0 for block in samples.blocks)
