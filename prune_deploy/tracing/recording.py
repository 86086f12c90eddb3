"""Interface of a tracer, and the recording that it returns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import Any, Protocol

from prune_deploy.interfaces import Backend, Session
from prune_deploy.records import LayerTime
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays

_WARMUP_RUNS = 3
_WARMUP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Runs with the profiler, and as many without it.

    `layers` hold means over `typical_runs(traced_ms)`, as `run_ms` does. Their shares are not computed yet, and the time between
    layers is no row. `chrome` is a Chrome trace as parsed JSON. `rest` describes in a few words the time between layers.
    """

    layers: tuple[LayerTime, ...]
    chrome: dict[str, Any]
    traced_ms: tuple[float, ...]
    untraced_ms: tuple[float, ...]
    settings: dict[str, str]
    rest: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def run_ms(self) -> float:
        """Mean duration of the typical runs under the profiler, in milliseconds."""
        return mean_over(typical_runs(self.traced_ms), self.traced_ms)

    @property
    def untraced_run_ms(self) -> float:
        """Mean duration of the typical runs without the profiler, in milliseconds."""
        return mean_over(typical_runs(self.untraced_ms), self.untraced_ms)


def typical_runs(durations_ms: Sequence[float]) -> tuple[int, ...]:
    """Choose the middle half of the runs by duration, as indices.

    Means over the same runs add up, which medians per layer do not. A run that the machine disturbed is among the longest and is left out.
    """
    ordered = sorted(range(len(durations_ms)), key=durations_ms.__getitem__)
    dropped = (len(ordered) + 1) // 4
    return tuple(sorted(ordered[dropped : len(ordered) - dropped]))


def mean_over(runs: Iterable[int], values: Sequence[float]) -> float:
    """Average the values of some runs."""
    chosen = [values[run] for run in runs]
    return fsum(chosen) / len(chosen)


class Tracer(Protocol):
    """Profiler of one kind of runtime.

    `backends` are the names of those it can trace.
    """

    backends: tuple[str, ...]

    def environment(self, options: RunOptions) -> Mapping[str, str]:
        """Return environment variables that a trace's process needs."""

    def record(self, backend: Backend, artifact: Path, inputs: Arrays, options: RunOptions, runs: int) -> Recording:
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
