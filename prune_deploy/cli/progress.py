"""Progress on stderr: a line per stage, and a bar while an engine is built."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prune_deploy.cli.interrupts import interrupts
from prune_deploy.cli.output import log_console, say


class StageLines:
    """Says each stage with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def stage(self, name: str) -> None:
        """A stage begins, unless the stage before it was to be the last."""
        interrupts.raise_again()
        say(f"[{time.monotonic() - self._start:6.1f} s] {name}")


class BuildBar:
    """TensorRT's build phases as one bar: each top-level phase fills it anew. Invisible where stderr is no terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=log_console,
            transient=True,
            disable=not log_console.is_terminal,
        )
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
