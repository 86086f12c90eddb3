"""Sweeps killed at thirty random moments, beside each other, and tidying up behind themselves. About seven minutes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from prune_deploy.runs import read_run
from support.killed_sweeps import COMMAND, GRID, kill_until_done, without_records

HOW = ("--batch", "1,2", "--together", "2", "--share-machine", "--out", "run")


@pytest.mark.parametrize(
    ("backends", "budget_s", "kills"), [pytest.param("null", "0.3", 30, marks=pytest.mark.release), ("eager,ort", "2", 6)]
)
def test_a_sweep_killed_at_random_moments_ends_as_if_it_had_not_been(
    tmp_path: Path, backends: str, budget_s: str, kills: int
) -> None:
    arguments = (*GRID, *HOW, "--backends", backends, "--budget-s", budget_s)
    (tmp_path / "undisturbed").mkdir()
    subprocess.run([COMMAND, "sweep", *arguments], cwd=tmp_path / "undisturbed", check=True, capture_output=True)
    undisturbed = tmp_path / "undisturbed" / "run"
    kill_until_done(arguments, undisturbed, without_records(undisturbed, tmp_path / "run"), kills)


@pytest.mark.release
def test_a_sweep_killed_while_it_makes_things_goes_on(tmp_path: Path) -> None:
    arguments = (*GRID, *HOW, "--backends", "null", "--budget-s", "0.3")
    for seconds in (2.0, 6.0, 9.0, 12.0):
        process = subprocess.Popen(
            [COMMAND, "sweep", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        process.kill()
        process.wait()
    subprocess.run([COMMAND, "sweep", *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert len(read_run(tmp_path / "run").cases) == 12
    assert [path.name for path in (tmp_path / "run" / "bundles").iterdir() if path.name.startswith(".")] == []


@pytest.mark.release
def test_a_second_sweep_on_the_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a machine of our own
    arguments = [word for word in (*GRID, *HOW, "--backends", "null", "--budget-s", "0.3") if word != "--share-machine"]
    first = subprocess.Popen([COMMAND, "sweep", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    while "measuring 1 of 4" not in first.stderr.readline():
        pass
    arguments[-5:-4] = ["other"]
    second = subprocess.run([COMMAND, "sweep", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 4
    assert f"another sweep is measuring on this machine (process {first.pid})" in second.stderr
    assert "--share-machine" in second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0


@pytest.mark.release
def test_bundles_are_discarded_once_nothing_is_left_to_do_with_them(tmp_path: Path) -> None:
    arguments = (*GRID, *HOW, "--backends", "null", "--budget-s", "0.3", "--bundles", "discard")
    subprocess.run([COMMAND, "sweep", *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert list((tmp_path / "run" / "bundles").iterdir()) == []
    assert len(read_run(tmp_path / "run").cases) == 12
