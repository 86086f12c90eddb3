"""Image files on disk: listing, choosing and hashing without an image library."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from prune_deploy.errors import InputError, setting
from prune_deploy.specs import parse_calibration

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files, as torchvision knows them."""

_CIFAR_TRAIN = {
    "cifar10": tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
    "cifar100": ("cifar-100-python/train",),
}


def list_images(folder: Path) -> list[Path]:
    """Return the image files in any depth under `folder`, sorted by path.

    Raises:
        InputError: the folder is missing, or no image is in it.
    """
    if not folder.is_dir():
        fix = "name the folder that it lies in" if folder.is_file() else "check the path"
        raise InputError(f"{setting('calibration', folder)}: there is no folder {folder}", fix=fix, field="calibration")
    images = sorted(path for path in _walk(folder) if path.suffix.lower() in SUFFIXES)
    if not images:
        fix = f"put images into it: {', '.join(SUFFIXES)}"
        raise InputError(f"{setting('calibration', folder)}: {folder} holds no images", fix=fix, field="calibration")
    return images


def spread(total: int, count: int) -> list[int]:
    """Return at most `count` numbers below `total`, evenly spread.

    They are always the same.
    """
    chosen = min(total, count)
    return [number * total // chosen for number in range(chosen)]


def calibration_sha256(calibration: str, samples: int) -> str:
    """Return a hash of the calibration images that a word stands for.

    See `prune_deploy.specs.parse_calibration` for the words. Images in files count by their content, others by their source.

    Raises:
        InputError: the folder is missing, holds no images, or a file in it cannot be read.
    """
    kind, folder = parse_calibration(calibration)
    digest = hashlib.sha256(f"{kind} {samples}\n".encode())
    if folder is None:
        if kind == "digits":
            digest.update(f"scikit-learn {version('scikit-learn')}".encode())
        return digest.hexdigest()
    if kind == "images":
        files = list_images(folder)
        chosen: Iterable[Path] = (files[number] for number in spread(len(files), samples))
    elif kind == "imagefolder":
        chosen = _labelled_sample(folder, samples)
    else:
        chosen = [folder / name for name in _CIFAR_TRAIN[kind]]
    for path in chosen:
        digest.update(f"{path.relative_to(folder).as_posix()}\n{_content(path)}\n".encode())
    return digest.hexdigest()


def _labelled_sample(folder: Path, samples: int) -> Sequence[Path]:
    """Return the files that `prune_deploy.data.ImageSet.sample` chooses.

    `folder` is a folder of classes. The order is torchvision's, and the seed is the same.
    """
    if not folder.is_dir():
        word = setting("calibration", f"imagefolder:{folder}")
        raise InputError(f"{word}: there is no folder {folder}", fix="check the path", field="calibration")
    files = [
        path
        for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir())
        for path in _walk(class_folder)
        if path.suffix.lower() in SUFFIXES
    ]
    if samples >= len(files):
        return files
    return [files[number] for number in sorted(random.Random(0).sample(range(len(files)), samples))]


def _walk(folder: Path) -> Iterable[Path]:
    for root, _, names in sorted(os.walk(folder, followlinks=True)):
        yield from (Path(root, name) for name in sorted(names))


def _content(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"`calibration`: cannot read {path}: {error.strerror}", fix="check the path and its permissions", field="calibration"
        ) from error
