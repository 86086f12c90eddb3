"""A whole comparison: launches, looks, budget, losses and interruption."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from prune_deploy.interfaces import Silent
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.budget import LOOKS
from prune_deploy.measure.comparison import Comparison, ConvergenceRule, has_converged
from prune_deploy.measure.samples import Samples, pack
from prune_deploy.specs import MeasureSpec, Rigor
from support.fakes.fake_runner import (
    FakeLauncher,
    Model,
    Moment,
    blocks_of,
    cold,
    compare,
    constant,
    lost_when,
    make_spec,
    noisy,
    roles_for,
    slower_after_switch,
)
from support.fakes.recorded_progress import RecordedProgress


def some_models(*run_s: float, share: float = 0.003) -> list[Model]:
    """Steady models with a little noise."""
    return [noisy(constant(seconds), share, seed) for seed, seconds in enumerate(run_s)]


def launches_of(samples: Samples) -> int:
    return len({block.launch for block in samples.blocks})


def abba_pairs_of(samples: Samples) -> list[int]:
    """ABBA pairs per launch that the dense model completed."""
    rounds = Counter(block.launch for block in blocks_of(samples, "timed", candidate=samples.dense))
    return [rounds[launch] // 2 for launch in sorted(rounds)]


def run(launcher: FakeLauncher, spec: MeasureSpec, converged: ConvergenceRule = has_converged) -> Samples:
    labels = [str(index) for index in range(len(launcher.models))]
    return Comparison(launcher, labels, roles_for(len(labels)), spec, Silent(), converged).run()


def test_quick_is_over_in_seconds_for_fast_models() -> None:
    launcher = FakeLauncher(some_models(0.006, 0.006, 0.003))
    samples = compare(launcher, make_spec("quick"))
    assert launcher.clock.now_s < 5
    assert abba_pairs_of(samples) == [12]
    speedup = analyze(samples).candidates[2]
    assert speedup is not None
    assert speedup.speedup is not None
    assert speedup.speedup.ratio.value == pytest.approx(2.0, rel=0.005)


def test_quick_goes_on_while_the_interval_is_wide() -> None:
    launcher = FakeLauncher(some_models(0.03, 0.03, 0.02, share=0.05))
    assert abba_pairs_of(compare(launcher, make_spec("quick"))) == [30]


def test_full_stops_at_the_first_look_when_all_is_clear() -> None:
    launcher = FakeLauncher(some_models(0.006, 0.006, 0.003))
    samples = compare(launcher, make_spec("full"))
    assert abba_pairs_of(samples) == [20] * 5
    assert launcher.clock.now_s < 30
    assert launcher.closed == 5


def test_looks_are_at_their_launches_and_thirty_is_the_end() -> None:
    looked_at: list[int] = []

    def never(samples: Samples, candidate: int) -> bool:
        looked_at.append(launches_of(samples))
        return False

    samples = run(FakeLauncher(some_models(0.006, 0.006, 0.003)), make_spec("full", budget_s=1000.0), never)
    assert looked_at == list(LOOKS["full"])
    assert launches_of(samples) == 30


@pytest.mark.parametrize(("clear_after", "launches"), [(1, 5), (6, 7), (8, 10), (14, 14)])
def test_it_stops_at_a_look_only(clear_after: int, launches: int) -> None:
    def clear(samples: Samples, candidate: int) -> bool:
        return launches_of(samples) >= clear_after

    samples = run(FakeLauncher(some_models(0.006, 0.006, 0.003)), make_spec("full", budget_s=1000.0), clear)
    assert launches_of(samples) == launches


def test_it_waits_for_every_candidate_but_not_for_the_copy_nor_for_the_lost() -> None:
    asked: list[int] = []

    def slow_to_converge(samples: Samples, candidate: int) -> bool:
        asked.append(candidate)
        return candidate != 3 or launches_of(samples) >= 7

    def rule_is_asked_for(models: list[Model]) -> set[int]:
        asked.clear()
        samples = run(FakeLauncher(models), make_spec("full", budget_s=1000.0), slow_to_converge)
        assert launches_of(samples) == (7 if 3 in asked else 5)
        return set(asked)

    models = some_models(0.006, 0.006, 0.003, 0.001)
    assert rule_is_asked_for(models) == {2, 3}
    models[3] = lost_when(3, constant(0.001), lambda moment: moment.launch == 2)
    assert rule_is_asked_for(models) == {2}


@pytest.mark.parametrize("rigor", ["quick", "full"])
@pytest.mark.parametrize("run_s", [0.001, 0.02, 0.15])
@pytest.mark.parametrize("budget_s", [40.0, 90.0])
def test_the_budget_is_kept_where_the_least_fits_in(rigor: Rigor, run_s: float, budget_s: float) -> None:
    launcher = FakeLauncher(some_models(run_s, run_s, run_s / 2, share=0.05), opening_s=0.5, block_overhead_s=0.001)
    samples = run(launcher, make_spec(rigor, budget_s=budget_s), lambda samples, candidate: False)
    least_s = 5 * 3 * (0.5 + 25 * run_s) if rigor == "full" else 0.0
    assert launcher.clock.now_s <= max(budget_s, least_s) + 1.0
    assert launches_of(samples) >= LOOKS[rigor][0]


@pytest.mark.parametrize("rigor", ["quick", "full"])
@pytest.mark.parametrize("run_s", [0.001, 0.3])
def test_the_least_is_done_beyond_any_budget(rigor: Rigor, run_s: float) -> None:
    samples = compare(FakeLauncher(some_models(run_s, run_s, run_s)), make_spec(rigor, budget_s=0.01))
    assert abba_pairs_of(samples) == [3] * LOOKS[rigor][0]
    for launch, candidate in itertools.product(range(LOOKS[rigor][0]), range(3)):
        runs = sum(len(block.samples_ns) for block in blocks_of(samples, "warmup", candidate=candidate, launch=launch))
        assert runs >= (10 if run_s <= 0.1 else 3)


@pytest.mark.parametrize(("rigor", "most_s"), [("quick", 36.0), ("full", 180.0)])
def test_a_slow_model_costs_its_least_and_nothing_more(rigor: Rigor, most_s: float) -> None:
    launcher = FakeLauncher(some_models(1.5, 1.5, 1.5, share=0.001))
    samples = compare(launcher, make_spec(rigor))
    launches = LOOKS[rigor][0]
    runs = Counter[int]()
    for candidate, count in launcher.turns:
        runs[candidate] += count
    # Three to warm up, six to be timed, the copy two.
    assert runs == {0: 9 * launches, 1: 5 * launches, 2: 9 * launches}
    assert launcher.clock.now_s < most_s
    assert samples.unsteady == ()


@pytest.mark.parametrize(("rigor", "block_s"), [("quick", 1.0), ("full", 2.0)])
def test_blocks_of_throughput_are_long(rigor: Rigor, block_s: float) -> None:
    samples = compare(FakeLauncher([constant(0.01), constant(0.01), constant(0.005)]), make_spec(rigor, mode="throughput"))
    assert samples.mode == "throughput"
    assert all(block.samples_ns.sum() * 1e-9 >= block_s * 0.999 for block in blocks_of(samples, "timed"))


def test_leading_runs_are_seen_in_the_blocks() -> None:
    models = [noisy(slower_after_switch(seconds, 1.3), 0.002, seed) for seed, seconds in enumerate((0.006, 0.006, 0.003))]
    samples = compare(FakeLauncher(models), make_spec("quick"))
    assert all(block.samples_ns[: block.leading].sum() >= 0.04e9 for block in blocks_of(samples, "timed"))
    assert {block.leading for block in blocks_of(samples, "warmup")} == {0}
    stats = analyze(samples).candidates[2]
    assert stats is not None
    assert stats.speedup is not None
    assert stats.speedup.ratio.value == pytest.approx(2.0, rel=0.003)


@pytest.mark.parametrize("launch", [0, 2])
@pytest.mark.parametrize("candidate", [1, 2])
def test_what_does_not_open_is_out_and_the_others_go_on(candidate: int, launch: int) -> None:
    launcher = FakeLauncher(some_models(0.006, 0.006, 0.003, 0.001), fails_to_open=frozenset({(launch, candidate)}))
    samples = compare(launcher, make_spec("full"))
    assert launches_of(samples) == 5
    assert {block.launch for block in samples.blocks if block.candidate == candidate} == set(range(launch))
    assert all(candidate not in order for order in launcher.openings[launch + 1 :])


@pytest.mark.parametrize(("candidate", "call"), [(1, 0), (1, 40), (1, 89), (2, 0), (2, 40), (2, 173), (2, 300)])
def test_what_is_lost_on_the_way_is_out_and_the_others_go_on(candidate: int, call: int) -> None:
    models = some_models(0.006, 0.006, 0.003, 0.001)
    models[candidate] = lost_when(candidate, models[candidate], lambda moment: (moment.launch, moment.call) == (1, call))
    launcher = FakeLauncher(models)
    samples = compare(launcher, make_spec("full"))
    assert abba_pairs_of(samples) == [20] * 5
    assert all(candidate not in order for order in launcher.openings[2:])
    ends = analyze(samples).candidates[3]
    assert ends is not None
    assert ends.speedup is not None


@pytest.mark.parametrize("stage", ["open", "warm-up", "timed"])
@pytest.mark.parametrize("lost", [(0,), (2, 3)])
def test_without_dense_or_without_candidates_it_ends_and_keeps_what_it_has(lost: tuple[int, ...], stage: str) -> None:
    models = some_models(0.006, 0.006, 0.006, 0.006)
    fails: frozenset[tuple[int, int]] = frozenset()
    if stage == "open":
        fails = frozenset((1, candidate) for candidate in lost)
    else:
        call = 50 if stage == "warm-up" else 150
        for candidate in lost:
            models[candidate] = lost_when(candidate, models[candidate], lambda moment: moment.launch == 1 and moment.call >= call)
    launcher = FakeLauncher(models, fails_to_open=fails)
    samples = compare(launcher, make_spec("full"))
    assert len(launcher.openings) == launcher.closed == 2
    assert abba_pairs_of(samples)[0] == 20
    assert any(block.launch == 1 for block in samples.blocks) == (stage != "open")


def test_a_dense_model_alone_is_measured_too() -> None:
    launcher = FakeLauncher(some_models(0.006, 0.006))
    samples = compare(launcher, make_spec("full"), roles=("dense", "copy"))
    assert launches_of(samples) == 5
    assert analyze(samples).candidates[0] is not None


@pytest.mark.parametrize("stop_at", [0, 7, 900, 2500, 7001])
def test_an_interrupted_comparison_keeps_what_it_measured(stop_at: int) -> None:
    def interrupted(moment: Moment) -> float:
        if moment.run >= stop_at:
            raise KeyboardInterrupt
        return 0.001

    launcher = FakeLauncher([interrupted] * 3)
    comparison = Comparison(launcher, ["a", "b", "c"], roles_for(3), make_spec("full"), Silent())
    with pytest.raises(KeyboardInterrupt):
        comparison.run()
    samples = comparison.samples()
    kept = sum(len(block.samples_ns) for block in samples.blocks)
    assert kept <= stop_at < kept + 60
    assert launcher.closed == len(launcher.openings)
    assert len(samples.blocks) == len(launcher.turns) - 1


def test_the_same_seed_gives_the_same_samples_and_another_seed_other_orders() -> None:
    def measured(seed: int) -> tuple[bytes, list[tuple[int, ...]], list[tuple[int, int]]]:
        launcher = FakeLauncher([cold(0.002), constant(0.002), cold(0.001)])
        samples = compare(launcher, make_spec("full", seed=seed))
        return pack(samples), launcher.openings, launcher.turns

    assert measured(1) == measured(1)
    assert measured(1)[1] != measured(2)[1]
    assert measured(1)[2] != measured(2)[2]
    assert len(set(measured(1)[1])) > 1, "launches open in different orders"


@pytest.mark.parametrize("rigor", ["quick", "full"])
def test_progress_gets_every_phase_and_never_goes_back(rigor: Rigor) -> None:
    progress = RecordedProgress()
    launcher = FakeLauncher(some_models(0.006, 0.006, 0.003))
    comparison = Comparison(launcher, "abc", roles_for(3), make_spec(rigor), progress)
    comparison.run()
    phases = list(dict.fromkeys(phase for _, _, phase in progress.advances))
    shares = [share for share, _, _ in progress.advances]
    of = LOOKS[rigor][0]
    assert phases[:3] == [f"launch 1 of {of}: {phase}" for phase in ("opening", "warm-up", "round 1")]
    assert f"launch {of} of {of}: round 6" in phases
    assert progress.advances[-1] == (1.0, 1.0, "done")
    assert shares == sorted(shares)
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert len(progress.advances) > len(launcher.turns)
    assert comparison.predicted_s() >= launcher.clock.now_s * 0.999
