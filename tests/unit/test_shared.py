"""What processes of one test run share is made once, and never half."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from support.shared import made_once


def test_many_that_ask_at_once_get_what_one_has_made(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    made: list[Path] = []
    name = f"made-once-{tmp_path.name}"

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("whole")

    found: list[str] = []
    asking = [
        threading.Thread(target=lambda: found.append((made_once(tmp_path_factory, name, make) / "file").read_text()))
        for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert (len(made), found) == (1, ["whole"] * 4)


def test_what_broke_off_is_made_again(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    name = f"broken-off-{tmp_path.name}"

    def break_off(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        made_once(tmp_path_factory, name, break_off)
    folder = made_once(tmp_path_factory, name, lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
