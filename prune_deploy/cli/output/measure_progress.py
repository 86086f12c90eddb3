"""How far a measurement is, on stderr: a bar on a terminal, a line per comparison elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from prune_deploy import signals
from prune_deploy.cli.output.console import log_console, say


class MeasureBar:
    """Shows comparison, phase and time left; is the `Watcher` of each comparison in turn."""

    def __init__(self, comparisons: int, done: int = 0) -> None:
        self._count = comparisons
        self._begun = done
        self._name = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=log_console,
            transient=True,
            disable=not log_console.is_terminal,
        )
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> MeasureBar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        """Something is made that will be measured."""
        signals.program.check()
        say(name)
        self._progress.reset(self._task, total=1.0, description=name)

    def begin(self, name: str, predicted_s: float, left_s: float) -> None:
        """A comparison begins; `left_s` is what all that is left will take, itself included."""
        self._begun += 1
        self._name = name
        left = f", all that is left about {left_s / 60:.0f} min" if left_s > max(predicted_s, 60) else ""
        say(f"[{self._begun}/{self._count}] {name}: about {predicted_s:.0f} s{left}")
        self._progress.reset(self._task, total=1.0, description=name)

    def __call__(self, phase: str, share: float) -> None:
        """A phase of the comparison that is running, and its share done."""
        self._progress.update(self._task, completed=share, description=f"{self._name}  {phase}")
