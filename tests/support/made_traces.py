"""Traces made without a profiler, for tests of their explanations."""

from __future__ import annotations

from math import fsum

from prune_deploy.records import BETWEEN_LAYERS, LayerTime, Trace
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.explanation import Machine, Timing
from prune_deploy.specs import Case, Device, RunOptions

NCHWC = Alignment(block=16, inputs_multiple=4, kernels="ONNX Runtime's blocked kernels (NCHWc)", has_blocked=True)
BANDWIDTH_GB_S = 20.0


def conv(name: str, time_us: float, outputs: int, inputs: int, **changes: object) -> LayerTime:
    """Return a 3×3 convolution on a 14×14 map.

    At its best it runs one billion MACs a second. `time_us` may be longer.
    """
    values: dict[str, object] = {
        "op": "Conv",
        "shape": (1, outputs, 14, 14),
        "parameters": (f"{name}.weight", f"{name}.bias"),
        "weight_shape": (outputs, inputs, 3, 3),
        "macs": outputs * inputs * 9 * 196,
        "bytes_moved": 4 * (196 * (outputs + inputs) + outputs * inputs * 9),
        "kernel": "NCHWc",
    }
    return layer(name, time_us=time_us, **(values | changes))  # type: ignore[arg-type]


def layer(name: str, op: str = "Relu", time_us: float = 100.0, **changes: object) -> LayerTime:
    """Return any layer."""
    return LayerTime(name=name, op=op, time_us=time_us, share=0.0, **changes)  # type: ignore[arg-type]


def trace(*layers: LayerTime, between_us: float = 0.0, backend: str = "ort", batch: int = 8, device: Device = "cpu") -> Trace:
    """Return a trace of these layers, without a profiler's overhead."""
    run_ms = (fsum(each.time_us for each in layers if each.name != BETWEEN_LAYERS) + between_us) / 1000
    case = Case(bundle="net-l2-r0.05", backend=backend, precision="fp32", batch=batch, options=RunOptions(device=device))
    return Trace(
        case=case,
        label="net-l2-r0.05",
        runs=5,
        run_ms=run_ms,
        untraced_ms=run_ms,
        overhead=0.0,
        layers=layers,
        chrome_file="x.json.gz",
    )


def timing(dense: Trace, pruned: Trace, macs_ratio: float | None = None) -> Timing:
    """Return a timing with the traces' times and MACs."""
    ratio = _macs(dense) / _macs(pruned) if macs_ratio is None else macs_ratio
    return Timing(dense_ms=dense.untraced_ms, measured_ms=pruned.untraced_ms, macs_ratio=ratio)


def machine(alignment: Alignment | None = None) -> Machine:
    """Return a machine whose memory moves 20 GB/s."""
    return Machine(bandwidth_gb_s=BANDWIDTH_GB_S, alignment=alignment)


def _macs(each: Trace) -> int:
    return sum(one.macs or 0 for one in each.layers)
