"""Traces in the child that does jobs: a profiler that crashes, hangs or hungers for memory ends one trace and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.execution.inputs import make_inputs
from prune_deploy.execution.process import RefusedError
from prune_deploy.records import Trace, from_json, to_json
from prune_deploy.specs import Case, InputKind

if TYPE_CHECKING:
    from prune_deploy.execution.cases import PlannedCase
    from prune_deploy.execution.jobs import Jobs

RUNS = 5
"""Traced runs, unless another number is asked for."""


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
        assert planned.loss is not None, "a case without a candidate says why"
        raise RefusedError(planned.loss.status, planned.loss.reason, planned.loss.fix)
    header = {
        "backend": candidate.backend,
        "artifact": str(candidate.artifact),
        "shape": list(candidate.shape),
        "case": to_json(planned.case),
        "label": planned.subject.label,
        "folder": str(folder),
        "stem": stem,
        "runs": runs,
        "inputs": inputs,
        "seed": seed,
    }
    jobs.ask("trace", header, limit_s, "tracing")
    path = folder / f"{stem}.layers.json"
    return from_json(Trace, path.read_bytes(), source=str(path))


def trace_job(header: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `trace_case`: trace, write the files, and answer with what the profiler cost.

    Raises:
        PruneDeployError: it cannot run or be traced here.
    """
    from prune_deploy.tracing import trace_artifact

    case = from_json(Case, header["case"], source="the request")
    images = make_inputs(header["inputs"], tuple(header["shape"]), header["seed"])
    trace = trace_artifact(
        header["backend"],
        Path(header["artifact"]),
        images,
        case.options,
        Path(header["folder"]),
        header["stem"],
        case,
        header["label"],
        header["runs"],
    )
    return {"overhead": trace.overhead}
