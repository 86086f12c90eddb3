"""Progress on stderr: lines of stages, and a bar."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import Progress, TaskID

from prune_deploy import signals
from prune_deploy.cli.output.bar import new_bar
from prune_deploy.cli.output.console import say
from prune_deploy.interfaces import Stage
from prune_deploy.workflows.forecast import Forecast

STAGE_TEXTS: dict[Stage, str] = {
    "check bundle": "checking {}",
    "try model": "trying {}",
    "make bundle": "making {}",
    "load libraries": "loading PyTorch and timm",
    "build model": "building {}",
    "prune": "pruning",
    "mask": "masking",
    "recover": "recovering accuracy from {}",
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

    On a terminal a bar shows how much is done: of the stage, or of all the work once its end is forecast.
    """

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._text = ""
        self._bar: tuple[Progress, TaskID] | None = None
        self._forecast: Forecast | None = None

    def __enter__(self) -> StageLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._forecast = None
        self._end_bar()

    def expect(self, forecast: Forecast) -> None:
        """Say what is to be done and how long it should take.

        From now on the bar counts that time down.
        """
        say(forecast.sentence())
        self._forecast = forecast

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Print the stage."""
        self._end_bar()
        signals.program.check()
        self._text = STAGE_TEXTS[stage].replace("{}", detail).strip()
        say(f"[{time.monotonic() - self._start_s:6.1f} s] {self._text}")
        if self._forecast is not None:
            self._show(self._text, 0.0, 1.0)

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Move the bar.

        It ends with the stage, or when all is done.
        """
        signals.program.check()
        if done >= total:
            self._end_bar()
        else:
            self._show(detail or self._text, done, total)

    def note(self, message: str, /) -> None:
        """Print the message under the stage."""
        say(f"  {message}")

    def _show(self, text: str, done: float, total: float) -> None:
        if self._bar is None:
            bar = new_bar(None if self._forecast is None else self._forecast.left_s)
            self._bar = bar, bar.add_task("")
        bar, task = self._bar
        bar.update(task, completed=done, total=total, description=text)
        bar.start()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
