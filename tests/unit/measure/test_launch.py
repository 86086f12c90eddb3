"""The timed rounds of one launch: ABBA pairs, block lengths, the share of A′, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from prune_deploy.measure.launch import COPY_SHARE, FIRST_EARLY_STOP, LEAST_ABBA_PAIRS, MOST_ABBA_PAIRS, LaunchPlan, TimedRounds
from prune_deploy.measure.recording import Recording
from prune_deploy.measure.samples import Samples
from prune_deploy.measure.warmup import WarmedUp
from prune_deploy.specs import Rigor
from support.fakes.fake_runner import FakeLauncher, Model, blocks_of, cold, constant, lost_when, make_spec, roles_for


def time_launch(
    models: Sequence[Model],
    run_s: Sequence[float],
    *,
    rigor: Rigor = "quick",
    block_s: float = 0.02,
    deadline_s: float = 1e9,
    first_is_slower: bool = False,
    has_enough: Callable[[], bool] = lambda: False,
) -> tuple[Samples, FakeLauncher, float]:
    """Time the rounds of a launch whose warm-up found `run_s`."""
    launcher = FakeLauncher(models, opening_s=0.0)
    count = len(models)
    recording = Recording([str(index) for index in range(count)], roles_for(count), make_spec(rigor))
    plan = LaunchPlan(
        launch=0,
        seed=0,
        rigor=rigor,
        block_s=block_s,
        lead_in_s=0.04,
        deadline_s=deadline_s,
        has_enough=has_enough,
        watch=lambda phase: None,
    )
    with launcher.launch(0, range(count)) as runner:
        warmed_up = WarmedUp(run_s=dict(enumerate(run_s)), first_is_slower=first_is_slower)
        least_done_s = TimedRounds(recording, runner, warmed_up, plan).run()
    return recording.samples(), launcher, least_done_s


def orders(samples: Samples) -> list[list[int]]:
    """The candidates of each round in the order of time."""
    rounds: dict[int, list[int]] = {}
    for block in samples.blocks:
        rounds.setdefault(block.round, []).append(block.candidate)
    return [rounds[number] for number in sorted(rounds)]


@pytest.mark.parametrize("first_is_slower", [False, True])
def test_blocks_last_at_least_so_long_and_are_alike_within_an_abba_pair(first_is_slower: bool) -> None:
    run_s = (0.003, 0.003, 0.0011, 0.5)
    samples, _, _ = time_launch([constant(seconds) for seconds in run_s], run_s, first_is_slower=first_is_slower)
    expected = {0: (7, 14), 1: (7, 14), 2: (19, 37), 3: (1, 1)}  # 20 ms, behind 40 ms
    assert {(b.candidate, len(b.counted_ns), b.leading) for b in samples.blocks} == {
        (candidate, runs, leading if first_is_slower else 0) for candidate, (runs, leading) in expected.items()
    }


def test_every_second_round_is_the_reverse_of_the_one_before() -> None:
    samples, _, _ = time_launch([constant(0.001)] * 5, [0.001] * 5)
    rounds = orders(samples)
    assert len(rounds) == 2 * MOST_ABBA_PAIRS["quick"]
    assert all(there == back[::-1] for there, back in zip(rounds[::2], rounds[1::2], strict=True))
    assert len({tuple(there) for there in rounds[::2]}) > 15
    assert all([b.position for b in samples.blocks if b.round == number] == list(range(len(rounds[number]))) for number in (0, 7))
    started_ns = [block.started_ns for block in samples.blocks]
    assert started_ns == sorted(started_ns)


@pytest.mark.parametrize("others", [(0.001,), (0.0001,), (0.002, 0.0005, 0.001), (0.004,)])
@pytest.mark.parametrize("dense_s", [0.001, 0.03])
def test_the_copy_gets_its_share_and_no_more(dense_s: float, others: tuple[float, ...]) -> None:
    run_s = (dense_s, dense_s, *others)
    samples, _, _ = time_launch([constant(seconds) for seconds in run_s], run_s)
    assert 1 in orders(samples)[0]
    total_ns = copy_ns = 0
    for block in samples.blocks:
        total_ns += int(block.samples_ns.sum())
        copy_ns += int(block.samples_ns.sum()) if block.candidate == 1 else 0
        if block.round > 1 and block.candidate == 1:
            abba_ns = sum(int(b.samples_ns.sum()) for b in samples.blocks if b.round // 2 <= block.round // 2)
            so_far_ns = sum(
                int(b.samples_ns.sum()) for b in samples.blocks if b.round // 2 <= block.round // 2 and b.candidate == 1
            )
            assert so_far_ns <= COPY_SHARE * abba_ns * (1 + 1e-9)
    assert 0.09 < copy_ns / total_ns <= COPY_SHARE
    copies = [one_pass.count(1) for one_pass in orders(samples)]
    assert copies[::2] == copies[1::2], "both rounds of an ABBA pair have it, or none"


def test_the_least_is_done_beyond_the_deadline() -> None:
    samples, launcher, least_done_s = time_launch([constant(1.5)] * 3, [1.5] * 3, deadline_s=0.0)
    assert len(orders(samples)) == 2 * LEAST_ABBA_PAIRS
    assert least_done_s == launcher.clock.now_s == pytest.approx(1.5 * (2 * 3 + 4 * 2))


def test_an_abba_pair_that_would_end_late_is_not_begun() -> None:
    samples, launcher, least_done_s = time_launch([constant(0.1)] * 3, [0.1] * 3, deadline_s=3.0)
    assert 2.5 < launcher.clock.now_s <= 3.0
    assert least_done_s == pytest.approx(0.1 * (2 * 3 + 4 * 2))
    assert len(orders(samples)) > 2 * LEAST_ABBA_PAIRS


def test_more_abba_pairs_than_are_useful_are_not_done() -> None:
    for rigor, most in MOST_ABBA_PAIRS.items():
        samples, _, _ = time_launch([constant(0.001)] * 3, [0.001] * 3, rigor=rigor)
        assert len(orders(samples)) == 2 * most


def test_enough_is_enough_but_not_before_the_first_look() -> None:
    samples, _, _ = time_launch([constant(0.001)] * 3, [0.001] * 3, has_enough=lambda: True)
    assert len(orders(samples)) == 2 * FIRST_EARLY_STOP
    answers = iter([False, False, True])
    samples, _, _ = time_launch([constant(0.001)] * 3, [0.001] * 3, has_enough=lambda: next(answers))
    assert len(orders(samples)) == 2 * (FIRST_EARLY_STOP + 6)


def test_a_warm_up_that_was_deceived_does_not_make_all_blocks_short() -> None:
    samples, _, _ = time_launch([cold(0.001, 0.4, 3), constant(0.001), constant(0.001)], [0.4, 0.001, 0.001])
    runs = [len(block.samples_ns) for block in blocks_of(samples, "timed", candidate=0)]
    assert runs[:2] == [1, 1]
    assert runs[-1] == 20
    assert all(first == second for first, second in zip(runs[::2], runs[1::2], strict=True)), "alike within an ABBA pair"


@pytest.mark.parametrize("call", [0, 5, 20, 39, 40, 100])
def test_a_lost_candidate_leaves_the_blocks_of_the_others(call: int) -> None:
    lost = lost_when(3, constant(0.001), lambda moment: moment.call == call)
    samples, launcher, _ = time_launch([constant(0.001)] * 3 + [lost], [0.001] * 4)
    assert launcher.candidates == (0, 1, 2)
    rounds = orders(samples)
    assert len(rounds) == 2 * MOST_ABBA_PAIRS["quick"]
    assert all({0, 2} <= set(one_pass) for one_pass in rounds)
    assert sum(one_pass.count(3) for one_pass in rounds) == call // 20


def test_a_lost_copy_is_not_missed() -> None:
    lost = lost_when(1, constant(0.001), lambda moment: moment.call == 10)
    samples, _, _ = time_launch([constant(0.001), lost, constant(0.001)], [0.001] * 3)
    assert blocks_of(samples, "timed", candidate=1) == []
    assert all(set(one_pass) == {0, 2} for one_pass in orders(samples))


@pytest.mark.parametrize("index", [0, 2])
def test_without_dense_or_without_candidates_it_ends_at_once(index: int) -> None:
    models: list[Model] = [constant(0.001)] * 3
    models[index] = lost_when(index, constant(0.001), lambda moment: moment.call == 70)
    samples, launcher, _ = time_launch(models, [0.001] * 3)
    assert len(blocks_of(samples, "timed", candidate=index)) == 3
    assert launcher.turns[-1][0] == index
