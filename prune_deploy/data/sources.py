"""Sources of labelled images: digits, Fashion-MNIST, CIFAR, folders of classes.

Each is opened without reading more than necessary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from prune_deploy.data import fashion_mnist
from prune_deploy.data.folders import ImageWalk
from prune_deploy.data.preprocessing import open_image
from prune_deploy.errors import InputError, setting
from prune_deploy.specs import parse_data

Split = Literal["train", "test"]
"""Images for training, and images held out from it.

A folder has no splits: its owner decides what it is.
"""

_DIGITS_TRAIN = 898
_BRIGHTEST = 16
_CIFAR_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images, read one at a time.

    `classes` are in the order of their numbers. `labels` and `names` are the images'. `read` returns the image of a number, or
    raises an InputError.
    """

    data: str
    classes: tuple[str, ...]
    labels: Sequence[int]
    names: Sequence[str]
    read: Callable[[int], Image.Image]

    def sample(self, count: int | None) -> Sequence[int]:
        """Return the numbers of at most `count` images, of all if None.

        They are always the same, and from all over the set.
        """
        if count is None or count >= len(self.labels):
            return range(len(self.labels))
        return sorted(random.Random(0).sample(range(len(self.labels)), count))


def open_images(data: str, split: Split = "test", *, field: str = "data") -> ImageSet:
    """Open the images that a word stands for.

    See `prune_deploy.specs.parse_data` for the words. `field` is the setting that holds the word, which errors name.

    Raises:
        InputError: an unknown word, a folder that is missing or holds no images, or a data set that differs from the published one.
    """
    kind, folder = parse_data(data, field)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{setting(field, data)}: there is no folder {folder}", fix="check the path", field=field)
    if kind == "fashion-mnist":
        return _fashion_mnist(data, folder, split, field)
    if folder is None:
        return _digits(data, split)
    return _folder(data, folder, field) if kind == "imagefolder" else _cifar(data, kind, folder, split, field)


def _digits(data: str, split: Split) -> ImageSet:
    """Open 1797 digits of 8 × 8 pixels (Alpaydin and Kaynak, 1998).

    The first half is the training split, as in scikit-learn's own example.
    """
    from sklearn.datasets import load_digits

    dataset = load_digits()
    numbers = range(_DIGITS_TRAIN) if split == "train" else range(_DIGITS_TRAIN, len(dataset.images))
    pixels = (dataset.images * (255 / _BRIGHTEST)).round().astype("uint8")

    def read(index: int) -> Image.Image:
        return Image.fromarray(pixels[numbers[index]])

    labels = [int(dataset.target[number]) for number in numbers]
    return ImageSet(data, tuple(map(str, dataset.target_names)), labels, [f"digit {number}" for number in numbers], read)


def _fashion_mnist(data: str, folder: Path | None, split: Split, field: str) -> ImageSet:
    """Open the 60,000 training or the 10,000 test images.

    They are grey, of 28 × 28 pixels. All of a split is held in memory.
    """
    with fashion_mnist.naming(data, field):
        pixels, labels = fashion_mnist.read(folder, split)
    side = fashion_mnist.SIDE

    def read(index: int) -> Image.Image:
        return Image.frombytes("L", (side, side), pixels[index * side * side : (index + 1) * side * side])

    names = [f"image {index}" for index in range(len(labels))]
    return ImageSet(data, fashion_mnist.CLASSES, labels, names, read)


def _cifar(data: str, kind: str, folder: Path, split: Split, field: str) -> ImageSet:
    """Open CIFAR-10 or CIFAR-100 (Krizhevsky, 2009).

    Its files are pickles. torchvision compares their checksums before it opens them.
    """
    from torchvision import datasets

    name = _CIFAR_NAMES[kind]
    try:
        dataset = getattr(datasets, name)(folder, train=split == "train", download=False)
    except RuntimeError:  # torchvision's error for files that are missing or differ from the published ones
        raise InputError(
            f"{setting(field, data)}: {folder} holds no {name}, or its checksums differ",
            field=field,
            fix=f"download it: python -c \"from torchvision.datasets import {name}; {name}('{folder}', download=True)\"",
        ) from None

    def read(index: int) -> Image.Image:
        return Image.fromarray(dataset.data[index])

    names = [f"image {index}" for index in range(len(dataset.targets))]
    return ImageSet(data, tuple(dataset.classes), dataset.targets, names, read)


def _folder(data: str, folder: Path, field: str) -> ImageSet:
    """Open images in folders that are named after their classes.

    The classes are numbered in the order of their names, those without images too. Classes and images are those of torchvision's
    ImageFolder, which does not end in every folder.
    """
    walk = ImageWalk(setting(field, data), field)
    classes = walk.classes(folder)
    if not classes:
        raise InputError(
            f"{setting(field, data)}: {folder} has no folder of a class", fix="make one folder for each class", field=field
        )
    found = [(path, label) for label, place in enumerate(classes) for path in walk.files(place)]
    if not found:
        fix = "put JPEG, PNG or WebP files into the classes' folders"
        raise InputError(f"{setting(field, data)}: {folder} holds no images", fix=fix, field=field)

    def read(index: int) -> Image.Image:
        return open_image(found[index][0])

    names = [str(path.relative_to(folder)) for path, _ in found]
    return ImageSet(data, tuple(place.name for place in classes), [label for _, label in found], names, read)
