"""Candidates of a comparison, and their outcomes beside the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prune_deploy.execution.failure import Failure
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.records import Memory, Role, Startup
from prune_deploy.specs import MeasureSpec, RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One artifact to run: `shape` is (batch, channels, height, width).

    `graph` is its bundle's FP32 ONNX file, None for a backend that opens nothing.
    `needs_own_process`, `compiles` and `environment` are what its backend says of itself.
    """

    label: str
    role: Role
    backend: str
    artifact: Path
    shape: tuple[int, int, int, int]
    options: RunOptions
    graph: Path | None = None
    needs_own_process: bool = False
    compiles: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CandidateOutcome:
    """Observations of one candidate in a comparison, beside its samples."""

    starts: list[Startup] = field(default_factory=list)
    peak_rss_bytes: int = 0
    device_bytes: int | None = None
    device_note: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    outputs: str = ""
    failure: Failure | None = None

    def fail(self, error: WorkerError) -> None:
        """Record the candidate's failure.

        The first one counts.
        """
        if self.failure is None:
            self.failure = Failure.of(error)

    def note_peak_rss(self, peak_rss_bytes: int | None) -> None:
        """Keep the largest peak of all launches."""
        self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes or 0)


def startup_of(outcome: CandidateOutcome, compiles: bool) -> Startup | None:
    """Return the first, cold start of a candidate.

    A candidate that compiles in its first run also has the first run of the second launch, whose caches were warm.
    """
    if not outcome.starts:
        return None
    first = outcome.starts[0]
    if not compiles:
        return first
    warm = outcome.starts[1].first_run_s if len(outcome.starts) > 1 else None
    return Startup(
        process_s=first.process_s,
        open_s=first.open_s,
        first_run_s=first.first_run_s,
        compile_cold_s=first.first_run_s,
        compile_warm_s=warm,
    )


def memory_of(outcome: CandidateOutcome, spec: MeasureSpec) -> Memory | None:
    """Return the peak memory, None where it was not measured."""
    if not outcome.peak_rss_bytes:
        return None
    note = outcome.device_note
    if outcome.device_bytes is None and not note:
        note = "runs on the CPU" if spec.options.device == "cpu" else "not reported"
    return Memory(peak_rss_bytes=outcome.peak_rss_bytes, peak_device_bytes=outcome.device_bytes, device_note=note)
