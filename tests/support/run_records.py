"""Records of simulated runs, for tests of code that reads them."""

from __future__ import annotations

import math

from prune_deploy.records import CaseRecord, Counts, Environment, Estimate, Latency, Memory, RunRecord, Speedup, Startup, Verdict
from prune_deploy.specs import Case, MeasureSpec, RunOptions

DENSE = Counts(params=1000, macs=4000, macs_with_attention=4000)
PRUNED = Counts(params=250, macs=1000, macs_with_attention=1000)


def environment(**changes: object) -> Environment:
    """Return a machine."""
    values: dict[str, object] = {
        "python": "3.11.7",
        "platform": "Linux",
        "cpu": "some CPU",
        "cpu_count": 2,
        "memory_bytes": 2**34,
        "libraries": {"torch": "2.15.0"},
        "captured_at": "2026-11-21T10:00:00+00:00",
    }
    return Environment(**(values | changes))  # type: ignore[arg-type]


def run_record() -> RunRecord:
    """Return a run."""
    return RunRecord(
        id="run", command=("bench", "x"), spec=MeasureSpec(), cases=(case(),), environment=environment(), started_at="2026-11-21"
    )


def case(batch: int = 1, backend: str = "ort", variant: str = "") -> Case:
    """Return a case."""
    return Case(bundle="net-l2-r0.50", backend=backend, precision="fp32", batch=batch, options=RunOptions(variant=variant))


def estimate(value: float, half_width: float | None = 0.01) -> Estimate:
    """Return a figure whose interval reaches a share to both sides."""
    low = None if half_width is None else value * math.exp(-half_width)
    high = None if half_width is None else value * math.exp(half_width)
    return Estimate(value=value, low=low, high=high, confidence=0.975, unit="launch", count=5)


def speedup(value: float, half_width: float | None = 0.005, verdict: Verdict = "FASTER") -> Speedup:
    """Return a speed-up."""
    return Speedup(
        ratio=estimate(value, half_width),
        verdict=verdict,
        margin=0.01,
        converged=half_width is not None and half_width <= 0.01,
        rounds=60,
        launches=5,
        minimum_ratio=value,
    )


def latency(median_ms: float) -> Latency:
    """Return a latency."""
    return Latency(
        median_ms=estimate(median_ms),
        mean_ms=median_ms,
        stdev_ms=0.1,
        minimum_ms=median_ms,
        percentiles=(),
        samples=100,
        outliers=0,
    )


def case_record(batch: int = 1, ratio: float | None = 2.0, half_width: float | None = 0.005, **changes: object) -> CaseRecord:
    """Return a pruned model's case.

    Without a ratio it is one that could not run.
    """
    measured: dict[str, object] = {
        "latency": latency(4.0 * batch),
        "speedup": speedup(ratio, half_width) if ratio is not None else None,
        "dense_against_copy": estimate(1.001, 0.004),
        "startup": Startup(process_s=0.1, open_s=0.2, first_run_s=0.3),
        "memory": Memory(peak_rss_bytes=100 << 20, device_note="runs on the CPU"),
    }
    lost: dict[str, object] = {"status": "unavailable", "reason": "no CUDA device", "fix": "get one"}
    values: dict[str, object] = {
        "case": case(batch),
        "role": "candidate",
        "index": 1,
        "model": "net",
        "label": "net-l2-r0.50",
        "artifact": "model.onnx",
        "artifact_sha256": "0" * 64,
        "counts": PRUNED,
        "dense_counts": DENSE,
        "status": "ok",
        "comparison": f"net-ort-fp32-b{batch}",
    }
    return CaseRecord(**(values | (measured if ratio is not None else lost) | changes))  # type: ignore[arg-type]
