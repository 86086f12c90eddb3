"""Labelled images in batches, with one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from prune_deploy.data.preprocessing import transform_of
from prune_deploy.data.sources import ImageSet
from prune_deploy.errors import InputError
from prune_deploy.records import Preprocessing


class Batch(NamedTuple):
    """Inputs and their classes.

    Inputs have shape (images, channels, height, width), float32, and classes have shape (images,).
    """

    inputs: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


class Batches:
    """At most `samples` images of a set, in batches of `batch`.

    The last batch may be smaller. Each iteration reads the images anew. `unreadable` are the names of the images that the last
    iteration could not read.
    """

    def __init__(self, images: ImageSet, preprocessing: Preprocessing, batch: int, samples: int | None = None) -> None:
        self.data = images.data
        self.classes = len(images.classes)
        self.batch = batch
        self.shape = (batch, *preprocessing.input_size)
        self.unreadable: list[str] = []
        self._images = images
        self._numbers = images.sample(samples)
        self._transform = transform_of(preprocessing)

    def __iter__(self) -> Iterator[Batch]:
        self.unreadable = []
        inputs: list[np.ndarray[Any, Any]] = []
        labels: list[int] = []
        for number in self._numbers:
            try:
                inputs.append(self._transform(self._images.read(number)).numpy())
            except InputError:
                self.unreadable.append(self._images.names[number])
                continue
            labels.append(self._images.labels[number])
            if len(inputs) == self.batch:
                yield Batch(np.stack(inputs), np.array(labels))
                inputs, labels = [], []
        if inputs:
            yield Batch(np.stack(inputs), np.array(labels))
