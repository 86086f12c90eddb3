"""Ways to measure latency that are in use, and ours, all on the same ONNX Runtime sessions; one of them per process.

    python benchmarks/peers.py REQUEST    (a JSON document with the fields of `Request`; the answer is one, too)

A sequential protocol opens and times one model after the other, the dense model first and its copy next, and lets go of a session
before the next one is opened, so that no idle thread disturbs it. Each model gets a third of the budget.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple
from unittest.mock import patch

from prune_deploy.backends import usable
from prune_deploy.execution.workers.inputs import make_inputs
from prune_deploy.interfaces import Session, Silent
from prune_deploy.specs import MeasureSpec, Rigor, RunOptions
from prune_deploy.tensors import named_input

_PILOT_SHARE = 0.05
_WARM_SHARE = 0.2
_WARM_SHARE_ALONE = 0.5


@dataclass(frozen=True, kw_only=True)
class Request:
    """One trial of a protocol. `dense` and `pruned` are ONNX files; `threads` of 0 is the runtime's own choice; `rigor` is ours."""

    protocol: str
    dense: str
    pruned: str
    pixels: int
    threads: int
    budget_s: float
    seed: int
    rigor: Rigor = "full"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, channels, height, width."""
        return 1, 3, self.pixels, self.pixels

    @property
    def options(self) -> RunOptions:
        """How every session is opened."""
        return RunOptions(threads=self.threads or None)


class Peer(NamedTuple):
    """A sequential protocol: seconds of one run, found in so many seconds; and the library to import before anything is timed."""

    run_s: Callable[[Session, float], float]
    library: str | None = None


def torch_timer(session: Session, share_s: float) -> float:
    """`torch.utils.benchmark`: median of blocks."""
    from torch.utils.benchmark import Timer

    return Timer("session.run()", globals={"session": session}).blocked_autorange(min_run_time=share_s).median


def timm_as_published(session: Session, share_s: float) -> float:  # noqa: ARG001 - it does not care how much time there is
    """What timm's benchmark.py does by default: 10 runs, then the mean of 40."""
    return _mean_s(session, warmup=10, runs=40)


