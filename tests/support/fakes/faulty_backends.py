"""Backends that keep time exactly or misbehave on purpose, found by workers as a third party's are: through an entry point.

What a candidate does is written in its artifact, a small JSON file: how long a run takes, and what goes wrong at which run.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.errors import BuildError, RecompiledError
from prune_deploy.interfaces import Availability, Backend, Consumes, Session
from prune_deploy.specs import RunOptions

ENTRY_POINTS = """[prune_deploy.backends]
faulty = support.fakes.faulty_backends:BACKEND
[prune_deploy.methods]
faulty-segfault = support.fakes.faulty_backends:SEGFAULT
faulty-hang = support.fakes.faulty_backends:HANG
faulty-hungry = support.fakes.faulty_backends:HUNGRY
faulty-raise = support.fakes.faulty_backends:RAISE
"""


def install(folder: Path) -> dict[str, str]:
    """An environment in which the backend "faulty" is installed: a distribution's metadata and this module on the path."""
    metadata = folder / "faulty_backends-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-backends\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def artifact(folder: Path, name: str, **behaviour: Any) -> Path:
    """An artifact that behaves so: `run_ms`, `cold_ms` for the first `cold_runs`; `fault` from run `at_run` on (0: at opening)."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(behaviour))
    return path


class FaultySession:
    """Spins for its time, until something goes wrong."""

    stream: int | None = None

    def __init__(self, behaviour: dict[str, Any]) -> None:
        self._behaviour = behaviour
        self._runs = 0
        self._held: list[bytearray] = []
        self._answer = 0.0

    def bind(self, inputs: np.ndarray[Any, Any]) -> None:
        """Any input will do."""

    def run(self) -> None:
        """One run."""
        self._runs += 1
        if self._runs > self._behaviour.get("at_run", 1_000_000):
            self.misbehave()
        cold = self._runs <= self._behaviour.get("cold_runs", 0)
        end = time.perf_counter() + self._behaviour["cold_ms" if cold else "run_ms"] / 1000
        while time.perf_counter() < end:
            pass

    def misbehave(self) -> None:
        """What the artifact says."""
        fault = self._behaviour["fault"]
        if fault == "segfault":
            ctypes.string_at(0)
        elif fault == "hang":
            time.sleep(3600)
        elif fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "exit":
            os._exit(3)
        elif fault == "raise":
            raise RuntimeError("the kernel returned 42")
        elif fault == "nan":
            self._answer = float("nan")
        elif fault == "hungry":
            self._held.append(bytearray(os.urandom(1 << 20) * 100))
        elif fault == "child" and os.fork() == 0:
            time.sleep(3600)

    def synchronize(self) -> None:
        """Nothing is pending."""

    def outputs(self) -> np.ndarray[Any, Any]:
        """No logits."""
        return np.full((1, 1), self._answer, np.float32)

    def settings(self) -> dict[str, str]:
        """Nothing to set."""
        return {"runs": str(self._runs)}

    def check(self) -> None:
        """Whether the artifact says that all was well."""
        if self._behaviour.get("fault") == "mislabelled":
            raise BuildError("no layer has that precision", fix="ask for another")
        if self._behaviour.get("fault") == "recompiled" and self._runs > 1:
            raise RecompiledError("compiled again", fix="keep the shape")

    def device_bytes(self) -> int | None:
        """No device."""
        return None


class FaultyBackend:
    """Opens JSON files, and bundles whose behaviour is written in faults.json beside the folder that holds them."""

    name = "faulty"
    summary = "keeps time or misbehaves on purpose"
    consumes: Consumes = "nothing"
    extra = "nothing"
    variants: tuple[str, ...] = ("",)
    reported: tuple[str, ...] = ("",)
    needs_own_process = False

    def available(self) -> Availability:
        """Always."""
        return Availability(available=True)

    @contextmanager
    def open(self, artifact: Path, inputs: np.ndarray[Any, Any], options: RunOptions = RunOptions()) -> Iterator[Session]:  # noqa: B008
        """Read what to do."""
        behaviour = _of_bundle(artifact) if artifact.is_dir() else json.loads(artifact.read_text())
        session = FaultySession(behaviour)
        if behaviour.get("at_run") == 0:
            session.misbehave()
        yield session


def _of_bundle(folder: Path) -> dict[str, Any]:
    faults: dict[str, dict[str, Any]] = json.loads((folder.parents[1] / "faults.json").read_text())
    return {"run_ms": 1.0, **faults.get(folder.name, {})}


def _method(fault: str) -> Callable[[Any], Any]:
    """A function that scores channels by their number, once it has misbehaved."""
    session = FaultySession({"fault": fault})

    def scores(group: Any) -> Any:
        import torch

        for _ in range(100):
            session.misbehave()
        return torch.arange(group.channels, dtype=torch.float32)

    return scores


BACKEND: Backend = FaultyBackend()
SEGFAULT, HANG, HUNGRY, RAISE = map(_method, ("segfault", "hang", "hungry", "raise"))
