"""Backends that keep time exactly or misbehave on purpose.

Workers find them as third-party backends, through an entry point. The behaviour of a candidate is written in its artifact, a
small JSON file: the time of a run, and the fault with the run at which it occurs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.backends import cuda_runtime
from prune_deploy.backends.run_options import out_of_memory
from prune_deploy.errors import BuildError, CannotRunError, RecompiledError
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import OUTPUT_NAME, Arrays

ENTRY_POINTS = """[prune_deploy.backends]
faulty = support.fakes.faulty_backends:BACKEND
[prune_deploy.methods]
faulty-segfault = support.fakes.faulty_backends:SEGFAULT
faulty-hang = support.fakes.faulty_backends:HANG
faulty-hungry = support.fakes.faulty_backends:HUNGRY
faulty-raise = support.fakes.faulty_backends:RAISE
"""


def install(folder: Path) -> dict[str, str]:
    """Return an environment in which the backend "faulty" is installed.

    It has a distribution's metadata, and this module on the path.
    """
    metadata = folder / "faulty_backends-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-backends\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def artifact(folder: Path, name: str, **behaviour: Any) -> Path:
    """Write an artifact with this behaviour.

    Opening takes `open_s` and is noted in the file `opens`. A run takes `run_ms`, or `cold_ms` for the first `cold_runs`. `fault` occurs
    from run `at_run` on (0: at opening). "hungry" takes `mib` (100) at a time and holds still for `hold_s`. `closed` is a file that
    appears when the session is closed.
    """
    path = folder / f"{name}.json"
    path.write_text(json.dumps(behaviour))
    return path


class FaultySession:
    """Session that spins for its time, until something goes wrong."""

    stream: int | None = None

    def __init__(self, behaviour: dict[str, Any]) -> None:
        self._behaviour = behaviour
        self._runs = 0
        self._held: list[bytearray] = []
        self._answer = 0.0

    def bind(self, inputs: Arrays) -> None:
        """Accept any input."""

    def active(self) -> AbstractContextManager[dict[str, float]]:
        """Count nothing."""
        return nullcontext({})

    def run(self) -> None:
        """Run once."""
        self._runs += 1
        if self._runs > self._behaviour.get("at_run", 1_000_000):
            self.misbehave()
        cold = self._runs <= self._behaviour.get("cold_runs", 0)
        end = time.perf_counter() + self._behaviour["cold_ms" if cold else "run_ms"] / 1000
        while time.perf_counter() < end:
            pass

    def misbehave(self) -> None:
        """Commit the fault that the artifact describes."""
        fault = self._behaviour["fault"]
        if fault == "segfault":
            ctypes.string_at(0)
        elif fault == "hang":
            time.sleep(3600)
        elif fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "exit":
            os._exit(3)
        elif fault == "lose the gpu":
            cuda_runtime.is_lost = lambda api=None: True  # in this worker, from now on
            raise CannotRunError("the module: an illegal memory access", fix="run it on an idle GPU")
        elif fault == "raise":
            raise RuntimeError("the kernel returned 42")
        elif fault == "nan":
            self._answer = float("nan")
        elif fault == "hungry":
            self._held.append(bytearray(os.urandom(1 << 20) * self._behaviour.get("mib", 100)))
            time.sleep(self._behaviour.get("hold_s", 0.0))
        elif fault == "child" and os.fork() == 0:
            time.sleep(3600)

    def synchronize(self) -> None:
        """Return at once: nothing is pending."""

    def outputs(self) -> Arrays:
        """Return one number instead of logits."""
        return {OUTPUT_NAME: np.full((1, 1), self._answer, np.float32)}

    def settings(self) -> dict[str, str]:
        """Return the number of runs as the only setting."""
        return {"runs": str(self._runs)}

    def check(self) -> None:
        """Raise if the artifact describes a wrong label."""
        if self._behaviour.get("fault") == "mislabelled":
            raise BuildError("no layer has that precision", fix="ask for another")
        if self._behaviour.get("fault") == "recompiled" and self._runs > 1:
            raise RecompiledError("compiled again", fix="keep the shape")

    def device_bytes(self) -> int | None:
        """Return None, because there is no device.

        The fault "memory pass" is that of a second session on a full one.
        """
        if self._behaviour.get("fault") == "memory pass":
            raise out_of_memory("a second session")
        return None


class FaultyBackend:
    """Backend that opens JSON files and bundles.

    A bundle's behaviour is written in faults.json beside the folder that holds it.
    """

    name = "faulty"
    title = "a faulty backend"
    summary = "keeps time or misbehaves on purpose"
    consumes = "nothing"
    variants: tuple[str, ...] = ("",)
    reported: tuple[str, ...] = ("",)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Return that it is always available."""
        return Availability(available=True)

    def environment(self, options: RunOptions) -> Mapping[str, str]:
        """Return that no variables are needed."""
        return {}

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = RunOptions()) -> Iterator[Session]:  # noqa: B008
        """Read the behaviour."""
        behaviour = _of_bundle(artifact) if artifact.is_dir() else json.loads(artifact.read_text())
        session = FaultySession(behaviour)
        if "opens" in behaviour:
            _note_opening(Path(behaviour["opens"]), behaviour["open_s"])
        if behaviour.get("at_run") == 0:
            session.misbehave()
        try:
            yield session
        finally:
            if "closed" in behaviour:
                Path(behaviour["closed"]).touch()


def _note_opening(diary: Path, seconds: float) -> None:
    """Open slowly, and add a line with begin and end."""
    begin = time.monotonic()
    time.sleep(seconds)
    with diary.open("a") as stream:
        stream.write(f"[{begin}, {time.monotonic()}]\n")


def _of_bundle(folder: Path) -> dict[str, Any]:
    faults: dict[str, dict[str, Any]] = json.loads((folder.parents[1] / "faults.json").read_text())
    return {"run_ms": 1.0, **faults.get(folder.name, {})}


def _method(fault: str) -> Callable[[Any], Any]:
    """Return a function that scores channels by their number.

    It misbehaves first.
    """
    session = FaultySession({"fault": fault})

    def scores(group: Any) -> Any:
        import torch

        for _ in range(100):
            session.misbehave()
        return torch.arange(group.channels, dtype=torch.float32)

    return scores


BACKEND: Backend = FaultyBackend()
SEGFAULT, HANG, HUNGRY, RAISE = map(_method, ("segfault", "hang", "hungry", "raise"))
