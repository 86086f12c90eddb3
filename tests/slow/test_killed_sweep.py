"""A sweep killed at thirty random moments, with a backend that costs nothing; and a few times with real ones. About four minutes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from killed_sweeps import COMMAND, kill_until_done, without_records

GRID = (
    "--models",
    "test_byobnet",
    "--num-classes",
    "10",
    "--input-size",
    "3,32,32",
    "--methods",
    "l1,random",
    "--ratios",
    "0.25,0.5",
)
HOW = ("--batch", "1,2", "--together", "2", "--share-machine", "--out", "run")


@pytest.mark.parametrize(("backends", "budget_s", "kills"), [("null", "0.3", 30), ("eager,ort", "2", 6)])
def test_a_sweep_killed_at_random_moments_ends_as_if_it_had_not_been(
    tmp_path: Path, backends: str, budget_s: str, kills: int
) -> None:
    arguments = (*GRID, *HOW, "--backends", backends, "--budget-s", budget_s)
    (tmp_path / "undisturbed").mkdir()
    subprocess.run([COMMAND, "sweep", *arguments], cwd=tmp_path / "undisturbed", check=True, capture_output=True)
    undisturbed = tmp_path / "undisturbed" / "run"
    kill_until_done(arguments, undisturbed, without_records(undisturbed, tmp_path / "run"), kills)
