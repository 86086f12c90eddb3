"""Labelled images: scikit-learn's digits, CIFAR, folders of classes. Each is opened without reading more than it must."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from prune_deploy.data.preprocessing import open_image
from prune_deploy.errors import InputError
from prune_deploy.specs import parse_data

Split = Literal["train", "test"]
"""Images to learn from, and images that nothing has learnt from. A folder has none: it is what its owner says it is."""

_DIGITS_TRAIN = 898
_BRIGHTEST = 16
_CIFAR_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images, read one at a time. `classes` are in the order of their numbers; `labels` and `names` are the images'.

    `read` gives the image of a number, or raises an InputError.
    """

    data: str
    classes: tuple[str, ...]
    labels: Sequence[int]
    names: Sequence[str]
    read: Callable[[int], Image.Image]

    def sample(self, count: int | None) -> Sequence[int]:
        """The numbers of at most `count` images, of all if None: always the same ones, and from all over the set."""
        if count is None or count >= len(self.labels):
            return range(len(self.labels))
        return sorted(random.Random(0).sample(range(len(self.labels)), count))


def open_images(data: str, split: Split = "test") -> ImageSet:
    """The images that a word stands for; see `prune_deploy.specs.parse_data`.

    Raises:
        InputError: an unknown word, a folder that is not there or holds no images, or a data set that is not what was published.
    """
    kind, folder = parse_data(data)
    if folder is None:
        return _digits(data, split)
    if not folder.is_dir():
        raise InputError(f"--data {data}: there is no folder {folder}", fix="check the path")
    return _folder(data, folder) if kind == "imagefolder" else _cifar(data, kind, folder, split)


def _digits(data: str, split: Split) -> ImageSet:
    """1797 digits of 8 × 8 pixels (Alpaydin and Kaynak, 1998), the first half to learn from, as in scikit-learn's own example."""
    from sklearn.datasets import load_digits

    found = load_digits()
    numbers = range(_DIGITS_TRAIN) if split == "train" else range(_DIGITS_TRAIN, len(found.images))
    pixels = (found.images * (255 / _BRIGHTEST)).round().astype("uint8")

    def read(index: int) -> Image.Image:
        return Image.fromarray(pixels[numbers[index]])

    labels = [int(found.target[number]) for number in numbers]
    return ImageSet(data, tuple(map(str, found.target_names)), labels, [f"digit {number}" for number in numbers], read)


def _cifar(data: str, kind: str, folder: Path, split: Split) -> ImageSet:
    """CIFAR-10 or CIFAR-100 (Krizhevsky, 2009). Its files are pickles: torchvision compares their checksums before it opens them."""
    from torchvision import datasets

    name = _CIFAR_NAMES[kind]
    try:
        found = getattr(datasets, name)(folder, train=split == "train", download=False)
    except RuntimeError:  # torchvision's word for files that are missing or not those that were published
        raise InputError(
            f"--data {data}: {folder} holds no {name}, or its checksums differ",
            fix=f"download it: python -c \"from torchvision.datasets import {name}; {name}('{folder}', download=True)\"",
        ) from None

    def read(index: int) -> Image.Image:
        return Image.fromarray(found.data[index])

    names = [f"image {index}" for index in range(len(found.targets))]
    return ImageSet(data, tuple(found.classes), found.targets, names, read)


def _folder(data: str, folder: Path) -> ImageSet:
    """Images in folders that are named after their classes; the classes are numbered in the order of their names."""
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder), allow_empty=True)  # a class without images keeps its number
    except FileNotFoundError:  # torchvision's word for no class at all
        raise InputError(f"--data {data}: {folder} has no folder of a class", fix="make one folder for each class") from None
    if not found.samples:
        raise InputError(f"--data {data}: {folder} holds no images", fix="put JPEG, PNG or WebP files into the classes' folders")
    paths = [Path(path) for path, _ in found.samples]

    def read(index: int) -> Image.Image:
        return open_image(paths[index])

    names = [str(path.relative_to(folder)) for path in paths]
    return ImageSet(data, tuple(found.classes), found.targets, names, read)
