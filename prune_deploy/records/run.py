"""Records of a measurement: one per case, as whole lines of records.jsonl.

They are derived from raw samples stored beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prune_deploy.records.accuracy import Accuracy
from prune_deploy.records.environment import Environment
from prune_deploy.records.precision import LayerShare
from prune_deploy.records.pruning import Counts
from prune_deploy.records.upgrades import SCHEMA_VERSION
from prune_deploy.specs import Across, Case, MeasureSpec, Placement, QuantizeSpec, SweepSpec, Variant

Role = Literal["dense", "copy", "candidate"]
"""Role of a candidate in a comparison.

- dense: the baseline of every ratio.
- copy: A′, the dense model a second time, independently opened.
- candidate: all others.
"""

Verdict = Literal["FASTER", "SLOWER", "SAME", "INCONCLUSIVE"]

Status = Literal["ok", "unavailable", "failed", "timeout", "inconclusive", "graph_break", "recompiled", "eager_fallback"]
"""Outcome of a case.

The last three are torch.compile's ways to deviate from the label.
"""

FAILED_STATUSES: frozenset[Status] = frozenset({"failed", "timeout", "graph_break", "recompiled", "eager_fallback"})
"""Statuses that make a command end with exit code 1."""


_LEAST = 1e-40
"""Bound of times, ratios and their intervals on both sides. Quotients of them are finite and have logarithms."""

_LARGEST_SPEEDUP = 1e14
"""A day over a nanosecond, the longest run that is read over the shortest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Figure with its interval.

    `unit` is what was counted as independent: launches of a process, or rounds within one launch. `low` and `high` are None where
    there are too few units for an interval.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float
    unit: Literal["launch", "round"]
    count: int

    def __post_init__(self) -> None:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not _LEAST <= low <= self.value <= high <= 1 / _LEAST:
            raise ValueError(f"an estimate of {self.value} [{self.low}, {self.high}] is no time and no ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """Upper 99 % confidence bound of a latency percentile.

    `bound_ms` is None where fewer than `needs` samples were taken.
    """

    percent: float
    bound_ms: float | None
    needs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of one run of one batch.

    `median_ms` is of block medians. The rest is over all timed samples, none of them deleted. `outliers` counts samples beyond
    1.5 interquartile ranges (Tukey).
    """

    median_ms: Estimate
    mean_ms: float
    stdev_ms: float
    minimum_ms: float
    percentiles: tuple[Percentile, ...]
    samples: int
    outliers: int

    def __post_init__(self) -> None:
        if min(self.mean_ms, self.minimum_ms, self.stdev_ms) < 0 or self.samples < 1:
            raise ValueError("a latency cannot be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """Dense time over this candidate's time.

    It is above 1 when the candidate is faster.

    - `margin` is the share by which the interval must clear 1 (1 %, or what the dense model against its own copy showed).
    - `converged` is true for an interval as narrow as the rigor's target.
    - `minimum_ratio` is that of the fastest blocks, and `cycle_ratio` that of time × clock.
    - `bootstrap_low` and `bootstrap_high` cross-check the interval.
    - `rounds` counts passes, two to each ABBA pair.
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

    def __post_init__(self) -> None:
        if not 1 / _LARGEST_SPEEDUP <= self.ratio.value <= _LARGEST_SPEEDUP:
            raise ValueError(f"a speed-up of {self.ratio.value} is no ratio of two runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStats:
    """Statistics of one candidate's samples.

    `speedup` is None for the dense model itself, and without a complete ABBA pair.
    """

    latency: Latency
    speedup: Speedup | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStats:
    """Statistics of one comparison's samples.

    There is one entry per candidate in their order, None for those without timed samples. `dense_against_copy` is the A/A
    control: the ratio of the dense model to its own copy, 1 if nothing but the model counts.
    """

    candidates: tuple[CandidateStats | None, ...]
    dense_against_copy: Estimate | None
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Seconds until a candidate's first output.

    They are split into starting the process, importing the runtime and opening the artifact, and the first run. torch.compile
    compiles in the first run: `compile_cold_s` with an empty cache, `compile_warm_s` with the cache filled. Both are None where
    they were not measured.
    """

    process_s: float
    open_s: float
    first_run_s: float
    compile_cold_s: float | None = None
    compile_warm_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak memory in bytes.

    The resident set is that of the candidate's process. Device memory comes from a separate, untimed pass. `device_note` is the
    reason why `peak_device_bytes` is None.
    """

    peak_rss_bytes: int
    peak_device_bytes: int | None = None
    device_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """One finished case: a line of records.jsonl.

    - `reason` and `fix` explain missing figures.
    - `settings` is what the session found in force when it ran (threads, provider, library versions, layer types).
    - `telemetry_notes` explain missing readings.
    - `comparison` names the group that was measured together. Its raw nanoseconds lie in `samples_file`, as candidate `index`.
    - `comparison_cases` is the number of cases in that group, and `across` what it spans beside models. In records of schema
      version 1 the number is 0.
    - `variant` is the model with its pruning or mask.
    - `weights` is where the dense weights came from, in a few words. `is_untrained` tells that nobody trained them. Both are of
      the bundle, "" and None where there is none or an earlier release wrote the record.
    - `artifact_bytes` is the size of the artifact's file, with the weights beside it that it reads.
    - `counts` are None where the network could not even be made.
    - `nonzero_params` is set where weights were zeroed in tensors that kept their shapes.
    - `accuracy` is that of the very artifact, where data was given. A warning explains a missing accuracy.
    - `share` is the layers' precision as counted when the file was made (the session's own count is in `settings`), and
      `quantize` the request for its INT8.
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
    weights: str = ""
    is_untrained: bool | None = None
    artifact_bytes: int | None = None
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
    comparison_cases: int = 0
    across: Across = ""
    placement: Placement | None = None
    samples_file: str = ""
    samples_sha256: str = ""
    ended_at: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Content of run.json: the request of a run, and its machine.

    `cases` are all that it will have, and `sweep` is the request they were made from. With `is_open` the cases are not known
    beforehand, and the run names none until it is closed.
    """

    id: str
    command: tuple[str, ...]
    spec: MeasureSpec
    cases: tuple[Case, ...]
    environment: Environment
    started_at: str
    sweep: SweepSpec | None = None
    is_open: bool = False
    schema_version: int = SCHEMA_VERSION
