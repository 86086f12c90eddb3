"""The time that is left of planned work, corrected by the work that has ended."""

from __future__ import annotations

import pytest

from prune_deploy.interfaces import Stage
from prune_deploy.workflows.forecast import Forecast, Task, about
from support.fakes.recorded_progress import RecordedProgress


class Work:
    """A forecast with a clock that only work moves."""

    def __init__(self, *tasks: tuple[Stage, str, float]) -> None:
        self.now_s = 0.0
        self.progress = RecordedProgress()
        planned = [Task(stage=stage, name=name, expected_s=seconds) for stage, name, seconds in tasks]
        self.forecast = Forecast(self.progress, planned, clock=lambda: self.now_s)

    def do(self, stage: Stage, name: str, seconds: float) -> None:
        """Do a task in so many seconds."""
        self.forecast.begin(stage, name)
        self.now_s += seconds
        self.forecast.end()


def test_all_work_is_counted_and_named() -> None:
    work = Work(("make bundle", "a", 20.0), ("measure", "m1", 30.0), ("measure", "m2", 30.0), ("trace", "t", 10.0))
    assert work.forecast.left_s() == 90.0
    assert work.forecast.sentence() == "1 model, 2 comparisons and 1 trace to do, about 90 s"
    work.forecast.begin("measure", "m1")
    assert work.progress.stages == [("measure", "1 of 2, m1: about 30 s, all that is left about 90 s")]
    assert Work(("measure", "m", 30.0)).forecast.sentence() == "1 comparison to do, about 30 s"
    assert Work().forecast.sentence() == "nothing to do"


def test_time_counts_down_and_an_overrun_never_reads_as_nothing() -> None:
    work = Work(("measure", "m", 30.0))
    work.forecast.begin("measure", "m")
    left = []
    shares = []
    for work.now_s in (0.0, 10.0, 29.0, 60.0):
        left.append(work.forecast.left_s())
        shares.append(work.forecast.share_done())
    assert shares == pytest.approx([0.0, 1 / 3, 29 / 31.9, 60 / 66])
    assert left == [30.0, 20.0, pytest.approx(2.9), pytest.approx(6.0)]
    work.forecast.end()
    assert work.forecast.left_s() == 0.0


def test_the_share_that_is_done_outweighs_the_plan() -> None:
    work = Work(("measure", "m", 30.0))
    work.forecast.begin("measure", "m")
    work.now_s = 20.0
    work.forecast.advance(0.25, 1.0, "launch 1 of 1: round 3")
    assert work.forecast.left_s() == pytest.approx(60.0)
    assert work.progress.advances == [(0.25, 1.0, "launch 1 of 1: round 3")]


def test_a_slow_machine_is_learned_for_each_kind_of_work() -> None:
    work = Work(("make bundle", "a", 20.0), ("make bundle", "b", 20.0), ("measure", "m", 30.0))
    work.do("make bundle", "a", 60.0)
    assert work.forecast.left_s() == pytest.approx(20.0 * 2 + 30.0), "halfway from the plan to thrice as long"
    work.do("make bundle", "b", 60.0)
    assert work.forecast.left_s() == pytest.approx(30.0), "measuring has not shown itself yet"


def test_what_is_not_needed_is_left_out() -> None:
    work = Work(("measure", "m", 30.0), ("trace", "a", 10.0), ("trace", "b", 10.0))
    work.do("measure", "m", 30.0)
    work.forecast.keep([("trace", "b")])
    assert work.forecast.left_s() == 10.0
    work.forecast.begin("trace", "b")
    assert work.progress.stages[-1] == ("trace", "1 of 1, b: about 10 s")


def test_work_that_was_not_planned_is_a_stage_like_any_other() -> None:
    work = Work()
    work.do("trace", "a", 10.0)
    assert work.progress.stages == [("trace", "a")]
    assert work.forecast.left_s() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "about 5 s"),
        (43.0, "about 45 s"),
        (97.0, "about 95 s"),
        (101.0, "about 1.5 min"),
        (130.0, "about 2 min"),
        (155.0, "about 2.5 min"),
        (840.0, "about 14 min"),
        (5400.0, "about 1.5 h"),
    ],
)
def test_words_for_seconds(seconds: float, text: str) -> None:
    assert about(seconds) == text
