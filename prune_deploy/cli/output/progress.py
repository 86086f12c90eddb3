"""Progress on stderr: a line per stage, and a bar while images are looked at or an engine is built."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prune_deploy import signals
from prune_deploy.cli.output.console import log_console, say


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=log_console,
        transient=True,
        disable=not log_console.is_terminal,
    )


class StageLines:
    """Says each stage with the seconds since the start, and of what can be counted how much is done."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._counted: tuple[Progress, TaskID] | None = None

    def stage(self, name: str) -> None:
        """A stage begins, unless the stage before it was to be the last."""
        self._end_count()
        signals.program.check()
        say(f"[{time.monotonic() - self._start:6.1f} s] {name}")

    def count(self, done: int, total: int) -> None:
        """So much of the stage is done."""
        signals.program.check()
        if self._counted is None:
            bar = _bar()
            bar.start()
            self._counted = bar, bar.add_task("images", total=total)
        bar, task = self._counted
        bar.update(task, completed=done, total=total)
        if done >= total:
            self._end_count()

    def _end_count(self) -> None:
        if self._counted is not None:
            self._counted[0].stop()
            self._counted = None


class BuildBar:
    """TensorRT's build phases as one bar: each top-level phase fills it anew. Invisible where stderr is no terminal."""

    def __init__(self) -> None:
        self._progress = _bar()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> BuildBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins; phases inside another are not shown."""
        if parent is None:
            self._progress.start()
            self._tasks[name] = self._progress.add_task(name, total=steps)

    def step(self, name: str, done: int) -> bool:
        """`done` steps of a phase are over; True asks the builder to go on."""
        if name in self._tasks:
            self._progress.update(self._tasks[name], completed=done)
        return True

    def phase_finish(self, name: str) -> None:
        """A phase is over."""
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))
        if not self._tasks:
            self._progress.stop()
