"""An artifact's accuracy in the child that does jobs: nothing is timed while images are read, and a crash costs one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prune_deploy.records import from_json, to_json
from prune_deploy.specs import RunOptions
from prune_deploy.store import read_bundle


def accuracy_job(header: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `prune_deploy.execution.scores`: read the images, run the artifact, answer with its accuracy.

    Raises:
        PruneDeployError: it cannot be had.
    """
    from prune_deploy.data import Batches, open_images
    from prune_deploy.evaluate.accuracy import artifact_accuracy

    record = read_bundle(Path(header["folder"]))
    batches = Batches(open_images(header["data"]), record.preprocessing, header["batch"], header["samples"])
    options = from_json(RunOptions, header["options"], source="the request")
    return {"accuracy": to_json(artifact_accuracy(record, header["backend"], Path(header["artifact"]), batches, options))}
