"""A campaign of kills, signals and full disks against every command that works for a while. About half an hour.

Its figures are in docs/reliability.md. `CAMPAIGN_TRIALS` says how often each fault hits each command.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.campaign import TALLY, Place, Subject, assert_swept_up, heal, strike, undisturbed
from support.commands import Made, made
from support.killed_sweeps import GRID

__all__ = ["made"]  # a fixture

TRIALS = int(os.environ.get("CAMPAIGN_TRIALS", "5"))
EXPORT = ("--model", "test_byobnet", "--num-classes", "10", "--ratio", "0.5", "--precision", "fp32,fp16", "--engine", "none")
SUBJECTS = [
    Subject("export", EXPORT, "new"),
    Subject("bench", ("bundle", "--backend", "ort", "--batch", "1", "--budget-s", "1"), "run", resumes=False),
    Subject("sweep", (*GRID, "--backends", "null", "--budget-s", "0.5"), "sweep"),
    Subject("trace", ("bundle", "--backend", "ort", "--batch", "1"), "traces", resumes=False),
    Subject("eval", ("bundle", "--data", "digits", "--backend", "ort")),
    Subject("finetune", ("bundle", "--data", "digits", "--epochs", "2", "--batch", "64"), "tuned"),
    Subject("verify", ("bundle",)),
    Subject("report", ("measured",), "report.html"),
]
SWEEPING = Subject("trace", ("bundle", "--backend", "ort", "--batch", "1"), "last", resumes=False)
FAULTS = ("SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "full disk")


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_nothing_is_lost_whatever_happens(made: Made, tmp_path: Path, subject: Subject) -> None:
    shutil.copytree(made.folder, tmp_path / "bundle")
    place = Place(tmp_path)
    if "measured" in subject.arguments:
        undisturbed(place, Subject("bench", ("bundle", "--backend", "null", "--budget-s", "0.5"), "measured"))
    seconds, files, largest = undisturbed(place, subject)
    moments = random.Random(subject.name)
    for fault in FAULTS:
        for _ in range(TRIALS):
            if subject.makes and subject.resumes:
                _remove(tmp_path / subject.makes)
            strike(place, subject, fault, seconds, largest, moments)
            heal(place, subject, files)
    assert_swept_up(place, SWEEPING)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture(autouse=True, scope="module")
def told() -> Iterator[None]:
    """Say at the end how often each fault struck in time."""
    yield
    for (fault, name), count in sorted(TALLY.items()):
        print(f"{fault} struck {name} {count} times")  # noqa: T201 - figures for the reader
