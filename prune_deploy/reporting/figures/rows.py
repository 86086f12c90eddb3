"""Figures of one case for tables and files, derived from its record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prune_deploy.records import Accuracy, CaseRecord, Estimate, Latency, Speedup
from prune_deploy.reporting.figures.formatting import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case in figures, which are None where `reason` says why.

    `method`, `ratio`, `protocol` and `seed` are the variant's, as far as the record knows it. `macs_ratio` is dense MACs over this
    model's (attention included), `efficiency` the speed-up over it: 1 means that every removed multiplication saved its share of
    time. `mean_ms` and `stdev_ms` are of single runs. `percentile_bounds_ms` are None where there were too few samples. `zeroed` marks
    weights set to zero in tensors that kept their shapes. `top1` and `top5` are shares of the `accuracy_images` of `data`,
    and `accuracy_note` qualifies them. `weights` says where the dense weights came from, and `untrained` whether nobody trained them,
    None where it is not on record. `artifact_mb` is the size of the file in 10⁶ bytes. `energy_mj` is the energy of the whole GPU for one
    image, in thousandths of a joule. `precision_layers` ("53/54") are the convolutions and matrix products that
    compute in the precision, out of all of them, "" where they were not counted.
    """

    bundle: str
    model: str
    role: str
    method: str | None = None
    ratio: float | None = None
    protocol: str = ""
    seed: int | None = None
    zeroed: bool = False
    weights: str = ""
    untrained: bool | None = None
    backend: str
    precision: str
    precision_layers: str = ""
    batch: int
    device: str
    status: str
    params: int | None = None
    nonzero_params: int | None = None
    macs: int | None = None
    macs_with_attention: int | None = None
    artifact_mb: float | None = None
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    mean_ms: float | None = None
    stdev_ms: float | None = None
    minimum_ms: float | None = None
    percentile_bounds_ms: dict[str, float | None] = field(default_factory=dict)
    samples: int | None = None
    outliers: int | None = None
    per_image_ms: float | None = None
    images_per_s: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    verdict: str | None = None
    converged: bool | None = None
    margin: float | None = None
    launches: int | None = None
    interval_unit: str | None = None
    top1: float | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    top5: float | None = None
    accuracy_images: int | None = None
    data: str = ""
    accuracy_note: str = ""
    macs_ratio: float | None = None
    efficiency: float | None = None
    startup_s: float | None = None
    compile_cold_s: float | None = None
    compile_warm_s: float | None = None
    peak_rss_mib: float | None = None
    peak_device_mib: float | None = None
    energy_mj: float | None = None
    comparison: str = ""
    reason: str = ""
    fix: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def verdict_text(self) -> str:
        """The verdict, else "baseline" or the status."""
        without = "baseline" if self.role == "dense" else self.status
        if self.latency_ms is None:
            without = "not timed" if self.status == "ok" else self.status  # only traced
        return self.verdict or without

    def marked_verdict(self, marks: bool) -> str:
        """Return the verdict for a table, where `marks` is its `has_marks`.

        An asterisk marks an interval that is wider than aimed for.
        """
        return f"{self.verdict_text}*" if marks and self.converged is False else self.verdict_text

    @property
    def known_efficiency(self) -> float | None:
        """The efficiency, None where the speed-up is undecided."""
        return self.efficiency if self.verdict in ("FASTER", "SLOWER", "SAME") else None

    @property
    def efficiency_text(self) -> str:
        """The known efficiency with two decimal places."""
        return MISSING if self.known_efficiency is None else f"{self.known_efficiency:.2f}"

    @property
    def peak_mib(self) -> float | None:
        """Peak memory: the device's if it was read, else the process's."""
        return self.peak_rss_mib if self.peak_device_mib is None else self.peak_device_mib

    @property
    def precision_text(self) -> str:
        """The precision with the count of layers that compute in it."""
        return f"{self.precision} {self.precision_layers}".strip()

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.bundle} {self.backend} {self.precision} batch {self.batch}"


def has_marks(rows: Iterable[Row]) -> bool:
    """Return whether asterisks tell the rows of a table apart."""
    return len({each.converged for each in rows if each.converged is not None}) > 1


