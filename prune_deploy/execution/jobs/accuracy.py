"""The build worker's measurement of an artifact's accuracy.

Nothing is timed while images are read, and a crash costs one figure.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.records import from_json, to_json
from prune_deploy.specs import RunOptions
from prune_deploy.store import read_bundle

if TYPE_CHECKING:
    import numpy as np

    from prune_deploy.data import Batches


def accuracy_job(header: dict[str, Any]) -> dict[str, Any]:
    """Read the images, run the artifact, and answer with its accuracy.

    Raises:
        PruneDeployError: it cannot be measured.
    """
    from prune_deploy.evaluation.accuracy import artifact_accuracy

    folder, options = Path(header["folder"]), from_json(RunOptions, header["options"], source="the request")
    images_request = (folder, header["data"], header["batch"], header["samples"])
    reference = _reference(*images_request, options.device, options.threads) if header["agreement"] else None
    scored = artifact_accuracy(
        read_bundle(folder), header["backend"], Path(header["artifact"]), _batches(*images_request), options, reference
    )
    return {"accuracy": to_json(scored.accuracy), "settings": scored.settings}


def _batches(folder: Path, data: str, batch: int, samples: int | None) -> Batches:
    from prune_deploy.data import Batches, open_images

    return Batches(open_images(data), read_bundle(folder).preprocessing, batch, samples)


@lru_cache(maxsize=1)  # several artifacts of one bundle come after each other
def _reference(
    folder: Path, data: str, batch: int, samples: int | None, device: Any, threads: int | None
) -> np.ndarray[Any, Any]:
    """Return the classes that the bundle's FP32 module predicts."""
    from prune_deploy.evaluation.accuracy import module_classes

    return module_classes(folder, _batches(folder, data, batch, samples), RunOptions(device=device, threads=threads))
