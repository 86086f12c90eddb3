"""Interface of a tracer, and the recording that it returns."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from prune_deploy.interfaces import Backend, Session
from prune_deploy.records import LayerTime
from prune_deploy.specs import RunOptions

_WARMUP_RUNS = 3
_WARMUP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Runs with the profiler, and as many without it.

    `layers` hold the time of one run each, their shares still to be computed. `chrome` is a Chrome trace as parsed JSON. `rest`
    describes in a few words the time that no layer accounts for.
    """

    layers: tuple[LayerTime, ...]
    chrome: dict[str, Any]
    traced_ms: tuple[float, ...]
    untraced_ms: tuple[float, ...]
    settings: dict[str, str]
    rest: str
    notes: tuple[str, ...] = field(default=())


class Tracer(Protocol):
    """Profiler of one kind of runtime.

    `backends` are the names of those it can trace.
    """

    backends: tuple[str, ...]

    def record(self, backend: Backend, artifact: Path, inputs: np.ndarray[Any, Any], options: RunOptions, runs: int) -> Recording:
        """Open `artifact`, warm up, and run it without and with the profiler.

        It runs `runs` times each way.

        Raises:
            PruneDeployError: as the backend's `open` and the session's `run` and `check`.
        """


def warm_up(session: Session) -> None:
    """Run the session at least three times and for half a second.

    This keeps compilation and cold caches out of the runs that follow.
    """
    begin = time.perf_counter()
    done = 0
    while done < _WARMUP_RUNS or time.perf_counter() - begin < _WARMUP_S:
        session.run()
        session.synchronize()
        done += 1


def one_run_ms(session: Session) -> float:
    """Return the host time of one run until its outputs exist.

    It is in milliseconds.
    """
    begin = time.perf_counter_ns()
    session.run()
    session.synchronize()
    return (time.perf_counter_ns() - begin) / 1e6
