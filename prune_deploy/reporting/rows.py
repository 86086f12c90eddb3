"""The figures of one case as tables and JSON show them, all derived from its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_deploy.records import CaseRecord, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case in figures; None where it has none, and then `reason` says why.

    `macs_ratio` is dense MACs over this model's (attention included), `efficiency` the speed-up over it: 1 means that every removed
    multiplication saved its share of time. `percentile_bounds_ms` are None where there were too few samples.
    """

    bundle: str
    model: str
    role: str
    backend: str
    precision: str
    batch: int
    status: str
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    percentile_bounds_ms: dict[str, float | None] = field(default_factory=dict)
    per_image_ms: float | None = None
    images_per_s: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    verdict: str | None = None
    converged: bool | None = None
    macs_ratio: float | None = None
    efficiency: float | None = None
    startup_s: float | None = None
    compile_cold_s: float | None = None
    compile_warm_s: float | None = None
    peak_rss_mib: float | None = None
    peak_device_mib: float | None = None
    reason: str = ""
    fix: str = ""
    warnings: tuple[str, ...] = ()


def row(record: CaseRecord) -> Row:
    """The row of a record."""
    case, latency, speedup, startup, memory = record.case, record.latency, record.speedup, record.startup, record.memory
    median_ms = None if latency is None else latency.median_ms.value
    macs_ratio = record.dense_counts.macs_with_attention / record.counts.macs_with_attention
    ratio: Estimate | None = None if speedup is None else speedup.ratio
    return Row(
        bundle=record.label,
        model=record.model,
        role=record.role,
        backend=f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend,
        precision=case.precision,
        batch=case.batch,
        status=record.status,
        latency_ms=median_ms,
        latency_low_ms=None if latency is None else latency.median_ms.low,
        latency_high_ms=None if latency is None else latency.median_ms.high,
        percentile_bounds_ms={} if latency is None else {f"p{each.percent:g}": each.bound_ms for each in latency.percentiles},
        per_image_ms=None if median_ms is None else median_ms / case.batch,
        images_per_s=None if median_ms is None else 1000 * case.batch / median_ms,
        speedup=None if ratio is None else ratio.value,
        speedup_low=None if ratio is None else ratio.low,
        speedup_high=None if ratio is None else ratio.high,
        verdict=None if speedup is None else speedup.verdict,
        converged=None if speedup is None else speedup.converged,
        macs_ratio=macs_ratio,
        efficiency=None if ratio is None else ratio.value / macs_ratio,
        startup_s=None if startup is None else startup.process_s + startup.open_s + startup.first_run_s,
        compile_cold_s=None if startup is None else startup.compile_cold_s,
        compile_warm_s=None if startup is None else startup.compile_warm_s,
        peak_rss_mib=None if memory is None else memory.peak_rss_bytes / 2**20,
        peak_device_mib=None if memory is None or memory.peak_device_bytes is None else memory.peak_device_bytes / 2**20,
        reason=record.reason,
        fix=record.fix,
        warnings=record.warnings,
    )
