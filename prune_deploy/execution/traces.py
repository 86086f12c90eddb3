"""A planned case traced by a build worker."""

from __future__ import annotations

from pathlib import Path

from prune_deploy.execution.jobs.client import BuildWorkerClient
from prune_deploy.execution.planning import PlannedCase
from prune_deploy.execution.workers.process import RefusedError
from prune_deploy.records import Trace, from_json, to_json
from prune_deploy.specs import MeasureSpec
from prune_deploy.tracing import DEFAULT_RUNS
from prune_deploy.tracing import discover as tracers


def trace_case(
    planned: PlannedCase, folder: Path, stem: str, builder: BuildWorkerClient, spec: MeasureSpec, runs: int = DEFAULT_RUNS
) -> Trace:
    """Trace a planned case in a build worker.

    Its files <stem>.json.gz and <stem>.layers.json in `folder` are made whole or not at all. The inputs, their seed and the time limit
    are those of `spec`.

    Raises:
        WorkerError: it cannot run or be traced here, or took too long.
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
        "inputs": spec.inputs,
        "seed": spec.seed,
    }
    tracer = tracers().get(candidate.backend)  # without one the worker refuses
    variables = {} if tracer is None else tracer.environment(planned.case.options)
    builder.ask("trace", header, spec.open_limit_s, "tracing", environment={**candidate.environment, **variables})
    path = folder / f"{stem}.layers.json"
    return from_json(Trace, path.read_bytes(), source=str(path))
