"""Planned cases traced one after the other, after whatever was timed: what could not be traced is a sentence, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_deploy.errors import storage_errors
from prune_deploy.execution.failure import Failure
from prune_deploy.execution.jobs.client import Jobs
from prune_deploy.execution.planning import PlannedCase
from prune_deploy.execution.workers.process import RefusedError, Watchdog, WorkerError
from prune_deploy.records import Trace, from_json, to_json
from prune_deploy.runs import TRACES_DIR
from prune_deploy.specs import InputKind, MeasureSpec

RUNS = 5
"""Traced runs, unless another number is asked for."""

_LOG = "traces.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What became of one case: its trace, or why there is none. `stem` is the name of its files in the run's traces."""

    planned: PlannedCase
    stem: str
    trace: Trace | None = None
    failure: Failure | None = None


def trace_cases(
    wanted: Sequence[tuple[str, PlannedCase]],
    spec: MeasureSpec,
    folder: Path,
    starting: Callable[[str], None],
    runs: int = RUNS,
) -> Iterator[Traced]:
    """Trace cases, given by their stems, into the run `folder`; `starting` is told which one begins.

    Raises:
        StorageError: the place cannot be written.
    """
    logs = folder / "logs"
    with storage_errors(folder, every=True):
        (folder / TRACES_DIR).mkdir(exist_ok=True)
        logs.mkdir(exist_ok=True)
    limit = None if spec.memory_limit_mib is None else spec.memory_limit_mib << 20
    with Watchdog() as watchdog, Jobs(watchdog, logs / _LOG, limit) as jobs:
        for stem, planned in wanted:
            starting(stem)
            try:
                trace = trace_case(
                    planned,
                    folder / TRACES_DIR,
                    stem,
                    jobs,
                    spec.open_limit_s,
                    runs=runs,
                    inputs=spec.inputs,
                    seed=spec.seed,
                )
            except WorkerError as error:
                yield Traced(planned=planned, stem=stem, failure=Failure.of(error))
            else:
                yield Traced(planned=planned, stem=stem, trace=trace)


def trace_case(
    planned: PlannedCase,
    folder: Path,
    stem: str,
    jobs: Jobs,
    limit_s: float,
    *,
    runs: int = RUNS,
    inputs: InputKind = "images",
    seed: int = 0,
) -> Trace:
    """Have a planned case traced: <stem>.json.gz and <stem>.layers.json in `folder`, made whole or not at all.

    Raises:
        WorkerError: it cannot run or be traced here, or took longer than `limit_s` seconds.
    """
    candidate = planned.candidate
    if candidate is None:
        assert planned.failure is not None, "a case without a candidate says why"
        raise RefusedError(planned.failure.status, planned.failure.reason, planned.failure.fix)
    header = {
        "backend": candidate.backend,
        "artifact": str(candidate.artifact),
        "shape": list(candidate.shape),
        "case": to_json(planned.case),
        "label": planned.bundle.label,
        "folder": str(folder),
        "stem": stem,
        "runs": runs,
        "inputs": inputs,
        "seed": seed,
    }
    jobs.ask("trace", header, limit_s, "tracing")
    path = folder / f"{stem}.layers.json"
    return from_json(Trace, path.read_bytes(), source=str(path))
