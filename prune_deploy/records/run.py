"""What was seen while measuring: one record per case, whole lines of records.jsonl, derived from raw samples beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prune_deploy.records.accuracy import Accuracy
from prune_deploy.records.bundle import Counts, Environment
from prune_deploy.records.precision import LayerShare
from prune_deploy.records.serialize import SCHEMA_VERSION
from prune_deploy.specs import Case, MeasureSpec, Placement, QuantizeSpec, SweepSpec, Variant

Role = Literal["dense", "copy", "candidate"]
"""dense: the baseline of every ratio; copy: A′, the dense model a second time, independently opened; candidate: all others."""

Verdict = Literal["FASTER", "SLOWER", "SAME", "INCONCLUSIVE"]

Status = Literal["ok", "unavailable", "failed", "timeout", "inconclusive", "graph_break", "recompiled", "eager_fallback"]
"""How a case ended. The last three are torch.compile's ways not to be what the label says."""

FAILED_STATUSES: frozenset[Status] = frozenset({"failed", "timeout", "graph_break", "recompiled", "eager_fallback"})
"""Statuses that make a command end with exit code 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval. `unit` is what was counted as independent: launches of a process, or rounds within one launch.

    `low` and `high` are None where there are too few units for an interval.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float
    unit: Literal["launch", "round"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """Upper 99 % confidence bound of a latency percentile; `bound_ms` is None where fewer than `needs` samples were taken."""

    percent: float
    bound_ms: float | None
    needs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of one run of one batch. `median_ms` is of block medians; the rest is over all timed samples, none of them deleted.

    `outliers` counts samples beyond 1.5 interquartile ranges (Tukey).
    """

    median_ms: Estimate
    mean_ms: float
    stdev_ms: float
    minimum_ms: float
    percentiles: tuple[Percentile, ...]
    samples: int
    outliers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """Dense time over this candidate's time, above 1 when the candidate is faster.

    `margin` is the share by which the interval must clear 1 (1 %, or what the dense model against its own copy showed);
    `converged` says whether the interval is as narrow as the rigor aims for; `minimum_ratio` is that of the fastest blocks;
    `cycle_ratio` that of time × clock; `bootstrap_low` and `bootstrap_high` cross-check the interval. `rounds` counts passes, two to
    each palindrome.
    """

    ratio: Estimate
    verdict: Verdict
    margin: float
    converged: bool
    rounds: int
    launches: int
    minimum_ratio: float
    cycle_ratio: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStats:
    """All that the samples say of one candidate; `speedup` is None for the dense model itself, and without a complete palindrome."""

    latency: Latency
    speedup: Speedup | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStats:
    """What the samples of one comparison say: one entry per candidate in their order, None for those without timed samples.

    `dense_against_copy` is the A/A control: the ratio of the dense model to its own copy, 1 if nothing but the model counts.
    """

    candidates: tuple[CandidateStats | None, ...]
    dense_against_copy: Estimate | None
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """What it costs until a candidate answers, in seconds: starting the process, importing the runtime and opening the artifact,
    and the first run.

    torch.compile compiles in the first run: `compile_cold_s` with an empty cache, `compile_warm_s` with the cache filled; None
    where that was not measured.
    """

    process_s: float
    open_s: float
    first_run_s: float
    compile_cold_s: float | None = None
    compile_warm_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak memory in bytes: resident set of the candidate's process; device memory from a separate, untimed pass.

    `device_note` says why `peak_device_bytes` is None.
    """

    peak_rss_bytes: int
    peak_device_bytes: int | None = None
    device_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """One finished case: a line of records.jsonl. `reason` and `fix` say why there are no figures where there are none.

    `settings` is what the session found in force when it ran (threads, provider, library versions, layer types);
    `telemetry_notes` say why a reading is not there. `comparison` names the group that was measured together, whose raw nanoseconds lie
    in `samples_file`, as candidate `index`. `variant` is what was made of the model. `counts` are None where the network could not
    even be made; `nonzero_params` is there where weights were zeroed in tensors that kept their shapes. `accuracy` is that of the very
    artifact, where data was given; a warning says why it could not be had. `share` is what its file said of its layers when it was made
    (what the session found is in `settings`), `quantize` how its INT8 was asked for.
    """

    case: Case
    role: Role
    index: int
    model: str
    label: str
    artifact: str
    artifact_sha256: str
    counts: Counts | None
    dense_counts: Counts | None
    status: Status
    variant: Variant | None = None
    quantize: QuantizeSpec | None = None
    share: LayerShare | None = None
    nonzero_params: int | None = None
    reason: str = ""
    fix: str = ""
    latency: Latency | None = None
    speedup: Speedup | None = None
    dense_against_copy: Estimate | None = None
    accuracy: Accuracy | None = None
    startup: Startup | None = None
    memory: Memory | None = None
    settings: dict[str, str] = field(default_factory=dict)
    telemetry: dict[str, float] = field(default_factory=dict)
    telemetry_notes: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    comparison: str = ""
    placement: Placement | None = None
    samples_file: str = ""
    samples_sha256: str = ""
    ended_at: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """run.json: what a run was asked to measure, and where. `cases` are all that it will have, `sweep` what they were made from."""

    id: str
    command: tuple[str, ...]
    spec: MeasureSpec
    cases: tuple[Case, ...]
    environment: Environment
    started_at: str
    sweep: SweepSpec | None = None
    schema_version: int = SCHEMA_VERSION
