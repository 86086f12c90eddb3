"""The bar of a terminal, with the time that is left."""

from __future__ import annotations

from typing import Protocol

from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from prune_deploy.cli.output.console import log_console

_WIDTH = 16
_REFRESHES_PER_S = 2  # each of them takes time from what is measured meanwhile


class Whole(Protocol):
    """All the work, asked at every refresh."""

    def left_s(self) -> float:
        """Return the seconds that it still takes."""

    def share_done(self) -> float:
        """Return the share of its time that is over."""


def new_bar(whole: Whole | None) -> Progress:
    """Return a bar of one stage, or of the `whole` work.

    It shows nothing where nobody looks.
    """
    words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    return Progress(
        words,
        _Share(whole),
        _Times(whole),
        console=log_console,
        transient=True,
        expand=True,
        refresh_per_second=_REFRESHES_PER_S,
        disable=not log_console.is_terminal,
    )


class _Column(ProgressColumn):
    def __init__(self, whole: Whole | None) -> None:
        super().__init__(Column(no_wrap=True))
        self.whole = whole

    def share(self, task: Task) -> float:
        """Return how much is done, from 0 to 1."""
        return task.percentage / 100 if self.whole is None else self.whole.share_done()


class _Share(_Column):
    """The bar itself."""

    def render(self, task: Task) -> ProgressBar:
        return ProgressBar(total=1.0, completed=self.share(task), width=_WIDTH)


class _Times(_Column):
    """The share that is done, and the time that is left."""

    def render(self, task: Task) -> Text:
        left_s = task.time_remaining if self.whole is None else self.whole.left_s()
        return Text(f"{self.share(task):4.0%}" + ("" if left_s is None else f", {clock(left_s)} left"))


def clock(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:05, 12:40, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
