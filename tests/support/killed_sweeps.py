"""A sweep that is killed repeatedly, and checks of its final state."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from prune_deploy.runs import RECORDS_FILE, read_run

COMMAND = Path(sys.executable).with_name("prune-deploy")
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
"""A sweep of five variants of the model that exports fastest."""
_MARK = "KILLED_SWEEP"
_LIMIT_S = 120.0


def identities(folder: Path) -> list[tuple[object, ...]]:
    """Return the facts of a run's records that an interruption must preserve.

    They are in the records' order.
    """
    return [
        (r.comparison, r.label, r.role, r.case, r.variant, r.counts, r.index, bool(r.latency)) for r in read_run(folder).cases
    ]


def without_records(run: Path, target: Path) -> Path:
    """Return a copy of a finished run, with bundles but without measurements."""
    copy = Path(shutil.copytree(run, target))
    (copy / RECORDS_FILE).unlink()
    shutil.rmtree(copy / "samples")
    return copy


def kill_until_done(arguments: tuple[str, ...], undisturbed: Path, run: Path, kills: int) -> None:
    """Kill `prune-deploy sweep` at random moments, and continue it each time.

    Its final state is compared with the undisturbed run. A run that ends before enough kills is compared too, and begun anew.
    """
    environment = os.environ | {_MARK: f"{os.getpid()}-{time.time()}"}
    moments, done = random.Random(0), 0
    while done < kills:
        process = _start(arguments, run.parent, environment)
        time.sleep(moments.uniform(0.5, 2.5))
        if process.poll() is None:
            process.kill()
            done += 1
        _, message = process.communicate()
        if process.returncode == 0:
            assert identities(run) == identities(undisturbed)
            (run / RECORDS_FILE).unlink()
        else:
            assert process.returncode == -9, message
    last = _start(arguments, run.parent, environment)
    _, message = last.communicate(timeout=500)
    assert last.returncode == 0, message
    assert identities(run) == identities(undisturbed)
    _assert_nobody_is_left(environment[_MARK])


def _start(arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [str(COMMAND), "sweep", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _assert_nobody_is_left(mark: str) -> None:
    """Assert that every process of a killed sweep ends soon after it."""
    deadline = time.monotonic() + _LIMIT_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
