"""Sharing out the budget, and saying beforehand how long it takes."""

from __future__ import annotations

import pytest

from prune_deploy.measure.budget import LOOKS, Budget, next_look, predict, warmup_limit_s
from support.fakes.fake_runner import make_spec


def test_looks_ahead() -> None:
    assert [next_look("full", done) for done in (0, 4, 5, 6, 7, 9, 10, 19, 29)] == [5, 5, 7, 7, 10, 10, 14, 20, 30]
    assert next_look("quick", 0) == 1
    assert next_look("full", 30) == 30


def test_a_launch_gets_what_is_left_over_the_launches_certain_to_come() -> None:
    budget = Budget(make_spec("full", budget_s=100.0), started_s=1000.0)
    assert budget.share_s(1000.0) == pytest.approx(20.0)
    budget.book(5.0)
    assert budget.share_s(1060.0) == pytest.approx(10.0)
    for _ in range(4):
        budget.book(5.0)
    assert budget.share_s(1080.0) == pytest.approx(10.0)
    assert budget.share_s(1200.0) == 0.0


def test_the_first_look_is_always_reached_and_the_last_one_is_the_end() -> None:
    budget = Budget(make_spec("full", budget_s=1.0), started_s=0.0)
    for _ in range(4):
        budget.book(50.0)
        assert budget.allows_more(1e6)
    budget.book(50.0)
    assert not budget.allows_more(250.0)
    rich = Budget(make_spec("full", budget_s=1e6), started_s=0.0)
    for _ in range(29):
        rich.book(1.0)
        assert rich.allows_more(100.0)
    rich.book(1.0)
    assert not rich.allows_more(100.0)


def test_from_a_look_it_goes_on_only_if_the_next_look_is_in_reach() -> None:
    budget = Budget(make_spec("full", budget_s=100.0), started_s=0.0)
    for _ in range(5):
        budget.book(10.0)
    assert budget.allows_more(80.0)
    assert not budget.allows_more(80.1)
    budget.book(10.0)
    assert budget.allows_more(90.0)
    assert not budget.allows_more(90.1)


def test_one_launch_is_all_of_quick() -> None:
    budget = Budget(make_spec("quick"), started_s=0.0)
    assert budget.share_s(0.0) == 30.0
    budget.book(1.0)
    assert not budget.allows_more(1.0)


def test_the_limit_of_a_warm_up() -> None:
    assert warmup_limit_s(24.0, 3, "cpu") == 6.0
    assert warmup_limit_s(1000.0, 3, "cpu") == 30.0
    assert warmup_limit_s(0.0, 3, "cpu") == 1.5
    assert warmup_limit_s(0.0, 3, "cuda") == 3.0


def test_before_the_first_launch_the_budget_bounds_the_prediction() -> None:
    quick = predict(make_spec("quick"), 3)
    assert quick.least_s == pytest.approx(3 * (0.5 + 6 * 0.02))
    assert quick.most_s == 30.0
    full = predict(make_spec("full", device="cuda", budget_s=2.0), 3)
    assert full.least_s == full.most_s == pytest.approx(5 * 3 * (1.0 + 6 * 0.05))


def test_after_a_launch_the_prediction_goes_by_what_it_cost() -> None:
    spec = make_spec("full")
    assert predict(spec, 3, [10.0]).least_s == pytest.approx(50.0)
    assert predict(spec, 3, [10.0]).most_s == spec.seconds
    assert predict(spec, 3, [2.0]).most_s == pytest.approx(60.0), "thirty launches are the end"
    assert predict(spec, 3, [40.0]).most_s == pytest.approx(200.0), "five are the least"
    assert predict(spec, 3, [10.0] * 5).least_s == pytest.approx(70.0)
    done = predict(spec, 3, [2.0] * LOOKS["full"][-1])
    assert done.least_s == done.most_s == pytest.approx(60.0)
    quick = predict(make_spec("quick"), 3, [4.0])
    assert quick.least_s == quick.most_s == 4.0
