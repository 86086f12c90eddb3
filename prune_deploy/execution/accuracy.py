"""The accuracy of a planned case, measured by a build worker."""

from __future__ import annotations

from dataclasses import dataclass

from prune_deploy.execution.jobs.client import BuildWorkerClient
from prune_deploy.execution.planning import PlannedCase
from prune_deploy.execution.workers.process import RefusedError
from prune_deploy.records import Accuracy, from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRequest:
    """Images to measure accuracy on, and the limits of it.

    At most `samples` images of `data` are used, within `limit_s` seconds for each artifact. With `agreement`, the bundle's FP32
    module predicts the same images.
    """

    data: str
    samples: int | None
    limit_s: float
    agreement: bool


def measure_accuracy(
    planned: PlannedCase, request: AccuracyRequest, builder: BuildWorkerClient
) -> tuple[Accuracy, dict[str, str]]:
    """Measure the accuracy of a planned case in a build worker.

    It is returned with the settings that were in force.

    Raises:
        WorkerError: it cannot be measured, or took too long.
    """
    candidate = planned.candidate
    if candidate is None:
        assert planned.failure is not None, "a case without a candidate says why"
        raise RefusedError(planned.failure.status, planned.failure.reason, planned.failure.fix)
    header = {
        "folder": str(planned.bundle.folder),
        "backend": candidate.backend,
        "artifact": str(candidate.artifact),
        "options": to_json(candidate.options),
        "batch": planned.case.batch,
        "data": request.data,
        "samples": request.samples,
        "agreement": request.agreement,
    }
    answer = builder.ask("accuracy", header, request.limit_s, "scoring")
    return from_json(Accuracy, answer["accuracy"], source="the child's answer"), answer["settings"]
