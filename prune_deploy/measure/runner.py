"""Interfaces between measuring and the code that runs the candidates.

They are the only seam between this package and the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedRuns:
    """Durations of consecutive runs in nanoseconds, shape (runs,).

    `started_ns` is the clock at their start, `readings` is telemetry taken beside them.
    """

    started_ns: int
    samples_ns: NDArray[np.int64]
    readings: dict[str, float] = field(default_factory=dict)


class CandidateLost(Exception):  # noqa: N818 - it reports an event, the comparison goes on
    """A candidate's process is gone or must not be used any more.

    The object that runs it keeps the reason.
    """

    def __init__(self, candidate: int) -> None:
        super().__init__(f"candidate {candidate} is lost")
        self.candidate = candidate


class Runner(Protocol):
    """Candidates of one launch, all of them open.

    Exactly one runs at a time.
    """

    def run(self, candidate: int, runs: int) -> TimedRuns:
        """Run one candidate `runs` times in a row.

        Raises:
            CandidateLost: it crashed, hung or deviated from its label.
        """

    def now_s(self) -> float:
        """Return the clock in seconds."""


class Launcher(Protocol):
    """Opener of candidates, anew for each launch."""

    def launch(self, number: int, order: Sequence[int]) -> AbstractContextManager[Runner]:
        """Open the candidates in `order`.

        Those that cannot be opened are missing from `candidates` afterwards.
        """

    @property
    def candidates(self) -> tuple[int, ...]:
        """The candidates that are still alive."""

    def now_s(self) -> float:
        """Return the clock in seconds."""
