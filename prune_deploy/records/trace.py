"""Records of profilers: layer times in one schema, and their explanations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prune_deploy.records.run import Estimate
from prune_deploy.records.upgrades import SCHEMA_VERSION
from prune_deploy.specs import Case

Cause = Literal[
    "as-predicted", "memory-bound", "overhead-bound", "misaligned", "reformat", "not-pruned", "kernel", "faster", "other"
]
"""Cause of a layer's time after pruning.

- as-predicted: its time fell as its MACs did.
- memory-bound: it moves bytes at the machine's bandwidth.
- overhead-bound: most of its time is the cost of starting it.
- misaligned: its channel count fits no vector or tile, and padding or a slower kernel pays for it.
- reformat: a copy or a change of layout that the runtime inserted.
- not-pruned: it kept its size.
- kernel: another precision's kernel takes longer for the same work.
- faster: it takes less than half of the time that its MACs predict, for another kernel or a disturbed dense run.
- other: no evidence for any of these.
"""


BETWEEN_LAYERS = "(between layers)"
"""Name of the row with the time of a run in which no layer runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer or kernel of one run of a whole batch.

    Times are means over the same traced runs as `Trace.run_ms`.

    - `name` is the same in the dense and in the pruned model.
    - `time_us` is its own time, without what it calls, on the device that did the work, and `share` is of the sum.
    - `shape` is of the output.
    - `parameters` are the module's names of what it reads ("layer1.0.conv1.weight"), which join a layer across runtimes.
      `weight_shape` is of the first of them.
    - `macs` are of the whole batch, and `bytes_moved` counts inputs, weights and outputs once each. Both are None where the
      runtime does not report them.
    - `kernel` names the implementation, where known.
    """

    name: str
    op: str
    time_us: float
    share: float
    shape: tuple[int, ...] = ()
    dtype: str = ""
    parameters: tuple[str, ...] = ()
    weight_shape: tuple[int, ...] = ()
    macs: int | None = None
    bytes_moved: int | None = None
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Profile of one case.

    Its runs are never those that were timed for a comparison. `run_ms` is the mean over the middle half of the traced runs by
    duration. `layers` hold means over the same runs, so that with the row `(between layers)` they add up to `run_ms`. Layers that
    overlap on a device add up to more, and a warning says so. `untraced_ms` is the mean over the middle half of as many runs of the same
    session without the profiler. The quotient of both less one is the profiler's `overhead`. `chrome_file` is the name of the Chrome
    trace beside it. `warnings` list what the profiler could not observe.
    """

    case: Case
    label: str
    runs: int
    run_ms: float
    untraced_ms: float
    overhead: float
    layers: tuple[LayerTime, ...]
    chrome_file: str
    settings: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """One layer before and after pruning, with the cause of its time.

    Times are in microseconds, the profiler's, scaled to those measured without one. `predicted_us` is what its MACs predict.
    `evidence` is in a few words. `delta_ms` is the layer's part of its cause's step.
    """

    name: str
    op: str
    dense_us: float
    pruned_us: float
    predicted_us: float
    cause: Cause
    evidence: str
    delta_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallStep:
    """Milliseconds that one cause adds between predicted and measured time.

    The prediction is by MACs.
    """

    cause: Cause
    delta_ms: float
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Explanation of a pruned model's time, beside its dense one.

    - `predicted_ms` is dense time divided by the MACs ratio. `steps` add up from there to `measured_ms`.
    - `speedup` is the comparison's, None where nothing was timed.
    - `bandwidth_gb_s` was measured on this machine.
    - `sentences` explain it in plain words, and `advice` lists remedies.
    - `against` is a precision where the bundle was compared with itself in it. The dense model's figures are then its own.
    """

    case: Case
    label: str
    dense_ms: float
    predicted_ms: float
    measured_ms: float
    macs_ratio: float
    speedup: Estimate | None
    bandwidth_gb_s: float
    steps: tuple[WaterfallStep, ...]
    layers: tuple[LayerVerdict, ...]
    sentences: tuple[str, ...]
    advice: tuple[str, ...]
    against: str = ""
    schema_version: int = SCHEMA_VERSION
