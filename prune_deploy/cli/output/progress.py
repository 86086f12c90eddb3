"""Progress on stderr: lines of stages, and a bar."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from prune_deploy import signals
from prune_deploy.cli.output.console import log_console, say
from prune_deploy.interfaces import Stage

STAGE_TEXTS: dict[Stage, str] = {
    "check bundle": "checking {}",
    "try model": "trying {}",
    "make bundle": "making {}",
    "load libraries": "loading PyTorch and timm",
    "build model": "building {}",
    "prune": "pruning",
    "mask": "masking",
    "write weights": "writing weights and recipe",
    "export onnx": "exporting ONNX",
    "convert": "converting to {}",
    "import int8": "importing {} as the INT8 file",
    "calibrate": "calibrating {}",
    "smooth": "trying whether smoothing helps",
    "rank layers": "ranking layers by their loss in INT8: {}",
    "quantize": "quantising {}",
    "check onnx": "checking parity of {} with the module",
    "build engine": "building the {}",
    "check engine": "checking parity of {} with the module",
    "reload": "reloading {}",
    "load teacher": "loading the teacher {}",
    "split images": "splitting the images: {}",
    "resume training": "resuming after {}",
    "validate": "validating {}",
    "train": "training, {}",
    "measure": "measuring {}",
    "trace": "tracing {}",
    "measure memory": "measuring memory bandwidth",
    "evaluate": "evaluating {}",
}
"""Words of each stage, with {} where the detail stands."""


class StageLines:
    """Shows each stage as a line with the seconds since the start.

    On a terminal a bar shows how much of it is done.
    """

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._text = ""
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> StageLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_bar()

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Print the stage."""
        self._end_bar()
        signals.program.check()
        self._text = STAGE_TEXTS[stage].replace("{}", detail).strip()
        say(f"[{time.monotonic() - self._start_s:6.1f} s] {self._text}")

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Move the bar.

        It ends with the stage, or when all is done.
        """
        signals.program.check()
        if done >= total:
            self._end_bar()
            return
        if self._bar is None:
            bar = _new_bar()
            self._bar = bar, bar.add_task("")
        bar, task = self._bar
        bar.update(task, completed=done, total=total, description=detail or self._text)
        bar.start()

    def note(self, message: str, /) -> None:
        """Print the message under the stage."""
        say(f"  {message}")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None


def _new_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=log_console,
        transient=True,
        disable=not log_console.is_terminal,
    )
