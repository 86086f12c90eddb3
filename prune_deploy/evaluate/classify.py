"""Minimal inference from a bundle: one image in, the most likely classes out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import ImageNetInfo, create_transform

from prune_deploy.backends import usable
from prune_deploy.data import synthetic_images
from prune_deploy.errors import InputError, first_line
from prune_deploy.records import BundleRecord, Preprocessing
from prune_deploy.specs import RunOptions
from prune_deploy.store import read_bundle

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Guess:
    """One class with its softmax probability; `label` is empty where the classes have no names."""

    index: int
    probability: float
    label: str


@dataclass(frozen=True, slots=True)
class Classified:
    """The likeliest classes, and what one inference took: a first impression, no measurement."""

    guesses: tuple[Guess, ...]
    one_run_ms: float
    artifact: str


def classify(folder: Path, image: Path | None, *, backend: str = "ort", top: int = 5) -> Classified:
    """Run the bundle in `folder` on an image file, or on a made image if there is none.

    Raises:
        InputError: no bundle, no such image, not an image, or a backend that answers nothing.
        CannotRunError: the backend does not work here.
    """
    record = read_bundle(folder)
    runtime = usable(backend)
    if runtime.consumes == "nothing":
        raise InputError(
            f"backend {backend} computes nothing, so it has no answer", fix="choose another; see: prune-deploy backends"
        )
    artifact = folder if runtime.consumes == "module" else folder / _file_for(record, runtime.consumes)
    inputs = _read(image, record.preprocessing)
    # Engines run on a GPU and nowhere else; one image is no reason to bring anything else there.
    options = RunOptions(device="cuda" if runtime.consumes == "engine" else "cpu")
    with runtime.open(artifact, inputs, options) as session:
        session.run()  # the first run pays for allocations
        session.synchronize()
        start = time.perf_counter_ns()
        session.run()
        session.synchronize()
        elapsed_ns = time.perf_counter_ns() - start
        session.check()
        logits = session.outputs()[0]
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=0)
    values, indices = probabilities.topk(min(top, len(probabilities)))
    guesses = tuple(Guess(i, v, _label(record, i)) for v, i in zip(values.tolist(), indices.tolist(), strict=True))
    return Classified(guesses, elapsed_ns / 1e6, artifact.name if artifact.is_file() else "weights.safetensors")


def _file_for(record: BundleRecord, role: str) -> str:
    for artifact in record.artifacts:
        if artifact.role == role:
            return artifact.name
    raise InputError(f"the bundle has no {role} file", fix="export it again")


def _read(image: Path | None, preprocessing: Preprocessing) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """An image of shape (1, channels, height, width), preprocessed as the bundle says."""
    if image is None:
        made: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = synthetic_images(
            1, preprocessing.input_size, torch.Generator().manual_seed(0)
        ).numpy()
        return made
    if preprocessing.input_size[0] not in (1, 3):
        raise InputError(
            f"the model takes {preprocessing.input_size[0]} channels, which an image file does not have",
            fix="leave --image out for a made image",
        )
    transform = create_transform(
        input_size=preprocessing.input_size,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        is_training=False,
    )
    opened = _open_image(image).convert("L" if preprocessing.input_size[0] == 1 else "RGB")
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = transform(opened).unsqueeze(0).numpy()
    return pixels


def _open_image(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except UnidentifiedImageError:
        raise InputError(f"{path} is no image that Pillow can read", fix="give a JPEG, PNG or WebP file") from None
    except Exception as error:  # Pillow's decoders raise what the damage provokes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"cannot read {path}: {reason}", fix="check the path; the file may be damaged") from error
    return image


def _label(record: BundleRecord, index: int) -> str:
    if record.num_classes != _IMAGENET_CLASSES or record.weights.kind == "random":
        return ""
    return str(ImageNetInfo().index_to_description(index))
