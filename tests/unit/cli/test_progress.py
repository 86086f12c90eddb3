"""Progress on stderr, and progress that a killed child leaves behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from prune_deploy import signals
from prune_deploy.cli.output import bar
from prune_deploy.cli.output import progress as output
from prune_deploy.cli.output.bar import clock
from prune_deploy.cli.output.progress import STAGE_TEXTS, StageLines
from prune_deploy.execution.jobs.compatibility import StageFile, stage_before
from prune_deploy.interfaces import Stage
from prune_deploy.workflows.forecast import Forecast, Task


def test_every_stage_has_words() -> None:
    assert set(STAGE_TEXTS) == set(get_args(Stage))
    assert len(set(STAGE_TEXTS.values())) >= len(STAGE_TEXTS) - 1, "only parity has the same words for ONNX and engine"


def bar_of(progress: StageLines) -> tuple[str, float] | None:
    """The bar's words and its share in percent, None without a bar."""
    if progress._bar is None:
        return None
    (task,) = progress._bar[0].tasks
    return task.description, task.percentage


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] or line for line in capsys.readouterr().err.splitlines()]


def test_stages_and_notes_are_lines_and_counts_are_none_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with StageLines() as progress:
        progress.stage("build model", "resnet18, weights random")
        progress.stage("prune")
        progress.advance(1, 3, "layer1")
        progress.note("kept 3 groups")
        progress.stage("measure", "{name}")
    expected = ["building resnet18, weights random", "pruning", "  kept 3 groups", "measuring {name}"]
    assert lines(capsys) == expected


def test_a_terminal_shows_a_bar_that_ends_with_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    console = _terminal(monkeypatch, width=100)
    progress = StageLines()
    with console.capture() as shown, progress:
        progress.stage("calibrate", "on 8 images")
        progress.advance(4, 8)
        assert bar_of(progress) == ("calibrating on 8 images", 50.0)
        progress.advance(5, 8, "the detail")
        assert bar_of(progress) == ("the detail", 62.5)
        progress.stage("quantize", "model.onnx")
        assert bar_of(progress) is None
        progress.advance(1, 2)
        progress.advance(2, 2)
        assert bar_of(progress) is None
        progress.advance(1, 2)
    assert bar_of(progress) is None
    assert "calibrating on 8 images" in shown.get(), "the first frame has its words"


def _terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> Console:
    console = Console(stderr=True, force_terminal=True, width=width)
    monkeypatch.setattr(bar, "log_console", console)
    monkeypatch.setattr(output, "say", lambda _message: None)
    return console


def test_a_forecast_keeps_the_bar_and_counts_the_time_down(monkeypatch: pytest.MonkeyPatch) -> None:
    console, now_s = _terminal(monkeypatch, width=80), [0.0]
    tasks = [
        Task(stage="measure", name="resnet50-dense-ort-fp32-b1", expected_s=70.0),
        Task(stage="trace", name="b", expected_s=20.0),
    ]
    lines = StageLines()
    forecast = Forecast(lines, tasks, clock=lambda: now_s[0])
    with console.capture() as shown, lines:
        lines.expect(forecast)
        forecast.begin("measure", "resnet50-dense-ort-fp32-b1")
        now_s[0] = 10.0
        forecast.advance(0.0, 1.0, "launch 1 of 1: opening")
        lines.stage("trace", "b")
    frames = [line.split("\r")[-1] for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.get()).splitlines()]
    bars = [frame.rstrip() for frame in frames if "left" in frame]
    assert bars[0].startswith("measuring 1 of 1, resnet50-dense-ort")
    assert bars[0].endswith("0%, 1:30 left")
    assert any(each.startswith("launch 1 of 1: opening") and each.endswith("11%, 1:20 left") for each in bars)
    assert max(map(len, bars)) <= 80


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "0:05"), (760, "12:40"), (3723, "1:02:03")])
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_signal_that_was_swallowed_is_raised_by_the_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.program, "arrived", True)
    progress = StageLines()
    with pytest.raises(KeyboardInterrupt):
        progress.stage("prune")
    with pytest.raises(KeyboardInterrupt):
        progress.advance(1, 2)


@pytest.mark.parametrize(
    ("stage", "before"),
    [
        ("build model", None),
        ("prune", "build"),
        ("write weights", "prune"),
        ("export onnx", "prune"),
        ("check onnx", "onnx"),
        ("build engine", "parity"),
        ("reload", "engine"),
    ],
)
def test_a_killed_child_leaves_the_last_stage_that_held(tmp_path: Path, stage: Stage, before: str | None) -> None:
    path = tmp_path / "stage"
    assert stage_before(path) is None
    progress = StageFile(path)
    progress.stage(stage, "model.onnx")
    progress.stage("check engine", "model.engine")
    assert stage_before(path) == before
