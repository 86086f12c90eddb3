"""Labelled images in batches of tensors.

Small sets are kept in memory, and large ones are read anew in each epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from prune_deploy.data import ImageSet
from prune_deploy.data.preprocessing import Transform, in_channels, transform_of
from prune_deploy.environment import usable_cpus
from prune_deploy.errors import InputError
from prune_deploy.records import Preprocessing
from prune_deploy.signals import leave_to_parent
from prune_deploy.specs.training import DEFAULT_SMALLEST_CROP

CACHE_BYTES = 1 << 30
"""Bytes of tensors up to which a set is kept in memory."""

_MOST_WORKERS = 12
_WORTH_WORKERS = 2000


class Batch(NamedTuple):
    """Inputs and their classes.

    Inputs have shape (images, channels, height, width), float32, and classes have shape (images,).
    """

    inputs: torch.Tensor
    labels: torch.Tensor


class Images:
    """Chosen images of a set as a network takes them.

    `unreadable` are the names of those that could not be read so far, and they take no part. With `augmented`, each epoch sees
    other crops, which depend only on the seed, the epoch and the image.
    """

    def __init__(
        self,
        source: ImageSet,
        numbers: Sequence[int],
        preprocessing: Preprocessing,
        *,
        seed: int = 0,
        augmented: Transform | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.unreadable: set[str] = set()
        self._source, self._numbers, self._seed = source, list(numbers), seed
        self._examples = _Examples(source, augmented or transform_of(preprocessing), seed if augmented is not None else None)
        size = 4 * int(np.prod(preprocessing.input_size)) * len(self._numbers)
        self._tensors = self._read_all(preprocessing) if augmented is None and size <= cache_bytes else None
        if not self._numbers:
            raise InputError(f"none of the images of {source.data} can be read", fix="check the files for damage")

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def readable(self) -> int:
        """Number of images that have taken part, as far as is known."""
        return sum(self._source.names[number] not in self.unreadable for number in self._numbers)

    @property
    def sha256(self) -> str:
        """Hash of the images' names and labels."""
        chosen = [(self._source.names[number], int(self._source.labels[number])) for number in self._numbers]
        return hashlib.sha256(repr((self._source.data, chosen)).encode()).hexdigest()

    def steps(self, batch: int) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self) // batch)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Yield all images once, in batches of at most `batch`."""
        return self._batches(np.array_split(np.arange(len(self)), self.steps(batch)), 0)

    def shuffled(self, batch: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the images of an epoch in an order of its own.

        It begins at batch number `first`. Batches have nearly equal sizes, so that none is left with a single image, of which a
        batch norm has no statistics.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
        return self._batches(np.array_split(order, self.steps(batch))[first:], epoch)

    def _read_all(self, preprocessing: Preprocessing) -> torch.Tensor:
        tensors = torch.empty(len(self._numbers), *preprocessing.input_size)
        readable: list[int] = []
        for number in self._numbers:
            tensor = self._examples[(0, number)][1]
            if tensor is None:
                self.unreadable.add(self._source.names[number])
                continue
            tensors[len(readable)] = tensor
            readable.append(number)
        self._numbers = readable
        return tensors[: len(readable)]

    def _batches(self, chunks: Sequence[np.ndarray[Any, Any]], epoch: int) -> Iterator[Batch]:
        if self._tensors is None:
            yield from self._read(chunks, epoch)
            return
        labels = torch.tensor([self._source.labels[number] for number in self._numbers])
        for chunk in chunks:
            chosen = torch.from_numpy(chunk)
            yield Batch(self._tensors[chosen], labels[chosen])

    def _read(self, chunks: Sequence[np.ndarray[Any, Any]], epoch: int) -> Iterator[Batch]:
        keys = [[(epoch, self._numbers[position]) for position in chunk] for chunk in chunks]
        workers = min(usable_cpus() - 1, _MOST_WORKERS) if len(self) >= _WORTH_WORKERS else 0
        loader: DataLoader[Any] = DataLoader(
            self._examples,
            batch_sampler=keys,
            collate_fn=list,
            num_workers=workers,
            worker_init_fn=leave_to_parent,
            # A generator of its own: a loader draws a seed for its workers, and the global generator belongs to the network.
            generator=torch.Generator(),
            # Sets hold functions that cannot be pickled.
            multiprocessing_context="fork" if workers else None,
        )
        for examples in loader:
            self.unreadable |= {self._source.names[number] for number, tensor in examples if tensor is None}
            readable = [(number, tensor) for number, tensor in examples if tensor is not None]
            inputs = torch.stack([tensor for _, tensor in readable]) if readable else torch.empty(0)
            yield Batch(inputs, torch.tensor([self._source.labels[number] for number, _ in readable], dtype=torch.int64))


class _Examples(Dataset[tuple[int, "torch.Tensor | None"]]):
    """Images by epoch and number, with None for an unreadable one."""

    def __init__(self, source: ImageSet, transform: Transform, seed: int | None) -> None:
        self._source, self._transform, self._seed = source, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, torch.Tensor | None]:
        epoch, number = key
        try:
            image = self._source.read(number)
        except InputError:
            return number, None
        if self._seed is None:
            return number, self._transform(image)
        with torch.random.fork_rng(devices=[]):
            drawn = np.random.SeedSequence([self._seed, epoch, number]).generate_state(1)[0]
            torch.default_generator.manual_seed(int(drawn))
            return number, self._transform(image)


def augmentation(preprocessing: Preprocessing, *, flip: bool, smallest_crop: float = DEFAULT_SMALLEST_CROP) -> Transform:
    """Return random resized crops, scaled and normalised as the bundle records.

    A crop has at least a share of `smallest_crop` of the image's area. With `flip` they are mirrored half the time.
    """
    from torchvision.transforms import InterpolationMode, v2

    channels, height, width = preprocessing.input_size
    mode = InterpolationMode(preprocessing.interpolation)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop((height, width), scale=(smallest_crop, 1.0), interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )

    def apply(image: Any) -> torch.Tensor:
        return torch.as_tensor(transform(in_channels(image, channels)))

    return apply
