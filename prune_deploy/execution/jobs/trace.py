"""The build worker's making of a trace.

A profiler that crashes, hangs or takes too much memory ends one trace and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_deploy.execution.workers.inputs import make_inputs
from prune_deploy.records import from_json
from prune_deploy.specs import Case
from prune_deploy.tensors import named_input


def trace_job(header: dict[str, Any]) -> dict[str, Any]:
    """Trace, write the files, and answer with the profiler's cost.

    Raises:
        PruneDeployError: it cannot run or be traced here.
    """
    from prune_deploy.tracing import trace_artifact

    case = from_json(Case, header["case"], source="the request")
    images = make_inputs(header["inputs"], tuple(header["shape"]), header["seed"])
    trace = trace_artifact(
        header["backend"],
        Path(header["artifact"]),
        named_input(images),
        case.options,
        Path(header["folder"]),
        header["stem"],
        case,
        header["label"],
        header["runs"],
    )
    return {"overhead": trace.overhead}
