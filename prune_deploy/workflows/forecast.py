"""Seconds that are left of planned work.

What the work so far took corrects them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from prune_deploy.interfaces import Progress, Stage
from prune_deploy.reporting.figures.naming import plural

_NOUNS: dict[Stage, str] = {
    "make bundle": "model",
    "evaluate": "evaluation",
    "measure": "comparison",
    "trace": "trace",
}
_TRUST_S = 20.0  # of the plan, before what was learned weighs as much
_LEAST_SHARE = 0.05
_OVERRUN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A piece of planned work, with the seconds it should take."""

    stage: Stage
    name: str
    expected_s: float

    @property
    def key(self) -> tuple[Stage, str]:
        """The stage and the name, which no other task has."""
        return self.stage, self.name


class Forecast:
    """Progress of planned tasks, with the time that is left.

    Tasks of one stage are expected to miss their seconds by the same factor, which those that have ended tell. It passes everything on
    to `progress`.
    """

    def __init__(self, progress: Progress, tasks: Iterable[Task], clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._todo = {task.key: task for task in tasks}
        self._count = {stage: sum(each == stage for each, _ in self._todo) for stage, _ in self._todo}
        self._begun = dict.fromkeys(self._count, 0)
        self._clock = clock
        self._done_s: dict[Stage, tuple[float, float]] = {}
        self._current: Task | None = None
        self._began_s = 0.0
        self._share = 0.0
        self._first_s: float | None = None

    def sentence(self) -> str:
        """Return what is to be done, and how long it should take."""
        counts = [plural(count, _NOUNS[stage]) for stage, count in self._count.items() if count]
        listed = " and ".join(filter(None, [", ".join(counts[:-1]), *counts[-1:]]))
        return f"{listed} to do, {about(self.left_s())}" if listed else "nothing to do"

    def begin(self, stage: Stage, name: str) -> None:
        """Begin a planned task, and end the one before it."""
        self.end()
        self._current = self._todo.pop((stage, name), None)
        self._began_s, self._share = self._clock(), 0.0
        self._first_s = self._began_s if self._first_s is None else self._first_s
        if self._current is None:  # made for something else before, or never planned
            self._progress.stage(stage, name)
            return
        self._begun[stage] += 1
        own_s, left_s = self._left_of_current_s(), self.left_s()
        rest = f", all that is left {about(left_s)}" if self._todo else ""
        self._progress.stage(stage, f"{self._begun[stage]} of {self._count[stage]}, {name}: {about(own_s)}{rest}")

    def end(self) -> None:
        """End the current task, and learn from it."""
        if self._current is not None:
            expected_s, took_s = self._done_s.get(self._current.stage, (0.0, 0.0))
            took_s += self._clock() - self._began_s
            self._done_s[self._current.stage] = expected_s + self._current.expected_s, took_s
            self._current = None

    def keep(self, tasks: Collection[tuple[Stage, str]]) -> None:
        """Leave out all other tasks that are still to do.

        `tasks` are stages and names.
        """
        for stage, name in [key for key in self._todo if key not in tasks]:
            del self._todo[stage, name]
            self._count[stage] -= 1

    def left_s(self) -> float:
        """Return the seconds that all work still takes."""
        return self._left_of_current_s() + sum(self._corrected_s(task) for task in self._todo.values())

    def share_done(self) -> float:
        """Return the share of the time of all work that is over."""
        took_s = 0.0 if self._first_s is None else self._clock() - self._first_s
        return took_s / whole_s if (whole_s := took_s + self.left_s()) else 0.0

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Begin a stage within the current task."""
        self._progress.stage(stage, detail)

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Report how far the current task is."""
        self._share = done / total if total else 0.0
        self._progress.advance(done, total, detail)

    def note(self, message: str, /) -> None:
        """Report a result or a warning on the way."""
        self._progress.note(message)

    def _left_of_current_s(self) -> float:
        """Return what is left of the current task.

        It is never nothing before the task has ended: what overruns goes on for at least a tenth of what it took.
        """
        if self._current is None:
            return 0.0
        took_s = self._clock() - self._began_s
        if self._share >= _LEAST_SHARE:
            return took_s * (1 / self._share - 1)
        return max(self._corrected_s(self._current) - took_s, _OVERRUN * took_s)

    def _corrected_s(self, task: Task) -> float:
        expected_s, took_s = self._done_s.get(task.stage, (0.0, 0.0))
        return task.expected_s * (_TRUST_S + took_s) / (_TRUST_S + expected_s)


def about(seconds: float) -> str:
    """Return seconds in words: "about 40 s", "about 2.5 min"."""
    if seconds < 100:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    halves = round(seconds / 30)
    if halves < 20 and halves % 2:
        return f"about {halves // 2}.5 min"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
