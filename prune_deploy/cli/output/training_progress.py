"""How far a training is, on stderr: a bar on a terminal, and a line per epoch everywhere."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from prune_deploy.cli.output.console import log_console, say
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.records import Epoch


class TrainingBar(StageLines):
    """Shows epoch, loss, the last top-1 and the time left; is a training's `Watcher`."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs = 0
        self._top1 = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=log_console,
            transient=True,
            disable=not log_console.is_terminal,
        )

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        """A stage begins; the bar is of training alone."""
        self._progress.stop()
        super().stage(name)

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """A training begins, or goes on."""
        super().stage(f"training, {epochs} epochs of {steps // epochs} steps")
        self._epochs = epochs
        self._task = self._progress.add_task("training", total=steps, completed=done)
        self._progress.start()

    def step(self, epoch: int, done: int, loss: float) -> None:
        """A step is over."""
        shown = f"epoch {epoch}/{self._epochs}  loss {loss:.3f}{self._top1}"
        self._progress.update(self._task, completed=done, description=shown)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is over."""
        self._top1 = f"  top-1 {100 * epoch.top1:.1f} %"
        say(
            f"  epoch {epoch.number}/{self._epochs}: loss {epoch.loss:.4g}, top-1 {100 * epoch.top1:.1f} %, {epoch.seconds:.1f} s"
        )
