"""Sharing out the budget."""

from __future__ import annotations

import pytest

from prune_deploy.measure.budget import Budget, next_look, warmup_limit_s
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