def timm_scaled(session: Session, share_s: float) -> float:
    """The same 1 : 4, with as many runs as there is time for."""
    runs = _affordable_runs(session, share_s)
    return _mean_s(session, warmup=runs // 5, runs=runs - runs // 5)


def torch_pruning(session: Session, share_s: float) -> float:
    """torch-pruning's `measure_latency`, warm-up and runs 1 : 6 as by default: the mean.

    It reads CUDA events, which a session on the CPU does not have; they are replaced by the host's clock.
    """
    from torch import nn
    from torch_pruning.utils.benchmark import measure_latency

    class Wrapped(nn.Module):
        def forward(self, _: None) -> None:
            session.run()

    runs = _affordable_runs(session, share_s)
    with patch("torch.cuda.Event", HostEvent), patch("torch.cuda.synchronize"):
        mean_ms, _ = measure_latency(Wrapped(), None, repeat=runs - runs // 7, warmup=runs // 7)
    return float(mean_ms) / 1e3


class HostEvent:
    """The host's clock with the face of `torch.cuda.Event`."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing, "it exists to be timed with"
        self._at_s = 0.0

    def record(self) -> None:
        """Take the time."""
        self._at_s = time.perf_counter()

    def elapsed_time(self, end: HostEvent) -> float:
        """Milliseconds from this event to `end`."""
        return (end._at_s - self._at_s) * 1e3


def onnxruntime_perf_test(session: Session, share_s: float) -> float:
    """What onnxruntime_perf_test does: one run, then the mean of all runs within the time."""
    session.run()
    return fmean(_runs_for(session, share_s))


def warm_median(session: Session, share_s: float) -> float:
    """The best that can be done one after the other: warm up for a fifth of the time, then the median."""
    return _warm_median_s(session, share_s, _WARM_SHARE)


def _warm_median_s(session: Session, share_s: float, warm_share: float) -> float:
    _runs_for(session, warm_share * share_s)
    return median(_runs_for(session, (1 - warm_share) * share_s))


def _mean_s(session: Session, *, warmup: int, runs: int) -> float:
    for _ in range(warmup):
        session.run()
    return fmean(_timed_s(session) for _ in range(runs))


def _affordable_runs(session: Session, share_s: float) -> int:
    """Runs that fit into the time, by what the first few of them take; the very first one is not representative."""
    _timed_s(session)
    pilot_s = fmean(_runs_for(session, _PILOT_SHARE * share_s))
    return max(50, round((1 - _PILOT_SHARE) * share_s / pilot_s))


def _runs_for(session: Session, seconds: float) -> list[float]:
    """Seconds of each run until the time is up, at least one."""
    ends_s = time.perf_counter() + seconds
    samples_s = [_timed_s(session)]
    while time.perf_counter() < ends_s:
        samples_s.append(_timed_s(session))
    return samples_s


def _timed_s(session: Session) -> float:
    begin = time.perf_counter()
    session.run()
    return time.perf_counter() - begin


SEQUENTIAL: dict[str, Peer] = {
    "torch.utils.benchmark": Peer(torch_timer, "torch.utils.benchmark"),
    "timm 10+40": Peer(timm_as_published),
    "timm, same budget": Peer(timm_scaled),
    "torch-pruning measure_latency": Peer(torch_pruning, "torch_pruning.utils.benchmark"),
    "onnxruntime_perf_test": Peer(onnxruntime_perf_test),
    "warm, then median": Peer(warm_median),
}
"""The protocols that time one model after the other."""

OURS = "prune-deploy"
"""Our own protocol; it starts its processes within its budget."""

ALONE = "alone"
"""Not a protocol but the truth: the request's dense file alone in a process, warm for half of the time, then the median."""


def measure_in_sequence(request: Request) -> dict[str, Any]:
    """Ratios of a sequential protocol, and the milliseconds behind them."""
    peer = SEQUENTIAL[request.protocol]
    if peer.library is not None:
        importlib.import_module(peer.library)
    inputs = make_inputs("images", request.shape, request.seed)
    ms = {}
    for name, artifact in (("dense", request.dense), ("copy", request.dense), ("pruned", request.pruned)):
        with usable("ort").open(Path(artifact), named_input(inputs), request.options) as session:
            ms[name] = 1e3 * peer.run_s(session, request.budget_s / 3)
    return {"control": ms["dense"] / ms["copy"], "ratio": ms["dense"] / ms["pruned"], "ms": ms}


def measure_alone(request: Request) -> dict[str, Any]:
    """Milliseconds of one run of the request's dense file."""
    inputs = make_inputs("images", request.shape, request.seed)
    with usable("ort").open(Path(request.dense), named_input(inputs), request.options) as session:
        return {"ms": 1e3 * _warm_median_s(session, request.budget_s, _WARM_SHARE_ALONE)}


def measure_ours(request: Request) -> dict[str, Any]:
    """Ratios of a comparison, with what it says of their certainty. The second dense model is a candidate like any other."""
    from prune_deploy.execution.candidate import Candidate
    from prune_deploy.execution.worker_group import WorkerGroup
    from prune_deploy.execution.workers.process import Watchdog
    from prune_deploy.measure.analysis import analyze
    from prune_deploy.measure.comparison import Comparison
    from prune_deploy.records import Role

    spec = MeasureSpec(rigor=request.rigor, budget_s=request.budget_s, seed=request.seed, options=request.options)
    artifacts: list[tuple[Role, str]] = [("dense", request.dense), ("candidate", request.dense), ("candidate", request.pruned)]
    candidates = [
        Candidate(label=role, role=role, backend="ort", artifact=Path(path), shape=request.shape, options=request.options)
        for role, path in artifacts
    ]
    roles = [each.role for each in candidates]
    with tempfile.TemporaryDirectory() as folder, Watchdog() as watchdog:
        group = WorkerGroup(candidates, spec, watchdog, logs=Path(folder), caches=Path(folder, "caches"))
        samples = Comparison(group, roles, roles, spec, Silent()).run()
    if lost := [each.failure.reason for each in group.outcomes if each.failure is not None]:
        sys.exit(f"a candidate was lost: {lost[0]}")
    _, copy, pruned = (None if each is None else each.speedup for each in analyze(samples).candidates)
    if copy is None or pruned is None:
        sys.exit("the comparison ended without a ratio")
    return {
        "control": copy.ratio.value,
        "control_interval": [copy.ratio.low, copy.ratio.high],
        "control_converged": copy.converged,
        "ratio": pruned.ratio.value,
        "ratio_interval": [pruned.ratio.low, pruned.ratio.high],
        "ratio_converged": pruned.converged,
        "verdict": pruned.verdict,
        "launches": pruned.launches,
    }


def main() -> None:
    """Do what the request asks for, and print what was found."""
    request = Request(**json.loads(sys.argv[1]))
    measure = {OURS: measure_ours, ALONE: measure_alone}.get(request.protocol, measure_in_sequence)
    print(json.dumps(measure(request)))


if __name__ == "__main__":
    main()
