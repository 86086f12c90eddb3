"""Small files in the format of Fashion-MNIST, in the real ones' place."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from prune_deploy.data.fashion_mnist import PUBLISHED, SIDE, IdxFile, Part

SMALL = {"train": 30, "test": 20}
"""Images of each split."""


def pixels(split: str) -> np.ndarray[Any, Any]:
    """The images of a split, shape (images, height, width)."""
    generator = np.random.default_rng(list(SMALL).index(split))
    return generator.integers(0, 256, (SMALL[split], SIDE, SIDE), dtype=np.uint8)


def labels(split: str) -> np.ndarray[Any, Any]:
    """Their classes, in turn."""
    return (np.arange(SMALL[split]) % 10).astype(np.uint8)


def _files() -> Iterator[tuple[str, IdxFile, bytes]]:
    """Each small file with its split, its description and its content."""
    for split, part in PUBLISHED.items():
        for file, array in ((part.images, pixels(split)), (part.labels, labels(split))):
            small = replace(file, shape=array.shape)
            content = small.header + array.tobytes()
            yield split, replace(small, sha256=hashlib.sha256(content).hexdigest()), content


_ALL = tuple(_files())


def write(folder: Path, *, compressed: bool = False) -> None:
    """Write the small files into a new folder."""
    folder.mkdir(parents=True)
    for _, file, content in _ALL:
        if compressed:
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / file.name).write_bytes(content)


@contextmanager
def published() -> Iterator[None]:
    """Take the small files for the published ones."""
    described = {split: [file for each, file, _ in _ALL if each == split] for split in SMALL}
    with mock.patch.dict(PUBLISHED, {split: Part(*files) for split, files in described.items()}):
        yield
