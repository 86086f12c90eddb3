"""The bar of a terminal, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from prune_deploy.cli.output.console import log_console

_WIDTH = 16
_REFRESHES_PER_S = 2  # each of them takes time from what is measured meanwhile

LeftSeconds = Callable[[], float]
"""Seconds that all the work still takes, asked at every refresh."""


def new_bar(left_s: LeftSeconds | None) -> Progress:
    """Return a bar of one stage, or of all the work.

    It is of all the work where `left_s` tells its end. It shows nothing where nobody looks.
    """
    words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    return Progress(
        words,
        _Share(left_s),
        _Times(left_s),
        console=log_console,
        transient=True,
        expand=True,
        refresh_per_second=_REFRESHES_PER_S,
        disable=not log_console.is_terminal,
    )


class _Column(ProgressColumn):
    def __init__(self, left_s: LeftSeconds | None) -> None:
        super().__init__(Column(no_wrap=True))
        self._left_s = left_s

    def left_s(self, task: Task) -> float | None:
        """Return the seconds until the end, None while nothing tells them."""
        return self._left_s() if self._left_s is not None else task.time_remaining


class _Share(_Column):
    """The bar itself."""

    def render(self, task: Task) -> ProgressBar:
        return ProgressBar(total=task.total, completed=task.completed, width=_WIDTH)


class _Times(_Column):
    """The share of the stage, and the time left."""

    def render(self, task: Task) -> Text:
        left_s = self.left_s(task)
        end = "" if left_s is None else f", {clock(left_s)} left" + (" in all" if self._left_s is not None else "")
        return Text(f"{task.percentage:3.0f} %{end}")


def clock(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:05, 12:40, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