def row(record: CaseRecord) -> Row:
    """Return the row of a record."""
    case, startup, memory = record.case, record.startup, record.memory
    macs_ratio = None
    if record.counts is not None and record.dense_counts is not None:
        macs_ratio = record.dense_counts.macs_with_attention / record.counts.macs_with_attention
    ratio = None if record.speedup is None else record.speedup.ratio.value
    return Row(
        bundle=record.label,
        model=record.model,
        role=record.role,
        zeroed=record.nonzero_params is not None,
        backend=f"{case.backend}:{case.options.variant}" if case.options.variant else case.backend,
        precision=case.precision,
        precision_layers=_layers(record),
        batch=case.batch,
        device=case.options.device,
        status=record.status,
        macs_ratio=macs_ratio,
        efficiency=None if ratio is None or macs_ratio is None else ratio / macs_ratio,
        startup_s=None if startup is None else startup.process_s + startup.open_s + startup.first_run_s,
        compile_cold_s=None if startup is None else startup.compile_cold_s,
        compile_warm_s=None if startup is None else startup.compile_warm_s,
        peak_rss_mib=None if memory is None else memory.peak_rss_bytes / 2**20,
        peak_device_mib=None if memory is None or memory.peak_device_bytes is None else memory.peak_device_bytes / 2**20,
        artifact_mb=None if record.artifact_bytes is None else record.artifact_bytes / 1e6,
        energy_mj=_energy_mj(record),
        comparison=record.comparison,
        reason=record.reason,
        fix=record.fix,
        warnings=record.warnings,
        **_variant_fields(record),
        **_latency_fields(record.latency, case.batch),
        **_speedup_fields(record.speedup),
        **_accuracy_fields(record.accuracy),
    )


def _layers(record: CaseRecord) -> str:
    """Return the count of layers in the precision, "" for FP32.

    It is the session's count, else the one from when the file was made.
    """
    if record.case.precision == "fp32":
        return ""
    counted = "" if record.share is None else record.share.text
    return record.settings.get("precision_layers", counted)


def _variant_fields(record: CaseRecord) -> dict[str, Any]:
    """Return the fields of the variant and its size."""
    fields: dict[str, Any] = {"nonzero_params": record.nonzero_params}
    fields |= {"weights": record.weights, "untrained": _is_untrained(record)}
    if record.variant is not None:
        variant = record.variant
        fields["weights"] = record.weights or variant.model.weights
        fields |= {"method": variant.method, "ratio": variant.ratio, "protocol": variant.protocol, "seed": variant.model.seed}
    if record.counts is not None:
        counts = record.counts
        fields |= {"params": counts.params, "macs": counts.macs, "macs_with_attention": counts.macs_with_attention}
    return fields


def _is_untrained(record: CaseRecord) -> bool | None:
    """Return whether the weights were never trained, None where it is unknown.

    Records of earlier releases hold the request alone, and whether accuracies are of random weights. A bundle that was tuned since
    has another name than the one that was requested.
    """
    if record.is_untrained is not None:
        return record.is_untrained
    if record.accuracy is not None and record.accuracy.top1 is not None:
        return record.accuracy.random_weights
    if record.variant is None:
        return None
    return record.variant.model.weights == "random" if record.label == record.variant.name else None


def _energy_mj(record: CaseRecord) -> float | None:
    """Return the millijoules of one image, None where the GPU counts none."""
    per_run_j = record.telemetry.get("energy_per_run_j")
    return None if per_run_j is None else 1e3 * per_run_j / record.case.batch


def _latency_fields(latency: Latency | None, batch: int) -> dict[str, Any]:
    if latency is None:
        return {}
    median: Estimate = latency.median_ms
    return {
        "latency_ms": median.value,
        "latency_low_ms": median.low,
        "latency_high_ms": median.high,
        "mean_ms": latency.mean_ms,
        "stdev_ms": latency.stdev_ms,
        "minimum_ms": latency.minimum_ms,
        "percentile_bounds_ms": {f"p{each.percent:g}": each.bound_ms for each in latency.percentiles},
        "samples": latency.samples,
        "outliers": latency.outliers,
        "per_image_ms": median.value / batch,
        "images_per_s": 1000 * batch / median.value,
    }


def _speedup_fields(speedup: Speedup | None) -> dict[str, Any]:
    if speedup is None:
        return {}
    return {
        "speedup": speedup.ratio.value,
        "speedup_low": speedup.ratio.low,
        "speedup_high": speedup.ratio.high,
        "verdict": speedup.verdict,
        "converged": speedup.converged,
        "margin": speedup.margin,
        "launches": speedup.launches,
        "interval_unit": speedup.ratio.unit,
    }


def _accuracy_fields(accuracy: Accuracy | None) -> dict[str, Any]:
    if accuracy is None:
        return {}
    return {
        "top1": accuracy.top1,
        "top1_low": accuracy.low,
        "top1_high": accuracy.high,
        "top5": accuracy.top5,
        "accuracy_images": accuracy.images,
        "data": accuracy.data,
        "accuracy_note": "; ".join(accuracy.all_warnings),
    }
