"""Progress on stderr, and progress that a killed child leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from prune_deploy import signals
from prune_deploy.cli.output import progress as output
from prune_deploy.cli.output.progress import STAGE_TEXTS, StageLines
from prune_deploy.execution.jobs.compatibility import StageFile, stage_before
from prune_deploy.interfaces import Stage


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
    console = Console(stderr=True, force_terminal=True, width=100)
    monkeypatch.setattr(output, "log_console", console)
    monkeypatch.setattr(output, "say", lambda _message: None)
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
