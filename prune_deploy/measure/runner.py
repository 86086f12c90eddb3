"""What measuring needs from whoever runs the candidates: the only seam between this package and the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedRuns:
    """Durations in nanoseconds, shape (runs,), the clock at their start, and telemetry taken beside them."""

    started_ns: int
    samples_ns: NDArray[np.int64]
    readings: dict[str, float] = field(default_factory=dict)


class CandidateLost(Exception):  # noqa: N818 - it reports an event, the comparison goes on
    """A candidate's process is gone or must not be used any more; whoever runs it keeps the reason."""

    def __init__(self, candidate: int) -> None:
        super().__init__(f"candidate {candidate} is lost")
        self.candidate = candidate


class Runner(Protocol):
    """The candidates of one launch, all of them open. Exactly one runs at a time."""

    def run(self, candidate: int, runs: int) -> TimedRuns:
        """Run one candidate so many times in a row.

        Raises:
            CandidateLost: it crashed, hung or did something else than its label says.
        """

    def now_s(self) -> float:
        """The clock, in seconds."""


class Launcher(Protocol):
    """Opens candidates anew for each launch."""

    def launch(self, number: int, order: Sequence[int]) -> AbstractContextManager[Runner]:
        """Open the candidates in `order`. Those that cannot be opened are not among `candidates` afterwards."""

    @property
    def candidates(self) -> tuple[int, ...]:
        """The candidates that are still alive."""

    def now_s(self) -> float:
        """The clock, in seconds."""


Watcher = Callable[[str, float], None]
"""Told of the phase ("launch 2 of 5: warm-up") and of the share of the comparison that is done, 0 to 1."""
