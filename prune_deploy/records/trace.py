"""What profilers saw: per-layer times in one schema for every backend, and what they explain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prune_deploy.records.run import Estimate
from prune_deploy.records.serialize import SCHEMA_VERSION
from prune_deploy.specs import Case

Cause = Literal["as-predicted", "memory-bound", "overhead-bound", "misaligned", "reformat", "not-pruned", "kernel", "other"]
"""Why a layer takes the time it takes after pruning.

as-predicted: its time fell as its MACs did; memory-bound: it moves bytes at the machine's bandwidth; overhead-bound: what it costs to
start is most of it; misaligned: its channel count fits no vector or tile, and padding or a slower kernel pays for it; reformat: a copy or
a change of layout that the runtime put in; not-pruned: it kept its size; kernel: another
precision's kernel takes longer for the same work; other: none of these is borne out.
"""


BETWEEN_LAYERS = "(between layers)"
"""Name of the row that holds the time of a run in which no layer runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer or kernel of one run of a whole batch: medians over the traced runs.

    `name` is the same in the dense and in the pruned model. `time_us` is its own time, without what it calls, on the device that did
    the work; `share` is of the sum. `shape` is of the output. `parameters` are the module's names of what it reads
    ("layer1.0.conv1.weight"), which join a layer across runtimes; `weight_shape` is of the first of them. `macs` are of the whole
    batch, `bytes_moved` inputs, weights and outputs once each; None where the runtime does not say. `kernel` names the
    implementation, where known.
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
    """A profiler's view of one case, never of runs that were timed for a comparison.

    `run_ms` is the median of traced runs, `untraced_ms` that of as many runs of the same session without the profiler, and their
    quotient less one the profiler's `overhead`. `chrome_file` is the name of the Chrome trace beside it; `notes` say what the profiler
    could not see.
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
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """One layer before and after: microseconds, what its MACs predict, and why it is not there, with the evidence in a few words.

    Times are the profiler's, scaled to what was measured without one. `delta_ms` is the layer's part of the step of its cause.
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
    """What one cause adds between the time that MACs predict and the time measured, in milliseconds."""

    cause: Cause
    delta_ms: float
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Half the MACs, why not half the time: one pruned model beside its dense one.

    `predicted_ms` is dense time divided by the MACs ratio; `steps` add up from there to `measured_ms`. `speedup` is the comparison's,
    None where nothing was timed. `bandwidth_gb_s` was measured on this machine. `sentences` say it in plain words, `advice` what
    would help. `against` is a precision where the bundle was compared with itself in it; the dense model's figures are then its own.
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
