"""Calibration images, from which activation ranges are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from prune_deploy.data.batches import Batch, Batches
from prune_deploy.data.files import list_images, spread
from prune_deploy.data.preprocessing import open_image
from prune_deploy.data.sources import ImageSet, open_images
from prune_deploy.data.synthetic import synthetic_images
from prune_deploy.errors import InputError, setting
from prune_deploy.records import Preprocessing
from prune_deploy.specs import DEFAULT_CALIBRATION_SAMPLES, parse_calibration

_SEED = 0
_NO_CLASS = -1


class CalibrationImages:
    """At most `samples` images that a word stands for.

    See `prune_deploy.specs.parse_calibration` for the words. One batch is in memory at a time. `classes` is 0 where the images
    have no labels, and a batch's labels are then -1. `unreadable` are the names of the images that the last iteration could not
    read.

    Raises:
        InputError: no such folder, no images, or images that cannot become the model's input.
    """

    def __init__(self, calibration: str, preprocessing: Preprocessing, samples: int) -> None:
        self.data = calibration
        self._preprocessing = preprocessing
        kind, folder = parse_calibration(calibration)
        self._images: ImageSet | None = None
        if kind == "images":
            assert folder is not None
            self._images = _folder(calibration, list_images(folder), samples)
        elif kind != "synthetic":
            self._images = _sampled(open_images(calibration, split="train", field="calibration"), samples)
        self.classes = 0 if self._images is None else len(self._images.classes)
        self.count = samples if self._images is None else len(self._images.labels)
        self.unreadable: list[str] = []
        if self._images is not None:
            Batches(self._images, preprocessing, 1)  # refuses an impossible input size before anything is read

    def batches(self, size: int, count: int | None = None) -> Iterator[Batch]:
        """Yield inputs and labels in batches of `size`.

        The last batch may be smaller. `count` images are taken from all over the set, all of them if None.

        Raises:
            InputError: none of the images can be read.
        """
        numbers = spread(self.count, self.count if count is None else count)
        if self._images is None:
            return self._generated(numbers, size)
        return self._read(_part(self._images, numbers), size)

    def _generated(self, numbers: list[int], size: int) -> Iterator[Batch]:
        for begin in range(0, len(numbers), size):
            made = [_synthetic(number, self._preprocessing.input_size) for number in numbers[begin : begin + size]]
            yield Batch(torch.cat(made).numpy(), np.full(len(made), _NO_CLASS))

    def _read(self, images: ImageSet, size: int) -> Iterator[Batch]:
        batches = Batches(images, self._preprocessing, size)
        readable = 0
        for batch in batches:
            readable += len(batch.labels)
            yield batch
        self.unreadable = batches.unreadable
        if not readable:
            raise InputError(
                f"{setting('calibration', self.data)}: none of {len(images.names)} images can be read, "
                f"the first is {images.names[0]}",
                fix="give whole JPEG, PNG or WebP files",
                field="calibration",
            )


def calibration_images(
    calibration: str, preprocessing: Preprocessing, count: int, samples: int = DEFAULT_CALIBRATION_SAMPLES
) -> torch.Tensor:
    """Return at most `count` of the calibration images.

    They are taken from all over the `samples` images that a word stands for. The shape is (images, channels, height, width).

    Raises:
        InputError: no such folder, or no image that can be read.
    """
    images = CalibrationImages(calibration, preprocessing, samples)
    return torch.from_numpy(np.concatenate([batch.inputs for batch in images.batches(count, count)]))


def _synthetic(number: int, input_size: tuple[int, int, int]) -> torch.Tensor:
    # One generator per image, so that image 7 is the same in batches of any size.
    return synthetic_images(1, input_size, torch.Generator().manual_seed(_SEED + number))


def _folder(calibration: str, files: Sequence[Path], samples: int) -> ImageSet:
    chosen = [files[number] for number in spread(len(files), samples)]
    return ImageSet(calibration, (), [_NO_CLASS] * len(chosen), list(map(str, chosen)), lambda number: open_image(chosen[number]))


def _sampled(images: ImageSet, samples: int) -> ImageSet:
    return _part(images, images.sample(samples))


def _part(images: ImageSet, numbers: Iterable[int]) -> ImageSet:
    chosen = list(numbers)
    return ImageSet(
        images.data,
        images.classes,
        [images.labels[number] for number in chosen],
        [images.names[number] for number in chosen],
        lambda number: images.read(chosen[number]),
    )
