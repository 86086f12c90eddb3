"""Minimal inference from a bundle: the most likely classes of one image."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.data import ImageNetInfo

from prune_deploy.backends import usable
from prune_deploy.data import synthetic_images
from prune_deploy.data.preprocessing import open_image, transform_of
from prune_deploy.errors import InputError
from prune_deploy.evaluation.logits import require_classes, scores_of
from prune_deploy.evaluation.time_limit import bounded
from prune_deploy.records import BundleRecord, Preprocessing
from prune_deploy.specs import RunOptions
from prune_deploy.store import read_bundle, require_intact
from prune_deploy.tensors import named_input

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Guess:
    """One class with its softmax probability.

    Of a network with a single logit it is that of the sigmoid. `label` is empty where the classes have no names.
    """

    index: int
    probability: float
    label: str


@dataclass(frozen=True, slots=True)
class Classified:
    """The likeliest classes, and the time of one inference.

    The time is a first impression, no measurement.
    """

    guesses: tuple[Guess, ...]
    one_run_ms: float
    artifact: str


def classify(folder: Path, image: Path | None, *, backend: str = "ort", top: int = 5, check_hashes: bool = True) -> Classified:
    """Run the bundle in `folder` on an image file.

    Without one it runs on a synthetic image. With `check_hashes` the files that it opens are hashed first.

    Raises:
        InputError: no bundle, no such image, not an image, a backend that computes nothing, or a network that does not classify.
        CannotRunError: the backend does not work here.
    """
    record = read_bundle(folder)
    require_classes(record)
    runtime = usable(backend)
    if runtime.consumes == "nothing":
        raise InputError(
            f"backend {backend} computes nothing, so it cannot classify", fix="choose another; see: prune-deploy backends"
        )
    artifact = folder if runtime.consumes == "module" else folder / _file_for(record, runtime.consumes)
    if check_hashes:
        roles = {"weights", "recipe"} if runtime.consumes == "module" else {runtime.consumes, f"{runtime.consumes}-data"}
        require_intact(folder, record, roles)
    inputs = _read(image, record.preprocessing)
    # Engines need a GPU. For a single image everything else runs on the CPU.
    options = RunOptions(device="cuda" if runtime.consumes == "engine" else "cpu")
    with runtime.open(artifact, named_input(inputs), options) as session, bounded(session):
        session.run()  # the first run pays for allocations
        session.synchronize()
        start = time.perf_counter_ns()
        session.run()
        session.synchronize()
        elapsed_ns = time.perf_counter_ns() - start
        session.check()
        logits = scores_of(session.outputs())[0]
    values_of = torch.from_numpy(logits).double()
    probabilities = torch.sigmoid(values_of) if len(logits) == 1 else torch.softmax(values_of, dim=0)
    values, indices = probabilities.topk(min(top, len(probabilities)))
    guesses = tuple(Guess(i, v, _label(record, i)) for v, i in zip(values.tolist(), indices.tolist(), strict=True))
    return Classified(guesses, elapsed_ns / 1e6, artifact.name if artifact.is_file() else "weights.safetensors")


def _file_for(record: BundleRecord, role: str) -> str:
    for artifact in record.artifacts:
        if artifact.role == role:
            return artifact.name
    raise InputError(f"the bundle has no {role} file", fix="export it again")


def _read(image: Path | None, preprocessing: Preprocessing) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a preprocessed image of shape (1, channels, height, width)."""
    if image is None:
        made: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = synthetic_images(
            1, preprocessing.input_size, torch.Generator().manual_seed(0)
        ).numpy()
        return made
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = (
        transform_of(preprocessing)(open_image(image)).unsqueeze(0).numpy()
    )
    return pixels


def _label(record: BundleRecord, index: int) -> str:
    if record.num_classes != _IMAGENET_CLASSES or record.is_untrained:
        return ""
    return str(ImageNetInfo().index_to_description(index))
