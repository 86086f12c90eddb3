"""Image files on disk: listing, choosing and hashing without an image library."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from prune_deploy.data import fashion_mnist
from prune_deploy.data.folders import SUFFIXES, ImageWalk
from prune_deploy.errors import InputError, setting
from prune_deploy.files import open_plain
from prune_deploy.specs import parse_calibration

_LARGEST_IMAGE = 1 << 30
_CIFAR_TRAIN = {
    "cifar10": tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
    "cifar100": ("cifar-100-python/train",),
}


def list_images(folder: Path) -> list[Path]:
    """Return the image files in any depth under `folder`, sorted by path.

    Raises:
        InputError: the folder is missing, holds no image, or too much else.
    """
    if not folder.is_dir():
        fix = "name the folder that it lies in" if folder.is_file() else "check the path"
        raise InputError(f"{setting('calibration', folder)}: there is no folder {folder}", fix=fix, field="calibration")
    images = sorted(ImageWalk(setting("calibration", folder), "calibration").files(folder))
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
    if kind == "fashion-mnist":  # whoever opens it compares it with what was published
        with fashion_mnist.naming(calibration, "calibration"):
            fashion_mnist.find(folder, "train")
        digest.update(fashion_mnist.PUBLISHED["train"].images.sha256.encode())
        return digest.hexdigest()
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
        digest.update(b"%s\n%s\n" % (os.fsencode(path.relative_to(folder)), _content(path).encode()))
    return digest.hexdigest()


def _labelled_sample(folder: Path, samples: int) -> Sequence[Path]:
    """Return the files that `prune_deploy.data.ImageSet.sample` chooses.

    `folder` is a folder of classes. The order is torchvision's, and the seed is the same.
    """
    if not folder.is_dir():
        word = setting("calibration", f"imagefolder:{folder}")
        raise InputError(f"{word}: there is no folder {folder}", fix="check the path", field="calibration")
    walk = ImageWalk(setting("calibration", f"imagefolder:{folder}"), "calibration")
    files = [path for class_folder in walk.classes(folder) for path in walk.files(class_folder)]
    if samples >= len(files):
        return files
    return [files[number] for number in sorted(random.Random(0).sample(range(len(files)), samples))]


def _content(path: Path) -> str:
    fix = "check the path and its permissions"
    try:
        with open_plain(path, fix=fix) as stream:
            if (size := os.fstat(stream.fileno()).st_size) > _LARGEST_IMAGE:
                raise InputError(f"{path} has {size:,} bytes, too many for an image", fix="take it out of the folder")
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except InputError as error:
        raise InputError(f"`calibration`: {error.message}", fix=error.fix, field="calibration") from error
