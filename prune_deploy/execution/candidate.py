"""What is run, and what is seen of it beside its samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prune_deploy.records import Memory, Role, Startup, Status
from prune_deploy.specs import MeasureSpec, RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One artifact to run: `shape` is (batch, channels, height, width); `needs_own_process` as its backend says."""

    label: str
    role: Role
    backend: str
    artifact: Path
    shape: tuple[int, int, int, int]
    options: RunOptions
    needs_own_process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a candidate has no figures."""

    status: Status
    reason: str
    fix: str


@dataclass(slots=True)
class Observed:
    """What was seen of one candidate beside its samples."""

    starts: list[Startup] = field(default_factory=list)
    peak_rss_bytes: int = 0
    device_bytes: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None


def startup_of(seen: Observed, compiles: bool) -> Startup | None:
    """The first, cold start; for what compiles in its first run, beside it the second launch's, whose caches were warm."""
    if not seen.starts:
        return None
    first = seen.starts[0]
    if not compiles:
        return first
    warm = seen.starts[1].first_run_s if len(seen.starts) > 1 else None
    return Startup(
        process_s=first.process_s,
        open_s=first.open_s,
        first_run_s=first.first_run_s,
        compile_cold_s=first.first_run_s,
        compile_warm_s=warm,
    )


def memory_of(seen: Observed, spec: MeasureSpec) -> Memory | None:
    """Peak memory, where it was seen."""
    if not seen.peak_rss_bytes:
        return None
    note = "" if seen.device_bytes is not None else ("runs on the CPU" if spec.options.device == "cpu" else "not reported")
    return Memory(peak_rss_bytes=seen.peak_rss_bytes, peak_device_bytes=seen.device_bytes, device_note=note)
