"""Seconds that work is expected to take.

They follow from sizes that are known beforehand.

The constants are from two CPU cores of a server (no GPU was at hand for them). Another machine is faster or slower as a whole, which
`workflows.forecast` learns from the first work that ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prune_deploy.backends import discover
from prune_deploy.execution.planning import PlannedCase
from prune_deploy.interfaces import OPENS_FOLDER, Backend
from prune_deploy.measure.prediction import Expected
from prune_deploy.records import Counts
from prune_deploy.specs import Device, MeasureSpec
from prune_deploy.tracing import DEFAULT_RUNS

IMPORT_S = 3.5
"""Seconds that a new process takes to import PyTorch and timm."""

_PROCESS_S = 0.4
_COMPILE_S = 17.0
_RECOMPILE_S = 4.0  # from the cache that an equal model filled
_MAKE_S = 4.0
_MAKE_S_PER_PARAM = 1.2e-7
_PRUNE_S = 1.0
_ENGINE_S = 5.0
_ENGINE_S_PER_PARAM = 1e-7
_TRACE_FILES_S = 1.0
_TRACE_WARMUP_RUNS = 5
_READ_PARAMS_PER_S = 2e8
_CALL_S = 1e-3
_MACS_PER_S: dict[Device, float] = {"cpu": 8e10, "cuda": 5e12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Parameters of a network, and the MACs of one of its images."""

    params: float
    macs: float

    @classmethod
    def of(cls, counts: Counts) -> Size:
        """Return the size that a receipt counted."""
        return cls(params=counts.params, macs=counts.macs_with_attention)

    def scaled(self, kept: float) -> Size:
        """Return the size once the share `kept` of all channels is left."""
        return Size(params=self.params * kept**2, macs=self.macs * kept**2)


def run_s(size: Size, batch: int, device: Device) -> float:
    """Return the seconds of one run."""
    return _CALL_S + size.macs * batch / _MACS_PER_S[device]


def open_s(size: Size, backend: Backend, *, again: bool = False) -> float:
    """Return the seconds that a new process takes to open the network.

    Compiling is included, the first run is not. `again` says that the same network was opened before.
    """
    imports_s = IMPORT_S if backend.consumes in OPENS_FOLDER else 0.0
    return _PROCESS_S + imports_s + _loading_s(size, backend, again=again)


def _loading_s(size: Size, backend: Backend, *, again: bool = False) -> float:
    compiling_s = (_RECOMPILE_S if again else _COMPILE_S) if backend.compiles else 0.0
    return size.params / _READ_PARAMS_PER_S + compiling_s


def expected(cases: Sequence[tuple[Size, Backend]], batch: int, spec: MeasureSpec) -> Expected:
    """Return what opening and running the cases should take.

    The copy of the first one is included.
    """
    opening_s = sum(open_s(size, backend) for size, backend in cases) + open_s(*cases[0], again=True)
    runs_s = [run_s(size, batch, spec.options.device) for size, _ in (*cases, cases[0])]
    in_pytorch = any(backend.consumes in OPENS_FOLDER for _, backend in cases)
    return Expected(open_s=opening_s + sum(runs_s), run_s=tuple(runs_s), first_is_slower=in_pytorch)


def expected_of(planned: Sequence[PlannedCase], spec: MeasureSpec) -> Expected:
    """Return what is expected of planned cases, the baseline first.

    Those that cannot run are left out.
    """
    running = [case for case in planned if case.candidate is not None]
    cases = [(Size.of(case.bundle.record.receipt.after), discover()[case.case.backend]) for case in running]
    return expected(cases, running[0].case.batch, spec)


def traces_s(traced: Sequence[tuple[Size, Backend, int]], device: Device, runs: int = DEFAULT_RUNS) -> list[float]:
    """Return the seconds of each trace by backend and batch size.

    Each opens its network, warms it up, and runs it `runs` times without and with the profiler. One process traces what follows in the same
    backend.
    """
    found, before = [], None
    for size, backend, batch in traced:
        start_s = 0.0 if backend is before else _PROCESS_S + IMPORT_S
        runs_s = (2 * runs + _TRACE_WARMUP_RUNS) * run_s(size, batch, device)
        found.append(start_s + _loading_s(size, backend) + runs_s + _TRACE_FILES_S)
        before = backend
    return found


def traces_of(cases: Sequence[PlannedCase], device: Device, runs: int = DEFAULT_RUNS) -> list[float]:
    """Return the seconds of each trace of planned cases."""
    traced = [(Size.of(each.bundle.record.receipt.after), discover()[each.case.backend], each.case.batch) for each in cases]
    return traces_s(traced, device, runs)


def making_s(size: Size, *, pruned: bool, precisions: int = 1, engines: int = 0) -> float:
    """Return the seconds of making a bundle.

    The process has imported PyTorch before.
    """
    return (
        _MAKE_S
        + (_PRUNE_S if pruned else 0.0)
        + size.params * (_MAKE_S_PER_PARAM * precisions + _ENGINE_S_PER_PARAM * engines)
        + engines * _ENGINE_S
    )
